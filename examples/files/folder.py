"""A folder: what is in it, and changes that never overwrite what was not expected there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from typing import NamedTuple

TEMPORARY = b".onetree-tmp-"
"""Files whose names begin like this belong to this program, and are not mirrored."""
# The clock of a file system ticks every few ms: a file that was just changed may change once more
# without a trace.
SETTLED_NS = 20_000_000


class Look(NamedTuple):
    """What can be seen of a file without reading it."""

    mtime_ns: int
    size: int
    inode: int
    executable: bool


class Changed(Exception):
    """The file is not, or no longer, what was expected. Nothing was done."""


class Folder:
    """A folder of files, by their paths below it, as bytes. Symbolic links are never followed."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self._own: int | None = None

    def take(self) -> None:
        """Takes the folder for this process. From now on `scan` fails if another folder is in its
        place, as when a disk was unmounted. Raises `OSError` if another process has it."""
        own = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(own)
            raise OSError("another process mirrors this folder") from None
        self._own = own

    def identity(self) -> list[int]:
        """Returns what tells this folder from another one in its place."""
        found = os.stat(self.root) if self._own is None else os.fstat(self._own)
        return [found.st_dev, found.st_ino]

    def holds(self, file: str) -> bool:
        """Returns whether a file with this path is or would be in the folder, through whatever
        links."""
        parent = os.path.realpath(os.path.dirname(os.fsencode(os.path.abspath(file))))
        root = os.path.realpath(self.root)
        return os.path.commonpath([root, parent]) == root

    def scan(self) -> tuple[dict[bytes, Look], dict[bytes, str]]:
        """Returns all regular files, and what was passed over, files and directories, with the
        reason. Raises `OSError` if the folder itself cannot be read: that does not mean that it is
        empty."""
        files: dict[bytes, Look] = {}
        skipped: dict[bytes, str] = {}
        todo = [b""]
        while todo:
            top = todo.pop()
            try:
                with os.scandir(self._at(top)) as listing:
                    entries = list(listing)
            except OSError as error:
                if not top:
                    raise
                skipped[top] = f"cannot be read: {error.strerror}"
                continue
            for entry in entries:
                file = top + b"/" + entry.name if top else entry.name
                if entry.name.startswith(TEMPORARY):
                    continue
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    skipped[file] = f"cannot be looked at: {error.strerror}"
                    continue
                if stat.S_ISDIR(found.st_mode):
                    todo.append(file)
                elif stat.S_ISREG(found.st_mode):
                    files[file] = _look(found)
                else:
                    is_link = stat.S_ISLNK(found.st_mode)
                    skipped[file] = "symbolic link" if is_link else "special file"
        # Checked last: then everything that was seen was seen in this folder.
        if self._own is not None and not os.path.samestat(os.fstat(self._own), os.stat(self.root)):
            raise OSError("this is another folder than at the start")
        return files, skipped

    def read(self, file: bytes, look: Look) -> bytes:
        """Returns the content. Raises `Changed` unless the file is what `look` saw, before and
        after the read, and at rest."""
        if abs(time.time_ns() - look.mtime_ns) < SETTLED_NS:
            raise Changed
        try:
            with open(os.open(self._at(file), os.O_RDONLY | os.O_NOFOLLOW), "rb") as opened:
                data = opened.read()
                if _look(os.fstat(opened.fileno())) != look or len(data) != look.size:
                    raise Changed
        except FileNotFoundError:
            raise Changed from None
        return data

    def write(
        self, file: bytes, data: bytes, executable: bool, before: Look | None,
        like: bytes | None = None,
    ) -> Look:  # fmt: skip
        """Makes `data` the content of the file, in one step, and on the disk. Raises `Changed`
        unless the file is what `before` saw (`None`: not there). The file keeps its permissions; a
        new file gets those of `like` or, without it, those with which the process makes files.
        Raises `OSError` if the file or its directories cannot be made. Waits for the disk. May be
        called in several threads."""
        self.check_place(file)
        self._make_parents(file)
        target = self._at(file)
        mode = 0o777 if executable else 0o666
        if before is not None:
            self._check(file, before)
            like = file
        if like is not None:
            mode = stat.S_IMODE(os.lstat(self._at(like)).st_mode) & 0o666
            mode |= (mode & 0o444) >> 2 if executable else 0
        # A name that no other program uses, not even for a folder around this one.
        name = TEMPORARY + secrets.token_hex(8).encode()
        temporary = os.path.join(os.path.dirname(target), name)
        new = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with open(new, "wb") as opened:
                opened.write(data)
                opened.flush()
                if like is not None:
                    os.fchmod(new, mode)
                os.fsync(opened.fileno())
                look = _look(os.fstat(opened.fileno()))
            if before is None:
                try:
                    os.link(temporary, target)  # Never overwrites.
                except FileExistsError:
                    raise Changed from None
            else:
                self._check(file, before)
                os.replace(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        return look

    def check_place(self, file: bytes) -> None:
        """Raises `OSError` if a directory has the file's name."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISDIR(os.lstat(self._at(file)).st_mode):
                raise IsADirectoryError(errno.EISDIR, "a directory is where a file must be")

    def delete(self, file: bytes, before: Look) -> None:
        """Removes the file, and the directories that it leaves empty. Raises `Changed` unless the
        file is what `before` saw."""
        self._check(file, before)
        os.unlink(self._at(file))
        top = os.path.dirname(file)
        with contextlib.suppress(OSError):
            while top:
                os.rmdir(self._at(top))
                top = os.path.dirname(top)

    def set_aside(self, file: bytes, label: str) -> bytes:
        """Renames a file to a free name beside it, and returns that name. Raises `Changed` if the
        file is gone."""
        top, name = os.path.split(file)
        for number in range(1, 1_000_000):
            suffix = f".conflict-{label}-{number}".encode()
            other = os.path.join(top, name[: 200 - len(suffix)] + suffix)
            try:
                os.close(os.open(self._at(other), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            # In one step: whatever has this name now is not lost, even if it has only just come.
            try:
                os.rename(self._at(file), self._at(other))
            except OSError as error:
                os.unlink(self._at(other))
                if isinstance(error, FileNotFoundError):
                    raise Changed from None
                raise
            return other
        raise OSError("no free name for a conflict")

    def sweep(self) -> None:
        """Removes what a process left that died while it wrote."""
        for top, _, files in os.walk(self.root):
            for name in files:
                if name.startswith(TEMPORARY):
                    os.unlink(os.path.join(top, name))

    def _at(self, file: bytes) -> bytes:
        return os.path.join(self.root, file) if file else self.root

    def _check(self, file: bytes, before: Look) -> None:
        try:
            now = os.lstat(self._at(file))
        except FileNotFoundError:
            raise Changed from None
        if not stat.S_ISREG(now.st_mode) or _look(now) != before:
            raise Changed

    def _make_parents(self, file: bytes) -> None:
        """One by one, because a link among them would lead out of the folder."""
        at = self.root
        for name in file.split(b"/")[:-1]:
            at = os.path.join(at, name)
            with contextlib.suppress(FileExistsError):
                os.mkdir(at)
            if not stat.S_ISDIR(os.lstat(at).st_mode):
                raise NotADirectoryError(
                    errno.ENOTDIR, "a file or link is where a directory must be"
                )


def _look(found: os.stat_result) -> Look:
    return Look(found.st_mtime_ns, found.st_size, found.st_ino, bool(found.st_mode & 0o100))
