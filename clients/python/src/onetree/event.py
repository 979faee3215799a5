"""What a client tells the application: events of mirrors, and the state of the connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from .errors import ConnectError, OnetreeError
from .protocol.digests import Digest
from .protocol.frames import Entry, Limits
from .protocol.values import Value


class Difference(NamedTuple):
    """A change of one path, with the entries before and after it."""

    path: str
    """The path."""
    rev: int
    """The revision of the new entry. If there is none, a revision at which the entry was gone."""
    old: Entry | None
    """The entry before the change; `None` if there was none."""
    new: Entry | None
    """The entry after the change; `None` if there is none."""


@dataclass(frozen=True, slots=True)
class Refreshing:
    """A refresh of the mirror has begun. The mirror shows what it had until `Fresh`."""

    kind: Literal["full", "delta", "repair"]
    """How the mirror is refreshed: from nothing, or by what has changed."""
    why: str
    """Why it is refreshed in this way."""
    name: ClassVar[Literal["refreshing"]] = "refreshing"


@dataclass(frozen=True, slots=True)
class Fresh:
    """The mirror is whole: it is its view of the tree at `rev`."""

    rev: int
    """The revision."""
    changes: Sequence[Difference]
    """What differs from what the mirror showed before, each path once."""
    gaps: Sequence[str] = ()
    """The logs that have a gap: entries were trimmed which the reader never had."""
    trimmed: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """For `Changes`: for each path that a trim removed, the log that was trimmed."""
    name: ClassVar[Literal["fresh"]] = "fresh"


@dataclass(frozen=True, slots=True)
class Delta:
    """The mirror went from one revision to a later one."""

    since: int
    """The revision before."""
    rev: int
    """The revision now."""
    changes: Sequence[Difference]
    """What has changed, as far as it is in the view, each path once."""
    gaps: Sequence[str] = ()
    """The logs that have a gap: entries were trimmed which the reader never had."""
    trimmed: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """For `Changes`: for each path that a trim removed, the log that was trimmed."""
    name: ClassVar[Literal["delta"]] = "delta"


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal: a message that is never stored."""

    path: str
    """The path of the signal."""
    value: Value
    """The value of the signal."""
    name: ClassVar[Literal["signal"]] = "signal"


@dataclass(frozen=True, slots=True)
class Synced:
    """Nothing has changed in the view up to `rev`, and the mirror is at `rev` now."""

    rev: int
    """The revision."""
    verified: bool
    """Whether the broker sent a digest and it is equal to the mirror's."""
    name: ClassVar[Literal["synced"]] = "synced"


@dataclass(frozen=True, slots=True)
class Corrupt:
    """The mirror's digest differs from the broker's. The mirror is now refreshed from nothing."""

    expected: Digest
    """The broker's digest."""
    found: Digest
    """The mirror's."""
    name: ClassVar[Literal["corrupt"]] = "corrupt"


@dataclass(frozen=True, slots=True)
class Broken:
    """The broker sent frames in an order that the protocol does not allow. The mirror is now
    refreshed from nothing."""

    why: str
    """The rule that was broken."""
    name: ClassVar[Literal["broken"]] = "broken"


@dataclass(frozen=True, slots=True)
class Circling:
    """The mirror was started from nothing several times, which did not help. The mirror waits
    before it is started again."""

    retry_in: float
    """How long the mirror waits, in seconds."""
    name: ClassVar[Literal["circling"]] = "circling"


@dataclass(frozen=True, slots=True)
class Offline:
    """There is no connection. As an event: the mirror stays as it is. As a status: the client tries
    again."""

    error: ConnectError
    """Why there is no connection."""
    retry_in: float
    """How long until the next attempt to connect, in seconds."""
    name: ClassVar[Literal["offline"]] = "offline"


@dataclass(frozen=True, slots=True)
class Online:
    """There is a connection. As an event: `Refreshing` follows."""

    resumed: bool
    """Whether this is the same session as before, with its ephemeral entries."""
    epoch: str
    """The epoch: which history of the tree the broker has."""
    rev: int
    """The broker's revision at the time of the `welcome`."""
    heartbeat: float
    """The broker sends something at least this often, in seconds."""
    limits: Limits
    """The broker's limits for this connection."""
    name: ClassVar[Literal["online"]] = "online"


@dataclass(frozen=True, slots=True)
class Ended:
    """The mirror, or the client, has ended. This is the last event. The mirror stays as it is."""

    error: OnetreeError | None
    """Why; `None` if it ended as it should: the client or the mirror was closed, or a mirror of
    mode `once` is fresh."""
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
    """The result of `Mirror.verify`."""

    verdict: Literal["same", "differs", "unknown"]
    """`same`: the mirror is its view of the tree. `differs`: it is not, and is now refreshed from
    nothing. `unknown`: nothing could be compared. There is no connection, the mirror has ended or
    is not fresh, its view has a `tail`, a change waits for its interval (`every`), the mirror moved
    on before the answer came, or the broker could not compute the digest."""
    rev: int | None = None
    """With `same`: the revision."""
    expected: Digest | None = None
    """With `differs`: the broker's digest."""
    found: Digest | None = None
    """With `differs`: the mirror's digest."""
