"""Connecting: what answers instead of a broker, and links that are slow or dead."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.sync import server as threaded

import onetree
from naive import Broker, Connection
from onetree import event as e
from onetree import sync
from onetree.options import Options
from onetree.protocol import frames as f
from onetree.protocol import json_codec, msgpack_codec
from onetree.session import session as session_module
from onetree.transport import Link
from server import naive, run

FULL = b"HTTP/1.1 503 Full\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nfull"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
STAYS = b"stays:"
"""Marks an answer after which the server does not end the connection."""


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
        # The status decides, even if the rest does not come, or nothing ends.
        (FULL[:-1], "HttpAnswer", "retry"),
        (b"HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\n", "HttpAnswer", "reauth"),
        (b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n", "HttpAnswer", "fix"),
        (STAYS + b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\nno", "HttpAnswer", "fix"),
        # Answers of other HTTP versions, without words, and after heads that only announce them.
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
            # It opens the WebSocket, and sends no `welcome`.
            server.deaf = True
            url, word = server.url, "silent"
            if behind == "token":
                url, word = f"ws://127.0.0.1:{mute.sockets[0].getsockname()[1]}", "unreachable"
            begun = time.monotonic()
            with pytest.raises(onetree.ConnectError) as failed:
                await onetree.connect(url, token=late, connect_timeout=3.0)
            assert failed.value.word == word and 2.9 < time.monotonic() - begun < 5.1

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
    monkeypatch.setattr(session_module, "GRACE", 2.0)
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
            piece = len(whole) // 5
            for n in range(0, len(whole), piece):
                await asyncio.sleep(0.5)
                yield whole[n : n + piece]

        await socket.send(slowly())
        await socket.wait_closed()

    async def story() -> None:
        known: Any = [json_codec.SUBPROTOCOL]
        async with serve(answer, "127.0.0.1", 0, subprotocols=known) as listening:
            url = f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"
            client = await onetree.connect(url, codec="json", reconnect="never")
            begun = time.monotonic()
            entry = await client.get("/a")
            assert entry is not None and entry.value == onetree.Value.text("x" * 100)
            # The heartbeat of 0.1 s, and the grace: a link that is silent for that long is dead.
            assert time.monotonic() - begun > 2.1
            await client.leave()

    run(story())


def test_a_link_that_is_dead_does_not_keep_who_closes(monkeypatch: Any) -> None:
    monkeypatch.setattr(session_module, "BYE", 0.3)

    async def story() -> None:
        async with naive() as server:
            client = await onetree.connect(server.url)
            await asyncio.sleep(0.5)
            # Nothing comes any more, and nothing goes out.
            ((_, socket, _),) = server.connections
            socket.transport.pause_reading()
            begun = asyncio.get_running_loop().time()
            await client.close()
            # The time until the broker would be given up for its silence is longer.
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


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "\xfc" * 64, ".a"])
def test_a_host_that_can_have_no_name_is_no_url(host: str) -> None:
    async def story() -> None:
        with pytest.raises(onetree.BadUrl):
            onetree.start(f"ws://{host}:1", reconnect="always")

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
