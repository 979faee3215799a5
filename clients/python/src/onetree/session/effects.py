"""What a session asks its driver to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..errors import OnetreeError
from ..event import Event, Status


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection, then call `handle_open` or `handle_closed`."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection. The session needs no report about that."""


class Reply(NamedTuple):
    """Give a request its answer."""

    ticket: int
    reply: object
    error: OnetreeError | None


class Release(NamedTuple):
    """Forget a request. Comes once for each request, after its `Reply`."""

    ticket: int


class MirrorWent(NamedTuple):
    """A mirror has an event, or moved to another revision."""

    sub: int
    event: Event | None
    """The event; `None`: only the revision moved, or a part of a refresh came."""


class StatusIs(NamedTuple):
    """The state of the connection has changed to this."""

    status: Status


Effect = Connect | Disconnect | Reply | Release | MirrorWent | StatusIs
