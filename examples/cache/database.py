"""The database: SQLite, used by several processes at once."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from typing import NamedTuple


class Item(NamedTuple):
    """A row."""

    version: int
    """Counts the writes of this item; 0: never written."""
    body: str


class Database:
    """Items by key, and the outbox: what was written and not reported to the caches yet. All
    methods block, and may be called from any thread."""

    def __init__(self, file: str, slow: float = 0.0) -> None:
        """`slow`: each read takes up to this many seconds longer, as on a busy disk."""
        self._file = file
        self._slow = slow
        self._local = threading.local()
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS item (key TEXT PRIMARY KEY, version INTEGER, body TEXT)"
            )
            connection.execute(
                "CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT)"
            )

    def read(self, key: str) -> Item:
        """Reads an item."""
        row = (
            self._connection()
            .execute("SELECT version, body FROM item WHERE key = ?", (key,))
            .fetchone()
        )
        if self._slow:
            # After the read: what was read becomes outdated meanwhile.
            time.sleep(random.random() * self._slow)
        return Item(0, "") if row is None else Item(*row)

    def write(self, key: str, body: str) -> tuple[int, int]:
        """Writes an item and its line in the outbox, in one transaction. Returns the item's
        version, and the number in the outbox."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            version: int = connection.execute(
                "INSERT INTO item VALUES (?, 1, ?) ON CONFLICT (key) DO UPDATE"
                " SET version = version + 1, body = excluded.body RETURNING version",
                (key, body),
            ).fetchone()[0]
            number = connection.execute("INSERT INTO outbox (key) VALUES (?)", (key,)).lastrowid
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        assert number is not None
        return version, number

    def outbox(self) -> list[tuple[int, str]]:
        """Returns the numbers and keys of what was not reported yet."""
        return self._connection().execute("SELECT id, key FROM outbox ORDER BY id").fetchall()

    def told(self, number: int) -> None:
        """Removes what was reported."""
        self._connection().execute("DELETE FROM outbox WHERE id = ?", (number,))

    def _connection(self) -> sqlite3.Connection:
        """Returns the connection of this thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._file, timeout=30, isolation_level=None)
            connection.execute("PRAGMA synchronous=NORMAL")
            self._local.connection = connection
        return connection
