"""Keeping a mirror: the place where it survives its process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, Protocol, cast

from .errors import KeepError
from .protocol import json_codec, scan
from .protocol.cookies import Cookie
from .protocol.frames import Entry
from .protocol.paths import order_key
from .protocol.wrong import Wrong
from .snapshot import Snapshot

EVERY: Final = 1.0
"""The shortest time between two saves of a mirror, in seconds."""

_log = logging.getLogger("onetree")


class Keep(Protocol):
    """A place where a mirror is kept. `load` is called in the thread that starts the mirror. `save`
    is called outside of the event loop's thread, one call at a time."""

    def load(self) -> tuple[Cookie, list[Entry]] | None:
        """Returns a cookie with its entries, or `None`."""

    def save(self, snapshot: Snapshot) -> None:
        """Replaces the cookie and the entries in one step."""


class FileKeep:
    """A file in the format of `onetree watch --state`.

    The first line is the cookie, with the number of lines that follow. Then come exactly the lines
    that `onetree export` prints. The file is always replaced as a whole, so it is whole even if the
    process is killed at any moment. A file that is not whole is reported and never replaced: it may
    be the only copy.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """A file at `path`. If that is a symbolic link, its target is replaced. The file belongs to
        this process alone from `load` or the first `save` on, until `close`."""
        self.path = Path(os.path.realpath(path))
        """The file."""
        self._lock: IO[bytes] | None = None
        # A save goes on in its thread even if its task is cancelled, as at the end of a program.
        self._saving = threading.Lock()
        self._closed = False

    def load(self) -> tuple[Cookie, list[Entry]] | None:
        """Reads the file. Returns `None` if it is empty or does not exist. If it is not whole,
        raises `KeepError` with `state-broken`, which names the line, and releases the file."""
        self._own()
        self._closed = False
        try:
            return self._read()
        except KeepError:
            self.close()
            raise

    def _read(self) -> tuple[Cookie, list[Entry]] | None:
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeepError("state", f"cannot read {self.path}: {error}") from None
        if not data:
            return None
        lines = data.split(b"\n")
        if lines.pop():
            raise self._broken(len(lines) + 1, "the line is cut off")
        cookie, count = self._head(lines[0])
        entries: list[Entry] = []
        before = ""
        for number, line in enumerate(lines[1:], 2):
            try:
                change = json_codec.read_change(scan.frame(line.decode()))
            except (Wrong, ValueError) as error:
                raise self._broken(number, str(error)) from None
            if not isinstance(change, Entry):
                raise self._broken(number, "the line is no entry")
            key = order_key(change.path)
            if key <= before:
                raise self._broken(number, "the path does not come after the one before")
            before = key
            entries.append(change)
        if len(entries) != count:
            why = f"the file ends after {len(entries)} of {count} entries"
            raise self._broken(len(entries) + 1, why)
        return cookie, entries

    def save(self, snapshot: Snapshot) -> None:
        """Replaces the file. When this returns, the new content is on the disk. If the process dies
        before, the file holds what it held before."""
        with self._saving:
            # After `close` the file may belong to somebody else already.
            if snapshot.cookie is not None and not self._closed:
                self._replace(snapshot, snapshot.cookie)

    def _replace(self, snapshot: Snapshot, cookie: Cookie) -> None:
        self._own()
        temporary = self.path.with_name(self.path.name + ".tmp")
        entries = snapshot.entries()
        head = json_codec.cookie_text(cookie)[:-1] + f',"entries":{len(entries)}}}\n'
        try:
            with open(temporary, "wb") as file:
                if self.path.exists():
                    os.chmod(temporary, self.path.stat().st_mode & 0o7777)
                file.write(head.encode())
                for entry in entries:
                    file.write(json_codec.entry_text(entry, True).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
            # The new name is durable only once the directory is synced.
            directory = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            # On a full disk the temporary file would take up room that others need. If it cannot be
            # removed, the next save overwrites it.
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise KeepError("state", f"cannot write {self.path}: {error}") from None

    def close(self) -> None:
        """Releases the file for other processes, once a save that has begun is done. After this
        nothing is saved."""
        with self._saving:
            self._closed = True
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def _own(self) -> None:
        if self._lock is not None:
            return
        if self.path.exists() and not self.path.is_file():
            raise KeepError("state", f"cannot keep a mirror in {self.path}: it is no regular file")
        try:
            # The lock is on a file of its own, which stays: each save replaces the other file.
            lock = open(self.path.with_name(self.path.name + ".lock"), "ab")
        except OSError as error:
            raise KeepError("state", f"cannot lock {self.path}: {error}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise KeepError("state-in-use", f"{self.path} is in use by another") from None
        self._lock = lock

    def _head(self, line: bytes) -> tuple[Cookie, int]:
        match = re.fullmatch(rb'(.*),"entries":([0-9]{1,18})\}', line)
        if match is None:
            raise self._broken(1, "a state file begins with a cookie, which this is not")
        try:
            return json_codec.read_cookie(scan.frame(match[1].decode() + "}")), int(match[2])
        except (Wrong, ValueError) as error:
            raise self._broken(1, str(error)) from None

    def _broken(self, line: int, why: str) -> KeepError:
        left = "move the file away to start from nothing; it was left as it is"
        return KeepError("state-broken", f"{self.path}:{line}: {why}; {left}")


def place(found: Any) -> Keep | None:
    """Returns the place where a mirror is to be kept: a file for a path, or the `Keep` that was
    given."""
    if found is None:
        return None
    if isinstance(found, str | os.PathLike):
        return FileKeep(found)
    if not all(callable(getattr(found, name, None)) for name in ("load", "save")):
        raise Wrong("bad-field", "this is to be the path of a file, or have load() and save()")
    return cast(Keep, found)


def load(keep: Keep) -> Snapshot | None:
    """Returns the kept copy as a snapshot. Raises `KeepError` if it is no mirror."""
    found = keep.load()
    if found is None:
        return None
    if isinstance(keep, FileKeep):
        # It has checked each line itself.
        return Snapshot.saved(*found)
    try:
        return Snapshot.checked(found)
    except Wrong as wrong:
        raise KeepError("state-broken", f"what was kept is no mirror: {wrong}") from wrong


class Keeper:
    """Saves a mirror at most once a second while changes come, and once more when the mirror ends.
    What is saved is never ahead of what the application was shown."""

    def __init__(
        self, keep: Keep, shown: Callable[[], Snapshot], loaded: Snapshot, first: Snapshot
    ) -> None:
        """`shown` returns what the application was shown. `loaded` is what `keep` holds, and
        `first` is the mirror as it began with that."""
        self._keep = keep
        self._shown = shown
        self._loaded = loaded
        self._saved = first.cookie
        self._copy = first.copy
        self._ended = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())
        self.error: KeepError | None = None
        """Why the last attempt to save the mirror failed. A failed save is tried again."""

    def end(self) -> None:
        """The mirror has ended. It is saved once more."""
        self._ended.set()

    async def done(self) -> None:
        """Waits for the last save."""
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        try:
            ended = False
            while not ended:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), EVERY)
                # If the mirror ended during the last save, there may be more to save.
                ended = self._ended.is_set()
                await self.save()
        finally:
            if isinstance(self._keep, FileKeep):
                self._keep.close()

    async def _save(self, snapshot: Snapshot) -> None:
        begun = False

        def save() -> None:
            nonlocal begun
            begun = True
            self._keep.save(snapshot)

        try:
            await asyncio.to_thread(save)
        except RuntimeError:
            if begun:
                raise
            # The program is ending, and starts no more threads: save here.
            save()

    async def save(self) -> None:
        """Saves what the application was shown, if that is not saved yet."""
        snapshot = self._shown()
        now, saved = snapshot.cookie, self._saved
        # A reader that began later starts at the beginning again.
        if now is None or snapshot is self._loaded:
            return
        # A mirror that was made right again is another copy, even though its cookie may be the one
        # of the wrong copy.
        same = now == saved and snapshot.copy is self._copy
        if same or (saved and now.epoch == saved.epoch and now < saved):
            return
        try:
            await self._save(snapshot.alone())
            self._saved, self._copy, self.error = now, snapshot.copy, None
        except Exception as fault:
            if isinstance(fault, KeepError):
                self.error = fault
            else:
                # A `Keep` of the application may raise any exception.
                self.error = KeepError("state", f"{type(fault).__name__}: {fault}")
                self.error.__cause__ = fault
            _log.error("a mirror could not be saved: %s", self.error)
