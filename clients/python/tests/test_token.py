"""Tokens from a function, whatever the function does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

import onetree
from onetree import event as e
from onetree import sync
from server import naive, run


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


def test_a_tokens_function_that_does_not_give_way_is_not_timed() -> None:
    def slow() -> str:
        time.sleep(0.6)
        return "t"

    async def story() -> None:
        async with naive() as server:
            async with onetree.connect(server.url, token=slow, connect_timeout=0.5):
                assert server.tokens == ["t"]

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
