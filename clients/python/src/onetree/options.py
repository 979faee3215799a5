"""The options of a client and of a subscription."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from .given import given, plain, seconds
from .protocol.kinds import flag, number, text, word
from .protocol.wrong import Wrong

Token = str | Callable[[], "str | Awaitable[str]"] | None
"""The token: a text, or a function that gives one. The client calls the function before each
attempt to connect. A function that is not a coroutine function runs in the event loop, which does
nothing else meanwhile. If it has to wait for a token, use a coroutine function."""

VERSION = "0.1.0"
AGENT = f"onetree-python/{VERSION}"

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,31}", re.ASCII)


@dataclass(slots=True)
class Options:
    """The options of a client. Times are in seconds. They are checked when the object is made
    (`Wrong`)."""

    codec: Literal["msgpack", "json"] = "msgpack"
    """The encoding of frames."""
    label: str | None = None
    """What the client's name begins with, for the broker's log: 1 to 31 of `A-Z a-z 0-9 _ -`. 128
    random bits follow the label in any case: if two processes had the same name, one would get the
    answers to the other's writes."""
    token: Token = None
    """The token, which tells the broker who the client is, or a function that gives it."""
    agent: str = AGENT
    """The name of the program, for the broker's log."""
    reconnect: Literal["never", "after-first", "always"] = "after-first"
    """When the client reconnects by itself. `never`: the client ends when its connection is lost.
    `after-first`: after a connection is lost, but the first attempt must succeed. `always`: even if
    there has been no connection yet."""
    request_timeout: float = 30.0
    """How long a request waits for its answer, including the time without a connection. A request
    that must wait for room in the queue first may wait as long again."""
    connect_timeout: float = 10.0
    """How long one attempt to connect may take until the broker's `welcome`, including the time
    that the function of `token` takes."""
    queue_bytes: int = 16 << 20
    """How many bytes of requests may wait for their answers, whether sent or not. Each request
    counts as 512 bytes, plus 128 for each step, condition and path in it, plus its values. Further
    requests wait for room."""
    backoff: tuple[float, float] = (0.1, 20.0)
    """The waits between attempts to connect: a random time up to the first number, then up to twice
    that, and so on up to the second."""

    def __post_init__(self) -> None:
        given("codec", word("msgpack", "json"), self.codec)
        given("label", _label, self.label)
        given("token", _token, self.token)
        given("agent", plain, self.agent)
        given("reconnect", word("never", "after-first", "always"), self.reconnect)
        given("request_timeout", seconds, self.request_timeout)
        given("connect_timeout", seconds, self.connect_timeout)
        given("queue_bytes", number(53), self.queue_bytes)
        given("backoff", _backoff, self.backoff)


def _label(found: Any) -> None:
    if found is not None and not _LABEL.fullmatch(text(found)):
        raise Wrong("bad-field", "this is to be 1 to 31 of A-Z a-z 0-9 _ -")


def _token(found: Any) -> None:
    if isinstance(found, str):
        plain(found)
    elif found is not None and not callable(found):
        raise Wrong("bad-field", "this is to be text, or a function that gives it")


def _backoff(found: Any) -> None:
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise Wrong("bad-field", "this is to be two times: up to the first, up to the second")
    for wait in found:
        seconds(wait)


@dataclass(slots=True)
class SubOptions:
    """The options of a subscription, besides the view."""

    once: bool = False
    """Whether the mirror ends when it is fresh."""
    signals: bool = False
    """Whether signals are delivered."""
    every_ms: int = 0
    """At most one delta in this many milliseconds; 0: each delta as it comes."""

    def __post_init__(self) -> None:
        given("once", flag, self.once)
        given("signals", flag, self.signals)
