"""Brokers for tests of the whole client: the naive one behind a socket, and the real one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

import onetree
from naive import Broker, Connection
from onetree.protocol import frames as f
from onetree.protocol import json_codec, msgpack_codec


class Server:
    """The naive broker on a port of its own."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.url = ""
        self.connections: list[tuple[Connection, ServerConnection, Any]] = []
        self.tokens: list[str | None] = []
        self.refuse: list[str] = []
        """Tokens that are refused."""
        self.deaf = False
        """Whether what comes is ignored."""

    async def handle(self, socket: ServerConnection) -> None:
        codec: Any = json_codec if socket.subprotocol == json_codec.SUBPROTOCOL else msgpack_codec
        me = (Connection(self.broker), socket, codec)
        self.connections.append(me)
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                if self.deaf:
                    continue
                frame = codec.decode_client(message)
                if isinstance(frame, f.Hello):
                    self.tokens.append(frame.token)
                    if frame.token in self.refuse:
                        await socket.close(4403, "no")
                        return
                for answer in me[0].handle(frame):
                    await socket.send(codec.encode(answer))
                if isinstance(frame, f.Bye):
                    await socket.close()
                    return
                # The other connections get what was committed.
                for connection, other, their in self.connections:
                    if connection is not me[0]:
                        for delta in connection.deltas():
                            with contextlib.suppress(ConnectionClosed):
                                await other.send(their.encode(delta))
        self.connections.remove(me)

    def cut(self) -> None:
        """Drops all connections without a close."""
        for _, socket, _ in self.connections:
            socket.transport.abort()


@contextlib.asynccontextmanager
async def naive() -> AsyncIterator[Server]:
    server = Server()
    known: Any = [json_codec.SUBPROTOCOL, msgpack_codec.SUBPROTOCOL]
    async with serve(server.handle, "127.0.0.1", 0, subprotocols=known) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        server.url = f"ws://127.0.0.1:{port}"
        yield server
        server.cut()


SOURCE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
"""The environment of a program that imports the tested package."""
BINARY = os.environ.get("ONETREE_BIN")
needs_broker = pytest.mark.skipif(
    BINARY is None, reason="ONETREE_BIN does not say where the program `onetree` is"
)


@contextlib.contextmanager
def real(*more: str) -> Any:
    """Starts the real broker, in memory. Returns its URL and its process."""
    assert BINARY is not None
    command = [BINARY, "serve", "--memory", "--listen", "127.0.0.1:0", *more]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.wait()


def run(work: Any) -> Any:
    """Runs `work`, for at most half a minute."""
    return asyncio.run(asyncio.wait_for(work, 30))


def numbers(mirror: onetree.Mirror) -> dict[str, Any]:
    """Returns what a mirror shows, by path."""
    return {entry.path: entry.value.get() for entry in mirror.entries() if entry.value}
