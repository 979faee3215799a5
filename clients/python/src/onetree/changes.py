"""What happens to a mirror, in order, for an application that reads it at its own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from . import event as e
from .event import Event
from .gaps import Gaps
from .loops import unchanged
from .protocol.wrong import Wrong
from .snapshot import Snapshot

EVENTS: Final = 256
"""So many events wait for the application, then they are folded: enough for a burst."""
CHANGES: Final = 16 * 1024
"""As `EVENTS`, for the changes in them."""

_Item = tuple[Event, Snapshot]


class Changes:
    """The events of one mirror, from `Mirror.changes`: `async for event in mirror.changes()`.

    Nothing is lost and nothing grows without bound when they are read slowly: what has not been
    read is folded into one `Delta` or `Fresh`, which costs no more than what differs. Only signals
    are dropped then, and heartbeats. That the session was lost is told by an `Online` that is not
    `resumed`, whatever came behind it. The connection, and other mirrors, never wait for a slow
    reader.
    """

    def __init__(
        self,
        initial: Snapshot,
        last: Snapshot,
        past: Sequence[Event],
        waiting: set[Changes] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """For one who knows `initial`, of a mirror that `past` has brought to `last`. `waiting` has
        it while it is waited for: nothing else may hold a task that waits here. `loop`: where more
        is pushed."""
        self._held = set() if waiting is None else waiting
        self._queue: deque[_Item | tuple[_Behind, Snapshot]] = deque()
        self._weight = 0
        self._behind: _Behind | None = None
        if past:
            # As what is folded, but worked out when it is read; what comes behind it comes whole.
            start = _Behind(initial)
            for event in past:
                start.fold(event, lambda: last)
            self._queue.append((start, last))
        self._last = last
        self._position = initial
        self.progress = [initial]
        """One element: the mirror as of the last event behind which another one was asked for."""
        self._over = False
        self._waiting: asyncio.Future[None] | None = None
        self._loop = loop

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Event:
        """The next event; the iteration ends behind `Ended`. Nothing is lost when this is
        cancelled. For one reader at a time (`Wrong`): what it asks for says how far it has got."""
        while True:
            event = self.next_now()
            if event is not None:
                return event
            if self._over:
                raise StopAsyncIteration
            if self._waiting is not None:
                raise Wrong("unsupported", "each reader has `changes()` of its own")
            self._waiting = asyncio.get_running_loop().create_future()
            self._held.add(self)
            try:
                await self._waiting
            finally:
                self._waiting = None
                self._held.discard(self)

    def next_now(self) -> Event | None:
        """The next event, when there is one now."""
        self._check()
        self.progress[0] = self._position
        if not self._queue and self._behind is not None:
            self._queue.append((self._behind, self._last))
            self._behind = None
        queue = self._queue
        while queue and type(folded := queue[0][0]) is _Behind:
            _, now = queue.popleft()
            queue.extendleft(reversed(folded.unfold(now)))
        if not queue:
            return None
        event: Any
        event, self._position = queue.popleft()
        self._weight = max(0, self._weight - _weight(event))
        self._over |= type(event) is e.Ended
        return event  # type: ignore[no-any-return]

    def snapshot(self) -> Snapshot:
        """The mirror as of the last event that was taken, with its cookie: what is to be saved once
        that event has been dealt with. `Mirror.snapshot` may be ahead of it."""
        self._check()
        if not self._queue and self._behind is None:
            # A revision at which nothing changed makes no event, but the cookie follows it.
            self._position = self._last
        return self._position

    def _check(self) -> None:
        if self._loop is not None:
            unchanged(self._loop)

    def shown(self) -> Snapshot:
        """What the application has dealt with: up to the last event behind which it has asked for
        another one. For who keeps the mirror."""
        return self.progress[0] if self._waiting is None else self.snapshot()

    def push(self, event: Event | None, snapshot: Snapshot) -> None:
        """Something happened; `None`: only the revision moved. For the mirror."""
        before, self._last = self._last, snapshot
        if event is None:
            if self._behind is None and self._queue:
                last, _ = self._queue[-1]
                # What nobody has worked out yet may include it.
                self._queue[-1] = cast(_Item, (last, snapshot))
            return
        full = len(self._queue) >= EVENTS or self._weight >= CHANGES
        if full and self._behind is None:
            self._behind = _Behind(before)
        if self._behind is not None:
            self._behind.fold(event, lambda: snapshot)
        else:
            self._weight += _weight(event)
            self._queue.append((event, snapshot))
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def _weight(event: Any) -> int:
    # Most are deltas.
    return len(event.changes) if type(event) is e.Delta or type(event) is e.Fresh else 0


class _Behind:
    """What comes behind the queue, folded. Starts when the queue is full; ends when the application
    has read that."""

    def __init__(self, start: Snapshot) -> None:
        self.start = start
        self.fresh = False
        self.gaps = Gaps(start)
        self.trouble: Event | None = None
        self.online: e.Online | None = None
        self.offline: e.Offline | None = None
        self.ended: Event | None = None

    def fold(self, event: Event, now: Callable[[], Snapshot]) -> None:
        """`now`: the mirror behind it."""
        self.gaps.fold(event, now)
        if isinstance(event, e.Fresh):
            self.fresh = True
        elif isinstance(event, e.Corrupt | e.Broken | e.Circling):
            self.trouble = event
        elif isinstance(event, e.Offline):
            self.offline = event
            if self.online is not None and self.online.resumed:
                self.online = None
        elif isinstance(event, e.Online):
            # What went with a session does not come back with the next connection.
            lost = self.online is not None and not self.online.resumed
            self.online = replace(event, resumed=False) if lost else event
            self.offline = None
        elif isinstance(event, e.Ended):
            self.ended = event

    def unfold(self, now: Snapshot) -> list[_Item]:
        """The events that it comes to, each with the mirror as of it."""
        before = [event for event in (self.trouble, self.online) if event is not None]
        events: list[Event] = []
        changes, gaps = now.since(self.start), sorted(self.gaps.logs)
        if self.fresh:
            events.append(e.Fresh(now.rev, changes, gaps))
        elif changes or gaps:
            events.append(e.Delta(self.start.rev, now.rev, changes, gaps))
        # Last is how it stands: who shows that it is live would go on doing so.
        events += [event for event in (self.offline, self.ended) if event is not None]
        return [(event, self.start) for event in before] + [(event, now) for event in events]
