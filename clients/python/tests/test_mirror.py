"""The mirror against a naive model, with random stories, and its rules one by one."""

from __future__ import annotations

import os
import queue
import random
import sys
import threading
from typing import Any

import pytest

from onetree import event as e
from onetree.mirror import State
from onetree.protocol import frames
from onetree.protocol.digests import Digest, hasher
from onetree.protocol.frames import Entry, Gone
from onetree.protocol.paths import contains, is_log_key, log_key, order_key, segments
from onetree.protocol.values import Value
from onetree.protocol.views import View
from onetree.snapshot import Snapshot
from onetree.store import Store

KEY = "000102030405060708090a0b0c0d0e0f"
EPOCH = "f" * 32
VIEW = "0" * 16
Model = dict[str, Entry]


def apply(model: Model, change: frames.Change, view: View) -> None:
    """What a change does according to the protocol, implemented without regard to speed."""
    if isinstance(change, Entry):
        if view.sees(change.path):
            value = change.value if view.values else None
            model[change.path] = Entry(change.path, change.rev, value)
        return
    for path in list(model):
        if change.act == "delete":
            gone = path == change.path
        elif change.act == "drop":
            gone = contains(change.path, path)
        else:
            rest = segments(path)[len(segments(change.path)) :]
            inside = contains(change.path, path) and bool(rest)
            gone = inside and is_log_key(rest[0]) and rest[0] <= change.to
        if gone:
            del model[path]


def digest(model: Model) -> Digest:
    entry_hash = hasher(bytes.fromhex(KEY))
    return Digest.of(len(model), sum(entry_hash(e.path, e.rev) for e in model.values()))


def in_order(model: Model) -> list[Entry]:
    return [model[path] for path in sorted(model, key=lambda p: p.encode().replace(b"/", b"\0"))]


def some_path(r: random.Random) -> str:
    names = ["a", "b", "a b", "a-b", "ä", "😀", log_key(r.randrange(9), r.randrange(2))]
    # A name that is ordered among log keys, and is none.
    names.append(log_key(r.randrange(9), 0)[:16])
    return "/" + "/".join(r.choice(names) for _ in range(r.randrange(1, 4)))


def some_change(r: random.Random, rev: int) -> frames.Change:
    path = some_path(r)
    kind = r.random()
    if kind < 0.6:
        return Entry(path, rev, Value.json(r.randrange(100)))
    if kind < 0.8:
        return Gone(path, rev, "delete")
    if kind < 0.9:
        return Gone(path if r.random() < 0.9 else "/", rev, "drop")
    return Gone(path, rev, "trim", log_key(r.randrange(9), 1), r.random() < 0.5)


VIEWS = [
    View("/"),
    View("/a"),
    View("/", "children"),
    View("/a", "entry"),
    View("/", match=("a/**", "*/b")),
    View("/", values=False),
]


def seeds() -> list[int]:
    """Returns the seeds. ONETREE_SEED names the only one."""
    named = os.environ.get("ONETREE_SEED")
    return [int(named)] if named else [random.randrange(1 << 32) for _ in range(40)]


@pytest.mark.parametrize("seed", seeds())
def test_at_random(seed: int) -> None:
    print(f"ONETREE_SEED={seed}")
    r = random.Random(seed)
    view = r.choice(VIEWS)
    state, tree, rev = State(view), dict[str, Entry](), 0
    state.handle_key(KEY)
    told: Model = {}
    held: list[tuple[Snapshot, Model]] = []
    whole = False
    for _ in range(r.randrange(20, 120)):
        rev += r.randrange(1, 3)
        action = r.random()
        changes = [some_change(r, rev) for _ in range(r.randrange(1, 5))]
        event: Any
        if not whole or action < 0.05:
            for change in changes:
                apply(tree, change, view)
            state.handle_refresh(frames.Refresh(1, "full", "resync"))
            pieces = in_order(tree)
            cut = r.randrange(len(pieces) + 1)
            state.handle_entries(pieces[:cut])
            state.handle_entries(pieces[cut:])
            event = state.handle_fresh(frames.Fresh(1, rev, VIEW, digest(tree)), EPOCH)
            whole = True
        elif action < 0.15:
            # The mirror was away: what changed comes as a refresh. Nothing shows until it is
            # complete.
            state.handle_lost()
            before = dict(tree)
            for change in changes:
                apply(tree, change, view)
            state.handle_refresh(frames.Refresh(1, "delta", "cookie", state.rev))
            state.handle_entries(changes)
            assert state.snapshot().entries() == in_order(before)
            event = state.handle_fresh(frames.Fresh(1, rev, VIEW, digest(tree)), EPOCH)
        elif action < 0.2:
            event = state.handle_sync(rev, digest(tree))
            assert event == e.Synced(rev, True)
        else:
            for change in changes:
                apply(tree, change, view)
            event = state.handle_delta(None, rev, changes)
        assert isinstance(event, e.Fresh | e.Delta | e.Synced), event
        for change in getattr(event, "changes", ()):
            assert told.get(change.path) == change.old
            assert change.old != change.new
            if change.new is None:
                del told[change.path]
            else:
                told[change.path] = change.new
        assert told == tree
        assert state.digest() == digest(tree)
        assert state.rev == rev and state.cookie is not None and state.cookie.rev == rev
        # Snapshots never change; some of them are dropped.
        if r.random() < 0.5:
            held.append((state.snapshot(), dict(tree)))
        if held and r.random() < 0.3:
            del held[r.randrange(len(held))]
        for snapshot, model in held:
            same(r, snapshot, model)
        if len(held) > 1:
            (first, before), (last, after) = held[0], held[-1]
            changed = {c.path: (c.old, c.new) for c in last.since(first)}
            differ = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
            assert changed == {p: (before.get(p), after.get(p)) for p in differ}
    # Nothing is noted for snapshots that no longer exist.
    snapshot = first = last = None
    held.clear()
    state._store.settle()
    assert state._store.newest is None


@pytest.mark.parametrize("others", [False, True])
def test_a_snapshot_keeps_nothing_of_what_came_and_went_since(others: bool) -> None:
    store = Store()
    store.note({"/stays": store.put(Entry("/stays", 1, None))})
    held = Snapshot(store, 1, None)
    later: list[Snapshot] = []
    for n in range(1000):
        path = f"/{n}"
        store.note({path: store.put(Entry(path, n + 2, None))})
        if others:
            # Snapshots that have the entry: some are dropped before it goes, some after.
            later = [*later[-1:], Snapshot(store, n + 2, None)]
        if n >= 2:
            gone = f"/{n - 2}"
            store.note({gone: store.take(gone)})
    later.clear()
    store.settle()
    assert held.entries() == [Entry("/stays", 1, None)]
    assert len(held._undo()) <= 4


def test_snapshots_may_be_left_in_any_thread() -> None:
    store = Store()
    left: queue.SimpleQueue[Snapshot | None] = queue.SimpleQueue()

    def leave() -> None:
        while (snapshot := left.get()) is not None:
            del snapshot

    threads = [threading.Thread(target=leave) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for n in range(20_000):
            path = f"/{n % 10}"
            store.note({path: store.put(Entry(path, n + 1, None))})
            for _ in threads:
                left.put(Snapshot(store, n, None))
    finally:
        sys.setswitchinterval(interval)
        for _ in threads:
            left.put(None)
        for thread in threads:
            thread.join()
    store.settle()
    assert store.newest is None


def same(r: random.Random, snapshot: Snapshot, model: Model) -> None:
    assert len(snapshot) == len(model)
    path = some_path(r)
    assert snapshot.get(path) == model.get(path)
    assert snapshot.under(path) == [x for x in in_order(model) if contains(path, x.path)]
    assert snapshot.entries() == in_order(model)
    assert [*snapshot.alone()] == sorted(model, key=order_key)


def fresh(view: View = VIEWS[0]) -> State:
    state = State(view)
    state.handle_key(KEY)
    state.handle_refresh(frames.Refresh(1, "full", "no-cookie"))
    state.handle_entries([Entry("/a", 1, Value.json(1)), Entry("/b", 2, Value.json(2))])
    assert isinstance(state.handle_fresh(frames.Fresh(1, 5, VIEW), EPOCH), e.Fresh)
    return state


def test_a_digest_that_differs_is_found_and_nothing_is_shown() -> None:
    state = fresh()
    wrong = Digest(1, 7)
    state.handle_refresh(frames.Refresh(1, "delta", "cookie", 5))
    state.handle_entries([Gone("/", 7, "drop"), Entry("/c", 7, Value.json(1))])
    found = state.digest()
    assert isinstance(state.handle_fresh(frames.Fresh(1, 7, VIEW, wrong), EPOCH), e.Corrupt)
    assert state.digest() == found and state.cookie is None and not state.is_fresh
    assert [entry.path for entry in state.snapshot().entries()] == ["/a", "/b"]
    assert isinstance(fresh().handle_sync(5, wrong), e.Corrupt)


def test_what_breaks_a_rule_changes_nothing() -> None:
    bad = [
        lambda s: s.handle_delta(6, 7, []),
        lambda s: s.handle_delta(None, 7, [Gone("/a", 7, "delete"), Entry("/b", 8, None)]),
        lambda s: s.handle_delta(None, 7, [Gone("/a", 7, "delete"), Entry("/b", 7, None)]),
        lambda s: s.handle_refresh(frames.Refresh(1, "delta", "cookie", 6)),
        lambda s: s.handle_refresh(frames.Refresh(1, "delta", "cookie")),
        lambda s: s.handle_refresh(frames.Refresh(1, "repair", "resync")),
        lambda s: s.handle_entries([Entry("/c", 6, Value.json(3))]),
        lambda s: s.handle_fresh(frames.Fresh(1, 6, VIEW), EPOCH),
    ]
    for break_it in bad:
        state = fresh()
        before, sums = state.snapshot().entries(), state.digest()
        assert isinstance(break_it(state), e.Broken)
        assert state.snapshot().entries() == before and state.digest() == sums
        assert state.cookie is None and not state.is_fresh


def test_what_is_not_for_it_is_left_alone() -> None:
    state = fresh()
    assert state.handle_delta(None, 5, [Gone("/a", 5, "delete")]) is None
    assert state.handle_sync(4, Digest(0, 0)) is None
    state.handle_lost()
    assert state.handle_delta(None, 9, [Gone("/a", 9, "delete")]) is None
    assert state.handle_entries([Gone("/a", 9, "delete")]) is None
    assert state.handle_fresh(frames.Fresh(1, 9, VIEW), EPOCH) is None
    assert len(state) == 2 and state.rev == 5


def test_a_folded_delta_may_begin_below() -> None:
    state = fresh()
    event = state.handle_delta(3, 8, [Gone("/b", 5, "delete"), Entry("/c", 8, Value.json(3))])
    assert isinstance(event, e.Delta) and [c.path for c in event.changes] == ["/c"]


def test_a_gap_is_told() -> None:
    state = fresh(View("/", tail=2))
    event = state.handle_delta(None, 8, [Gone("/log", 8, "trim", log_key(3, 0), True)])
    assert isinstance(event, e.Delta) and event.gaps == ["/log"]
