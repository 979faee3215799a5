"""The entries of a mirror, now and at earlier moments: one dictionary, and undo logs.

The dictionary is always the present. A snapshot gets a mark, and from then on what is overwritten
is noted at the newest mark (an undo log). So a snapshot costs nothing until something changes, and
then only as much as what changes. When a snapshot is dropped, what its mark has noted goes to the
mark before it; without such a mark it is forgotten. The order of the paths is kept apart, and
computed only when it is needed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from typing import Final

from .protocol.frames import Entry
from .protocol.paths import order_key

Undo = dict[str, Entry | None]

# Up to this many paths that came or went are inserted or removed one by one.
_FEW: Final = 64


class Mark:
    """A moment of a store."""

    __slots__ = ("before", "behind", "refs", "undo")

    def __init__(self, before: Mark | None) -> None:
        self.undo: Undo = {}
        """What was there before the changes between this mark and the next one."""
        self.before = before
        self.behind: Mark | None = None
        self.refs = 1


class Store:
    """Entries by path: of the present and, if there are marks, of earlier moments."""

    __slots__ = ("_keys", "_left", "_new", "_old", "entries", "hashes", "newest")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        """The entries now."""
        self.hashes = 0
        """The sum of the entries' hashes, not reduced modulo 2^128."""
        self.newest: Mark | None = None
        # All order keys, sorted, except for those that came or went since; `None`: not computed.
        self._keys: list[str] | None = None
        self._new: set[str] = set()
        self._old: set[str] = set()
        # Marks that were left, and are not forgotten yet.
        self._left: list[Mark] = []

    def put(self, entry: Entry) -> Entry | None:
        """Puts an entry, and returns the one that was there before."""
        path = entry[0]
        entries = self.entries
        old = entries.get(path)
        entries[path] = entry
        if old is None and self._keys is not None:
            self._come(path)
        return old

    def take(self, path: str) -> Entry | None:
        """Removes an entry, and returns it."""
        old = self.entries.pop(path, None)
        if old is not None and self._keys is not None:
            self._go(path)
        return old

    def _come(self, path: str) -> None:
        if path in self._old:
            self._old.discard(path)
        else:
            self._new.add(path)

    def _go(self, path: str) -> None:
        if path in self._new:
            self._new.discard(path)
        else:
            self._old.add(path)

    def note(self, undo: Undo) -> None:
        """Notes `undo`, which takes the entries back to where they were a moment ago."""
        mark = self.newest
        if mark is not None:
            kept, entries = mark.undo, self.entries
            if not kept:
                mark.undo = undo
            else:
                for path, old in undo.items():
                    # What came since the mark and has gone again is as it was.
                    if kept.setdefault(path, old) is None and path not in entries:
                        del kept[path]
        # Only after this is noted: to forget a mark is to look at the present.
        if self._left:
            self.settle()

    def keys(self) -> list[str]:
        """Returns the order keys of all entries, sorted. O(1) if none came or went; otherwise the
        cost is that of those, or of a sort of what is nearly in order."""
        keys = self._keys
        if keys is None:
            # A refresh comes in order, so this sort is cheap.
            keys = self._keys = sorted(map(order_key, self.entries))
            return keys
        if not self._new and not self._old:
            return keys
        if len(self._new) + len(self._old) > _FEW:
            gone = set(map(order_key, self._old))
            if gone:
                keys = [key for key in keys if key not in gone]
            keys.extend(map(order_key, self._new))
            keys.sort()
            self._keys = keys
        else:
            for path in self._old:
                key = order_key(path)
                del keys[bisect_left(keys, key)]
            for path in self._new:
                insort(keys, order_key(path))
        self._new.clear()
        self._old.clear()
        return keys

    def under(self, top: str) -> list[str]:
        """Returns the paths at and under `top`, in path order."""
        if top in self.entries and self._keys is None and len(self.entries) == 1:
            return [top]
        keys = self.keys()
        if top == "/":
            found: Iterable[str] = keys
        else:
            low = order_key(top)
            # The end of everything that begins with `top/`.
            start = bisect_left(keys, low)
            found = keys[start : bisect_left(keys, low + "\1", start)]
            # Nothing lies between `/a` and `/a/…`: NUL is the lowest character.
        return [key.replace("\0", "/") for key in found]

    def between(self, first: str, last: str) -> list[str]:
        """Returns the paths from `first` up to `last` and everything under that, in path order."""
        keys = self.keys()
        start = bisect_left(keys, order_key(first))
        end = bisect_left(keys, order_key(last) + "\1", start)
        return [key.replace("\0", "/") for key in keys[start:end]]

    # Earlier moments.

    def mark(self) -> Mark:
        """Returns a mark of the present. To be left once."""
        if self._left:
            self.settle()
        newest = self.newest
        if newest is not None and not newest.undo:
            newest.refs += 1
            return newest
        mark = Mark(newest)
        if newest is not None:
            newest.behind = mark
        self.newest = mark
        return mark

    def leave(self, mark: Mark) -> None:
        """The mark is no longer needed. This may be called in any thread and at any time, as the
        garbage collector does. So the mark is only noted here, and forgotten when the store next
        changes."""
        self._left.append(mark)

    def settle(self) -> None:
        """Forgets the marks that were left."""
        while self._left:
            self._forget(self._left.pop())

    def _forget(self, mark: Mark) -> None:
        mark.refs -= 1
        if mark.refs:
            return
        before, behind = mark.before, mark.behind
        if before is not None:
            before.behind = behind
            # The smaller is added to the larger. What the earlier mark noted counts.
            small, large = before.undo, mark.undo
            if len(small) < len(large):
                large.update(small)
                before.undo = large
            else:
                small, large = large, small
                for path, old in small.items():
                    large.setdefault(path, old)
            for path in small:
                # What came before this mark and went after it.
                if large[path] is None and self._then(behind, path) is None:
                    del large[path]
        if behind is not None:
            behind.before = before
        else:
            self.newest = before

    def at(self, mark: Mark, path: str) -> Entry | None:
        """Returns the entry at a path at an earlier moment."""
        return self._then(mark, path)

    def _then(self, at: Mark | None, path: str) -> Entry | None:
        """As `at`; `None` means now."""
        while at is not None:
            if path in at.undo:
                return at.undo[path]
            at = at.behind
        return self.entries.get(path)

    def undo(self, mark: Mark) -> Undo:
        """Returns everything that takes the present back to an earlier moment. Costs as much as
        what changed since."""
        if mark.behind is None:
            return mark.undo
        whole: Undo = {}
        at: Mark | None = mark
        while at is not None:
            for path, old in at.undo.items():
                whole.setdefault(path, old)
            at = at.behind
        return whole


def in_order(paths: Iterable[str], key: Callable[[str], str] = order_key) -> list[str]:
    """Returns paths in path order."""
    return sorted(paths, key=key)
