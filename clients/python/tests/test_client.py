"""The whole client, against the naive broker behind a socket."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from dataclasses import replace
from typing import Any, cast

import pytest
from websockets.sync import server as threaded

import onetree
from naive import Broker, Connection
from onetree import event as e
from onetree import sync
from onetree.protocol import frames as f
from onetree.protocol import msgpack_codec
from server import naive, numbers, run


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_writes_reads_and_a_mirror_through_cuts(codec: str) -> None:
    async def story() -> None:
        async with naive() as server:
            options: Any = {"codec": codec, "backoff": (0.01, 0.05)}
            async with onetree.connect(server.url, **options) as client:
                mirror = client.mirror("/")
                answers = []
                for n in range(60):
                    answers.append(asyncio.ensure_future(client.append("/log", n)))
                    if n % 20 == 10:
                        await asyncio.sleep(0.02)
                        server.cut()
                done = await asyncio.gather(*answers)
                await mirror.at(max(one.rev for one in done))
                assert sorted(numbers(mirror).values()) == list(range(60))
                # In the order in which they were requested.
                assert [entry.value.get() for entry in mirror.entries()] == list(range(60))  # type: ignore[union-attr]
                assert len(server.broker.executed) == 60
                entry = await client.get(done[3].paths[0])
                assert entry is not None and entry.value == onetree.Value.json(3)
                with pytest.raises(onetree.Refused) as refused:
                    await client.txn(onetree.Txn().if_rev("/x", 7).put("/x", 1))
                assert refused.value.code == "conflict" and refused.value.rev == 0
            assert isinstance(client.status, e.Ended) and client.status.error is None
            with pytest.raises(onetree.Closed):
                await client.put("/a", 1)
            with pytest.raises(onetree.Closed):
                await mirror.at(10_000)

    run(story())


def test_what_was_answered_while_the_program_was_busy_is_not_late() -> None:
    large = onetree.Value.make(b"x" * 60_000)
    busy = threading.Event()

    def answer(socket: threaded.ServerConnection) -> None:
        connection = Connection(Broker())
        for message in socket:
            frame = msgpack_codec.decode_client(cast(bytes, message))
            if isinstance(frame, f.Get):
                busy.wait(10)
            for said in connection.handle(frame):
                socket.send(msgpack_codec.encode(said))

    async def story(url: str) -> None:
        async with onetree.connect(url, request_timeout=0.5) as client:
            await client.put("/a", large)
            # Together that is more than a loop reads from a socket at once.
            reads = [asyncio.ensure_future(client.get("/a")) for _ in range(8)]
            await asyncio.sleep(0.02)
            busy.set()
            time.sleep(0.6)
            for read in reads:
                entry = await read
                assert entry is not None and entry.value == large

    known: Any = [msgpack_codec.SUBPROTOCOL]
    with threaded.serve(answer, "127.0.0.1", 0, subprotocols=known) as server:
        threading.Thread(target=server.serve_forever).start()
        run(story(f"ws://127.0.0.1:{server.socket.getsockname()[1]}"))


def test_the_queue_is_bounded() -> None:
    async def story() -> None:
        client = onetree.start(
            "ws://127.0.0.1:9", reconnect="always", queue_bytes=1500, request_timeout=0.3
        )
        first = client.submit(onetree.Txn().put("/a", 1))
        second = client.submit(onetree.Txn().put("/a", 2))
        with pytest.raises(onetree.QueueFull):
            client.submit(onetree.Txn().put("/a", 3))
        with pytest.raises(onetree.Timeout) as waited:
            await client.put("/a", 4)
        assert not waited.value.sent
        for one in (first, second):
            with pytest.raises(onetree.Timeout) as timeout:
                await one
            assert not timeout.value.sent
        await client.close()

    run(story())


def test_room_that_comes_as_the_time_for_it_is_up_is_given_back() -> None:
    async def story() -> None:
        # All of them wait for the same time: those that had room at once, and those that get it
        # later.
        client = onetree.start(
            "ws://127.0.0.1:9", reconnect="always", queue_bytes=8192, request_timeout=0.3
        )
        writes = [asyncio.create_task(client.put(f"/a/{n}", "x" * 1000)) for n in range(40)]
        await asyncio.sleep(0.3)
        for write in writes[20:]:
            write.cancel()
        ended = await asyncio.gather(*writes, return_exceptions=True)
        assert all(isinstance(one, onetree.Timeout) for one in ended[:20])
        assert client._room.try_acquire(8192)
        await client.close()

    run(story())


def test_what_was_sent_as_the_client_ended_is_not_to_be_asked_for_again() -> None:
    why = onetree.ConnectError("the broker is gone")
    assert why.action == "retry"
    assert onetree.Closed(why, False).action == "retry"
    assert onetree.Closed(why, True).action == "stop"


def test_what_is_called_from_another_loop_or_thread_is_refused_and_not_carried_out() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            loop = asyncio.get_running_loop()
            # In debug mode, asyncio refuses timers from another thread.
            loop.set_debug(True)
            mirror = client.mirror("/")
            changes = mirror.changes()
            await mirror.fresh()
            txn = onetree.Txn().put("/a", 1)
            asked: list[Any] = [
                lambda: client.put("/a", 1), lambda: client.append("/a", 1),
                lambda: client.delete("/a"), lambda: client.drop_tree("/a"),
                lambda: client.trim("/a", "0" * 18), lambda: client.txn(txn),
                lambda: client.write(txn), lambda: client.enqueue(txn),
                lambda: client.signal("/a", 1), lambda: client.get("/a"),
                lambda: client.get_many(["/a"]), lambda: client.list("/"),
                lambda: client.auth("t"), lambda: client.until("online"),
                lambda: anext(client.statuses()), lambda: client.close(), lambda: client.leave(),
                lambda: mirror.at(0), lambda: mirror.fresh(), lambda: mirror.resync(),
                lambda: mirror.verify(), lambda: mirror.earlier("/a", 1),
                lambda: mirror.transact(lambda tx: tx.put("/a", 1)), lambda: mirror.closed(),
                lambda: anext(changes),
            ]  # fmt: skip
            told: list[Any] = [
                lambda: client.submit(txn), lambda: client.mirror("/"), mirror.close,
                mirror.changes, mirror.snapshot, mirror.entries, lambda: mirror.under("/"),
                changes.next_now, changes.snapshot,
            ]  # fmt: skip

            async def ask(what: Any) -> None:
                await what()

            async def tell(what: Any) -> None:
                what()

            for run_there in (
                [lambda what=what: asyncio.run(ask(what)) for what in asked]
                + [lambda what=what: asyncio.run(tell(what)) for what in told]
                + told
            ):
                with pytest.raises(onetree.Wrong, match="the loop that it was made in") as wrong:
                    await asyncio.to_thread(run_there)
                assert (wrong.value.word, wrong.value.action) == ("unsupported", "fix")
            # A mere read is harmless.
            assert await asyncio.to_thread(mirror.get, "/a") is None
            assert not server.broker.executed and client.status.name == "online"
            await mirror.at((await client.append("/a", 1)).rev)
            assert len(server.broker.executed) == 1 and len(mirror) == 1
            assert next(iter(client._waiting), None) is None

    run(story())


def test_a_mirror_is_read_behind_the_end_of_its_loop() -> None:
    async def story() -> tuple[onetree.Mirror, onetree.Changes]:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            await mirror.at((await client.put("/a", 1)).rev)
            return mirror, mirror.changes()

    mirror, changes = run(story())
    assert numbers(mirror) == {"/a": 1}
    for one in (changes, mirror.changes()):
        assert [event.name for event in iter(one.next_now, None)][-1] == "ended"
        assert one.snapshot()["/a"] == mirror.get("/a")


def test_a_timer_that_could_not_be_set_is_set_the_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("not now")

    async def story() -> None:
        async with naive() as server, onetree.connect(server.url, request_timeout=0.2) as client:
            server.deaf = True
            with monkeypatch.context() as patch:
                patch.setattr(client._loop, "call_at", fails)
                with pytest.raises(RuntimeError):
                    client.submit(onetree.Txn().put("/a", 1))
            assert client._timer is None
            with pytest.raises(onetree.Timeout):
                await client.put("/a", 1)
            server.cut()
            await client.until("offline")

    run(story())


def test_of_a_mirror_that_is_closed_it_is_said_that_the_mirror_is() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            await mirror.fresh()
            mirror.close()
            for ask in (mirror.fresh(), mirror.at(1), mirror.resync(), mirror.transact(len)):  # type: ignore[arg-type]
                with pytest.raises(onetree.Closed, match=r"^the mirror is closed$") as closed:
                    await ask
                assert (closed.value.word, closed.value.action) == ("closed", "stop")
            await client.close()
            with pytest.raises(onetree.Closed, match=r"^the client is closed$"):
                await client.mirror("/").fresh()
        with pytest.raises(onetree.Closed, match=r"^the client has ended: ") as gone:
            client = onetree.start("ws://127.0.0.1:9")
            with contextlib.suppress(onetree.Closed):
                await client.until("online")
            await client.mirror("/").fresh()
        assert isinstance(gone.value.why, onetree.Unreachable)

    run(story())


def test_what_the_queue_holds_at_the_end_is_done_when_there_is_a_connection() -> None:
    async def story() -> None:
        async with naive() as server:
            client = await onetree.connect(server.url)
            asked = [client.submit(onetree.Txn().put("/a", n)) for n in range(100)]
            await client.close()
            assert [(await one).rev for one in asked] == [*range(1, 101)]
        client = onetree.start("ws://127.0.0.1:9", reconnect="always")
        lost = client.submit(onetree.Txn().put("/a", 1))
        await client.close()
        with pytest.raises(onetree.Closed):
            await lost

    run(story())


def test_what_is_added_to_a_transaction_that_waits_is_not_written_with_it() -> None:
    async def story() -> None:
        async with naive() as server:
            client = onetree.start(server.url)
            txn = onetree.Txn().put("/a", 1)
            asked = client.submit(txn)
            txn.if_rev("/a", 1).put("/b", 2)
            assert (await asked).rev == 1
            assert [entry.path for entry in (await client.list("/")).entries] == ["/a"]
            assert (await client.txn(txn)).rev == 2
            assert [entry.path for entry in (await client.list("/")).entries] == ["/a", "/b"]
            await client.close()

    run(story())


@pytest.mark.parametrize(
    "other",
    [f.Done(0, 1, True, ()), f.Found(0, 1, (), False), f.Ok(0)],
    ids=["done", "found", "ok"],
)
def test_what_is_answered_as_if_it_was_something_else_is_an_error(
    other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Connection.handle

    def answer(me: Connection, frame: Any) -> Any:
        if isinstance(frame, f.Hello | f.Bye):
            return handle(me, frame)
        return [replace(other, id=frame.id)]

    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            monkeypatch.setattr(Connection, "handle", answer)
            for kind, ask in (
                (f.Done, client.put("/a", 1)), (f.Done, client.txn(onetree.Txn().put("/a", 1))),
                (f.Found, client.get("/a")), (f.Found, client.get_many(["/a"])),
                (f.Found, client.list("/")), (f.Ok, client.signal("/a", 1)),
                (f.Ok, client.auth("t")),
            ):  # fmt: skip
                if kind is type(other):
                    await ask
                    continue
                with pytest.raises(onetree.Refused) as refused:
                    await ask
                # A write may have happened.
                assert (refused.value.word, refused.value.action) == ("outcome-unknown", "stop")
            assert client.status.name == "online"

    run(story())


def test_what_is_cancelled_without_a_connection_is_carried_out_when_there_is_one() -> None:
    async def story() -> None:
        there = asyncio.Event()

        async def token() -> str:
            await there.wait()
            return "t"

        async with naive() as server:
            client = onetree.start(server.url, token=token)
            signal = asyncio.ensure_future(client.signal("/typing", True))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.put("/a", 1), 0.05)
            # The signal comes late, too.
            assert not signal.done()
            there.set()
            await signal
            assert (await client.put("/b", 1)).rev == 2 and {*server.broker.tree} == {"/a", "/b"}
            await client.close()

    run(story())


def test_who_waits_for_a_status_in_vain_leaves_nothing() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            for _ in range(10):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.until("offline"), 0.001)
            gc.collect()
            waits = [
                one
                for one in gc.get_objects()
                if isinstance(one, asyncio.Future) and one.cancelled() and one.get_loop() is loop()
            ]
            assert not waits

    def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    run(story())


def test_without_async() -> None:
    """The synchronous client, while the broker runs in a loop elsewhere."""

    def script(url: str) -> None:
        with sync.connect(url) as client, client.mirror("/") as mirror:
            changes = mirror.changes()
            done = client.put("/a", {"x": 1})
            assert mirror.at(done.rev, timeout=10) >= done.rev
            entry = mirror.get("/a")
            assert entry is not None and entry.value is not None and entry.value.get() == {"x": 1}
            snapshot = mirror.snapshot()
            client.delete("/a")
            assert [*snapshot] == ["/a"] and len(snapshot) == 1
            names = []
            for event in changes:
                names.append(event.name)
                if event.name == "delta" and not event.changes[-1].new:
                    break
            assert "fresh" in names
            assert changes.next(timeout=0.05) is None
            assert mirror.transact(lambda tx: tx.put("/n", 1)).done is not None
            with pytest.raises(onetree.Timeout) as late:
                mirror.at(10_000, timeout=0.05)
            assert late.value.action == "retry"
            with pytest.raises(onetree.Refused):
                client.txn(onetree.Txn().if_rev("/n", 0).put("/n", 2))
        with pytest.raises(onetree.Unreachable):
            sync.connect("ws://127.0.0.1:9")

    async def story() -> None:
        async with naive() as server:
            await asyncio.to_thread(script, server.url)

    run(story())


def test_a_mirror_of_mode_once_was_fresh_and_is_so_no_longer_when_it_has_ended() -> None:
    async def story() -> None:
        async def look() -> None:
            assert await once.fresh() == await once.at(1) == 1
            assert not once.is_fresh
            for wait in (once.resync(), once.at(2)):
                with pytest.raises(onetree.Closed):
                    await wait

        async with naive() as server:
            client = await onetree.connect(server.url)
            await client.put("/a", 1)
            once = client.mirror("/", once=True)
            await once.fresh()
            await look()
            once.close()
            await look()
            stay, gone = client.mirror("/"), client.mirror("/")
            await stay.fresh()
            await gone.fresh()
            gone.close()
            with pytest.raises(onetree.Closed):
                await gone.fresh()
            await client.close()
            await look()
            assert not stay.is_fresh
            with pytest.raises(onetree.Closed):
                await stay.fresh()

    run(story())


def test_a_page_of_a_log_has_its_entries_alone_and_says_rightly_whether_there_are_more() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            for path in ("/log", "/log/!below/x", "/log/00meta"):
                await client.put(path, 1)
            paths = []
            for n in range(5):
                paths += (await client.append("/log", n)).paths
                # Between any two entries, and below some that no longer exist.
                await client.put(f"{paths[n]}-more", 1)
                await client.put(f"{paths[n]}/below", 1)
            await client.delete(paths.pop(1))
            done = await client.put("/log/meta", 1)
            mirror = client.mirror("/log", depth="entry")
            await mirror.at(done.rev)
            for limit in (1, 2, 3, 4, 5, (1 << 32) - 1):
                seen: list[str] = []
                more, before = True, None
                while more:
                    page = await mirror.earlier("/log", limit, before)
                    more = page.more
                    count = len(page.entries)
                    assert count == limit or (count and not more)
                    seen[:0] = [entry.path for entry in page.entries]
                    before = seen[0]
                assert seen == paths
            page = await mirror.earlier("/log", 0)
            assert [entry.path for entry in page.entries] == paths[-1:] and page.more
            page = await mirror.earlier("/log", 0, paths[0])
            assert not page.entries and not page.more and page.rev == done.rev

    run(story())
