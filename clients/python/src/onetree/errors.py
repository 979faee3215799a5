"""The errors of a client. Each has an `action`, which says what to do next, and the protocol's
`code`, if it has one."""

from __future__ import annotations

from typing import Final

from .codes import CODES, Action

LONGEST: Final = 86_400.0
"""The longest wait that the client accepts, in seconds: a day."""


def _heeded(wait: float | None) -> float | None:
    return None if wait is None else min(wait, LONGEST)


class OnetreeError(Exception):
    """Anything that this package raises."""

    code: str | None = None
    """The code of the protocol, if the error has one."""
    action: Action = "stop"
    """What to do next."""

    @property
    def word(self) -> str:
        """The word of the error: its code, or a word of the client's own."""
        return self.code or self._word

    @property
    def message(self) -> str:
        """An explanation for people, without the code."""
        return str(self).removeprefix(f"{self.code}: ")

    @property
    def is_conflict(self) -> bool:
        """Whether a condition did not hold. `path` of `Refused` says which entry, and `rev` which
        revision the broker has."""
        return self.code == "conflict"

    _word = "ended"


class Refused(OnetreeError):
    """The request was refused and did not happen: by the broker, or by this client if it knows what
    the broker would answer. The code says what to do next. But with `outcome-unknown` the request
    may have happened, once."""

    def __init__(
        self,
        code: str,
        message: str,
        path: str | None = None,
        rev: int | None = None,
        retry_in: float | None = None,
    ) -> None:
        there = "" if rev is None else f" is at revision {rev}"
        where = "" if path is None or path in message else f" ({path}{there})"
        super().__init__(f"{code}: {message}{where}")
        self.code = code
        self.action = CODES[code].action
        self.path = path
        """The path that the refusal is about."""
        self.rev = rev
        """The revision that the broker has, instead of the expected one."""
        self.retry_in = _heeded(retry_in)
        """How long to wait before the next attempt, in seconds, if the broker said so; at most a
        day."""


class Timeout(OnetreeError):
    """No answer came in time. A write that was sent must not be requested again: the client itself
    sends it until it is answered. A read may be requested again."""

    _word = "timeout"

    def __init__(self, after: float, sent: bool | None, again: bool = False) -> None:
        """`again`: whether it may be requested again although it was sent."""
        fate = {
            None: "",
            True: "" if again else "; it may still happen, once",
            False: "; it was never sent",
        }
        super().__init__(f"no answer within {after:g} s{fate[sent]}")
        self.after = after
        """How long the client waited, in seconds."""
        self.sent = sent
        """Whether the request was sent. A write that was sent may still happen, once; one that was
        not sent never happens. `None` for a wait that is no request."""
        self.action = "stop" if sent and not again else "retry"


class Lost(OnetreeError):
    """The connection was lost before the answer to a signal came. A signal is not sent again."""

    _word = "lost"
    action: Action = "retry"

    def __init__(self) -> None:
        super().__init__("the connection was lost; the signal may or may not have been delivered")


class QueueFull(OnetreeError):
    """There is no room in the queue (`queue_bytes`), and the request was not to wait for room."""

    _word = "queue-full"
    action: Action = "retry"

    def __init__(self) -> None:
        super().__init__("more requests are waiting than the queue has room for")


class Closed(OnetreeError):
    """The client, or the mirror, has ended."""

    def __init__(
        self,
        why: ConnectError | None = None,
        sent: bool | None = None,
        again: bool = False,
        who: str = "client",
    ) -> None:
        """`again`: whether it may be requested again although it was sent."""
        what = f"the {who} is closed" if why is None else f"the {who} has ended: {why.message}"
        fate = {
            None: "",
            True: "" if again else "; it was sent, and may have happened",
            False: "; it was never sent",
        }
        code = "" if why is None or why.code is None else f"{why.code}: "
        super().__init__(code + what + fate[sent])
        self.why = why
        """Why it ended by itself; `None` if it was closed."""
        self.sent = sent
        """For a request: whether it was sent, so that it may have happened. `None` if this is about
        no request."""
        self.code = None if why is None else why.code
        self._word = "closed" if why is None else "ended"
        # A write that was sent may have happened. If it is requested again, it may happen twice.
        self.action = "stop" if why is None or (sent and not again) else why.action


class OutsideView(OnetreeError):
    """A transaction read outside the view of its mirror, where nobody would notice a change."""

    action: Action = "fix"
    _word = "outside-view"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is outside of the mirror's view")
        self.path = path
        """The path that was read."""


class KeepError(OnetreeError):
    """The place where a mirror is kept cannot be used, is in use, or holds no mirror. It was left
    as it is."""

    action: Action = "fix"

    def __init__(self, word: str, message: str) -> None:
        super().__init__(message)
        self._word = word  # `state-broken`, `state-in-use` or `state`


class ConnectError(OnetreeError):
    """Why there is no connection, or why it was lost."""

    action: Action = "retry"
    retry_in: float | None = None
    """How long to wait before the next attempt, in seconds, if the broker said so; at most a day.
    """


class BadUrl(ConnectError):
    """The URL is not one of a broker."""

    _word = "url"
    action: Action = "fix"


class Unreachable(ConnectError):
    """The host could not be reached: it has no address, refuses connections, or does not answer."""

    _word = "unreachable"


class BadToken(ConnectError):
    """The function that gives the token failed. `__cause__` has its error."""

    _word = "unreachable"
    action: Action = "reauth"


class HttpAnswer(ConnectError):
    """An HTTP server answered, but did not accept the connection. For example: 400, the subprotocol
    is unknown; 403, the page may not connect; 404, the path is wrong; 503, the broker is full."""

    def __init__(self, address: str, status: int, message: str, retry_in: float | None) -> None:
        super().__init__(f"{address} answers {status}{': ' if message else ''}{message}")
        self.status = status
        """The HTTP status code."""
        self.retry_in = _heeded(retry_in)
        self._word = "unreachable"
        if status == 401:
            self.action, self._word = "reauth", "unauthorized"
        elif status not in (408, 425, 429) and not 500 <= status < 600:
            self.action, self._word = "fix", "not-a-broker"


class NotABroker(ConnectError):
    """The server does not speak WebSocket, or did not accept the subprotocol."""

    _word = "not-a-broker"
    action: Action = "fix"


class Ended(ConnectError):
    """The broker refused the `hello`, or ended the connection, with a code."""

    def __init__(self, code: str, message: str, retry_in: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        action = CODES[code].action
        # The reconnect starts the mirrors again.
        self.action = "retry" if action == "resync" else action
        self.retry_in = _heeded(retry_in)


class LinkLost(ConnectError):
    """The connection was lost."""

    _word = "lost"


class Silent(ConnectError):
    """Nothing was received for so long that the client takes the connection for dead."""

    code = "silent"

    def __init__(self, after: float) -> None:
        super().__init__(f"nothing came for {after:.3g} s")


class ProtocolBroken(ConnectError):
    """The broker broke a rule of the protocol."""

    _word = "protocol"
