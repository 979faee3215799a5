"""The programs of `transact`."""

from __future__ import annotations

from typing import Any

from onetree import Entry, Transaction, Value, as_json


def plain(entry: Entry) -> Any:
    """Returns an entry's value: the value of its JSON, else its text or the base64 of its bytes."""
    told = as_json(entry)
    return next((told[name] for name in ("json", "text", "bytes") if name in told), None)


def increment(tx: Transaction, path: str) -> int:
    entry = tx.get(path)
    count = int(plain(entry) if entry else 0) + 1
    tx.put(path, Value.json(count))
    return count


def take(tx: Transaction, path: str) -> Any:
    entry = tx.get(path)
    if entry is None:
        tx.retry()
    tx.delete(path)
    return plain(entry)


def take_either(tx: Transaction, first: str, second: str) -> Any:
    return tx.or_else(lambda tx: take(tx, first), lambda tx: take(tx, second))


def move(tx: Transaction, source: str, target: str) -> Any:
    for entry in tx.under(source):
        if entry.path != source:
            tx.delete(entry.path)
            tx.put(f"{target}/{entry.path.rpartition('/')[2]}", entry.value)
            return plain(entry)
    tx.retry()


def fail(tx: Transaction, path: str) -> Any:
    tx.put(path, 1)
    raise RuntimeError("the application throws")


PROGRAMS: dict[str, Any] = {
    "increment": increment, "take": take, "take-either": take_either, "move": move, "fail": fail
}  # fmt: skip
