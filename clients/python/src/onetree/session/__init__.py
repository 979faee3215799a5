"""The session's rules, pure: commands, frames and the time in; frames and effects out.

It decides when to connect, what to say, what an answer means and what to do when there is none. It
has no socket and no clock: `onetree.client` drives it with asyncio, and a simulation can drive it
with anything. Times are seconds since some moment, the same for all calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Final, NamedTuple

from .. import event as e
from ..backoff import Backoff
from ..errors import Closed, ConnectError, Ended, OnetreeError, ProtocolBroken, Refused, Silent
from ..event import Verdict
from ..mirror import Outcome, State
from ..options import Options, SubOptions
from ..protocol import frames, json_codec, msgpack_codec
from ..protocol.digests import Digest
from ..protocol.frames import Change
from .effects import Connect, Disconnect, Effect, MirrorWent, Release, Reply, StatusIs
from .requests import Encode, Requests
from .subs import AGAIN, Slot

GRACE: Final = 10.0
"""What comes on top of the broker's heartbeat before a silent connection is taken for dead."""
GOOD: Final = 10.0
"""A connection that lasted this long was good: the next wait is short again."""
HELLO_BYTES: Final = 256 << 10
"""Subscriptions go into `hello` up to about this size, the others behind it: a quarter of the
smallest frame that any broker takes."""
BYE: Final = 5.0
"""How long an orderly end may take."""


class _Asked(NamedTuple):
    """What a reply will be to."""

    what: str
    """`request`, `sub`, `resync`, `unsub`, `sync` or `bye`."""
    number: int = 0
    """The ticket, or the subscription."""
    verify: tuple[tuple[int, int], ...] = ()
    """Of a `sync`: the tickets that wait for it, each with its subscription."""


class Session:
    """A client's side of the protocol.

    The link is `down`, `opening`, `greeting` (the WebSocket is there), `up` (since `welcome`), or
    `over`.
    """

    def __init__(self, options: Options, random: Random) -> None:
        """A session that wants to connect at once. `random` is all of its randomness: the client's
        name, which must be nobody else's, and the waits."""
        self._options = options
        self._random = random
        json = options.codec == "json"
        self.subprotocol = json_codec.SUBPROTOCOL if json else msgpack_codec.SUBPROTOCOL
        """What the WebSocket is opened with."""
        self._encode: Encode = json_codec.encode if json else msgpack_codec.encode
        base, cap = options.backoff
        self._backoff = Backoff(base, cap, random)
        self.effects: deque[Effect] = deque([Connect()])
        """What is to be done next, in order."""
        self.token: str | None = options.token if isinstance(options.token, str) else None
        """What `hello` says; set before `handle_open` where a function gives it."""
        self.name = self._new_name()
        """Who the client is, as `hello` says it."""
        self.link = "opening"
        """How the connection stands."""
        self._session: str | None = None
        self._seen: int | None = None
        self._ever = False
        self._heard = 0.0
        self._until = 0.0
        self._since = 0.0
        self._hello: int | None = None
        self._welcome: frames.Welcome | None = None
        self._renamed: float | None = None
        self._reauth = False
        # Whether the session ends with it, and until when it may take.
        self._closing: tuple[bool, float] | None = None
        self._said_bye = False
        self._last_id = 0
        self._asked: dict[int, _Asked] = {}
        self._control: deque[tuple[str, int]] = deque()
        self._requests = Requests(options.request_timeout, self._encode, self.effects)
        self._slots: dict[int, Slot] = {}
        # The parts of deltas that are not whole yet, of all mirrors and of one.
        self._parts: dict[int | None, list[Change]] = {}
        # Mirrors that want the next `sync`, with the tickets of those who ask.
        self._verify: list[tuple[int, int]] = []
        self._sync_wanted = False

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.link == "over"

    # What the application wants.

    def request(self, now: float, ticket: int, frame: frames.Request) -> None:
        """Asks something: a write, a read, a signal, a token. Its `id` and `seq` are set here.
        There will be one `Reply` for it. Tickets grow."""
        if self.is_over or self._closing is not None:
            self.effects += (Reply(ticket, None, Closed()), Release(ticket))
            return
        if isinstance(frame, frames.Auth):
            self.token = frame.token
        self._requests.add(now, ticket, frame)

    def mirror(self, sub: int, state: State, options: SubOptions) -> None:
        """Starts a mirror as subscription `sub`, a number that no other has."""
        if self.link == "up" and self._welcome is not None:
            state.handle_key(self._welcome.digest_key)
        self._slots[sub] = Slot(state, options)
        if self.is_over or self._closing is not None:
            self._end_mirror(sub, Closed())
        else:
            self._start(sub)

    def drop_mirror(self, sub: int) -> None:
        """Ends a mirror; there will be nothing more about it."""
        slot = self._slots.pop(sub, None)
        if slot is None:
            return
        self._parts.pop(sub, None)
        if slot.subscribed and self.link == "up":
            self._control.append(("unsub", sub))

    def resync(self, sub: int) -> None:
        """Starts a mirror again, from nothing, because the application wants it."""
        slot = self._slots.get(sub)
        if slot is None:
            return
        slot.state.handle_distrust()
        slot.held = None
        self._start(sub)
        self._tell(sub, None)

    def want_sync(self) -> None:
        """Asks the broker to bring all mirrors to the present that can be."""
        self._sync_wanted = self.link == "up"

    def verify(self, ticket: int, sub: int) -> None:
        """Compares a mirror with the tree; the reply is a `Verdict`."""
        if self.link == "up" and sub in self._slots:
            self._verify.append((ticket, sub))
            self._sync_wanted = True
        else:
            self._verdict(ticket, Verdict("unknown"))

    def close(self, now: float, bye: bool) -> None:
        """Ends the client: with `bye` the session ends at once, without it after its grace. What
        was asked before is done first, when there is a connection."""
        if self.link != "up":
            self._finish(None)
            return
        if self._closing is None:
            self._closing = (bye, now + max(self._options.request_timeout, BYE))
        self._settle_close()

    # What the connection does.

    def handle_open(self, now: float) -> None:
        """The connection is open."""
        if self.link != "opening":
            return
        self._heard = now
        self._hello = None
        self.link = "greeting"
        self._until = now + self._options.connect_timeout

    def handle_closed(self, now: float, error: ConnectError) -> None:
        """The connection is closed, or could not be opened."""
        if self.link in ("over", "down"):
            return
        if self._closing is not None:
            self._finish(None)
            return
        if self.link == "up" and now - self._since >= GOOD:
            self._backoff.reset()
        # A token of a function may have been old: it is asked once more at once.
        again = error.action == "reauth" and callable(self._options.token) and not self._reauth
        if again and error.code is not None:
            self._reauth = True
            self._go_offline(now, error, 0.0)
            return
        reconnect = self._options.reconnect
        willing = reconnect == "always" or (reconnect == "after-first" and self._ever)
        if not willing or error.action != "retry":
            self._finish(error)
            return
        self._go_offline(now, error, self._backoff.next(error.retry_in))

    def handle_timeout(self, now: float) -> None:
        """The time of `next_timeout` has come; calling it at other times does no harm."""
        self._requests.handle_timeout(now)
        if self._closing is not None and self._closing[1] <= now:
            self._finish(None)
            return
        if self.link == "down" and self._until <= now:
            self.link = "opening"
            self.effects.append(Connect())
        dead = self._dead_at()
        if dead is not None and dead <= now:
            self._fail(now, Silent(now - self._heard))
        for sub, slot in list(self._slots.items()):
            if slot.held is not None and slot.held <= now:
                slot.held = None
                self._start(sub)
        self._settle_close()

    def next_timeout(self) -> float | None:
        """When `handle_timeout` has something to do."""
        if self.is_over:
            # What it would have waited for is past some day, and would be due for ever.
            return None
        at = [slot.held for slot in self._slots.values() if slot.held is not None]
        for one in (self._dead_at(), self._requests.next_timeout()):
            if one is not None:
                at.append(one)
        if self.link == "down":
            at.append(self._until)
        if self._closing is not None:
            at.append(self._closing[1])
        return min(at, default=None)

    def _dead_at(self) -> float | None:
        if self.link == "greeting":
            return self._until
        if self.link == "up" and self._welcome is not None:
            return self._heard + self._welcome.heartbeat_ms / 1000 + GRACE
        return None

    # What is sent.

    @property
    def has_news(self) -> bool:
        """Whether `poll_transmit` may have something."""
        return bool(
            self._control
            or self._sync_wanted
            or len(self._requests)
            or self._closing is not None
            or self.link == "greeting"
        )

    def poll_transmit(self) -> bytes | str | None:
        """The next message to send, when there is one and the broker's limits allow it now."""
        if self.link == "greeting" and self._hello is None:
            return self._encode(self._greeting())
        if self.link != "up" or self._welcome is None:
            return None
        limits = self._welcome.limits
        if len(self._asked) >= limits.in_flight:
            return None
        if self._control or self._sync_wanted:
            control = self._next_control()
            if control is not None:
                return self._encode(control)
        if len(self._requests):
            id = self._next_id()
            found = self._requests.next(id, limits)
            if found is not None:
                self._asked[id] = _Asked("request", found[0])
                return found[1]
        bye = self._next_bye()
        return None if bye is None else self._encode(bye)

    def _greeting(self) -> frames.Hello:
        """Who we are, with as many subscriptions as go into one frame; the others follow."""
        self._hello = self._next_id()
        self._control.clear()
        subs, size = [], 0
        for sub, slot in self._slots.items():
            if slot.held is not None:
                continue
            view = slot.state.view
            size += 256 + len(view.path) * 4 + sum(len(p) * 4 + 8 for p in view.match)
            if size > HELLO_BYTES:
                self._control.append(("sub", sub))
                continue
            id = self._next_id()
            slot.subscribed = True
            subs.append(slot.frame(id, sub))
            self._asked[id] = _Asked("sub", sub)
        options = self._options
        return frames.Hello(
            self._hello, self.name, self._session, self.token, options.agent, self._seen, subs
        )

    def _next_control(self) -> frames.ClientFrame | None:
        while self._control:
            what, sub = self._control.popleft()
            slot = self._slots.get(sub)
            if slot is None and what != "unsub":
                continue
            id = self._next_id()
            self._asked[id] = _Asked(what, sub)
            if what == "sub" and slot is not None:
                slot.subscribed = True
                return slot.frame(id, sub)
            return frames.Unsub(id, sub) if what == "unsub" else frames.Resync(id, sub)
        if self._sync_wanted:
            self._sync_wanted = False
            id = self._next_id()
            self._asked[id] = _Asked("sync", 0, tuple(self._verify))
            self._verify.clear()
            return frames.SyncRequest(id)
        return None

    def _next_bye(self) -> frames.Bye | None:
        """`bye`, when everything else is done."""
        if self._closing is None or not self._closing[0] or self._said_bye or len(self._requests):
            return None
        self._said_bye = True
        self._closing = (True, max(min(self._closing[1], self._heard + BYE), self._heard))
        id = self._next_id()
        self._asked[id] = _Asked("bye")
        return frames.Bye(id)

    def _next_id(self) -> int:
        while True:
            self._last_id = (self._last_id + 1) & 0xFFFF_FFFF
            if self._last_id not in self._asked:
                return self._last_id

    # What comes.

    def handle_frame(self, now: float, frame: frames.ServerFrame) -> None:
        """A frame came."""
        self._heard = now
        if self.link == "up":
            handle = _LIVE.get(type(frame))
            if handle is not None:
                handle(self, now, frame)
        elif self.link == "greeting":
            if isinstance(frame, frames.Welcome) and frame.id == self._hello:
                self._handle_welcome(now, frame)
            elif isinstance(frame, frames.Goodbye):
                self._handle_goodbye(now, frame)
            elif isinstance(frame, frames.Error):
                wait = None if frame.retry_ms is None else frame.retry_ms / 1000
                self._fail(now, Ended(frame.code, frame.message, wait))
            else:
                self._fail(now, ProtocolBroken("something came before 'welcome'"))
        if self._closing is not None:
            self._settle_close()

    def _handle_welcome(self, now: float, welcome: frames.Welcome) -> None:
        self._session = welcome.session
        # Revisions of two histories are not compared.
        self._seen = welcome.rev
        for slot in self._slots.values():
            slot.state.handle_key(welcome.digest_key)
        self._ever = True
        self._reauth = False
        online = e.Online(
            welcome.resumed,
            welcome.epoch,
            welcome.rev,
            welcome.heartbeat_ms / 1000,
            welcome.limits,
        )
        self._tell_all(online)
        self.effects.append(StatusIs(online))
        self.link = "up"
        self._since = now
        self._welcome = welcome
        # Mirrors that were made between `hello` and `welcome`.
        for sub, slot in self._slots.items():
            if not slot.subscribed and slot.held is None:
                self._start(sub)

    def _handle_goodbye(self, now: float, bye: frames.Goodbye) -> None:
        wait = None if bye.retry_ms is None else bye.retry_ms / 1000
        self._fail(now, Ended(bye.code, bye.message, wait))

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
        if error.id is not None and error.id in self._asked:
            self._handle_reply(now, error.id, None, error)
        elif error.id is None and error.sub is not None:
            self._handle_sub_error(now, error.sub, error)
        # Otherwise it is about no request of ours, or about the connection; if that ends, the close
        # code says why.

    def _handle_refresh(self, now: float, refresh: frames.Refresh) -> None:
        self._parts.pop(refresh.sub, None)
        self._on_mirror(now, refresh.sub, lambda state: state.handle_refresh(refresh))

    def _handle_entries(self, now: float, entries: frames.Entries) -> None:
        self._on_mirror(now, entries.sub, lambda state: state.handle_entries(entries.changes))

    def _handle_fresh(self, now: float, fresh: frames.Fresh) -> None:
        if self._welcome is None:
            return
        epoch = self._welcome.epoch
        self._see(fresh.rev)
        self._on_mirror(now, fresh.sub, lambda state: state.handle_fresh(fresh, epoch))
        slot = self._slots.get(fresh.sub)
        if slot is not None and slot.options.once and slot.state.is_fresh:
            self._end_mirror(fresh.sub, None)

    def _handle_signal(self, now: float, signal: frames.Signal) -> None:
        for sub, slot in self._slots.items():
            if slot.options.signals and slot.state.view.sees(signal.path):
                self._tell(sub, e.Signal(signal.path, signal.value))

    def _handle_delta(self, now: float, delta: frames.Delta) -> None:
        sub, changes = delta.sub, delta.changes
        if delta.part:
            self._parts.setdefault(sub, []).extend(changes)
            return
        if self._parts:
            before = self._parts.pop(sub, None)
            if before is not None:
                before.extend(changes)
                changes = before
        self._see(delta.rev)
        since, rev = delta.since, delta.rev
        slots: Iterable[tuple[int, Slot]]
        if sub is None:
            slots = list(self._slots.items())
        else:
            slots = [(sub, self._slots[sub])] if sub in self._slots else []
        for one, slot in slots:
            if sub is None and slot.options.every_ms:
                continue
            outcome = slot.state.handle_delta(since, rev, changes)
            if type(outcome) is e.Delta:
                told = outcome if outcome.changes or outcome.gaps else None
                self.effects.append(MirrorWent(one, told))
            else:
                self._after(now, one, outcome)

    def _handle_sync(self, now: float, sync: frames.Sync) -> None:
        self._see(sync.rev)
        verdicts = {}
        for sub, digest in sync.digests.items():
            verdicts[sub] = self._sync_mirror(now, sub, sync.rev, digest)
        asked = None if sync.id is None else self._asked.get(sync.id)
        if asked is not None and sync.id is not None and asked.what == "sync":
            del self._asked[sync.id]
            for ticket, sub in asked.verify:
                self._verdict(ticket, verdicts.get(sub, Verdict("unknown")))

    def _sync_mirror(self, now: float, sub: int, rev: int, digest: Digest | None) -> Verdict:
        return self._on_mirror(now, sub, lambda state: state.handle_sync(rev, digest))

    def _handle_reply(self, now: float, id: int, reply: object, error: frames.Error | None) -> None:
        asked = self._asked.pop(id, None)
        if asked is None:
            # To what nobody waits for any more.
            return
        if asked.what == "request":
            if self._requests.answered(asked.number, reply, error):
                self._rename(now)
        elif asked.what == "bye":
            self._finish(None)
        elif error is not None and asked.what == "sync":
            for ticket, _ in asked.verify:
                self._verdict(ticket, Verdict("unknown"))
        elif error is not None and asked.what in ("sub", "resync"):
            slot = self._slots.get(asked.number)
            if slot is not None and asked.what == "sub":
                slot.subscribed = error.code == "sub-in-use"
            elif slot is not None:
                slot.subscribed = error.code != "no-such-sub"
            self._handle_sub_error(now, asked.number, error)

    def _handle_sub_error(self, now: float, sub: int, error: frames.Error) -> None:
        """The broker cannot serve a subscription, now or as it is."""
        slot = self._slots.get(sub)
        if slot is None:
            return
        refused = Refused.of(error)
        if error.code in ("sub-in-use", "no-such-sub") or refused.action == "resync":
            slot.state.handle_distrust()
            self._restart(now, sub)
        elif refused.action == "retry":
            slot.state.handle_lost()
            wait = AGAIN if refused.retry_in is None else refused.retry_in
            slot.held = now + wait
            self._tell(sub, e.Circling(wait))
        else:
            self._end_mirror(sub, refused)

    # Mirrors.

    def _on_mirror(self, now: float, sub: int, handle: Callable[[State], Outcome]) -> Verdict:
        """Gives a frame to a mirror, and does what comes of it."""
        slot = self._slots.get(sub)
        if slot is None:
            return Verdict("unknown")
        return self._after(now, sub, handle(slot.state))

    def _after(self, now: float, sub: int, outcome: Outcome) -> Verdict:
        """Does what comes of a frame to a mirror."""
        if outcome is None:
            return Verdict("unknown")
        self._tell(sub, outcome)
        if isinstance(outcome, e.Synced) and outcome.verified:
            return Verdict("same", outcome.rev)
        if isinstance(outcome, e.Corrupt):
            self._restart(now, sub)
            return Verdict("differs")
        if isinstance(outcome, e.Broken):
            self._restart(now, sub)
        return Verdict("unknown")

    def _restart(self, now: float, sub: int) -> None:
        """Starts a mirror again from nothing because it is wrong, unless it goes in circles."""
        self._parts.pop(sub, None)
        slot = self._slots.get(sub)
        if slot is None:
            return
        wait = slot.restart(now)
        if wait is None:
            self._start(sub)
        else:
            self._tell(sub, e.Circling(wait))

    def _start(self, sub: int) -> None:
        """Has a mirror refreshed, when there is a connection; otherwise `hello` will."""
        control = ("resync" if self._slots[sub].subscribed else "sub", sub)
        if self.link == "up" and control not in self._control:
            self._control.append(control)

    def _end_mirror(self, sub: int, error: OnetreeError | None) -> None:
        self._tell(sub, e.Ended(error))
        self._slots.pop(sub, None)
        self._parts.pop(sub, None)

    def _tell(self, sub: int, event: e.Event | None) -> None:
        self.effects.append(MirrorWent(sub, event))

    def _tell_all(self, event: e.Event) -> None:
        for sub in self._slots:
            self._tell(sub, event)

    def _verdict(self, ticket: int, verdict: Verdict) -> None:
        self.effects += (Reply(ticket, verdict, None), Release(ticket))

    def _see(self, rev: int) -> None:
        if self._seen is None or rev > self._seen:
            self._seen = rev

    # The end of a connection, and of all.

    def _fail(self, now: float, error: ConnectError) -> None:
        """Drops the connection."""
        self.effects.append(Disconnect())
        self.handle_closed(now, error)

    def _rename(self, now: float) -> None:
        """Comes back under another name, at once if that was not so just now."""
        self.name = self._new_name()
        again = self._renamed is not None and now - self._renamed < GOOD
        wait = self._backoff.next() if again else 0.0
        self._renamed = now
        self.effects.append(Disconnect())
        message = "the broker does not know this client's writes: it comes back as a new one"
        self._go_offline(now, Ended("outcome-unknown", message), wait)

    def _go_offline(self, now: float, error: ConnectError, wait: float) -> None:
        self._go_down(now + wait)
        offline = e.Offline(error, wait)
        self._tell_all(offline)
        self.effects.append(StatusIs(offline))

    def _go_down(self, until: float) -> None:
        """There is no connection any more."""
        self.link = "down"
        self._until = until
        self._parts.clear()
        self._control.clear()
        self._sync_wanted = False
        self._requests.handle_lost()
        waiting = list(self._verify)
        self._verify.clear()
        for asked in self._asked.values():
            waiting += asked.verify
        self._asked.clear()
        for ticket, _ in waiting:
            self._verdict(ticket, Verdict("unknown"))
        for slot in self._slots.values():
            slot.subscribed = False
            slot.state.handle_lost()

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
        self._requests.end(Closed(error))
        for sub in list(self._slots):
            self._end_mirror(sub, None if error is None else Closed(error))
        self.effects.append(StatusIs(e.Ended(error)))

    def _new_name(self) -> str:
        """A name that is nobody else's: the label, and 128 random bits."""
        label = self._options.label
        bits = f"{self._random.getrandbits(128):032x}"
        return f"{label}-{bits}" if label else bits


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
