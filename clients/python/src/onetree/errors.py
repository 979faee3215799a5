"""What goes wrong. Each error has the protocol's `code`, where there is one, and says what to do
next: `action`."""

from __future__ import annotations

from typing import Final

from .codes import CODES, Action

LONGEST: Final = 86_400.0
"""The longest wait that is heeded, seconds: a day."""


def _heeded(wait: float | None) -> float | None:
    return None if wait is None else min(wait, LONGEST)


class OnetreeError(Exception):
    """Anything that this package raises."""

    code: str | None = None
    """The code of the protocol, where there is one."""
    action: Action = "stop"
    """What to do next."""

    @property
    def word(self) -> str:
        """The code, or a word of the client's own."""
        return self.code or self._word

    @property
    def message(self) -> str:
        """What it says to people, without its code."""
        return str(self).removeprefix(f"{self.code}: ")

    @property
    def is_conflict(self) -> bool:
        """Whether a condition did not hold: `path` and `rev` of `Refused` say which, and what is
        there."""
        return self.code == "conflict"

    _word = "ended"


class Refused(OnetreeError):
    """It did not happen, and the code says what to do next: the broker's answer, or this client's
    own where it knows the answer. With `outcome-unknown` it may have happened, once."""

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
        """The path that it is about."""
        self.rev = rev
        """The revision that is there instead of the one expected."""
        self.retry_in = _heeded(retry_in)
        """When to try again, seconds, where the broker said so; a day at most."""


class Timeout(OnetreeError):
    """There was no answer in time. A write that was sent is not to be asked again: the client sends
    it until it has its answer. A read may be."""

    _word = "timeout"

    def __init__(self, after: float, sent: bool | None, again: bool = False) -> None:
        """`again`: it may be asked again though it was sent."""
        fate = {
            None: "",
            True: "" if again else "; it may still happen, once",
            False: "; it was never sent",
        }
        super().__init__(f"no answer within {after:g} s{fate[sent]}")
        self.after = after
        """How long was waited, seconds."""
        self.sent = sent
        """Whether it was sent: a write that was may still happen, one that was not never will;
        `None`: it was a wait for news, and no request."""
        self.action = "stop" if sent and not again else "retry"


class Lost(OnetreeError):
    """The connection was lost before the answer to a signal came, which is not sent again."""

    _word = "lost"
    action: Action = "retry"

    def __init__(self) -> None:
        super().__init__("the connection was lost; the signal may or may not have been delivered")


class QueueFull(OnetreeError):
    """More is waiting than `queue_bytes` allows, and it was not to be waited for."""

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
        """`again`: it may be asked again though it was sent."""
        what = f"the {who} is closed" if why is None else f"the {who} has ended: {why.message}"
        fate = {
            None: "",
            True: "" if again else "; it was sent, and may have happened",
            False: "; it was never sent",
        }
        code = "" if why is None or why.code is None else f"{why.code}: "
        super().__init__(code + what + fate[sent])
        self.why = why
        """Why it ended by itself; `None` when it was closed."""
        self.sent = sent
        """Of a request: whether it was sent, so that it may have happened; `None`: it is none."""
        self.code = None if why is None else why.code
        self._word = "closed" if why is None else "ended"
        # A write that was sent may have happened: who asks for it again may have it done twice.
        self.action = "stop" if why is None or (sent and not again) else why.action


class OutsideView(OnetreeError):
    """A transaction read what its mirror does not see, whose changes nobody would notice."""

    action: Action = "fix"
    _word = "outside-view"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is outside of the mirror's view")
        self.path = path
        """What was read."""


class KeepError(OnetreeError):
    """What a mirror was kept in cannot be read, or is in use. It was left as it is."""

    action: Action = "fix"

    def __init__(self, word: str, message: str) -> None:
        super().__init__(message)
        self._word = word  # `state-broken`, `state-in-use` or `state`


class ConnectError(OnetreeError):
    """Why there is no connection, or no longer one."""

    action: Action = "retry"
    retry_in: float | None = None
    """When to come back, seconds, where the broker said so; a day at most."""


class BadUrl(ConnectError):
    """The URL is not one of a broker."""

    _word = "url"
    action: Action = "fix"


class Unreachable(ConnectError):
    """The host could not be reached: it has no address, it refuses connections, it is away."""

    _word = "unreachable"


class BadToken(ConnectError):
    """The function that gives the token failed; `__cause__` says how."""

    _word = "unreachable"
    action: Action = "reauth"


class HttpAnswer(ConnectError):
    """There is an HTTP server, but it does not let us in: 400 an unknown subprotocol, 403 a page
    that may not connect, 404 a wrong path, 503 it is full."""

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
    """What listens there does not speak WebSocket, or not with the subprotocol asked for."""

    _word = "not-a-broker"
    action: Action = "fix"


class Ended(ConnectError):
    """The broker did not take `hello`, or ended the connection, with a code."""

    def __init__(self, code: str, message: str, retry_in: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        action = CODES[code].action
        # A mirror is started again by the reconnect.
        self.action = "retry" if action == "resync" else action
        self.retry_in = _heeded(retry_in)


class LinkLost(ConnectError):
    """The connection was lost."""

    _word = "lost"


class Silent(ConnectError):
    """Nothing came for so long that the connection is taken for dead."""

    code = "silent"

    def __init__(self, after: float) -> None:
        super().__init__(f"nothing came for {after:.3g} s")


class ProtocolBroken(ConnectError):
    """The broker broke a rule of the protocol."""

    _word = "protocol"
