"""What a client tells the application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from .errors import ConnectError, OnetreeError
from .protocol.digests import Digest
from .protocol.frames import Entry, Limits
from .protocol.values import Value


class Difference(NamedTuple):
    """What an event did to one path. (A change of the protocol is what a commit did there.)"""

    path: str
    """Where."""
    rev: int
    """The commit that did it, or, where the mirror was refreshed, at the latest."""
    old: Entry | None
    """What was there; `None`: nothing."""
    new: Entry | None
    """What is there now; `None`: nothing."""


@dataclass(frozen=True, slots=True)
class Refreshing:
    """The mirror is being brought to the present; it shows what it had until `Fresh`."""

    kind: Literal["full", "delta", "repair"]
    """The way that is taken."""
    why: str
    """Why this way."""
    name: ClassVar[Literal["refreshing"]] = "refreshing"


@dataclass(frozen=True, slots=True)
class Fresh:
    """The mirror is whole: it is its view of the tree at `rev`."""

    rev: int
    """The revision."""
    changes: Sequence[Difference]
    """What differs from what the mirror was before, each path once."""
    gaps: Sequence[str] = ()
    """Logs of which entries are gone that the reader never had."""
    trimmed: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """For `Changes`: of each path that a trim took away, the log that was trimmed."""
    name: ClassVar[Literal["fresh"]] = "fresh"


@dataclass(frozen=True, slots=True)
class Delta:
    """The mirror went from one revision to a later one."""

    since: int
    """The revision before."""
    rev: int
    """The revision now."""
    changes: Sequence[Difference]
    """What is different, as far as it lies in the view, each path once."""
    gaps: Sequence[str] = ()
    """Logs of which entries are gone that the reader never had."""
    trimmed: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """For `Changes`: of each path that a trim took away, the log that was trimmed."""
    name: ClassVar[Literal["delta"]] = "delta"


@dataclass(frozen=True, slots=True)
class Signal:
    """A message that is never stored."""

    path: str
    """Where."""
    value: Value
    """What."""
    name: ClassVar[Literal["signal"]] = "signal"


@dataclass(frozen=True, slots=True)
class Synced:
    """Nothing changed up to `rev`, and the mirror is there now."""

    rev: int
    """The revision."""
    verified: bool
    """Whether the broker's digest was there to compare with, and is the mirror's."""
    name: ClassVar[Literal["synced"]] = "synced"


@dataclass(frozen=True, slots=True)
class Corrupt:
    """The mirror was not what it should be; it is now refreshed from nothing."""

    expected: Digest
    """The broker's digest."""
    found: Digest
    """The mirror's."""
    name: ClassVar[Literal["corrupt"]] = "corrupt"


@dataclass(frozen=True, slots=True)
class Broken:
    """The broker sent what no right order of frames contains; the mirror is now refreshed from
    nothing."""

    why: str
    """The rule that was broken."""
    name: ClassVar[Literal["broken"]] = "broken"


@dataclass(frozen=True, slots=True)
class Circling:
    """Starting from nothing again and again did not help: the mirror waits before the next time."""

    retry_in: float
    """How long, seconds."""
    name: ClassVar[Literal["circling"]] = "circling"


@dataclass(frozen=True, slots=True)
class Offline:
    """There is no connection: the mirror stays what it was. As a status: there is none for now."""

    error: ConnectError
    """Why."""
    retry_in: float
    """When the next attempt is made, seconds."""
    name: ClassVar[Literal["offline"]] = "offline"


@dataclass(frozen=True, slots=True)
class Online:
    """There is a connection; `Refreshing` follows. As a status: there is one."""

    resumed: bool
    """Whether the session is the one of before, with its ephemeral entries."""
    epoch: str
    """The history."""
    rev: int
    """The revision that was the present then."""
    heartbeat: float
    """How often the broker says something at least, seconds."""
    limits: Limits
    """What the connection may do."""
    name: ClassVar[Literal["online"]] = "online"


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event: the mirror, or the client, stays what it was, for ever."""

    error: OnetreeError | None
    """Why; `None` when it was to end: the client was closed, or a mirror of mode `once` is
    fresh."""
    name: ClassVar[Literal["ended"]] = "ended"


Event = (
    Refreshing
    | Fresh
    | Delta
    | Signal
    | Synced
    | Corrupt
    | Broken
    | Circling
    | Offline
    | Online
    | Ended
)


@dataclass(frozen=True, slots=True)
class Connecting:
    """A status: there has been no connection yet."""

    name: ClassVar[Literal["connecting"]] = "connecting"


Status = Connecting | Online | Offline | Ended


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of comparing a mirror with the tree."""

    verdict: Literal["same", "differs", "unknown"]
    """It is its view of the tree; it is not, and is now refreshed from nothing; there was nothing
    to compare: the view has a `tail`, or the mirror was not fresh, or between two intervals, or had
    gone on before the answer was there."""
    rev: int | None = None
    """Where it is the `same`."""
    expected: Digest | None = None
    """Where it `differs`: the broker's digest."""
    found: Digest | None = None
    """Where it `differs`: the mirror's."""
