"""The whole client, against the naive broker behind a socket."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.sync import server as threaded

import onetree
from naive import Broker, Connection
from onetree import event as e
from onetree import sync
from onetree.changes import EVENTS, Changes
from onetree.mirror import State
from onetree.options import Options
from onetree.protocol import frames as f
from onetree.protocol import json_codec, msgpack_codec
from onetree.protocol.cookies import epoch_of
from onetree.protocol.paths import log_key
from onetree.session import session as session_module
from onetree.snapshot import Snapshot
from onetree.transport import Link
from server import Server, naive, run

FULL = b"HTTP/1.1 503 Full\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nfull"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
STAYS = b"stays:"
"""Before what is said where the connection does not end behind it."""


def numbers(mirror: onetree.Mirror) -> dict[str, Any]:
    return {entry.path: entry.value.get() for entry in mirror.entries() if entry.value}


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
                # In the order in which they were asked for.
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
        # All of them have waited for the same time: those who had room, and those who get theirs.
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


def test_tokens_come_from_a_function() -> None:
    async def story() -> None:
        asked = 0

        async def token() -> str:
            nonlocal asked
            asked += 1
            return f"t{asked}"

        async with naive() as server:
            server.refuse = ["t1"]
            async with onetree.connect(server.url, token=token):
                assert server.tokens == ["t1", "t2"] and asked == 2
            server.refuse += ["t3", "t4", "t5"]
            with pytest.raises(onetree.ConnectError) as refused:
                await onetree.connect(server.url, token=token)
            assert refused.value.code == "unauthorized" and asked == 4
            with pytest.raises(onetree.ConnectError):
                await onetree.connect(server.url, token="t3")

    run(story())


def test_a_token_that_http_does_not_take_is_asked_once_more() -> None:
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        return "t"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def story() -> None:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            for given in (token, "t"):
                with pytest.raises(onetree.HttpAnswer) as refused:
                    await onetree.connect(f"ws://127.0.0.1:{port}", token=given)  # type: ignore[arg-type]
                assert (refused.value.word, refused.value.action) == ("unauthorized", "reauth")
                assert asked == 2

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
            # The signal comes as late.
            assert not signal.done()
            there.set()
            await signal
            assert (await client.put("/b", 1)).rev == 2 and {*server.broker.tree} == {"/a", "/b"}
            await client.close()

    run(story())


def test_a_token_whose_function_is_cancelled_is_asked_again() -> None:
    async def story() -> None:
        asked = 0

        async def token() -> str:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise asyncio.CancelledError
            return "t"

        async with naive() as server:
            client = onetree.start(server.url, token=token, reconnect="always", backoff=(0.01, 0.1))
            await client.until("online")
            assert asked == 2
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


def test_errors_of_connecting() -> None:
    async def story() -> None:
        with pytest.raises(onetree.BadUrl):
            onetree.start("http://x")
        with pytest.raises(onetree.Unreachable):
            await onetree.connect("ws://127.0.0.1:9")
        async with naive() as server:
            with pytest.raises(onetree.Wrong) as wrong:
                async with onetree.connect(server.url) as client:
                    await client.put("no path", 1)
            assert wrong.value.code == "bad-path"
            for value in (float("nan"), object(), "\ud83d", {"a": "\ud83d"}):
                with pytest.raises(onetree.Wrong) as wrong:
                    onetree.Value.make(value)
                assert wrong.value.code == "bad-value"

    run(story())


@pytest.mark.parametrize(
    "said, kind, action",
    [
        (FULL, "HttpAnswer", "retry"),
        (b"\r\n" + FULL, "HttpAnswer", "retry"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "HttpAnswer", "fix"),
        # What it is goes by the status, also where the rest does not come, or nothing ends.
        (FULL[:-1], "HttpAnswer", "retry"),
        (b"HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\n", "HttpAnswer", "reauth"),
        (b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n", "HttpAnswer", "fix"),
        (STAYS + b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\nno", "HttpAnswer", "fix"),
        # Others than this version's, without words, and announced by what is no answer yet.
        (FULL.replace(b"1.1", b"1.0"), "HttpAnswer", "retry"),
        (FULL.replace(b" Full", b""), "HttpAnswer", "retry"),
        (EARLY + FULL, "HttpAnswer", "retry"),
        (EARLY, "LinkLost", "retry"),
        (FULL.replace(b"\r\n", b"\r\nOdd: " + b"x" * 9000 + b"\r\n", 1), "HttpAnswer", "retry"),
        (b"HTTP/1.0 101 Switching\r\n\r\n", "NotABroker", "fix"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "NotABroker", "fix"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "NotABroker", "fix"),
        (bytes([21, 3, 1, 0, 2, 2, 70]), "NotABroker", "fix"),
        (b"", "LinkLost", "retry"),
        (b"\r\n", "LinkLost", "retry"),
        (b"HT", "LinkLost", "retry"),
        (b"HTTP/1.1 404 No\r\nContent-", "LinkLost", "retry"),
        (b"HTTP/1.1 101 Switching\r\nUpgra", "LinkLost", "retry"),
        (STAYS, "Unreachable", "retry"),
    ],
)  # fmt: skip
def test_what_is_no_broker(said: bytes, kind: str, action: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said.removeprefix(STAYS))
        if said.startswith(STAYS):
            await asyncio.sleep(1)
        writer.close()

    async def story() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(onetree.ConnectError) as error:
                limit = 0.3 if said.startswith(STAYS) else 10
                await onetree.connect(f"ws://127.0.0.1:{port}", connect_timeout=limit)
            assert type(error.value).__name__ == kind and error.value.action == action
            assert error.value.retry_in == (3.0 if b"503" in said else None)
            assert "full" in str(error.value) or not said.endswith(FULL)

    run(story())


def test_an_answer_that_comes_while_the_loop_is_busy_until_the_time_is_up_is_only_late() -> None:
    busy = threading.Event()

    def late(*_: Any) -> None:
        busy.wait()
        time.sleep(0.1)

    async def opens(url: str) -> None:
        await onetree.connect(url, connect_timeout=0.5)

    async def story(url: str) -> None:
        connecting = asyncio.ensure_future(opens(url))
        await asyncio.sleep(0.1)
        busy.set()
        time.sleep(1.0)
        with pytest.raises(onetree.Unreachable):
            await connecting

    known: Any = [msgpack_codec.SUBPROTOCOL, json_codec.SUBPROTOCOL]
    with threaded.serve(
        lambda socket: None, "127.0.0.1", 0, subprotocols=known, process_request=late
    ) as server:
        threading.Thread(target=server.serve_forever).start()
        run(story(f"ws://127.0.0.1:{server.socket.getsockname()[1]}"))


async def two(server: Server) -> tuple[onetree.Client, onetree.Mirror, onetree.Client]:
    client = await onetree.connect(server.url)
    mirror = client.mirror("/")
    await mirror.fresh()
    return client, mirror, await onetree.connect(server.url)


def test_transactions_run_again_until_nothing_they_read_has_changed() -> None:
    async def story() -> None:
        async with naive() as server:
            clients = [await two(server) for _ in range(3)]

            def increment(tx: onetree.Transaction) -> int:
                entry = tx.get("/n")
                n = entry.value.get() + 1 if entry and entry.value else 1
                tx.put("/n", n)
                assert tx.get("/n").value.get() == n  # type: ignore[union-attr]
                return int(n)

            work = [mirror.transact(increment) for _, mirror, _ in clients for _ in range(20)]
            done = await asyncio.gather(*work)
            assert sorted(one.result for one in done) == list(range(1, 61))
            assert sum(one.runs for one in done) > 60
            for client, _, other in clients:
                await client.close()
                await other.close()

    run(story())


class Looks(dict[str, onetree.Entry]):
    """Entries that count how often one of them is looked at."""

    count = 0

    def __getitem__(self, path: str) -> onetree.Entry:
        self.count += 1
        return super().__getitem__(path)

    def get(self, path: str, default: Any = None) -> Any:
        self.count += 1
        return super().get(path, default)

    def __iter__(self) -> Any:
        for path in super().__iter__():
            self.count += 1
            yield path

    def values(self) -> Any:
        return (self[path] for path in super().__iter__())

    def items(self) -> Any:
        return ((path, self[path]) for path in super().__iter__())


def test_who_waits_for_what_is_under_a_path_looks_at_what_changes_not_at_what_is_there() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            many = onetree.Txn()
            for n in range(1000):
                many.put(f"/seats/{n}", n)
            mirror = client.mirror("/")
            await mirror.at((await client.txn(many)).rev)
            store = mirror._state._store
            store.entries = looks = Looks(store.entries)
            runs: list[int] = []

            def taken(tx: onetree.Transaction) -> None:
                runs.append(len(tx.under("/seats")))
                if len(runs) == 1:
                    tx.retry()

            waiting = asyncio.create_task(mirror.transact(taken))
            await asyncio.sleep(0.01)
            assert runs == [1000] and looks.count >= 1000, "it counts"
            looks.count = 0
            for n in range(20):
                await mirror.at((await client.put("/elsewhere", n)).rev)
            # A few for each of them, and for the wait.
            assert runs == [1000] and 0 < looks.count < 500
            await client.delete("/seats/7")
            await waiting
            assert runs == [1000, 999]

    run(story())


@pytest.mark.parametrize("there", [False, True], ids=["before it is there", "though it is there"])
def test_what_a_transaction_has_read_of_another_history_does_not_count(there: bool) -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            await client.put("/balance", 1000)

            async def add_one(tx: onetree.Transaction) -> int:
                entry = tx.get("/balance")
                assert entry is not None and entry.value is not None
                if entry.value.get() == 1000:
                    # Another tree, that has the same revision.
                    server.broker = Broker()
                    server.broker.epoch = "d" * 32
                    server.cut()
                    async with onetree.connect(server.url) as other:
                        await other.put("/balance", 5)
                    while there and epoch_of(mirror.cookie) != server.broker.epoch:
                        await asyncio.sleep(0.01)
                tx.put("/balance", entry.value.get() + 1)
                return int(entry.value.get())

            done = await mirror.transact(add_one)
            assert (done.result, done.runs) == (5, 2)
            found = await client.get("/balance")
            assert found is not None and found.value is not None and found.value.get() == 6

    run(story())


def test_a_transaction_waits_and_tries_another_way() -> None:
    async def story() -> None:
        async with naive() as server:
            client, mirror, other = await two(server)

            def take(path: str) -> Any:
                def run(tx: onetree.Transaction) -> Any:
                    entry = tx.get(path)
                    tx.put("/forgotten" if path == "/a" else "/kept", 1)
                    if entry is None or entry.value is None:
                        tx.retry()
                    tx.delete(path)
                    return entry.value.get()

                return run

            waiting = asyncio.ensure_future(mirror.transact(take("/b")))
            either = asyncio.ensure_future(
                mirror.transact(lambda tx: tx.or_else(take("/a"), take("/c")))
            )
            await other.put("/unread", 1)
            await asyncio.sleep(0.05)
            assert not waiting.done() and not either.done()
            await other.put("/b", "b")
            assert (await waiting).result == "b"
            await other.put("/c", "c")
            taken = await either
            assert taken.result == "c" and taken.runs == 2
            assert taken.done is not None and taken.done.durable is False
            await mirror.at(taken.done.rev)
            assert numbers(mirror) == {"/unread": 1, "/kept": 1}
            # The first way, when it can be gone.
            await other.put("/a", "a")
            both = await mirror.transact(lambda tx: tx.or_else(take("/a"), take("/c")))
            assert both.result == "a"

            async def reads(tx: onetree.Transaction) -> int:
                await asyncio.sleep(0)
                tx.drop_tree("/unread")
                return len(tx.under("/"))

            before = server.broker.rev
            only_read = await mirror.transact(lambda tx: len(tx.under("/")))
            assert only_read.done is None and server.broker.rev == before
            assert (await mirror.transact(reads)).result == 2
            with pytest.raises(ZeroDivisionError):
                await mirror.transact(lambda tx: (tx.put("/z", 1), 1 // 0))
            small = client.mirror("/small")
            with pytest.raises(onetree.OutsideView):
                await small.transact(lambda tx: tx.get("/b"))
            with pytest.raises(onetree.OutsideView):
                await small.transact(lambda tx: tx.under("/"))
            await client.close()
            await other.close()

    run(story())


def test_what_a_transaction_has_put_has_its_value_also_in_a_view_without_values() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            await client.put("/a", 1)
            mirror = client.mirror("/", values=False)

            def fn(tx: onetree.Transaction) -> list[Any]:
                tx.put("/b", 2)
                return [entry and entry.value for entry in (tx.get("/a"), tx.get("/b"))] + [
                    entry.value for entry in tx.under("/")
                ]

            two = onetree.Value.json(2)
            assert (await mirror.transact(fn)).result == [None, two, None, two]

    run(story())


def test_a_retry_ends_the_run_whoever_catches_it() -> None:
    async def story() -> None:
        async with naive() as server:
            client, mirror, other = await two(server)

            def goes_on(tx: onetree.Transaction) -> str:
                if tx.get("/a") is None:
                    with contextlib.suppress(BaseException):
                        tx.retry()
                return "went on"

            def writes(tx: onetree.Transaction) -> str:
                try:
                    return goes_on(tx)
                finally:
                    tx.put("/failed", 1)

            async def another(tx: onetree.Transaction) -> str:
                if tx.get("/a") is None:
                    try:
                        tx.retry()
                    except BaseException as retry:
                        raise ValueError from retry
                return "another"

            runs: list[Callable[[onetree.Transaction], Any]] = [goes_on, writes, another]
            waiting = [asyncio.ensure_future(mirror.transact(run)) for run in runs]
            either = asyncio.ensure_future(
                mirror.transact(lambda tx: tx.or_else(writes, lambda tx: tx.get("/failed")))
            )
            await asyncio.wait(waiting, timeout=0.05)
            assert not any(one.done() for one in waiting)
            # What the first way wrote is forgotten.
            assert (await either).result is None and (await either).done is None
            await other.put("/a", 1)
            done = await asyncio.gather(*waiting)
            assert [one.result for one in done] == ["went on", "went on", "another"]
            assert all(one.runs > 1 for one in done)
            # It is no answer to what else goes wrong.
            cancelled = asyncio.ensure_future(mirror.transact(goes_on_for_ever))
            await asyncio.sleep(0.05)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(cancelled, 5)
            await client.close()
            await other.close()

    async def goes_on_for_ever(tx: onetree.Transaction) -> None:
        with contextlib.suppress(BaseException):
            tx.retry()
        await asyncio.sleep(60)

    run(story())


def test_a_retry_of_a_task_beside_is_told_by_who_waits_for_it() -> None:
    async def story() -> None:
        async with naive() as server:
            client, mirror, other = await two(server)

            async def must(tx: onetree.Transaction) -> str:
                await asyncio.sleep(0)
                if tx.get("/a") is None:
                    tx.retry()
                return "there"

            def must_at_once(tx: onetree.Transaction) -> str:
                if tx.get("/a") is None:
                    tx.retry()
                return "there"

            async def renames(tx: onetree.Transaction) -> str:
                try:
                    return await asyncio.ensure_future(must(tx))
                except BaseException as retry:
                    raise ValueError from retry

            async def forgets(tx: onetree.Transaction) -> str:
                if tx.get("/a") is None:
                    with contextlib.suppress(BaseException):
                        tx.retry()
                    raise ValueError
                return "there"

            async def gone(tx: onetree.Transaction) -> str:
                return "gone"

            def grouped(way: Any) -> Any:
                async def run(tx: onetree.Transaction) -> str:
                    async with asyncio.TaskGroup() as group:
                        task = group.create_task(way(tx))
                        group.create_task(asyncio.sleep(0.01))
                    return str(task.result())

                return run

            def aside(way: Any) -> Any:
                async def run(tx: onetree.Transaction) -> str:
                    return str(await asyncio.ensure_future(tx.or_else(way, gone)))

                return run

            async def gathers(tx: onetree.Transaction) -> str:
                one, other = await asyncio.gather(must(tx), must(tx), return_exceptions=True)
                return str(max(one, other))

            runs: list[Any] = [
                gathers,
                renames,
                grouped(must),
                grouped(renames),
                grouped(grouped(must)),
            ]
            runs += [forgets, grouped(forgets), lambda tx: asyncio.to_thread(must_at_once, tx)]
            # The other way is taken for each of them.
            for way in runs:
                for either in (aside(way), grouped(aside(way))):
                    done = await asyncio.wait_for(mirror.transact(either), 5)
                    assert (done.result, done.runs) == ("gone", 1)
            waiting = [asyncio.ensure_future(mirror.transact(run)) for run in runs]
            await asyncio.sleep(0.1)
            assert not any(one.done() for one in waiting)
            await other.put("/a", 1)
            for one in waiting:
                assert (await asyncio.wait_for(one, 5)).result == "there"

            # What ends the program does not wait, whatever is beside it.
            async def exits(tx: onetree.Transaction) -> None:
                with contextlib.suppress(BaseException):
                    tx.retry()
                raise BaseExceptionGroup("both", [GeneratorExit(), ZeroDivisionError()])

            with pytest.raises(BaseExceptionGroup):
                await asyncio.wait_for(mirror.transact(exits), 5)
            await client.close()
            await other.close()

    run(story())


def test_another_way_may_be_a_coroutine() -> None:
    async def story() -> None:
        async with naive() as server:
            client, mirror, other = await two(server)

            async def first(tx: onetree.Transaction) -> str:
                tx.put("/first", 1)
                await asyncio.sleep(0)
                if tx.get("/a") is None:
                    tx.retry()
                return "first"

            async def second(tx: onetree.Transaction) -> str:
                await asyncio.sleep(0)
                tx.put("/second", 1)
                return "second"

            def third(tx: onetree.Transaction) -> str:
                if tx.get("/a") is None:
                    tx.retry()
                return "third"

            async def waits(tx: onetree.Transaction) -> str:
                return await tx.or_else(first, second)

            either: Any
            for either in (
                waits, lambda tx: tx.or_else(first, second), lambda tx: tx.or_else(third, second),
            ):  # fmt: skip
                committed = await asyncio.wait_for(mirror.transact(either), 5)
                assert committed.result == "second" and committed.runs == 1
            assert committed.done is not None
            await mirror.at(committed.done.rev)
            assert numbers(mirror) == {"/second": 1}
            # Where both retry, the whole does; and an error is one.
            ways: tuple[Any, Any] = (first, third)
            waiting = asyncio.ensure_future(mirror.transact(lambda tx: tx.or_else(*ways)))
            await asyncio.sleep(0.05)
            await other.put("/a", 1)
            assert (await asyncio.wait_for(waiting, 5)).result == "first"
            with pytest.raises(ZeroDivisionError):
                await mirror.transact(lambda tx: tx.or_else(fails, second))
            with pytest.raises(onetree.Wrong, match="^second: "):
                await mirror.transact(lambda tx: tx.or_else(third, "no"))  # type: ignore[call-overload]
            await client.close()
            await other.close()

    async def fails(tx: onetree.Transaction) -> str:
        raise ZeroDivisionError

    run(story())


def test_what_is_written_before_another_way_is_awaited_is_kept() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")

            async def first(tx: onetree.Transaction) -> int:
                tx.put("/first", 1)
                return tx.retry()

            def begins(tx: onetree.Transaction) -> Any:
                tx.put("/begun", 1)
                return first(tx)

            async def second(tx: onetree.Transaction) -> int:
                tx.put("/second", 1)
                return 2

            for way in (first, begins):

                async def between(tx: onetree.Transaction, way: Any = way) -> int:
                    tx.put("/before", 1)
                    either = tx.or_else(way, second)
                    tx.put("/between", 1)
                    return await either

                committed = await mirror.transact(between)
                assert committed.done is not None
                await mirror.at(committed.done.rev)
                assert committed.result == 2
                assert numbers(mirror) == {"/before": 1, "/between": 1, "/second": 1}
                await client.drop_tree("/")

    run(story())


def test_ways_within_ways_keep_what_is_not_theirs() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")

            async def rest(tx: onetree.Transaction, name: str, retries: bool) -> str:
                tx.put(f"/{name}-rest", 1)
                if retries:
                    tx.retry()
                return name

            def begins(tx: onetree.Transaction) -> Any:
                tx.put("/begun", 1)
                return rest(tx, "begun", retries=True)

            def catches(tx: onetree.Transaction) -> Any:
                with contextlib.suppress(BaseException):
                    tx.retry()
                return rest(tx, "caught", retries=False)

            async def second(tx: onetree.Transaction) -> str:
                tx.put("/second", 1)
                return tx.retry()

            async def third(tx: onetree.Transaction) -> str:
                tx.put("/third", 1)
                return "third"

            def within(tx: onetree.Transaction) -> Any:
                return tx.or_else(begins, second)

            def behind(tx: onetree.Transaction) -> Any:
                return tx.or_else(begins, catches)

            for way in (within, behind, catches):

                async def between(tx: onetree.Transaction, way: Any = way) -> str:
                    tx.put("/before", 1)
                    either = tx.or_else(way, third)
                    tx.put("/between", 1)
                    return await either

                committed = await asyncio.wait_for(mirror.transact(between), 5)
                assert committed.done is not None
                await mirror.at(committed.done.rev)
                assert (committed.result, committed.runs) == ("third", 1)
                assert numbers(mirror) == {"/before": 1, "/between": 1, "/third": 1}
                await client.drop_tree("/")

    run(story())


def test_a_transaction_ends_with_its_run() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            kept: list[onetree.Transaction] = []

            async def keeps(tx: onetree.Transaction) -> None:
                kept.append(tx)
                tx.put("/a", 1)

            def fails(tx: onetree.Transaction) -> None:
                kept.append(tx)
                raise ZeroDivisionError

            done = (await mirror.transact(keeps)).done
            assert done is not None
            await mirror.at(done.rev)
            with pytest.raises(ZeroDivisionError):
                await mirror.transact(fails)
            before = server.broker.rev
            uses: list[Callable[[onetree.Transaction], Any]] = [
                lambda tx: tx.get("/a"), lambda tx: tx.under("/"), lambda tx: tx.put("/a", 2),
                lambda tx: tx.append("/a", 2), lambda tx: tx.delete("/a"),
                lambda tx: tx.drop_tree("/a"), lambda tx: tx.retry(),
                lambda tx: tx.or_else(lambda _: 1, lambda _: 2),
                lambda tx: tx.or_else(keeps, keeps),
            ]  # fmt: skip
            for tx in kept:
                for use in uses:
                    with pytest.raises(onetree.Wrong, match="ended") as wrong:
                        use(tx)
                    assert wrong.value.word == "ended"
            assert server.broker.rev == before

    run(story())


def test_without_async() -> None:
    """The synchronous facade, while the broker runs in a loop elsewhere."""

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


def names(changes: onetree.Changes) -> list[str]:
    """All events that are there now."""
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
            # Who begins to read now is told the same.
            late = mirror.changes()
            assert names(late) == ["fresh", "offline"]
            await client.close()
            assert names(late) == ["ended"]
            assert names(mirror.changes()) == ["fresh", "offline", "ended"]

    run(story())


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
            # Each begins where the mirror did.
            assert gaps() == gaps() == ["/log"]
            # A refresh from nothing forgets them, as it does where events were folded.
            await mirror.resync()
            assert gaps() == []

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
                # Between any two, and below some that are no more.
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


class Wordless(BaseException):
    def __str__(self) -> str:
        raise ValueError("no words")


def raises(error: BaseException) -> str:
    raise error


async def later(error: BaseException) -> str:
    raise error


ODD: list[Callable[[], Any]] = [
    lambda: raises(ValueError("no")), lambda: raises(Wordless()), lambda: later(Wordless()),
    lambda: raises(BaseException("no")), lambda: later(asyncio.CancelledError()),
    lambda: 5, lambda: b"t", lambda: "\ud800", lambda: None,
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_whatever_a_tokens_function_does_it_is_an_attempt_that_failed(odd: Any) -> None:
    async def story() -> None:
        asked = 0

        def token() -> Any:
            nonlocal asked
            asked += 1
            return "good" if asked > 1 else odd()

        async with naive() as server:
            client = onetree.start(server.url, token=token, reconnect="always", backoff=(0.0, 0.0))
            told = []
            async for status in client.statuses():
                told.append(status.name)
                if isinstance(status, e.Offline):
                    assert isinstance(status.error, onetree.BadToken)
                    assert status.error.action == "retry"
                if isinstance(status, e.Online):
                    break
            assert told == ["connecting", "offline", "online"] and server.tokens == ["good"]
            await client.close()

    run(story())


def test_a_tokens_function_that_ends_the_program_does_not_end_a_client_that_goes_on() -> None:
    def script(url: str) -> None:
        asked = 0

        def token() -> str:
            nonlocal asked
            asked += 1
            return "good" if asked > 1 else raises(SystemExit())

        options: Any = {"token": token, "reconnect": "always", "backoff": (0.0, 0.0)}
        with sync.connect(url, **options) as client:
            assert client.put("/a", 1).rev == 1

    async def story() -> None:
        async with naive() as server:
            await asyncio.to_thread(script, server.url)

    run(story())


@pytest.mark.parametrize("long", [1e12, 1e300, float("inf"), 10**300])
def test_times_may_be_as_long_as_any(long: float) -> None:
    def script(url: str) -> None:
        with sync.connect(url, request_timeout=long, connect_timeout=long) as client:
            client.put("/a", 1)
            with client.mirror("/") as mirror:
                assert mirror.fresh(timeout=long) == mirror.at(1, timeout=long) == 1
                assert mirror.changes().next(timeout=long) is not None

    async def story() -> None:
        async with naive() as server:
            await asyncio.to_thread(script, server.url)

    run(story())


@pytest.mark.parametrize("behind", ["token", "upgrade"])
def test_an_attempt_to_connect_has_one_time_for_all_its_parts(behind: str) -> None:
    async def late() -> str:
        await asyncio.sleep(2.4)
        return "t"

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async def story() -> None:
        async with naive() as server, await asyncio.start_server(silent, "127.0.0.1", 0) as mute:
            # It opens the WebSocket, and says no `welcome`.
            server.deaf = True
            url, word = server.url, "silent"
            if behind == "token":
                url, word = f"ws://127.0.0.1:{mute.sockets[0].getsockname()[1]}", "unreachable"
            begun = time.monotonic()
            with pytest.raises(onetree.ConnectError) as failed:
                await onetree.connect(url, token=late, connect_timeout=3.0)
            assert failed.value.word == word and 2.9 < time.monotonic() - begun < 5.1

    run(story())


def test_a_tokens_function_that_does_not_give_way_is_not_timed() -> None:
    def slow() -> str:
        time.sleep(0.6)
        return "t"

    async def story() -> None:
        async with naive() as server:
            async with onetree.connect(server.url, token=slow, connect_timeout=0.5):
                assert server.tokens == ["t"]

    run(story())


def test_a_retry_after_beyond_all_bounds_is_heeded_within_them() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(FULL.replace(b": 3", b": " + b"9" * 400))
        writer.close()

    async def story() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = onetree.start(f"ws://127.0.0.1:{port}", reconnect="always")
            status = await client.until("offline")
            assert isinstance(status, e.Offline) and 0 < status.retry_in <= 86_400
            await client.close()

    run(story())


def test_a_link_that_is_slow_is_not_dead(monkeypatch: Any) -> None:
    monkeypatch.setattr(session_module, "GRACE", 0.4)
    broker = Broker()

    async def answer(socket: ServerConnection) -> None:
        frame = json_codec.decode_client(await socket.recv(True))
        (welcome,) = Connection(broker).handle(frame)
        assert isinstance(welcome, f.Welcome)
        await socket.send(json_codec.encode(replace(welcome, heartbeat_ms=100)))
        asked = json_codec.decode_client(await socket.recv(True))
        large = f.Entry("/a", 1, onetree.Value.text("x" * 100))
        whole = str(json_codec.encode(f.Found(asked.id, 1, [large], False)))

        async def slowly() -> AsyncIterator[str]:
            for n in range(0, len(whole), 16):
                await asyncio.sleep(0.1)
                yield whole[n : n + 16]

        await socket.send(slowly())
        await socket.wait_closed()

    async def story() -> None:
        known: Any = [json_codec.SUBPROTOCOL]
        async with serve(answer, "127.0.0.1", 0, subprotocols=known) as listening:
            url = f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"
            client = await onetree.connect(url, codec="json", reconnect="never")
            entry = await client.get("/a")
            assert entry is not None and entry.value == onetree.Value.text("x" * 100)
            await client.leave()

    run(story())


def test_a_link_that_is_dead_does_not_keep_who_closes(monkeypatch: Any) -> None:
    monkeypatch.setattr(session_module, "BYE", 0.3)

    async def story() -> None:
        async with naive() as server:
            client = await onetree.connect(server.url)
            await asyncio.sleep(0.5)
            # Nothing comes any more, nor goes.
            ((_, socket, _),) = server.connections
            socket.transport.pause_reading()
            begun = asyncio.get_running_loop().time()
            await client.close()
            # Until the broker would be given up for its silence it is more.
            took = asyncio.get_running_loop().time() - begun
            assert 0.2 < took < 5
            await client.close()

    run(story())


def test_who_gives_up_while_it_connects_leaves_no_socket() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        connection_made = Link.connection_made
        async with naive() as server:
            for many in range(1, 40):
                made: list[Link] = []

                def began(self: Link, transport: Any, made: list[Link] = made) -> None:
                    made.append(self)
                    connection_made(self, transport)

                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(Link, "connection_made", began)
                    connecting = loop.create_task(
                        Link.connect(server.url + "/v1/sync", json_codec.SUBPROTOCOL, 5, print)
                    )
                    for _ in range(many):
                        await asyncio.sleep(0)
                    while made and many > 20 and not made[0].opened.done():
                        await asyncio.sleep(0)
                    connecting.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await (await connecting).close()
                for link in made:
                    assert link._transport is not None and link._transport.is_closing()

    run(story())


def test_a_tokens_function_may_close_its_client() -> None:
    async def story() -> None:
        clients: list[onetree.Client] = []

        async def token() -> str:
            await clients[0].close()
            return "t"

        async with naive() as server:
            clients.append(onetree.start(server.url, token=token))
            await asyncio.wait_for(clients[0].until("ended"), 5)
            await asyncio.wait_for(clients[0].close(), 5)
            await asyncio.sleep(0.05)
            assert not server.connections and not server.tokens

    run(story())


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "\xfc" * 64, ".a"])
def test_a_host_that_can_have_no_name_is_no_url(host: str) -> None:
    async def story() -> None:
        with pytest.raises(onetree.BadUrl):
            onetree.start(f"ws://{host}:1", reconnect="always")

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
            # Who gave up waits no longer.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(changes), 0.01)
            await client.put("/a", 2)
            assert (await asyncio.wait_for(anext(changes), 5)).name == "delta"

    run(story())


def test_options_beside_those_that_count_are_refused() -> None:
    async def story() -> None:
        async with naive() as server:
            with pytest.raises(onetree.Wrong, match="Options"):
                onetree.start(server.url, Options(), codec="json")
            async with onetree.connect(server.url) as client:
                view = onetree.View("/a", "entry")
                for more in (
                    {"tail": 2},
                    {"values": False},
                    {"match": ["x"]},
                    {"depth": "children"},
                ):
                    with pytest.raises(onetree.Wrong, match="View"):
                        client.mirror(view, **more)  # type: ignore[arg-type]
                client.mirror(view, signals=True).close()

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
    """A full queue, and the mirror behind it: `/log` with entries that are all known, at 9."""

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
    # Of this one the revisions are below those that are known.
    unread.refresh(5, "another", 3)
    unread.trim(6)
    assert unread.gaps() == ["/log"]
    # It may have others at the keys of those that are known.
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
        # Somebody has deleted one meanwhile; then the other one is trimmed.
        unread.refresh(9, "e", 2)
        unread.trim(10)
        assert unread.gaps() == []
        # What is new is one.
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
    # What is under its entries and in no log is no gap in one.
    unread = _Unread(1)
    unread.happened(unread.state.handle_delta(None, 10, [new._replace(path=f"/log/{one}/a")]))
    unread.trim(11)
    assert unread.gaps() == []
