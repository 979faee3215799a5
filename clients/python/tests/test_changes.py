"""The events of a mirror, for readers that read at their own pace or begin late."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

import onetree
from onetree import event as e
from onetree.changes import EVENTS, Changes
from onetree.mirror import State
from onetree.protocol import frames as f
from onetree.protocol.paths import log_key
from onetree.snapshot import Snapshot
from server import naive, run


def test_a_slow_reader_gets_it_folded() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            changes = mirror.changes()
            copy: dict[str, onetree.Entry] = {}
            await mirror.fresh()
            for n in range(3 * EVENTS):
                last = await client.enqueue(onetree.Txn().put(f"/{n % 10}", n))
            await mirror.at((await last).rev)
            events = []
            while (event := changes.next_now()) is not None:
                events.append(event)
                for change in getattr(event, "changes", ()):
                    assert copy.pop(change.path, None) == change.old
                    if change.new is not None:
                        copy[change.path] = change.new
                assert {**changes.snapshot()} == copy
            assert EVENTS <= len(events) <= EVENTS + 10
            assert [*copy.values()] == [*copy.values()] and len(copy) == 10
            assert sorted(copy.values()) == mirror.entries()
            late = mirror.changes()
            first = late.next_now()
            assert isinstance(first, e.Fresh) and len(first.changes) == 10

    run(story())


def test_what_else_happened_is_not_lost_in_folding() -> None:
    async def story() -> None:
        async with naive() as server:
            client = await onetree.connect(server.url, backoff=(0.01, 0.02))
            mirror = client.mirror("/")
            changes = mirror.changes()
            await mirror.fresh()
            for n in range(EVENTS + 10):
                last = await client.enqueue(onetree.Txn().put("/a", n))
            await last
            server.cut()
            await client.until("offline")
            await client.until("online")
            await mirror.fresh()
            await client.close()
            names = [event.name async for event in changes]
            assert names[EVENTS:] == ["online", "fresh", "ended"]

    run(story())


def names(changes: onetree.Changes) -> list[str]:
    """Returns all events that are there now."""
    events = []
    while (event := changes.next_now()) is not None:
        events.append(event.name)
    return events


def test_what_was_folded_ends_as_it_stands() -> None:
    async def story() -> None:
        async with naive() as server:
            client = await onetree.connect(server.url, backoff=(20.0, 20.0))
            mirror = client.mirror("/")
            slow = mirror.changes()
            await mirror.fresh()
            for n in range(EVENTS + 10):
                last = await client.enqueue(onetree.Txn().put("/a", n))
            await mirror.at((await last).rev)
            server.cut()
            await client.until("offline")
            assert names(slow)[EVENTS:] == ["delta", "offline"]
            # A reader that begins now gets the same.
            late = mirror.changes()
            assert names(late) == ["fresh", "offline"]
            await client.close()
            assert names(late) == ["ended"]
            assert names(mirror.changes()) == ["fresh", "offline", "ended"]

    run(story())


def test_that_a_session_was_lost_is_told_however_often_the_next_one_was_resumed() -> None:
    limits = f.Limits(1 << 20, 1 << 16, 16, 8)
    offline = e.Offline(onetree.ConnectError("away"), 0.0)

    def online(resumed: bool, rev: int) -> e.Online:
        return e.Online(resumed, "e" * 32, rev, 1.0, limits)

    def folded(*events: e.Event) -> list[e.Event]:
        snapshot = Snapshot.saved(None)
        changes = Changes(snapshot, snapshot, [])
        for _ in range(EVENTS):
            changes.push(e.Synced(1, True), snapshot)
        for event in events:
            changes.push(event, snapshot)
        return [*iter(changes.next_now, None)][EVENTS:]

    lost = (offline, online(False, 1), offline, online(True, 2))
    assert folded(*lost) == [online(False, 2)]
    # The same if there is no connection now.
    assert folded(*lost, offline) == [online(False, 2), offline]
    assert folded(offline, online(True, 1), offline, online(True, 2)) == [online(True, 2)]
    assert folded(offline, online(True, 1), offline) == [offline]


def test_who_begins_to_read_late_is_told_which_logs_have_lost_what_he_never_had() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:

            async def append() -> str:
                return (await client.append("/log", 1)).paths[0]

            known = await append()
            before = client.mirror("/")
            await before.fresh()
            then = before.snapshot()
            assert then.cookie is not None
            mirror = client.mirror("/", from_=(then.cookie, then.entries()))
            await mirror.fresh()

            async def trim(last: str) -> None:
                await mirror.at((await client.trim("/log", last.rpartition("/")[2])).rev)

            def gaps() -> Any:
                first = mirror.changes().next_now()
                assert isinstance(first, e.Fresh)
                return first.gaps

            await trim(known)
            assert gaps() == []  # He had that.
            await trim(await append())
            # Each reader begins where the mirror began.
            assert gaps() == gaps() == ["/log"]
            # A refresh from nothing forgets them, as it does when events are folded.
            await mirror.resync()
            assert gaps() == []

    run(story())


def test_a_reader_is_one() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            await mirror.fresh()
            changes = mirror.changes()
            while changes.next_now() is not None:
                pass
            first = asyncio.create_task(anext(changes))
            await asyncio.sleep(0)
            with pytest.raises(onetree.Wrong, match="changes"):
                await anext(changes)
            await client.put("/a", 1)
            assert (await asyncio.wait_for(first, 5)).name == "delta"
            # A reader that has given up no longer waits.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(changes), 0.01)
            await client.put("/a", 2)
            assert (await asyncio.wait_for(anext(changes), 5)).name == "delta"

    run(story())


def test_a_reader_that_nobody_holds_is_there_while_it_waits() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            await mirror.fresh()
            seen: list[str] = []

            async def reader() -> None:
                async for event in mirror.changes():
                    seen.append(event.name)

            asyncio.create_task(reader())
            for value in (1, 2):
                await asyncio.sleep(0.05)
                gc.collect()
                await mirror.at((await client.put("/a", value)).rev)
            await asyncio.sleep(0.05)
            assert seen == ["fresh", "delta", "delta"]
            # A reader that no longer waits is not kept alive.
            changes = mirror.changes()
            while changes.next_now() is not None:
                pass
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(changes), 0.01)
            gone = weakref.ref(changes)
            del changes
            gc.collect()
            assert gone() is None

    run(story())


def test_gaps_of_logs_that_came_and_went_do_not_add_up() -> None:
    state = State(onetree.View("/"))
    state.handle_refresh(f.Refresh(1, "full", "new"))
    state.handle_fresh(f.Fresh(1, 1, "0" * 16), "e")
    behind = Changes(Snapshot.saved(None), state.snapshot(), [])

    def went(change: f.Change) -> None:
        event = state.handle_delta(None, change[1], [change])
        assert isinstance(event, e.Delta)
        behind.push(event, state.snapshot())

    def append(log: str) -> None:
        key = log_key(state.rev + 1, 0)
        went(f.Entry(f"{log}/{key}", state.rev + 1, onetree.Value.json(1)))

    def trim(log: str) -> None:
        went(f.Gone(log, state.rev + 1, "trim", log_key(state.rev, 0)))

    for _ in range(EVENTS + 1):
        went(f.Entry("/full", state.rev + 1, onetree.Value.json(1)))
    append("/log")
    trim("/log")
    append("/log")
    for n in range(3000):
        append(f"/logs/{n}")
        trim(f"/logs/{n}")
    gaps: list[str] = []
    while (event := behind.next_now()) is not None:
        gaps += getattr(event, "gaps", ())
    assert "/log" in gaps and len(gaps) <= 1024


class _Unread:
    """A full queue, and the mirror after it: `/log` with entries that are all known, at 9."""

    def __init__(self, *revs: int) -> None:
        self.state = State(onetree.View("/"))
        self.changes = Changes(Snapshot.saved(None), Snapshot.saved(None), [])
        self.refresh(9, "e", *revs)
        self.changes = Changes(self.state.snapshot(), self.state.snapshot(), [])
        for _ in range(EVENTS):
            self.happened(e.Synced(9, True))

    def happened(self, event: Any) -> None:
        self.changes.push(event, self.state.snapshot())

    def refresh(self, rev: int, epoch: str, *revs: int, gap: bool = False) -> None:
        self.happened(self.state.handle_refresh(f.Refresh(1, "full", "epoch")))
        if gap:
            self.state.handle_entries([f.Gone("/log", rev, "trim", log_key(rev, 0), True)])
        value = onetree.Value.json(epoch)
        self.state.handle_entries([f.Entry(f"/log/{log_key(at, 0)}", at, value) for at in revs])
        self.happened(self.state.handle_fresh(f.Fresh(1, rev, "0" * 16), epoch))

    def append(self, rev: int) -> None:
        entry = f.Entry(f"/log/{log_key(rev, 0)}", rev, onetree.Value.json("e"))
        self.happened(self.state.handle_delta(None, rev, [entry]))

    def distrust(self) -> None:
        self.state.handle_distrust()
        self.changes.push(None, self.state.snapshot())

    def trim(self, rev: int, gap: bool = False) -> None:
        trim = f.Gone("/log", rev, "trim", log_key(rev, 0), gap)
        self.happened(self.state.handle_delta(None, rev, [trim]))

    def gaps(self) -> list[str]:
        told: list[str] = []
        while (event := self.changes.next_now()) is not None:
            told += getattr(event, "gaps", ())
        return told


def test_what_another_history_has_brought_was_never_seen() -> None:
    unread = _Unread(1, 2)
    # The revisions of this history are below the known ones.
    unread.refresh(5, "another", 3)
    unread.trim(6)
    assert unread.gaps() == ["/log"]
    # It may have other entries at the keys of known ones.
    unread = _Unread(1, 2)
    unread.distrust()
    unread.refresh(9, "another", 1, 2)
    unread.trim(10)
    assert unread.gaps() == ["/log"]


def test_what_was_known_is_no_gap_when_the_mirror_starts_from_nothing() -> None:
    for folds in (False, True):
        unread = _Unread(1, 2)
        if folds:
            unread.happened(e.Synced(9, True))
        unread.distrust()
        # Somebody has deleted one entry meanwhile; then the other one is trimmed.
        unread.refresh(9, "e", 2)
        unread.trim(10)
        assert unread.gaps() == []
        # A trim of a new entry is a gap.
        unread = _Unread(1, 2)
        if folds:
            unread.happened(e.Synced(9, True))
        unread.distrust()
        unread.refresh(10, "e", 1, 2, 10)
        unread.trim(11)
        assert unread.gaps() == ["/log"]


def test_what_a_refresh_from_nothing_brings_back_is_not_trimmed_by_what_was_before() -> None:
    unread = _Unread(1, 2)
    unread.trim(10, gap=True)
    unread.refresh(5, "another", 1, 2)
    assert unread.gaps() == []


def test_what_a_refresh_from_nothing_does_not_bring_is_a_gap_where_the_broker_says_so() -> None:
    for gap in (False, True):
        unread = _Unread(1, 2)
        unread.append(10)
        unread.refresh(11, "e", 1, 2, gap=gap)
        assert unread.gaps() == (["/log"] if gap else [])


def test_what_was_deleted_from_a_log_unseen_is_no_gap_and_what_was_trimmed_is() -> None:
    view, state = onetree.View("/"), State(onetree.View("/"))
    state.handle_refresh(f.Refresh(1, "full", "new"))
    state.handle_fresh(f.Fresh(1, 1, "0" * 16), "e")
    assert view == state.view
    behind = Changes(Snapshot.saved(None), state.snapshot(), [])
    keys = [f"{n:018d}" for n in range(2, 8)]

    def went(rev: int, *changes: f.Change) -> None:
        event = state.handle_delta(None, rev, changes)
        assert isinstance(event, e.Delta)
        behind.push(event, state.snapshot())

    for rev in range(2, EVENTS + 2):
        went(rev, f.Entry("/full", rev, onetree.Value.json(rev)))
    rev = EVENTS + 2
    for log in ("/deleted", "/trimmed", "/dropped", "/"):
        path = f"{log if log != '/' else ''}/{keys[0]}"
        went(rev, f.Entry(path, rev, onetree.Value.json(1)))
        act = {"/deleted": "delete", "/dropped": "drop"}.get(log, "trim")
        at = log if act in ("drop", "trim") else path
        to = keys[1] if act == "trim" else ""
        went(rev + 1, f.Gone(at, rev + 1, act, to))  # type: ignore[arg-type]
        rev += 2
    told = []
    while (event := behind.next_now()) is not None:
        told += [getattr(event, "gaps", ())]
    assert told[-1] == ["/", "/trimmed"] and not any(told[:-1])


def test_what_one_commit_has_deleted_and_trimmed_was_taken_by_the_first_of_them() -> None:
    one, two = log_key(1, 0), log_key(10, 0)
    inner = f"/log/{one}/{two}"
    deletes, drops = f.Gone(f"/log/{two}", 11, "delete"), f.Gone(f"/log/{two}", 11, "drop")
    trims, inside = f.Gone("/log", 11, "trim", two), f.Gone(f"/log/{one}", 11, "trim", two)
    for path, changes, told in (
        (f"/log/{two}", [deletes, trims], []),
        (f"/log/{two}", [drops, trims], []),
        (f"/log/{two}", [trims, deletes], ["/log"]),
        (inner, [inside, trims], [f"/log/{one}"]),
        (inner, [trims, inside], ["/log"]),
    ):
        unread = _Unread(1)
        new = f.Entry(path, 10, onetree.Value.json("new"))
        unread.happened(unread.state.handle_delta(None, 10, [new]))
        unread.happened(unread.state.handle_delta(None, 11, changes))
        assert unread.gaps() == told, changes


def test_a_trim_takes_what_is_in_logs_of_the_entries_of_its_log() -> None:
    one, two = log_key(1, 0), log_key(10, 0)
    new = f.Entry(f"/log/{one}/{two}", 10, onetree.Value.json("new"))
    for top, to, told in (
        ("/log", one, ["/log"]),
        ("/log", two, ["/log"]),
        (f"/log/{one}", two, [f"/log/{one}"]),
        (f"/log/{one}/{two}", two, []),
    ):
        unread = _Unread(1)
        unread.happened(unread.state.handle_delta(None, 10, [new]))
        trim = f.Gone(top, 11, "trim", to)
        unread.happened(unread.state.handle_delta(None, 11, [trim]))
        assert unread.gaps() == told
    # What is under a log's entries, but is no entry itself, makes no gap.
    unread = _Unread(1)
    unread.happened(unread.state.handle_delta(None, 10, [new._replace(path=f"/log/{one}/a")]))
    unread.trim(11)
    assert unread.gaps() == []
