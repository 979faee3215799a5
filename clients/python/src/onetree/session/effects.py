"""What a session wants done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..errors import OnetreeError
from ..event import Event, Status


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection, then call `handle_open` or `handle_closed`; `ask`: with the token of the
    hook, when there is one."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection; nothing is to be told about it."""


class Reply(NamedTuple):
    """A request's answer."""

    ticket: int
    reply: object
    error: OnetreeError | None


class Release(NamedTuple):
    """A request is forgotten: comes once for each, behind its `Reply`."""

    ticket: int


class MirrorWent(NamedTuple):
    """A mirror went on."""

    sub: int
    event: Event | None
    """What happened; `None`: only its revision moved, or what has come of its refresh."""


class StatusIs(NamedTuple):
    """How the client stands now."""

    status: Status


Effect = Connect | Disconnect | Reply | Release | MirrorWent | StatusIs
