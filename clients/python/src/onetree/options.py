"""How a client connects, and how a mirror is kept."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from .given import given, plain, seconds
from .protocol.kinds import flag, number, text, word
from .protocol.wrong import Wrong

Token = str | Callable[[], "str | Awaitable[str]"] | None
"""A text, or a function that gives one, sync or async, asked before each attempt to connect. One
that is not async runs in the event loop, which does nothing else meanwhile: who has to wait for a
token gives a coroutine function."""

VERSION = "0.1.0"
AGENT = f"onetree-python/{VERSION}"

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,31}", re.ASCII)


@dataclass(slots=True)
class Options:
    """How a client connects: as whom, and how patiently. Times are in seconds. Checked when it is
    made (`Wrong`)."""

    codec: Literal["msgpack", "json"] = "msgpack"
    """How frames stand in messages."""
    label: str | None = None
    """What the client's name begins with, for the broker's log: at most 31 of `A-Z a-z 0-9 _ -`.
    128 random bits follow in any case, because a name that another process has used would give
    this one the answers to that one's writes."""
    token: Token = None
    """What shows who the principal is."""
    agent: str = AGENT
    """The program, for the broker's log."""
    reconnect: Literal["never", "after-first", "always"] = "after-first"
    """When to connect again by itself: never; when a connection is lost, but the first one must
    succeed; also while the broker has never been there yet."""
    request_timeout: float = 30.0
    """How long a request waits for its answer, the time without a connection included. Where it has
    to wait for room in the queue before, that may take as long again."""
    connect_timeout: float = 10.0
    """How long one attempt to connect may take until the broker's `welcome`."""
    queue_bytes: int = 16 << 20
    """How many bytes of requests may wait, sent or not, each counted as 512, 128 for each step,
    condition and path in it, and its values. What comes then waits for room."""
    backoff: tuple[float, float] = (0.1, 20.0)
    """The waits between attempts to connect: random, up to the first, then twice that and so on up
    to the second."""

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
    """What is subscribed to, besides the view."""

    once: bool = False
    """Whether it ends when it is fresh."""
    signals: bool = False
    """Whether signals are delivered."""
    every_ms: int = 0
    """At most one delta in so many milliseconds; 0: each as it comes."""

    def __post_init__(self) -> None:
        given("once", flag, self.once)
        given("signals", flag, self.signals)
