"""The mirrors of a client: what is sent for them, and what each frame does to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from .. import event as e
from ..errors import OnetreeError, Timeout
from ..event import Verdict
from ..mirror import Outcome, State
from ..options import SubOptions
from ..protocol import frames
from ..protocol.digests import Digest
from ..protocol.frames import Change
from ..protocol.paths import contains
from .asked import Asked, Asks
from .effects import Effect, MirrorWent, Release, Reply
from .requests import refused
from .subs import AGAIN, Slot

HELLO_BYTES: Final = 256 << 10
"""About how many bytes of subscriptions go into `hello`; the others follow it. This is a quarter of
the smallest frame limit that any broker has."""


class Mirrors:
    """All mirrors, by subscription."""

    def __init__(self, timeout: float, effects: deque[Effect]) -> None:
        self._timeout = timeout
        self._effects = effects
        self._slots: dict[int, Slot] = {}
        # The `welcome` of the connection that is up.
        self._welcome: frames.Welcome | None = None
        # What is to be sent: `sub`, `resync` or `unsub`, each with its subscription.
        self._control: deque[tuple[str, int]] = deque()
        # The parts of deltas that are not complete yet. `None` is a delta for all mirrors.
        self._parts: dict[int | None, list[Change]] = {}
        # The tickets that wait for the next `sync`, each with its subscription.
        self._verify: list[tuple[int, int]] = []
        # Until when each ticket waits for its verdict, the first in front.
        self._deadlines: dict[int, float] = {}
        self._sync_wanted = False

    # Commands of the application.

    def other_history(self, now: str | None, paths: list[str]) -> str | None:
        """Returns a history other than the present one, if a mirror at, over or under one of these
        paths shows it."""
        for slot in self._slots.values():
            cookie, base = slot.state.cookie, slot.state.view.path
            if cookie is not None and cookie.epoch != now:
                if any(contains(base, path) or contains(path, base) for path in paths):
                    return cookie.epoch
        return None

    def add(self, sub: int, state: State, options: SubOptions) -> None:
        """Adds a mirror, which is not started yet."""
        if self._welcome is not None:
            state.handle_key(self._welcome.digest_key)
        self._slots[sub] = Slot(state, options)

    def start(self, sub: int) -> None:
        """Has a mirror refreshed, if there is a connection. Otherwise the next `hello` does it."""
        # `hello` has the subscription already, with a cookie: that needs a `resync` after it.
        said = self._slots[sub].subscribed
        control = ("resync" if said else "sub", sub)
        if (said or self._welcome is not None) and control not in self._control:
            self._control.append(control)

    def drop(self, sub: int) -> None:
        """Ends a mirror; no further effect is about it."""
        slot = self._slots.pop(sub, None)
        if slot is None:
            return
        self._parts.pop(sub, None)
        # The mirror goes on showing what it had, but nothing keeps that up to date.
        slot.state.handle_lost()
        # Before `welcome`, too: `hello` has the subscription.
        if slot.subscribed:
            self._control.append(("unsub", sub))

    def resync(self, sub: int) -> None:
        """Starts a mirror again from nothing, because the application asked for it."""
        slot = self._slots.get(sub)
        if slot is None:
            return
        slot.state.handle_distrust()
        slot.held = None
        self.start(sub)
        self._tell(sub, None)

    def want_sync(self) -> None:
        """Asks the broker for a `sync`, which brings all fresh mirrors to the present."""
        self._sync_wanted = self._welcome is not None

    def verify(self, now: float, ticket: int, sub: int) -> None:
        """Compares a mirror with the broker's digest. The reply is a `Verdict`, or `Timeout`."""
        self._deadlines[ticket] = now + self._timeout
        if self._welcome is not None and sub in self._slots:
            self._verify.append((ticket, sub))
            self._sync_wanted = True
        else:
            self._verdict(ticket, Verdict("unknown"))

    def end(self, sub: int, error: OnetreeError | None) -> None:
        """Reports the end of a mirror, and removes it."""
        self._tell(sub, e.Ended(error))
        self._slots.pop(sub, None)
        self._parts.pop(sub, None)

    def end_all(self, error: OnetreeError | None) -> None:
        """Ends all mirrors."""
        for sub in list(self._slots):
            self.end(sub, error)

    # What is sent.

    @property
    def has_news(self) -> bool:
        """Whether `next` may have something."""
        return bool(self._control) or self._sync_wanted

    def greet(self, asks: Asks) -> list[frames.Sub]:
        """Returns as many subscriptions as fit into `hello`. The others follow it."""
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
            slot.subscribed = True
            subs.append(slot.frame(asks.add(Asked("sub", sub)), sub))
        return subs

    def next(self, asks: Asks) -> frames.ClientFrame | None:
        """Returns what is to be sent next."""
        while self._control:
            what, sub = self._control.popleft()
            slot = self._slots.get(sub)
            if slot is None and what != "unsub":
                continue
            id = asks.add(Asked(what, sub))
            if what == "sub" and slot is not None:
                slot.subscribed = True
                return slot.frame(id, sub)
            return frames.Unsub(id, sub) if what == "unsub" else frames.Resync(id, sub)
        if self._sync_wanted:
            self._sync_wanted = False
            waiting = tuple(self._verify)
            id = asks.add(Asked("sync", 0, waiting))
            self._verify.clear()
            # Waiting for a revision alone (`at`) needs no digest of a large view.
            return frames.SyncRequest(id, all=bool(waiting))
        return None

    # The connection, and time.

    def handle_welcome(self, welcome: frames.Welcome, online: e.Online) -> None:
        """The connection is up."""
        for slot in self._slots.values():
            slot.state.handle_key(welcome.digest_key)
        self.tell_all(online)
        self._welcome = welcome
        # Mirrors that were made between `hello` and `welcome`.
        for sub, slot in self._slots.items():
            if not slot.subscribed and slot.held is None:
                self.start(sub)

    def handle_lost(self, asked: list[tuple[int, int]]) -> None:
        """There is no connection any more. `asked`: the tickets that waited for a `sync`."""
        self._welcome = None
        self._parts.clear()
        self._control.clear()
        self._sync_wanted = False
        waiting = [*self._verify, *asked]
        self._verify.clear()
        self.handle_unverified(waiting)
        for slot in self._slots.values():
            slot.subscribed = False
            slot.state.handle_lost()

    def next_timeout(self) -> float | None:
        """Returns when to call `handle_timeout` next."""
        ats = [slot.held for slot in self._slots.values() if slot.held is not None]
        ats += [*self._deadlines.values()][:1]
        return min(ats, default=None)

    def handle_timeout(self, now: float) -> None:
        """Reports timeouts, and starts mirrors that have waited long enough."""
        for ticket in [one for one, at in self._deadlines.items() if at <= now]:
            sent = all(ticket != one for one, _ in self._verify)
            self._answer(ticket, None, Timeout(self._timeout, sent, again=True))
        for sub, slot in list(self._slots.items()):
            if slot.held is not None and slot.held <= now:
                slot.held = None
                self.start(sub)

    # Frames of the broker.

    def handle_refresh(self, now: float, refresh: frames.Refresh, asks: Asks) -> None:
        """Takes a `refresh`."""
        self._parts.pop(refresh.sub, None)
        # This refresh answers a request from before the mirror had to start from nothing, so the
        # mirror does not want it.
        if refresh.kind == "delta" and self._is_restarting(refresh.sub, asks):
            return
        self._on(now, refresh.sub, lambda state: state.handle_refresh(refresh))

    def _is_restarting(self, sub: int, asks: Asks) -> bool:
        """Returns whether a `resync` of the mirror has no answer yet."""
        return ("resync", sub) in self._control or asks.waits(Asked("resync", sub))

    def handle_entries(self, now: float, entries: frames.Entries) -> None:
        """Takes `entries`."""
        self._on(now, entries.sub, lambda state: state.handle_entries(entries.changes))

    def handle_fresh(self, now: float, fresh: frames.Fresh) -> None:
        """Takes `fresh`, which ends a mirror of mode `once`."""
        if self._welcome is None:
            return
        epoch = self._welcome.epoch
        self._on(now, fresh.sub, lambda state: state.handle_fresh(fresh, epoch))
        slot = self._slots.get(fresh.sub)
        if slot is not None and slot.options.once and slot.state.is_fresh:
            self.end(fresh.sub, None)

    def handle_signal(self, signal: frames.Signal) -> None:
        """Takes a `signal`."""
        for sub, slot in self._slots.items():
            if slot.options.signals and slot.state.view.sees(signal.path):
                self._tell(sub, e.Signal(signal.path, signal.value))

    def handle_delta(self, now: float, delta: frames.Delta) -> None:
        """Takes a `delta`. Its parts are collected until it is complete."""
        sub, changes = delta.sub, delta.changes
        if delta.part:
            self._parts.setdefault(sub, []).extend(changes)
            return
        if self._parts:
            before = self._parts.pop(sub, None)
            if before is not None:
                before.extend(changes)
                changes = before
        since, rev = delta.since, delta.rev
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
                self._effects.append(MirrorWent(one, told))
            else:
                self._after(now, one, outcome)

    def handle_sync(self, now: float, sync: frames.Sync, asked: Asked | None) -> None:
        """Takes a `sync`: the answer to `asked`, or one that the broker sends by itself."""
        verdicts = {}
        for sub, digest in sync.digests.items():
            verdicts[sub] = self._sync(now, sub, sync.rev, digest)
        for ticket, sub in () if asked is None else asked.verify:
            self._verdict(ticket, verdicts.get(sub, Verdict("unknown")))

    def _sync(self, now: float, sub: int, rev: int, digest: Digest | None) -> Verdict:
        return self._on(now, sub, lambda state: state.handle_sync(rev, digest))

    def handle_unverified(self, waiting: Iterable[tuple[int, int]]) -> None:
        """No `sync` will come for these tickets."""
        for ticket, _ in waiting:
            self._verdict(ticket, Verdict("unknown"))

    def handle_refused(self, now: float, asked: Asked, error: frames.Error) -> None:
        """The broker has refused a `sub` or a `resync`."""
        slot = self._slots.get(asked.number)
        if slot is None:
            return
        if asked.what == "sub":
            slot.subscribed = error.code == "sub-in-use"
        else:
            slot.subscribed = error.code != "no-such-sub"
        self.handle_error(now, asked.number, error)

    def handle_error(self, now: float, sub: int, error: frames.Error) -> None:
        """The broker cannot serve a subscription, either now or at all."""
        slot = self._slots.get(sub)
        if slot is None:
            return
        refusal = refused(error)
        if error.code in ("sub-in-use", "no-such-sub") or refusal.action == "resync":
            slot.state.handle_distrust()
            self._restart(now, sub)
        elif refusal.action == "retry":
            slot.state.handle_lost()
            wait = refusal.retry_in or AGAIN
            slot.held = now + wait
            self._tell(sub, e.Circling(wait))
        else:
            self.end(sub, refusal)

    def _on(self, now: float, sub: int, handle: Callable[[State], Outcome]) -> Verdict:
        """Gives a frame to a mirror and acts on the outcome."""
        slot = self._slots.get(sub)
        if slot is None:
            return Verdict("unknown")
        return self._after(now, sub, handle(slot.state))

    def _after(self, now: float, sub: int, outcome: Outcome) -> Verdict:
        """Acts on the outcome of a frame for a mirror."""
        if outcome is None:
            return Verdict("unknown")
        self._tell(sub, outcome)
        if isinstance(outcome, e.Synced) and outcome.verified:
            return Verdict("same", outcome.rev)
        if isinstance(outcome, e.Corrupt):
            self._restart(now, sub)
            return Verdict("differs", None, outcome.expected, outcome.found)
        if isinstance(outcome, e.Broken):
            self._restart(now, sub)
        return Verdict("unknown")

    def _restart(self, now: float, sub: int) -> None:
        """Starts a mirror again from nothing because it is wrong. If it has started again too
        often, it waits first."""
        self._parts.pop(sub, None)
        slot = self._slots.get(sub)
        if slot is None:
            return
        wait = slot.restart(now)
        if wait is None:
            self.start(sub)
        else:
            self._tell(sub, e.Circling(wait))

    def tell_all(self, event: e.Event) -> None:
        """Reports an event to all mirrors."""
        for sub in self._slots:
            self._tell(sub, event)

    def _tell(self, sub: int, event: e.Event | None) -> None:
        self._effects.append(MirrorWent(sub, event))

    def _verdict(self, ticket: int, verdict: Verdict) -> None:
        self._answer(ticket, verdict, None)

    def _answer(self, ticket: int, verdict: Verdict | None, error: OnetreeError | None) -> None:
        # A ticket that has had its timeout no longer waits.
        if self._deadlines.pop(ticket, None) is not None:
            self._effects += (Reply(ticket, verdict, error), Release(ticket))
