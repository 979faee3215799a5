"""The frames of both sides, as the tables of the protocol have them.

Each class is one frame. The tables `CLIENT_OPS` and `SERVER_OPS` say, in the order of MessagePack,
how its fields are read and written. The codecs follow these tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from .cookies import Cookie
from .digests import Digest
from .values import Value
from .views import Depth, View
from .wrong import Wrong


class Entry(NamedTuple):
    """What the tree has at one path. In a delta or a refresh: what the entry is now."""

    path: str
    """The path."""
    rev: int
    """The revision of the commit that put the entry."""
    value: Value | None
    """The value; `None` if the view has no values."""


class Gone(NamedTuple):
    """A change that removes entries."""

    path: str
    """The path."""
    rev: int
    """The revision of the commit."""
    act: Literal["delete", "drop", "trim"]
    """`delete` removes the entry, `drop` everything at and under the path, and `trim` the log's
    entries up to `to`."""
    to: str = ""
    """The last log key that is trimmed."""
    gap: bool = False
    """Whether the trim removed entries that this mirror never had."""


Change = Entry | Gone


def entry(change: Change) -> Entry:
    """Returns the change as an entry. In the answer to a read it must be one."""
    if not isinstance(change, Entry):
        raise Wrong("bad-frame", "what is found are entries")
    return change


class Limits(NamedTuple):
    """The broker's limits for a connection."""

    frame_bytes: int
    value_bytes: int
    subscriptions: int
    in_flight: int


class Condition(NamedTuple):
    """A condition of a transaction: the entry at `path` is at `rev` (0: there is none). With
    `tree`: nothing at or under `path` has changed after `rev`."""

    path: str
    rev: int
    tree: bool = False


class Step(NamedTuple):
    """A step of a transaction."""

    do: Literal["put", "append", "delete", "drop", "trim"]
    path: str
    value: Value | None = None
    ttl_ms: int | None = None
    ephemeral: bool = False
    to: str = ""


# Frames of a client.


@dataclass(slots=True)
class Sub:
    id: int
    sub: int
    path: str
    depth: Depth = "tree"
    match: Sequence[str] = ()
    tail: int | None = None
    values: bool = True
    cookie: Cookie | None = None
    mode: Literal["stay", "once"] = "stay"
    signals: bool = False
    every_ms: int = 0
    copy: bool = False

    @property
    def view(self) -> View:
        """The view of the subscription."""
        return View(self.path, self.depth, tuple(self.match), self.tail, self.values)


@dataclass(slots=True)
class Hello:
    id: int
    client: str | None = None
    session: str | None = None
    token: str | None = None
    agent: str | None = None
    seen: int | None = None
    subs: Sequence[Sub] = ()
    since: int | None = None


@dataclass(slots=True)
class Auth:
    id: int
    token: str


@dataclass(slots=True)
class Unsub:
    id: int
    sub: int


@dataclass(slots=True)
class Resync:
    id: int
    sub: int


@dataclass(slots=True)
class SyncRequest:
    id: int
    all: bool = False


@dataclass(slots=True)
class Put:
    id: int
    path: str
    value: Value
    seq: int | None = None
    if_rev: int | None = None
    ttl_ms: int | None = None
    ephemeral: bool = False


@dataclass(slots=True)
class Append:
    id: int
    path: str
    value: Value
    seq: int | None = None
    ttl_ms: int | None = None
    ephemeral: bool = False


@dataclass(slots=True)
class Delete:
    id: int
    path: str
    seq: int | None = None
    if_rev: int | None = None


@dataclass(slots=True)
class Drop:
    id: int
    path: str
    seq: int | None = None
    if_rev: int | None = None


@dataclass(slots=True)
class Trim:
    id: int
    path: str
    to: str
    seq: int | None = None


@dataclass(slots=True)
class SendSignal:
    id: int | None
    path: str
    value: Value


@dataclass(slots=True)
class Txn:
    id: int
    seq: int | None = None
    conditions: Sequence[Condition] = ()
    steps: Sequence[Step] = ()


@dataclass(slots=True)
class Get:
    id: int
    paths: Sequence[str]


@dataclass(slots=True)
class List:
    id: int
    path: str
    depth: Depth = "tree"
    after: str | None = None
    before: str | None = None
    limit: int = 0
    reverse: bool = False
    values: bool = True


@dataclass(slots=True)
class Bye:
    id: int


ClientFrame = (
    Hello
    | Auth
    | Sub
    | Unsub
    | Resync
    | SyncRequest
    | Put
    | Append
    | Delete
    | Drop
    | Trim
    | SendSignal
    | Txn
    | Get
    | List
    | Bye
)
Request = Auth | Put | Append | Delete | Drop | Trim | SendSignal | Txn | Get | List
Write = Put | Append | Delete | Drop | Trim | Txn
WRITES = (Put, Append, Delete, Drop, Trim, Txn)


# Frames of a broker.


@dataclass(slots=True)
class Welcome:
    id: int
    session: str
    epoch: str
    rev: int
    heartbeat_ms: int
    digest_key: str
    limits: Limits
    resumed: bool = False


@dataclass(slots=True)
class Ok:
    id: int


@dataclass(slots=True)
class Error:
    code: str
    message: str
    id: int | None = None
    path: str | None = None
    rev: int | None = None
    sub: int | None = None
    retry_ms: int | None = None


@dataclass(slots=True)
class Refresh:
    sub: int
    kind: Literal["full", "delta", "repair"]
    why: str
    from_rev: int | None = None


@dataclass(slots=True)
class Entries:
    sub: int
    changes: Sequence[Change]


@dataclass(slots=True)
class Fresh:
    sub: int
    rev: int
    view: str
    digest: Digest | None = None


@dataclass(slots=True)
class Delta:
    rev: int
    since: int | None = None
    sub: int | None = None
    part: bool = False
    changes: Sequence[Change] = ()


@dataclass(slots=True)
class Signal:
    path: str
    value: Value


@dataclass(slots=True)
class Sync:
    rev: int
    digests: Mapping[int, Digest | None] = field(default_factory=dict)
    id: int | None = None


@dataclass(slots=True)
class Done:
    """The answer to a write: it was committed."""

    id: int
    rev: int
    """The revision of the commit, or the present revision if there was nothing to do."""
    durable: bool = False
    """Whether the commit survives power loss."""
    paths: Sequence[str] = ()
    """The paths that the broker assigned, one for each append, in the order of the appends."""


@dataclass(slots=True)
class Found:
    """The answer to a read."""

    id: int
    rev: int
    """The revision at which all entries were read."""
    entries: Sequence[Entry] = ()
    more: bool = False
    """Whether there are more entries after the last one."""


@dataclass(slots=True)
class Goodbye:
    code: str
    message: str
    retry_ms: int | None = None


ServerFrame = (
    Welcome
    | Ok
    | Error
    | Refresh
    | Entries
    | Fresh
    | Delta
    | Signal
    | Sync
    | Done
    | Found
    | Goodbye
)


class Field(NamedTuple):
    """A field of a frame."""

    name: str
    """The name in JSON. Empty for a value, which is spread over several fields."""
    attribute: str
    """The name in Python."""
    kind: str
    """How the field is read and written: a key of the codecs' tables."""
    must: bool
    """Whether the field must be there."""
    default: Any
    """The value of the field if it is absent."""


class Op(NamedTuple):
    """A kind of frame."""

    name: str
    number: int
    make: type[Any]
    fields: tuple[Field, ...]


# What an optional field of each kind is if it is absent; `None` for the other kinds.
_ABSENT: dict[str, Any] = {
    "bool": False,
    "yes": True,
    "count": 0,
    "depth": "tree",
    "mode": "stay",
    **dict.fromkeys(("subs", "patterns", "conditions", "steps", "paths"), ()),
    **dict.fromkeys(("changes", "entries"), ()),
}


def _op(name: str, number: int, make: type[Any], fields: str) -> Op:
    """Makes an `Op`. `fields` has `name:kind` for each field, with `?` after a kind that may be
    absent, and `=attribute` if the name in Python differs."""
    made = []
    for spec in fields.split():
        spec, _, attribute = spec.partition("=")
        name_, _, kind = spec.partition(":")
        must = not kind.endswith("?")
        kind = kind.rstrip("?")
        default = None if must else _ABSENT.get(kind)
        made.append(Field(name_, attribute or name_ or "value", kind, must, default))
    return Op(name, number, make, tuple(made))


SUB_FIELDS = (
    "id:u32 sub:u32 path:path depth:depth? match:patterns? tail:u32? values:yes?"
    " cookie:cookie? mode:mode? signals:bool? every_ms:count? copy:bool?"
)
CLIENT_OPS = (
    _op(
        "hello", 1, Hello,
        "id:u32 client:name? session:name? token:text? agent:text? seen:rev? subs:subs? since:rev?",
    ),
    _op("auth", 2, Auth, "id:u32 token:text"),
    _op("sub", 3, Sub, SUB_FIELDS),
    _op("unsub", 4, Unsub, "id:u32 sub:u32"),
    _op("resync", 5, Resync, "id:u32 sub:u32"),
    _op("sync", 6, SyncRequest, "id:u32 all:bool?"),
    _op(
        "put", 7, Put,
        "id:u32 seq:u53? path:path :value if:if?=if_rev ttl_ms:millis? ephemeral:bool?",
    ),
    _op("append", 8, Append, "id:u32 seq:u53? path:path :value ttl_ms:millis? ephemeral:bool?"),
    _op("delete", 9, Delete, "id:u32 seq:u53? path:path if:if?=if_rev"),
    _op("drop", 10, Drop, "id:u32 seq:u53? path:path if:if?=if_rev"),
    _op("trim", 11, Trim, "id:u32 seq:u53? path:path to:log_key"),
    _op("signal", 12, SendSignal, "id:u32? path:path :value"),
    _op("txn", 13, Txn, "id:u32 seq:u53? if:conditions?=conditions do:steps?=steps"),
    _op("get", 14, Get, "id:u32 paths:paths"),
    _op(
        "list", 15, List,
        "id:u32 path:path depth:depth? after:path? before:path? limit:count? reverse:bool?"
        " values:yes?",
    ),
    _op("bye", 16, Bye, "id:u32"),
)  # fmt: skip
SERVER_OPS = (
    _op(
        "welcome", 1, Welcome,
        "id:u32 session:name resumed:bool? epoch:epoch rev:rev heartbeat_ms:u32 digest_key:epoch"
        " limits:limits",
    ),
    _op("ok", 2, Ok, "id:u32"),
    _op(
        "error", 3, Error,
        "id:u32? code:code message:text path:path? rev:rev? sub:u32? retry_ms:u32?",
    ),
    _op("refresh", 4, Refresh, "sub:u32 kind:refresh why:why from:rev?=from_rev"),
    _op("entries", 5, Entries, "sub:u32 changes:changes"),
    _op("fresh", 6, Fresh, "sub:u32 rev:rev view:fingerprint digest:digest?"),
    _op("delta", 7, Delta, "rev:rev since:rev? sub:u32? part:bool? changes:changes?"),
    _op("signal", 8, Signal, "path:path :value"),
    _op("sync", 9, Sync, "id:u32? rev:rev digests:digests"),
    _op("done", 10, Done, "id:u32 rev:rev durable:flag paths:paths?"),
    _op("found", 11, Found, "id:u32 rev:rev entries:entries? more:bool?"),
    _op("bye", 12, Goodbye, "code:code retry_ms:u32? message:text"),
)  # fmt: skip


def answer(request: Request) -> type[Done | Found | Ok]:
    """Returns the class of a request's answer, unless that is an error."""
    if isinstance(request, WRITES):
        return Done
    return Found if isinstance(request, Get | List) else Ok


OP_OF: dict[type[Any], Op] = {op.make: op for op in (*CLIENT_OPS, *SERVER_OPS)}
"""The operation of each class of frame."""
