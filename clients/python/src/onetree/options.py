"""How a client connects, and how a mirror is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

Token = str | Callable[[], "str | Awaitable[str]"] | None
"""A text, or a function that gives one, sync or async, asked before each attempt to connect."""

VERSION = "0.1.0"
AGENT = f"onetree-python/{VERSION}"


@dataclass(slots=True)
class Options:
    """How a client connects: as whom, and how patiently. Times are in seconds."""

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
    """How long a request waits for its answer, the time without a connection included."""
    connect_timeout: float = 10.0
    """How long one attempt to connect may take until the broker's `welcome`."""
    queue_bytes: int = 16 << 20
    """How many bytes of requests may wait, sent or not, each counted as 512 and its values. What
    comes then waits for room."""
    backoff: tuple[float, float] = (0.1, 20.0)
    """The waits between attempts to connect: random, up to the first, then twice that and so on up
    to the second."""


@dataclass(slots=True)
class SubOptions:
    """What is subscribed to, besides the view."""

    once: bool = False
    """Whether it ends when it is fresh."""
    signals: bool = False
    """Whether signals are delivered."""
    every_ms: int = 0
    """At most one delta in so many milliseconds; 0: each as it comes."""
