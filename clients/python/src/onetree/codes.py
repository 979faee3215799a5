"""The codes of the protocol: the table of `spec/codes.json`. A test checks that both are equal."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Action = Literal["retry", "resync", "reauth", "fix", "stop"]
"""What to do after a code. `retry`: the same again, later. `resync`: start the mirror from nothing.
`reauth`: get another token. `fix`: correct the request. `stop`: nothing more."""


class Code(NamedTuple):
    """What the protocol says about a code."""

    action: Action
    """What to do next."""
    close: int | None
    """The WebSocket close code, if the connection is closed with this code."""
    reconnect: bool | None
    """Whether a client that was closed with this code reconnects by itself."""
    meaning: str
    """An explanation for people."""


CODES: Final[dict[str, Code]] = {
    "bad-frame": Code(
        "fix",
        4400,
        False,
        "The frame is not one: not JSON or MessagePack, a duplicate key, a lone "
        "surrogate, a field of the wrong type.",
    ),
    "unknown-op": Code(
        "fix",
        None,
        None,
        "The frame's `op` is not known.",
    ),
    "frame-too-large": Code(
        "fix",
        4413,
        False,
        "The message is larger than `limits.frame_bytes`.",
    ),
    "hello-expected": Code(
        "fix",
        4401,
        False,
        "The first frame was not `hello`, or `hello` came twice.",
    ),
    "hello-timeout": Code(
        "retry",
        4408,
        True,
        "No `hello` came in time after the connection was opened.",
    ),
    "silent": Code(
        "retry",
        4409,
        True,
        "Nothing came for two intervals, not even an answer to a ping.",
    ),
    "bad-path": Code(
        "fix",
        None,
        None,
        "The path breaks a rule of paths.",
    ),
    "bad-pattern": Code(
        "fix",
        None,
        None,
        "A pattern of the subscription breaks a rule of patterns.",
    ),
    "bad-field": Code(
        "fix",
        None,
        None,
        "A field has a value that it cannot have.",
    ),
    "bad-value": Code(
        "fix",
        None,
        None,
        "The value is not what its media type says.",
    ),
    "value-too-large": Code(
        "fix",
        None,
        None,
        "The value is larger than `limits.value_bytes`.",
    ),
    "conflict": Code(
        "retry",
        None,
        None,
        "A precondition does not hold; `path` and `rev` say which and what is there.",
    ),
    "log-key": Code(
        "fix",
        None,
        None,
        "The path has the form of a log key that the broker has not given out.",
    ),
    "too-many-changes": Code(
        "fix",
        None,
        None,
        "The transaction has more changes or conditions than a commit may have.",
    ),
    "too-many-subscriptions": Code(
        "fix",
        None,
        None,
        "The connection has as many subscriptions as `limits.subscriptions` allows, or as large"
        " ones as the broker does.",
    ),
    "sub-in-use": Code(
        "fix",
        None,
        None,
        "The subscription's number is in use on this connection.",
    ),
    "no-such-sub": Code(
        "fix",
        None,
        None,
        "The connection has no subscription of that number.",
    ),
    "too-many-in-flight": Code(
        "retry",
        None,
        None,
        "More requests wait for their reply than `limits.in_flight` allows.",
    ),
    "too-many-connections": Code(
        "retry",
        4429,
        True,
        "The broker has as many connections as it allows.",
    ),
    "too-many-sessions": Code(
        "retry",
        4430,
        True,
        "The broker keeps as many sessions as it allows.",
    ),
    "tree-full": Code(
        "retry",
        None,
        None,
        "The tree holds as many entries or bytes as the broker allows.",
    ),
    "outcome-unknown": Code(
        "stop",
        None,
        None,
        "The write was accepted before, but its answer is no longer remembered; it is not"
        " executed again.",
    ),
    "seq-gap": Code(
        "fix",
        None,
        None,
        "The write's `seq` skips one, or comes without a `client`.",
    ),
    "resync-required": Code(
        "resync",
        None,
        None,
        "The subscription cannot be served from where it stands.",
    ),
    "unsupported": Code(
        "stop",
        None,
        None,
        "The request is understood and not offered by this broker.",
    ),
    "unauthorized": Code(
        "reauth",
        4403,
        False,
        "The token is missing, wrong or expired.",
    ),
    "unavailable": Code(
        "retry",
        None,
        None,
        "The write could not be stored and did not happen.",
    ),
    "read-only": Code(
        "retry",
        None,
        None,
        "The broker takes no writes for now, because its disk is full or fails.",
    ),
    "session-taken": Code(
        "stop",
        4410,
        False,
        "Another connection has taken over the session.",
    ),
    "shutting-down": Code(
        "retry",
        4503,
        True,
        "The broker shuts down; come back after `retry_ms`.",
    ),
    "internal": Code(
        "retry",
        4500,
        True,
        "A fault of the broker.",
    ),
}
"""All codes, by their words. The table is closed."""

BY_CLOSE: Final[dict[int, str]] = {
    code.close: word for word, code in CODES.items() if code.close is not None
}
"""The word of a close code."""
