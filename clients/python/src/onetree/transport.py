"""The WebSocket: takes messages and gives messages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

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
from .wire import Wire

PATH: Final = "/v1/sync"
"""The path of the protocol, for a URL that has none."""
HTTP: Final = b"HTTP/"
"""How each answer to the handshake begins."""
HEAD: Final = re.compile(rb"HTTP/1\.1 ([0-9]{3}) .*\r\n\r\n", re.DOTALL)
"""The whole head of an answer, with its status."""
RETRY_AFTER: Final = re.compile(rb"\r\nRetry-After:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
"""How long to wait before the next attempt, in the head of an answer."""
CLOSE_TIMEOUT: Final = 1.0
"""How long the orderly end of a WebSocket may take, in seconds."""
SAID: Final = 200
"""How many characters of an HTTP server's text are kept at most."""


def parse_url(url: str) -> str:
    """Returns the complete URL of a broker, `ws://host[:port][/path]`. Raises `BadUrl` if it is
    none."""
    if not isinstance(url, str):
        raise BadUrl(f"a URL is text, not {type(url).__name__}")
    url = url.strip()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadUrl(f"{url}: {error}") from None
    if parts.scheme not in ("ws", "wss"):
        raise BadUrl(f"{url}: the URL of a broker begins with ws:// or wss://")
    if not parts.hostname or port == 0:
        raise BadUrl(f"{url}: no host, or no port that there is")
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        # The host is looked up by this name, which can never work.
        raise BadUrl(f"{url}: there can be no host of that name") from None
    if parts.path in ("", "/"):
        parts = parts._replace(path=PATH)
    return parts._replace(fragment="").geturl()


class Link(asyncio.Protocol):
    """A connection: the library's protocol without its input and output, so that a message costs no
    task and no queue. Whole messages do not go through its parser. What comes is dealt with where
    it is read, which is all the backpressure that is needed."""

    def __init__(
        self,
        url: str,
        subprotocol: str,
        take: Callable[[bytes | str], None],
        heard: Callable[[], object],
    ) -> None:
        wanted = [Subprotocol(subprotocol)]
        # The broker has its own limit for frames. The protocol has no extensions.
        self._protocol = ClientProtocol(parse_uri(url), subprotocols=wanted, max_size=None)
        self._wire = Wire()
        self._take = take
        self._heard = heard
        self._transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        """Done when the handshake is."""
        self.gone: asyncio.Future[ConnectError] = loop.create_future()
        """Done when the connection is over; the result says why."""
        self._writable: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._is_text = False

    @staticmethod
    async def connect(
        url: str,
        subprotocol: str,
        timeout: float,
        take: Callable[[bytes | str], None],
        heard: Callable[[], object] = lambda: None,
    ) -> Link:
        """Connects within `timeout` seconds; raises `ConnectError` if it cannot. `take` gets each
        message; what it raises ends the connection. `heard` is called for everything that comes,
        also for the parts of a message that is not complete yet: the link is alive."""
        parts = urlsplit(url)
        address = parts.netloc
        secure = parts.scheme == "wss"
        loop = asyncio.get_running_loop()
        link: Link | None = None
        answered = False
        try:
            async with asyncio.timeout(timeout):
                link = Link(url, subprotocol, take, heard)
                given = link
                await loop.create_connection(
                    lambda: given,
                    parts.hostname or "",
                    parts.port or (443 if secure else 80),
                    ssl=True if secure else None,
                )
                either: set[asyncio.Future[Any]] = {link.opened, link.gone}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            answered = True
        except TimeoutError:
            silent = Unreachable(f"cannot reach {address}: no answer in time")
            raise (link and _answer(address, link._wire.head)) or silent from None
        except InvalidURI as error:
            raise BadUrl(str(error)) from None
        except OSError as error:
            raise Unreachable(f"cannot reach {address}: {error}") from None
        finally:
            # Also if this is cancelled just as the answer comes: nobody else has the link.
            if link is not None and not answered:
                link._abort()
        refused = link._protocol.handshake_exc
        if link.opened.done() and refused is None:
            if link._protocol.subprotocol != subprotocol:
                link._abort()
                raise NotABroker(f"{address} is no Onetree broker: it speaks no {subprotocol}")
            return link
        link._abort()
        raise _not_open(address, link._wire.head, refused)

    async def send(self, message: bytes | str) -> None:
        """Sends a message when the socket takes it. Raises `ConnectError` if it is closed."""
        if self._writable is not None:
            await self._writable
        if self.gone.done() or self._protocol.state is not State.OPEN:
            raise LinkLost("the connection is closed")
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        self._flush()

    async def close(self) -> None:
        """Ends the connection, in order if possible."""
        try:
            if not self.gone.done():
                if self._protocol.state is State.OPEN:
                    self._protocol.send_close(1000)
                    self._flush()
                await asyncio.wait({self.gone}, timeout=CLOSE_TIMEOUT)
        finally:
            self._abort()

    # For the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        protocol = self._protocol
        self._heard()
        if protocol.state is State.CONNECTING:
            data = self._wire.answer(data)
            size = self._wire.handshake(data)
            self._other(data[:size])
            data = data[size:]
            if protocol.state is State.CONNECTING:
                # The head goes on, or the answer is another one and has a body.
                self._other(data)
                return
        for kind, piece in self._wire.cut(data):
            if kind == "other":
                self._other(piece)
            elif protocol.close_rcvd is None and protocol.parser_exc is None:
                # After the end, and after an error, nothing counts.
                self._message(piece, kind == "text")

    def _other(self, data: bytes) -> None:
        if data:
            self._protocol.receive_data(data)
            self._handle()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._handle()

    def connection_lost(self, error: Exception | None) -> None:
        if self._protocol.state is not State.CLOSED:
            self._protocol.receive_eof()
        self.resume_writing()
        self._end(_closed(self._protocol.close_rcvd, self._protocol.close_sent))

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            # Who waited may have been cancelled, and the future with it.
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    def _handle(self) -> None:
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):
                if not self.opened.done():
                    self.opened.set_result(None)
                continue
            code = event.opcode
            if code is Opcode.TEXT or code is Opcode.BINARY:
                self._is_text = code is Opcode.TEXT
            elif code is not Opcode.CONT:
                continue
            data: bytes = bytes(event.data)
            if not event.fin:
                self._parts.append(data)
                continue
            if self._parts:
                data = b"".join([*self._parts, data])
                self._parts.clear()
            self._message(data, self._is_text)
        self._flush()
        # Neither side waits longer than this for the other to close.
        if self._protocol.close_expected() and self._transport is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(CLOSE_TIMEOUT, self._abort)

    def _message(self, data: bytes, is_text: bool) -> None:
        """Takes a complete message."""
        if self.gone.done():
            return
        try:
            self._take(data.decode() if is_text else data)
        except ConnectError as error:
            self._end(error)
        except Exception as fault:
            # Text that is not UTF-8, or a fault of this program: it is reported, and the client
            # tries again.
            lost = LinkLost(f"{type(fault).__name__}: {fault}")
            lost.__cause__ = fault
            self._end(lost)

    def _flush(self) -> None:
        transport = self._transport
        if transport is None:
            return
        for data in self._protocol.data_to_send():
            # A transport that is closing would print a warning for each write.
            if data and not transport.is_closing():
                transport.write(data)
            else:
                transport.close()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _end(self, error: ConnectError) -> None:
        if not self.gone.done():
            self.gone.set_result(error)


def _not_open(address: str, head: bytes, error: Exception | None) -> ConnectError:
    """Returns why the handshake failed. `head` is what came of the answer's head."""
    if not HTTP.startswith(head[: len(HTTP)]):
        return NotABroker(f"{address} is no Onetree broker: it speaks no HTTP")
    cause = error and (error.__cause__ or error)
    body = bytes(cause.response.body or b"") if isinstance(cause, InvalidStatus) else b""
    answer = _answer(address, head, body)
    if answer is not None:
        return answer
    if cause is None or isinstance(cause, EOFError):
        return LinkLost("it was closed during the handshake")
    return NotABroker(f"{address} is no Onetree broker: {error}")


def _answer(address: str, head: bytes, body: bytes = b"") -> HttpAnswer | None:
    """Returns the error for the answer of an HTTP server that does not accept the connection.
    `None` if the head is not complete, or the server accepts. Only the head counts, whatever
    becomes of the body."""
    answer = HEAD.match(head)
    if answer is None or answer[1] == b"101":
        return None
    said = body.decode(errors="replace").strip().split("\n")[0][:SAID]
    after = RETRY_AFTER.search(head)
    return HttpAnswer(address, int(answer[1]), said, float(after[1]) if after else None)


def _closed(frame: Close | None, sent: Close | None) -> ConnectError:
    """Returns what a close frame says: a code of the protocol, and how long to wait."""
    if frame is None:
        if sent is not None and sent.code in (1002, 1007):
            return ProtocolBroken(sent.reason or "what came is no WebSocket")
        return LinkLost("the broker is gone")
    code = BY_CLOSE.get(frame.code)
    if code is None:
        return LinkLost(f"the broker closed it with {frame.code} {frame.reason}".rstrip())
    wait = re.search(r"retry_ms=([0-9]{1,12})", frame.reason)
    message = frame.reason or CODES[code].meaning
    return Ended(code, message, int(wait[1]) / 1000 if wait else None)
