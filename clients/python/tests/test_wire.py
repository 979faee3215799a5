"""Cutting a WebSocket's bytes, with a socket that delivers them in the worst ways."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from onetree.codes import BY_CLOSE
from onetree.errors import ConnectError, Ended, HttpAnswer, LinkLost, ProtocolBroken
from onetree.protocol import msgpack_codec
from onetree.transport import Link
from onetree.wire import Wire

SEED = int(os.environ.get("ONETREE_SEED", random.randrange(1 << 32)))


def frame(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


def stream(r: random.Random) -> tuple[bytes, list[bytes | str]]:
    """Returns correct frames of all kinds, and their messages."""
    sent, messages = b"", []
    for _ in range(r.randrange(1, 30)):
        text = r.random() < 0.5
        size = r.choice([0, 1, 125, 126, 127, 1000, 65535, 65536, 70000])
        data = bytes(r.choices(b"abc\x81", k=size)) if not text else b"\xc3\xa4" * (size // 2)
        opcode = Opcode.TEXT if text else Opcode.BINARY
        parts = r.choice([1, 1, 1, 2, 3])
        cuts = [0, *sorted(r.randrange(len(data) + 1) for _ in range(parts - 1)), len(data)]
        for n in range(parts):
            piece = data[cuts[n] : cuts[n + 1]]
            sent += frame(opcode if n == 0 else Opcode.CONT, piece, n == parts - 1)
            if r.random() < 0.3:
                sent += frame(Opcode.PING, b"ping")
        messages.append(data.decode() if text else data)
    return sent, messages


class Over(NamedTuple):
    """What a client got, and why it ended."""

    taken: list[bytes | str]
    error: ConnectError


async def link(
    data: bytes, cut: Callable[[], int], head: bytes | None = None, early: bytes = b""
) -> Over:
    """Sends these bytes after the answer to the handshake, or after `head`, in pieces."""
    taken: list[bytes | str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = ServerProtocol(subprotocols=[msgpack_codec.SUBPROTOCOL])  # type: ignore[list-item]
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        protocol.send_response(protocol.accept(protocol.events_received()[0]))  # type: ignore[arg-type]
        # Also in one piece with the answer to the handshake.
        sent = early + (head or b"".join(protocol.data_to_send())) + data
        while sent:
            size = cut()
            writer.write(sent[:size])
            sent = sent[size:]
            await writer.drain()
            if size < 100:
                await asyncio.sleep(0)
        writer.write_eof()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        url = f"ws://127.0.0.1:{port}/v1/sync"
        made = await Link.connect(url, msgpack_codec.SUBPROTOCOL, 5, taken.append)
        error = await asyncio.wait_for(made.gone, 10)
        await made.close()
        return Over(taken, error)
    finally:
        server.close()


def run(data: bytes, cut: Callable[[], int]) -> Over:
    return asyncio.run(link(data, cut))


@pytest.mark.parametrize("seed", range(SEED, SEED + 12))
def test_any_pieces_of_any_frames_are_the_same_messages(seed: int) -> None:
    r = random.Random(seed)
    sent, messages = stream(r)
    sizes = r.choice([[1, 2, 3, 5000], [1 << 20], [10, 100, 100_000]])
    over = run(sent, lambda: r.choice(sizes))
    assert over.taken == messages
    assert isinstance(over.error, LinkLost)


def test_a_whole_message_is_cut_without_the_library() -> None:
    """Otherwise cutting frames here would gain nothing."""
    wire = Wire()
    sent = frame(Opcode.TEXT, b"a") + frame(Opcode.BINARY, b"b" * 70000)
    assert wire.cut(sent) == [("text", b"a"), ("binary", b"b" * 70000)]


@pytest.mark.parametrize(
    "wrong",
    [
        b"\xc1\x01x",  # something reserved
        b"\x83\x01x",  # an opcode that there is not
        b"\x81\x81mask\x00",  # masked
        b"\x80\x01x",  # goes on with nothing
        b"\x01\x01x\x81\x01x",  # begins another inside of one
        b"\x09\x01x",  # a ping in parts
    ],
)
def test_what_no_server_may_send_ends_it(wrong: bytes) -> None:
    before, behind = frame(Opcode.TEXT, b"before"), frame(Opcode.TEXT, b"behind") * 3
    for size in (1, 1 << 20):
        over = run(before + wrong + behind, lambda size=size: size)  # type: ignore[misc]
        assert over.taken == ["before"]
        assert isinstance(over.error, ProtocolBroken)


def test_behind_the_close_nothing_counts() -> None:
    close = frame(Opcode.CLOSE, (4403).to_bytes(2, "big") + b"no")
    over = run(frame(Opcode.TEXT, b"a") + close + frame(Opcode.TEXT, b"b"), lambda: 1 << 20)
    assert over.taken == ["a"]
    assert isinstance(over.error, Ended) and over.error.code == BY_CLOSE[4403]


def test_a_refusal_keeps_its_body() -> None:
    """With bytes that look like frames."""
    body = b"busy \x81\x01x\r\n\r\n\x81"
    early = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n"
    for first in (
        b"HTTP/1.1 503 Busy",
        b"HTTP/1.0 503 Busy",
        b"HTTP/1.1 503",
        early + b"HTTP/1.1 503 ",
    ):
        head = first + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
        for size in (1, 30, 1 << 20):
            with pytest.raises(HttpAnswer) as answer:
                asyncio.run(link(body, lambda size=size: size, head))  # type: ignore[misc]
            assert "answers 503: busy" in str(answer.value)


def test_an_answer_that_was_announced_opens_the_websocket() -> None:
    early = b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n"
    for size in (1, 1 << 20):
        over = asyncio.run(
            link(frame(Opcode.TEXT, b"a"), lambda size=size: size, early=early)  # type: ignore[misc]
        )
        assert over.taken == ["a"]


def test_a_sender_that_gave_up_does_not_disturb_the_end() -> None:
    seen: list[dict[str, object]] = []

    async def main() -> None:
        async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server = ServerProtocol(subprotocols=[Subprotocol("onetree.v1.msgpack")])
            server.receive_data(await reader.readuntil(b"\r\n\r\n"))
            (request,) = server.events_received()
            assert isinstance(request, Request)
            server.send_response(server.accept(request))
            writer.write(b"".join(server.data_to_send()))
            await over.wait()
            writer.close()

        over = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda _, what: seen.append(what))
        async with await asyncio.start_server(never_reads, "127.0.0.1", 0, limit=1024) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/sync"
            link = await Link.connect(url, "onetree.v1.msgpack", 5, lambda _: None)

            async def send() -> None:
                while True:
                    await link.send(b"x" * 1_000_000)

            sender = asyncio.create_task(send())
            await asyncio.sleep(0.3)
            sender.cancel()
            await asyncio.wait({sender})
            await link.close()
            await asyncio.wait_for(link.gone, 5)
            over.set()

    asyncio.run(asyncio.wait_for(main(), 20))
    assert not seen
