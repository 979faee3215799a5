"""Snapshots: a mirror at one revision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .event import Difference
from .protocol import json_codec
from .protocol.cookies import Cookie
from .protocol.frames import Entry
from .protocol.kinds import rev as check_rev
from .protocol.paths import check_path, contains, parent
from .protocol.values import Value
from .protocol.wrong import Wrong
from .store import Mark, Store, in_order


class Snapshot(Mapping[str, Entry]):
    """A mirror at one revision, with its cookie. It never changes. Save the entries and the cookie
    together: they belong together. Taking a snapshot costs O(1). While it lives, the mirror notes
    what it overwrites. Iteration is in path order. Use it only in the thread of the event loop,
    unless it is a copy from `alone`."""

    __slots__ = ("_mark", "_store", "cookie", "rev")

    def __init__(self, store: Store, rev: int, cookie: Cookie | None) -> None:
        self._store = store
        self._mark: Mark | None = store.mark()
        self.rev = rev
        """The revision of the snapshot."""
        self.cookie = cookie
        """The cookie of the snapshot. Give it with the entries to a mirror as `from_`, and the
        mirror goes on from here. `None` before the mirror was whole for the first time, and after
        it was found to be wrong, until it is fresh again."""

    @staticmethod
    def saved(cookie: Cookie | None, entries: Iterable[Entry] = ()) -> Snapshot:
        """A copy that was saved earlier."""
        store = Store()
        store.entries.update((entry.path, entry) for entry in entries)
        return Snapshot(store, 0 if cookie is None else cookie.rev, cookie)

    @staticmethod
    def checked(kept: Any) -> Snapshot:
        """A copy that the application has kept: a cookie with its entries. The mirror shows it
        before the broker has checked its cookie, so what no broker can have sent is refused
        (`Wrong`)."""
        try:
            cookie, entries = kept
            cookie = json_codec.read_cookie(Cookie(*cookie)._asdict())
            return Snapshot.saved(cookie, map(_told, entries))
        except Wrong:
            raise
        except (TypeError, ValueError) as error:
            raise Wrong("bad-field", "this is to be a cookie and its entries") from error

    def __del__(self) -> None:
        mark = getattr(self, "_mark", None)
        if mark is not None:
            self._store.leave(mark)

    @property
    def copy(self) -> object:
        """Identifies the copy of the tree: a refresh from nothing makes another copy."""
        return self._store

    def alone(self) -> Snapshot:
        """Returns the same snapshot for any thread. Costs a copy of the dictionary."""
        return Snapshot.saved(self.cookie, self._entries().values())._at(self.rev)

    def _at(self, rev: int) -> Snapshot:
        self.rev = rev
        return self

    def _entries(self) -> dict[str, Entry]:
        """Returns all entries, in no order. The caller must not change the result."""
        undo = self._undo()
        if not undo:
            return self._store.entries
        entries = dict(self._store.entries)
        for path, old in undo.items():
            if old is None:
                entries.pop(path, None)
            else:
                entries[path] = old
        return entries

    def _undo(self) -> dict[str, Entry | None]:
        return {} if self._mark is None else self._store.undo(self._mark)

    def __getitem__(self, path: str) -> Entry:
        found = self._store.at(self._mark, path) if self._mark else self._store.entries.get(path)
        if found is None:
            raise KeyError(path)
        return found

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.get(path) is not None

    def __iter__(self) -> Iterator[str]:
        return (entry.path for entry in self.under("/"))

    def __len__(self) -> int:
        present = self._store.entries
        count = len(present)
        for path, old in self._undo().items():
            count += (old is not None) - (path in present)
        return count

    def entries(self) -> list[Entry]:
        """Returns all entries, in path order."""
        return self.under("/")

    def under(self, top: str) -> list[Entry]:
        """Returns the entries at and under `top`, in path order. Costs about as much as there are
        entries, plus what has changed since."""
        check_path(top)
        present = self._store.entries
        paths = self._store.under(top)
        undo = self._undo()
        if not undo:
            return [present[path] for path in paths]
        earlier = {path: old for path, old in undo.items() if contains(top, path)}
        if not earlier:
            return [present[path] for path in paths]
        came = [path for path, old in earlier.items() if old is not None and path not in present]
        if came:
            paths = in_order(paths + came)
        found = (earlier[path] if path in earlier else present[path] for path in paths)
        return [entry for entry in found if entry is not None]

    def without(self, logs: Iterable[str]) -> set[str]:
        """Returns those of `logs` that had no entries in this snapshot and have had none since.
        Costs, for each log, what is under it, plus what has changed since."""
        changed = {parent(path) for path in self._undo()}
        return {log for log in logs if log not in changed and not self._store.under(log)}

    def since(self, before: Snapshot) -> list[Difference]:
        """Returns what leads from `before` to this snapshot, in path order. For two snapshots of a
        mirror that was not refreshed from nothing between them, the cost is that of what differs;
        otherwise that of all entries of both."""
        if self._store is before._store and self._mark and before._mark:
            paths: Iterable[str] = self._store.undo(before._mark).keys() | self._undo().keys()
            old_of, new_of = before.get, self.get
        else:
            old, new = before._entries(), self._entries()
            old_of, new_of = old.get, new.get
            if not old:
                return [Difference(e.path, e.rev, None, e) for e in self.under("/")]
            paths = old.keys() | new.keys()
        changes = []
        for path in paths:
            was, now = old_of(path), new_of(path)
            if was != now:
                changes.append((path, was, now))
        changes.sort(key=lambda change: change[0].replace("/", "\0"))
        return [
            Difference(path, self.rev if now is None else now.rev, was, now)
            for path, was, now in changes
        ]

    def __repr__(self) -> str:
        return f"<snapshot of {len(self)} entries at {self.rev}>"


def _told(entry: Any) -> Entry:
    """Checks that a broker may have sent this entry, and returns it."""
    if not isinstance(entry, Entry):
        raise Wrong("bad-field", f"an entry is to be an Entry, not of {type(entry).__name__}")
    check_path(entry.path)
    check_rev(entry.rev)
    if not isinstance(entry.value, Value | None):
        raise Wrong("bad-field", f"the value of {entry.path} is to be a Value")
    return entry
