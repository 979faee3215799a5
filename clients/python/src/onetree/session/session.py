"""The client's side of the protocol: the life of the connection, and what is sent on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from .. import event as e
from ..backoff import Backoff
from ..errors import Closed, ConnectError, Ended, LinkLost, ProtocolBroken, Silent
from ..mirror import State
from ..options import Options, SubOptions
from ..protocol import frames, json_codec, msgpack_codec
from ..request import of_history
from .asked import Asked, Asks
from .effects import Connect, Disconnect, Effect, Release, Reply, StatusIs
from .mirrors import Mirrors
from .requests import Encode, Requests

GRACE: Final = 10.0
"""How long after the broker's heartbeat a silent connection is taken for dead."""
GOOD: Final = 10.0
"""A connection that lasted this long was good: the next wait is short again."""
BYE: Final = 5.0
"""How long an orderly end may take, whether the broker or the client ends the connection."""


class Session:
    """The client's side of the protocol, across its connections.

    The link is `down`, `opening`, `greeting` (the WebSocket is there), `up` (since `welcome`), or
    `over`.
    """

    def __init__(self, options: Options, random: Random) -> None:
        """A session that wants to connect at once. All its randomness comes from `random`: the
        waits and the client's name, which no other client may have."""
        self._options = options
        self._random = random
        json = options.codec == "json"
        self.subprotocol = json_codec.SUBPROTOCOL if json else msgpack_codec.SUBPROTOCOL
        """The subprotocol of the WebSocket."""
        self._encode: Encode = json_codec.encode if json else msgpack_codec.encode
        base, cap = options.backoff
        self._backoff = Backoff(base, cap, random)
        self.effects: deque[Effect] = deque([Connect()])
        """What is to be done next, in order."""
        self.token: str | None = options.token if isinstance(options.token, str) else None
        """The token for `hello`. If a function gives it, it is set before `handle_open`."""
        self.name = self._new_name()
        """The client's name, as `hello` says it."""
        self.link = "opening"
        """The state of the connection."""
        self._session: str | None = None
        # How many `hello`s that name this session have no answer. Each may still arrive, and take
        # the session.
        self._late = 0
        self._seen: int | None = None
        self._ever = False
        self.heard = 0.0
        """When something came last."""
        self._until = 0.0
        self._since = 0.0
        self._hello: int | None = None
        self._welcome: frames.Welcome | None = None
        self._renamed: float | None = None
        # Whether some numbers under this client name were given in another history than the
        # broker's present one.
        self._foreign = False
        self._reauth = False
        # Why the client has ended by itself.
        self._why: ConnectError | None = None
        # Whether the session ends with the client, and until when the end may take.
        self._closing: tuple[bool, float] | None = None
        self._said_bye = False
        # The broker's `bye`, and when the broker must have closed the connection.
        self._goodbye: tuple[Ended, float] | None = None
        # How many frames the broker could not read, when the answers to all others must have come,
        # and the message of the last refusal.
        self._unread: tuple[int, float, str] | None = None
        self._asks = Asks()
        self._requests = Requests(options.request_timeout, self._encode, self.effects)
        self._mirrors = Mirrors(options.request_timeout, self.effects)

    @property
    def is_over(self) -> bool:
        """Whether the client has ended."""
        return self.link == "over"

    # Commands of the application.

    def history_of(self, frame: frames.Request) -> str | None:
        """Returns the history that a write is about. If the write names a revision and a mirror
        near its paths shows another history than that of the last `welcome`, this is the mirror's
        history: the application read the revision there. Otherwise it is that of the last
        `welcome`."""
        now, named = self._requests.history, of_history(frame)
        return (self._mirrors.other_history(now, named) if named else None) or now

    @property
    def last_done(self) -> tuple[str | None, int]:
        """The present history, and the highest revision in it at which the application was told
        that a write is done."""
        return self._requests.history, self._requests.last_done

    def request(
        self, now: float, ticket: int, frame: frames.Request, history: str | None = None
    ) -> None:
        """Requests something: a write, a read, a signal or a token. The session sets the `id` and
        `seq` of the frame. There will be exactly one `Reply` for the request. Each ticket must be
        above all earlier ones. `history` is that of the revisions that the frame names; `None`
        means the present one. The frame is sent in no other history."""
        if self.is_over or self._closing is not None:
            self.effects += (Reply(ticket, None, Closed(self._why, False)), Release(ticket))
            return
        self._requests.add(now, ticket, frame, history)

    def mirror(self, sub: int, state: State, options: SubOptions) -> None:
        """Starts a mirror as subscription `sub`. No other subscription may have this number."""
        self._mirrors.add(sub, state, options)
        if self.is_over or self._closing is not None:
            self._mirrors.end(sub, Closed(self._why))
        else:
            self._mirrors.start(sub)

    def drop_mirror(self, sub: int) -> None:
        """Ends a mirror; no further effect is about it."""
        self._mirrors.drop(sub)

    def resync(self, sub: int) -> None:
        """Starts a mirror again from nothing, because the application asked for it."""
        self._mirrors.resync(sub)

    def want_sync(self) -> None:
        """Asks the broker for a `sync`, which brings all fresh mirrors to the present."""
        self._mirrors.want_sync()

    def verify(self, now: float, ticket: int, sub: int) -> None:
        """Compares a mirror with the broker's digest. The reply is a `Verdict`, or `Timeout`."""
        self._mirrors.verify(now, ticket, sub)

    def close(self, now: float, bye: bool) -> None:
        """Ends the client. With `bye` the session ends at once, without it after its grace. If
        there is a connection, earlier requests are done first."""
        if self.link != "up":
            self._finish(None)
            return
        if self._closing is None:
            self._closing = (bye, now + max(self._options.request_timeout, BYE))
        self._settle_close()

    # Reports about the connection.

    def handle_open(self, now: float, until: float) -> None:
        """The connection is open. `welcome` must come before the time `until`."""
        if self.link != "opening":
            return
        self.heard = now
        self._hello = None
        self.link = "greeting"
        self._until = until

    def handle_heard(self, now: float) -> None:
        """Something was received, even if only a part of a message: the connection is alive."""
        self.heard = now

    def handle_closed(self, now: float, error: ConnectError) -> None:
        """The connection is closed, or could not be opened."""
        if self.link in ("over", "down"):
            return
        if self._closing is not None:
            self._finish(None)
            return
        if self._goodbye is not None:
            error = self._goodbye[0]
        error = self._settle_late(error)
        self._settle_good(now)
        reconnect = self._options.reconnect
        willing = reconnect == "always" or (reconnect == "after-first" and self._ever)
        # The token of a function may have expired: the function is called once more, at once.
        again = error.action == "reauth" and callable(self._options.token) and not self._reauth
        if again and (willing or not self._ever):
            self._reauth = True
            self._go_offline(now, error, 0.0)
            return
        if not willing or error.action != "retry":
            self._finish(error)
            return
        self._go_offline(now, error, self._backoff.next(error.retry_in))

    def handle_timeout(self, now: float) -> None:
        """The time of `next_timeout` has come. Calling this at other times does no harm."""
        self._requests.handle_timeout(now)
        if self._closing is not None and self._closing[1] <= now:
            self._finish(None)
            return
        if self.link == "down" and self._until <= now:
            self.link = "opening"
            self.effects.append(Connect())
        dead = self._dead_at()
        if dead is not None and dead <= now:
            self._fail(now, Silent(now - self.heard))
        if self._unread is not None and self._unread[1] <= now:
            self._fail(now, ProtocolBroken("no answer to what the broker can read"))
        self._mirrors.handle_timeout(now)
        self._settle_close()

    def next_timeout(self) -> float | None:
        """Returns when to call `handle_timeout` next."""
        if self.is_over:
            # The times that it would have waited for are past at some point, and would be due for
            # ever.
            return None
        ats = (self._mirrors.next_timeout(), self._dead_at(), self._requests.next_timeout())
        at = [one for one in ats if one is not None]
        if self.link == "down":
            at.append(self._until)
        if self._closing is not None:
            at.append(self._closing[1])
        if self._unread is not None:
            at.append(self._unread[1])
        return min(at, default=None)

    def _dead_at(self) -> float | None:
        if self.link == "greeting":
            return self._until
        if self._goodbye is not None:
            return self._goodbye[1]
        if self.link == "up" and self._welcome is not None:
            return self.heard + self._welcome.heartbeat_ms / 1000 + GRACE
        return None

    # What is sent.

    @property
    def has_news(self) -> bool:
        """Whether `poll_transmit` may have something."""
        return bool(
            self._mirrors.has_news
            or len(self._requests)
            or self._closing is not None
            or self.link == "greeting"
        )

    @property
    def is_closing(self) -> bool:
        """Whether the application has ended the client. Then sending sets the time of the end."""
        return self._closing is not None

    def poll_transmit(self, now: float) -> bytes | str | None:
        """Returns the next message to send, if there is one and the broker's limits allow it."""
        if self.link == "greeting" and self._hello is None:
            return self._encode(self._greeting())
        if self.link != "up" or self._welcome is None or self._goodbye or self._unread:
            return None
        limits = self._welcome.limits
        if len(self._asks) >= limits.in_flight:
            return None
        if self._mirrors.has_news:
            control = self._mirrors.next(self._asks)
            if control is not None:
                return self._encode(control)
        if len(self._requests):
            id = self._asks.next_id()
            found = self._requests.next(id, self._seen, limits)
            if found is not None:
                self._asks.put(id, Asked("request", found[0]))
                return found[1]
        # What was left may have been refused here.
        self._settle_close()
        bye = self._next_bye(now)
        return None if bye is None else self._encode(bye)

    def _greeting(self) -> frames.Hello:
        """Returns the `hello`, with as many subscriptions as fit into one frame. The others follow
        it."""
        self._hello = self._asks.next_id()
        return frames.Hello(
            self._hello,
            self.name,
            self._session,
            self.token,
            self._options.agent,
            self._seen,
            self._mirrors.greet(self._asks),
            self._requests.since,
        )

    def _next_bye(self, now: float) -> frames.Bye | None:
        """Returns `bye` once everything else is done."""
        if self._closing is None or not self._closing[0] or self._said_bye or len(self._requests):
            return None
        self._said_bye = True
        self._closing = (True, min(self._closing[1], now + BYE))
        return frames.Bye(self._asks.add(Asked("bye")))

    # Frames of the broker.

    def handle_frame(self, now: float, frame: frames.ServerFrame) -> None:
        """Takes a frame of the broker."""
        self.handle_heard(now)
        if self.link == "up":
            handle = _LIVE.get(type(frame))
            if handle is not None:
                handle(self, now, frame)
            if self._unread is not None:
                self._settle_unread(now)
        elif self.link == "greeting":
            if isinstance(frame, frames.Welcome) and frame.id == self._hello:
                self._handle_welcome(now, frame)
            elif isinstance(frame, frames.Goodbye | frames.Error):
                self._fail(now, _ended(frame))
            else:
                self._fail(now, ProtocolBroken("something came before 'welcome'"))
        if self._closing is not None:
            self._settle_close()

    def _handle_welcome(self, now: float, welcome: frames.Welcome) -> None:
        self._session = welcome.session
        if not welcome.resumed:
            self._late = 0
        # Revisions of two histories cannot be compared.
        self._seen = welcome.rev
        self._ever = True
        online = e.Online(
            welcome.resumed,
            welcome.epoch,
            welcome.rev,
            welcome.heartbeat_ms / 1000,
            welcome.limits,
        )
        self._mirrors.handle_welcome(welcome, online)
        self.effects.append(StatusIs(online))
        self.link = "up"
        self._since = now
        self._welcome = welcome
        self._requests.handle_session(welcome.resumed, welcome.epoch, welcome.rev)
        if self._requests.is_numbered and self._requests.history != welcome.epoch:
            self._foreign = True
        if self._requests.handle_history(welcome.epoch):
            self._rename(now)

    def _handle_goodbye(self, now: float, bye: frames.Goodbye) -> None:
        # The broker still answers what it had accepted before.
        self._goodbye = self._goodbye or (_ended(bye), now + BYE)

    def _handle_second_welcome(self, now: float, _: frames.Welcome) -> None:
        self._fail(now, ProtocolBroken("'welcome' came twice"))

    def _handle_done(self, now: float, done: frames.Done) -> None:
        self._see(done.rev)
        self._handle_reply(now, done.id, done, None)

    def _handle_found(self, now: float, found: frames.Found) -> None:
        self._handle_reply(now, found.id, found, None)

    def _handle_ok(self, now: float, ok: frames.Ok) -> None:
        self._handle_reply(now, ok.id, ok, None)

    def _handle_error(self, now: float, error: frames.Error) -> None:
        if error.id is not None and error.id in self._asks:
            self._handle_reply(now, error.id, None, error)
        elif error.id is None and error.sub is not None:
            self._mirrors.handle_error(now, error.sub, error)
        elif error.id is None and error.code == "bad-frame" and len(self._asks):
            # The broker could not read one of the client's frames and does not know which. Nothing
            # more is sent until that is known.
            many = 1 if self._unread is None else self._unread[0] + 1
            self._unread = (many, now + self._options.request_timeout, error.message)
        # Otherwise the error is about no request of this client, or about the connection. If the
        # connection ends, the close code says why.

    def _settle_unread(self, now: float) -> None:
        """If all others have been answered, the requests that are left are those that the broker
        could not read."""
        if self._unread is None or len(self._asks) > self._unread[0]:
            return
        message = self._unread[2]
        self._unread = None
        for id in self._asks.ids():
            self._handle_reply(now, id, None, frames.Error("bad-frame", message, id))

    def _handle_refresh(self, now: float, refresh: frames.Refresh) -> None:
        self._mirrors.handle_refresh(now, refresh, self._asks)

    def _handle_entries(self, now: float, entries: frames.Entries) -> None:
        self._mirrors.handle_entries(now, entries)

    def _handle_fresh(self, now: float, fresh: frames.Fresh) -> None:
        self._see(fresh.rev)
        self._mirrors.handle_fresh(now, fresh)

    def _handle_signal(self, now: float, signal: frames.Signal) -> None:
        self._mirrors.handle_signal(signal)

    def _handle_delta(self, now: float, delta: frames.Delta) -> None:
        if not delta.part:
            self._see(delta.rev)
        self._mirrors.handle_delta(now, delta)

    def _handle_sync(self, now: float, sync: frames.Sync) -> None:
        self._see(sync.rev)
        self._mirrors.handle_sync(now, sync, self._asks.take_sync(sync.id))

    def _handle_reply(self, now: float, id: int, reply: object, error: frames.Error | None) -> None:
        asked = self._asks.take(id)
        if asked is None:
            # A reply that nobody waits for any more.
            return
        if asked.what == "request":
            frame = self._requests.frame(asked.number)
            if isinstance(frame, frames.Auth) and error is None:
                self.token = frame.token
            if self._requests.answered(asked.number, reply, error):
                self._rename(now)
        elif asked.what == "bye":
            self._finish(None)
        elif error is not None and asked.what == "sync":
            self._mirrors.handle_unverified(asked.verify)
        elif error is not None and asked.what in ("sub", "resync"):
            self._mirrors.handle_refused(now, asked, error)

    def _see(self, rev: int) -> None:
        if self._seen is None or rev > self._seen:
            self._seen = rev

    # The end of a connection, and of the client.

    def _fail(self, now: float, error: ConnectError) -> None:
        """Drops the connection."""
        self.effects.append(Disconnect())
        self.handle_closed(now, error)

    def _settle_good(self, now: float) -> None:
        """The connection ends. If it was good, earlier failures no longer count."""
        if self.link == "up" and now - self._since >= GOOD:
            self._backoff.reset()
            # Not at each `welcome`: otherwise a broker that then refuses the token would be asked
            # again and again.
            self._reauth = False

    def _settle_late(self, error: ConnectError) -> ConnectError:
        """Counts the `hello`s without an answer. As long as there are any, the session was perhaps
        taken by one of them: then the connection is lost, and the client goes on."""
        greeted = self.link == "greeting" and self._hello is not None
        if greeted and self._session is not None and not isinstance(error, Ended):
            self._late += 1
        if error.code != "session-taken" or not self._late:
            return error
        self._late -= 1
        why = "another connection has the session now, perhaps an earlier one of this client"
        return LinkLost(why)

    def _rename(self, now: float) -> None:
        """Comes back under another client name: at once, unless it did so shortly before."""
        self._settle_good(now)
        self.name = self._new_name()
        again = self._renamed is not None and now - self._renamed < GOOD
        wait = self._backoff.next() if again else 0.0
        self._renamed = now
        self.effects.append(Disconnect())
        # `LinkLost`, and not the code of a write: each write that this is about has its answer
        # already, or is sent again.
        why = "the broker does not know this client's writes"
        if self._foreign:
            why = "the broker has begun another history"
        self._foreign = False
        error = LinkLost(f"{why}, so this client comes back under another name")
        self._go_offline(now, error, wait)

    def _go_offline(self, now: float, error: ConnectError, wait: float) -> None:
        self._go_down(now + wait)
        offline = e.Offline(error, wait)
        self._mirrors.tell_all(offline)
        self.effects.append(StatusIs(offline))

    def _go_down(self, until: float) -> None:
        """There is no connection any more."""
        self.link = "down"
        self._until = until
        self._goodbye = self._unread = None
        self._requests.handle_lost()
        self._mirrors.handle_lost(self._asks.clear())

    def _settle_close(self) -> None:
        if self._closing is not None and not self._closing[0] and not len(self._requests):
            self._finish(None)

    def _finish(self, error: ConnectError | None) -> None:
        if self.is_over:
            return
        if self.link != "down":
            self.effects.append(Disconnect())
        self._go_down(float("inf"))
        self.link = "over"
        self._why = error
        self._requests.end(error)
        self._mirrors.end_all(None if error is None else Closed(error))
        self.effects.append(StatusIs(e.Ended(error)))

    def _new_name(self) -> str:
        """Returns a name that no other client has: the label, and 128 random bits."""
        label = self._options.label
        bits = f"{self._random.getrandbits(128):032x}"
        return f"{label}-{bits}" if label else bits


def _ended(said: frames.Goodbye | frames.Error) -> Ended:
    """Returns why the broker ends the connection."""
    wait = None if said.retry_ms is None else said.retry_ms / 1000
    return Ended(said.code, said.message, wait)


_LIVE: dict[type, Callable[..., None]] = {
    frames.Delta: Session._handle_delta,
    frames.Done: Session._handle_done,
    frames.Found: Session._handle_found,
    frames.Ok: Session._handle_ok,
    frames.Error: Session._handle_error,
    frames.Refresh: Session._handle_refresh,
    frames.Entries: Session._handle_entries,
    frames.Fresh: Session._handle_fresh,
    frames.Signal: Session._handle_signal,
    frames.Sync: Session._handle_sync,
    frames.Goodbye: Session._handle_goodbye,
    frames.Welcome: Session._handle_second_welcome,
}
