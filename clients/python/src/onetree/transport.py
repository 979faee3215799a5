"""The WebSocket: messages in and out."""

from __future__ import annotations

import asyncio
import re
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)
from websockets.frames import Close
from websockets.typing import Subprotocol

from .codes import BY_CLOSE, CODES
from .errors import (
    BadUrl,
    ConnectError,
    Ended,
    HttpAnswer,
    LinkLost,
    NotABroker,
    ProtocolBroken,
    Unreachable,
)

PATH: Final = "/v1/sync"
"""The path of the protocol, where a URL has none."""
CLOSE_TIMEOUT: Final = 1.0
"""How long an orderly end of the WebSocket may take, seconds."""
SAID: Final = 200
"""What an HTTP server says beside its status, characters, at most."""


def parse_url(url: str) -> str:
    """The whole URL of a broker, `ws://host[:port][/path]`; `BadUrl` when it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadUrl(f"{url}: {error}") from None
    if parts.scheme not in ("ws", "wss"):
        raise BadUrl(f"{url}: the URL of a broker begins with ws:// or wss://")
    if not parts.hostname or port == 0:
        raise BadUrl(f"{url}: no host, or no port that there is")
    if parts.path in ("", "/"):
        parts = parts._replace(path=PATH)
    return parts._replace(fragment="").geturl()


class Link:
    """A connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @staticmethod
    async def connect(url: str, subprotocol: str, timeout: float) -> Link:
        """Connects, within `timeout` seconds; `ConnectError` when it cannot."""
        address = urlsplit(url).netloc
        try:
            socket = await connect(
                url,
                subprotocols=[Subprotocol(subprotocol)],
                # The protocol has neither; the broker pings, and says its heartbeat.
                compression=None,
                ping_interval=None,
                proxy=None,
                open_timeout=timeout,
                close_timeout=CLOSE_TIMEOUT,
                # The broker's frames have a limit of its own.
                max_size=None,
                user_agent_header=None,
            )
        except InvalidStatus as error:
            response = error.response
            said = (response.body or b"").decode(errors="replace").strip().split("\n")[0][:SAID]
            after = response.headers.get("Retry-After", "")
            wait = float(after) if after.isascii() and after.isdigit() else None
            raise HttpAnswer(address, response.status_code, said, wait) from None
        except InvalidURI as error:
            raise BadUrl(str(error)) from None
        except (InvalidMessage, ProxyError) as error:
            if isinstance(error.__cause__, EOFError):
                raise LinkLost("it was closed during the handshake") from None
            raise NotABroker(f"{address} is no Onetree broker: {error}") from None
        except InvalidHandshake as error:
            raise NotABroker(f"{address} is no Onetree broker: {error}") from None
        except TimeoutError:
            message = f"cannot reach {address}: no answer within {timeout:g} s"
            raise Unreachable(message) from None
        except (EOFError, ConnectionClosed):
            raise LinkLost("it was closed during the handshake") from None
        except OSError as error:
            raise Unreachable(f"cannot reach {address}: {error}") from None
        if socket.subprotocol != subprotocol:
            await socket.close()
            raise NotABroker(f"{address} is no Onetree broker: it speaks no {subprotocol}")
        return Link(socket)

    async def send(self, message: bytes | str) -> None:
        """Sends a message, when the socket takes it; `ConnectError` when it is closed."""
        try:
            await self._socket.send(message)
        except ConnectionClosed as closed:
            raise _closed(closed) from None

    async def receive(self) -> bytes | str:
        """The next message; `ConnectError` when there are no more."""
        try:
            return await self._socket.recv()
        except ConnectionClosed as closed:
            raise _closed(closed) from None

    async def close(self) -> None:
        """Ends it in order, or otherwise."""
        try:
            await asyncio.wait_for(self._socket.close(), 2 * CLOSE_TIMEOUT)
        except (TimeoutError, OSError):
            self._socket.transport.abort()


def _closed(closed: ConnectionClosed) -> ConnectError:
    """What a close frame says: a code of the protocol, and when to come back."""
    frame: Close | None = closed.rcvd
    if frame is None:
        if closed.sent is not None and closed.sent.code in (1002, 1007):
            return ProtocolBroken(closed.sent.reason or "what came is no WebSocket")
        return LinkLost("the broker is gone")
    code = BY_CLOSE.get(frame.code)
    if code is None:
        return LinkLost(f"the broker closed it with {frame.code} {frame.reason}".rstrip())
    wait = re.search(r"retry_ms=([0-9]{1,12})", frame.reason)
    message = frame.reason or CODES[code].meaning
    return Ended(code, message, int(wait[1]) / 1000 if wait else None)
