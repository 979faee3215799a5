"""The rules of a mirror, as pure code: it takes frames and returns outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .event import Broken, Corrupt, Delta, Difference, Fresh, Refreshing, Synced
from .protocol import frames
from .protocol.cookies import Cookie
from .protocol.digests import Digest, hasher
from .protocol.frames import Entry
from .protocol.paths import child, contains, is_log_key, segments
from .protocol.views import View
from .snapshot import Snapshot
from .store import Store, Undo

Outcome = Refreshing | Fresh | Delta | Synced | Corrupt | Broken | None
"""What a frame did to a mirror. `None`: it was not for this mirror, brought nothing new, or is only
a part."""


class _Rule(Exception):
    """A frame broke this rule."""


@dataclass(slots=True)
class _Staged:
    """A refresh that is under way."""

    kind: str
    store: Store | None
    """With `full`, the new copy. With `delta`, the changes wait, and are applied at `fresh`."""
    changes: list[frames.Change] = field(default_factory=list)
    highest: int = 0
    received: int = 0
    gaps: set[str] = field(default_factory=set)


class State:
    """The state of one mirror: the copy that it shows, and the copy that a refresh is building.

    A mirror begins as waiting. A `refresh` makes it refreshing, and `fresh` makes it fresh. A fresh
    mirror takes deltas and syncs. Any state becomes waiting when the connection is lost or the
    mirror must start again.
    """

    def __init__(self, view: View, saved: Snapshot | None = None) -> None:
        """A mirror of `view` that has no entries, or the entries that were saved from an earlier
        one."""
        self.view = view
        self.rev = 0
        """The revision of the copy that is shown."""
        self.cookie: Cookie | None = None
        """The cookie of the copy that is shown; `None`: nobody knows what it is a copy of."""
        self.is_fresh = False
        """Whether the copy that is shown is the view of the tree, as far as this connection has
        reported it."""
        self.received = 0
        """How many changes have come in the refresh that is under way, or came in the last one."""
        self._store = Store()
        if saved is not None:
            self.rev, self.cookie = saved.rev, saved.cookie
            self._store.entries = dict(saved._entries())
        self._sees = view.sees
        self._all = view.path == "/" and view.depth == "tree" and not view.match
        self._key: str | None = None
        self._hash: Callable[[str, int], int] | None = None
        self._staged: _Staged | None = None

    def snapshot(self) -> Snapshot:
        """Returns the copy that is shown. O(1)."""
        return Snapshot(self._store, self.rev, self.cookie)

    def get(self, path: str) -> Entry | None:
        """Returns the entry at a path; `None` if there is none."""
        return self._store.entries.get(path)

    def __len__(self) -> int:
        return len(self._store.entries)

    def digest(self) -> Digest:
        """Returns the digest of the copy that is shown, under the key of `handle_key`. If the view
        has a `tail`, it has no digest, and the value means nothing."""
        return Digest.of(len(self._store.entries), self._store.hashes)

    def handle_key(self, key: str) -> None:
        """Takes the key of the digests from the `welcome`. Costs nothing if the key is the same as
        before, otherwise one hash for each entry."""
        if self._key == key or self.view.tail is not None:
            return
        self._key = key
        self._hash = entry_hash = hasher(bytes.fromhex(key))
        self._store.hashes = sum(entry_hash(path, e[1]) for path, e in self._store.entries.items())

    def handle_lost(self) -> None:
        """The connection was lost. The staged copy is thrown away."""
        self.is_fresh = False
        self._staged = None

    def handle_distrust(self) -> None:
        """The mirror must start again from nothing. It goes on showing its copy, but without the
        cookie: nobody knows what it is a copy of."""
        self.handle_lost()
        self.cookie = None

    def handle_refresh(self, refresh: frames.Refresh) -> Outcome:
        """Takes a `refresh`: throws the staged copy away and begins a new one."""
        if refresh.kind == "repair":
            return self._broken("a repair that nobody asked for")
        store = None
        if refresh.kind == "full":
            store = Store()
        elif refresh.from_rev is None or self.cookie is None or refresh.from_rev > self.cookie.rev:
            return self._broken("a delta refresh starts at or below the mirror's revision")
        self.is_fresh = False
        self.received = 0
        self._staged = _Staged(refresh.kind, store)
        return Refreshing(refresh.kind, refresh.why)

    def handle_entries(self, changes: Sequence[frames.Change]) -> Outcome:
        """Takes `entries`: a part of the refresh."""
        staged = self._staged
        if staged is None:
            return self._stray()
        staged.received += len(changes)
        self.received = staged.received
        for change in changes:
            if change[1] > staged.highest:
                staged.highest = change[1]
        if staged.store is None:
            staged.changes.extend(changes)
            return None
        try:
            self._apply(staged.store, changes, None, staged.gaps, {})
        except _Rule as rule:
            return self._broken(str(rule))
        return None

    def handle_fresh(self, fresh: frames.Fresh, epoch: str) -> Outcome:
        """Takes `fresh`: the staged copy is complete, and is shown if its digest is right. `epoch`
        is the connection's."""
        staged, self._staged = self._staged, None
        if staged is None:
            return self._stray()
        if staged.highest > fresh.rev:
            return self._broken("an entry is newer than the refresh that it came with")
        store, gaps = staged.store, staged.gaps
        # What a refresh from nothing does not bring was deleted or trimmed. It says which logs were
        # trimmed if that is a gap.
        trimmed: dict[str, str] = {}
        undo: Undo = {}
        if store is None:
            if fresh.rev < self.rev:
                return self._broken("a delta refresh ends at or above the mirror's revision")
            store = self._store
            hashes = store.hashes
            try:
                self._apply(store, staged.changes, undo, gaps, trimmed)
            except _Rule as rule:
                self._take_back(undo, hashes)
                return self._broken(str(rule))
        found = Digest.of(len(store.entries), store.hashes)
        if fresh.digest is not None and self._hash is not None and fresh.digest != found:
            if staged.store is None:
                self._take_back(undo, hashes)
            self.handle_distrust()
            return Corrupt(fresh.digest, found)
        if staged.store is None:
            changes = _changes(undo, store, staged.changes, fresh.rev)
            store.note(undo)
            self.rev = fresh.rev
        else:
            before = self.snapshot()
            self._store, self.rev = store, fresh.rev
            changes = self.snapshot().since(before)
        self.cookie = Cookie(epoch, fresh.rev, fresh.view)
        self.is_fresh = True
        return Fresh(fresh.rev, changes, sorted(gaps), trimmed)

    def handle_delta(
        self, since: int | None, rev: int, changes: Sequence[frames.Change]
    ) -> Outcome:
        """Takes a complete `delta`, with all its parts. Applies all of it or nothing."""
        before = self.rev
        if not self.is_fresh or rev <= before:
            return None
        if since is not None and since > before:
            return self._broken("a delta starts at or below the mirror's revision")
        store = self._store
        gaps: set[str] = set()
        trimmed: dict[str, str] = {}
        undo: Undo = {}
        hashes = store.hashes
        taken = changes
        for change in changes:
            if change[1] > rev:
                return self._broken("a change is newer than the delta that it came with")
            if change[1] <= before and taken is changes:
                # A folded delta may begin below the mirror's revision. The mirror already has the
                # changes up to there.
                taken = [change for change in changes if change[1] > before]
        try:
            self._apply(store, taken, undo, gaps, trimmed)
        except _Rule as rule:
            self._take_back(undo, hashes)
            return self._broken(str(rule))
        told: Sequence[Difference] = ()
        if undo:
            told = _changes(undo, store, taken, rev)
            if store.newest is not None:
                store.note(undo)
        self._go_to(rev)
        return Delta(before, rev, told, sorted(gaps) if gaps else (), trimmed)

    def handle_sync(self, rev: int, digest: Digest | None) -> Outcome:
        """Takes a `sync` that names this mirror: nothing in the view has changed up to `rev`, and
        `digest` is what the mirror's must be."""
        if not self.is_fresh or rev < self.rev:
            return None
        compared = digest is not None and self._hash is not None
        if compared and digest is not None and digest != (found := self.digest()):
            self.handle_distrust()
            return Corrupt(digest, found)
        self._go_to(rev)
        return Synced(rev, compared)

    def _go_to(self, rev: int) -> None:
        self.rev = rev
        cookie = self.cookie
        if cookie is not None:
            self.cookie = Cookie(cookie[0], rev, cookie[2])

    def _stray(self) -> Outcome:
        """A part or the end of a refresh came, but none is under way. If the mirror is waiting, the
        frame was sent before the mirror was started again."""
        if self.is_fresh:
            return self._broken("a piece of a refresh came without a refresh")
        return None

    def _broken(self, why: str) -> Outcome:
        self.handle_distrust()
        return Broken(why)

    def _apply(
        self,
        store: Store,
        changes: Sequence[frames.Change],
        undo: Undo | None,
        gaps: set[str],
        trimmed: dict[str, str],
    ) -> None:
        """Applies changes in their order. `undo` gets what was there before the first of them;
        `gaps` and `trimmed` get what an event reports about trims."""
        sees, everything, values = self._sees, self._all, self.view.values
        entry_hash = self._hash
        hashes = store.hashes
        for change in changes:
            path = change[0]
            if type(change) is Entry:
                if not everything and not sees(path):
                    continue
                if not values:
                    if change[2] is not None:
                        change = Entry(path, change[1], None)
                elif change[2] is None:
                    raise _Rule("a put has its value")
                old = store.put(change)
                if undo is not None and path not in undo:
                    undo[path] = old
                if entry_hash is not None:
                    hashes += entry_hash(path, change[1])
                    if old is not None:
                        hashes -= entry_hash(path, old[1])
                continue
            trims = type(change) is frames.Gone and change.act == "trim"
            for gone in self._gone(store, change, gaps):
                old = store.take(gone)
                if old is None:
                    continue
                if trims:
                    trimmed[gone] = path
                elif trimmed:
                    trimmed.pop(gone, None)
                if undo is not None and gone not in undo:
                    undo[gone] = old
                if entry_hash is not None:
                    hashes -= entry_hash(gone, old[1])
        store.hashes = hashes

    def _gone(self, store: Store, change: frames.Change, gaps: set[str]) -> Sequence[str]:
        """Returns the paths that a change removes."""
        assert isinstance(change, frames.Gone)
        path = change.path
        if change.act == "delete":
            return (path,)
        base = self.view.path
        if change.act == "drop":
            return (
                store.under(path)
                if contains(base, path)
                else (list(store.entries) if contains(path, base) else ())
            )
        if change.gap and contains(base, path):
            gaps.add(path)
        if not (contains(base, path) or contains(path, base)):
            return ()
        # The log's entries up to and including `to`, and everything under them. Other children of
        # the log may lie between them in path order; they are left out.
        near = store.between(child(path, "0" * 18), child(path, change.to))
        depth = len(segments(path))
        found = []
        for at in near:
            key = segments(at)[depth]
            if is_log_key(key) and key <= change.to:
                found.append(at)
        return found

    def _take_back(self, undo: Undo, hashes: int) -> None:
        for path, old in undo.items():
            if old is None:
                self._store.take(path)
            else:
                self._store.put(old)
        self._store.hashes = hashes


def _changes(undo: Undo, store: Store, came: Sequence[frames.Change], rev: int) -> list[Difference]:
    """Returns what the application gets, in the order of the changes that came."""
    now = store.entries.get
    changes = []
    revs: dict[str, int] | None = None
    for path, old in undo.items():
        new = now(path)
        if new is not None:
            if new != old:
                changes.append(Difference(path, new[1], old, new))
        elif old is not None:
            if revs is None:
                revs = {change[0]: change[1] for change in came}
            changes.append(Difference(path, revs.get(path, rev), old, None))
    return changes
