"""The events of a mirror, in order, for an application that reads them at its own pace."""

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
"""How many events wait for the application before further ones are folded. This is enough for a
burst."""
CHANGES: Final = 16 * 1024
"""As `EVENTS`, but for the number of changes in the waiting events."""

_Item = tuple[Event, Snapshot]


class Changes:
    """The events of one mirror, from `Mirror.changes`. Use `async for event in mirror.changes()`.

    If you read them slowly, they are folded, not dropped: events that wait beyond a limit are
    folded into one `Delta` or `Fresh`, whose size is that of what differs. Only signals and
    heartbeats are dropped. The loss of a session is always reported, by an `Online` that is not
    `resumed`, whatever came after it. The connection and other mirrors never wait for a slow
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
        """For a reader who knows `initial`, of a mirror that the events in `past` have brought to
        `last`. `waiting` contains this object while its reader waits, because nothing else may keep
        a waiting task alive. `loop` is the loop in which events are added."""
        self._held = set() if waiting is None else waiting
        self._queue: deque[_Item | tuple[_Behind, Snapshot]] = deque()
        self._weight = 0
        self._behind: _Behind | None = None
        if past:
            # The past is folded, but folded out only when it is read. What comes after it is not
            # folded with it.
            start = _Behind(initial)
            for event in past:
                start.fold(event, lambda: last)
            self._queue.append((start, last))
        self._last = last
        self._position = initial
        self.progress = [initial]
        """One element: the mirror as of the last event that the application has dealt with."""
        self._over = False
        self._waiting: asyncio.Future[None] | None = None
        self._loop = loop

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Event:
        """Waits for the next event and returns it. The iteration ends after `Ended`. Nothing is
        lost if this is cancelled. For one reader at a time (`Wrong`): asking for the next event
        means that the reader has dealt with the ones before."""
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
        """Returns the next event, if there is one now."""
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
        """Returns the mirror as of the last event that was taken, with its cookie. This is what to
        save once you have dealt with that event. `Mirror.snapshot` may be ahead of it."""
        self._check()
        if not self._queue and self._behind is None:
            # If nothing changed at a revision, there is no event, but the cookie follows the
            # revision.
            self._position = self._last
        return self._position

    def _check(self) -> None:
        if self._loop is not None:
            unchanged(self._loop)

    def shown(self) -> Snapshot:
        """For the keeper of the mirror: returns what the application has dealt with. An event
        counts as dealt with when the application has asked for the next one."""
        return self.progress[0] if self._waiting is None else self.snapshot()

    def push(self, event: Event | None, snapshot: Snapshot) -> None:
        """For the mirror: adds an event, or `None` if only the revision has moved."""
        before, self._last = self._last, snapshot
        if event is None:
            if self._behind is None and self._queue:
                last, _ = self._queue[-1]
                # What is still folded may include the new revision.
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
    # Most events are deltas.
    return len(event.changes) if type(event) is e.Delta or type(event) is e.Fresh else 0


class _Behind:
    """Folded events. Folding begins when the queue is full, and ends when the application has read
    the queue."""

    def __init__(self, start: Snapshot) -> None:
        self.start = start
        self.fresh = False
        self.gaps = Gaps(start)
        self.trouble: Event | None = None
        self.online: e.Online | None = None
        self.offline: e.Offline | None = None
        self.ended: Event | None = None

    def fold(self, event: Event, now: Callable[[], Snapshot]) -> None:
        """Folds an event in. `now` gives the mirror after it."""
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
            # What is gone with a session does not come back when the next connection is resumed.
            lost = self.online is not None and not self.online.resumed
            self.online = replace(event, resumed=False) if lost else event
            self.offline = None
        elif isinstance(event, e.Ended):
            self.ended = event

    def unfold(self, now: Snapshot) -> list[_Item]:
        """Returns the events that the folded ones amount to, each with the mirror as of it."""
        before = [event for event in (self.trouble, self.online) if event is not None]
        events: list[Event] = []
        changes, gaps = now.since(self.start), sorted(self.gaps.logs)
        if self.fresh:
            events.append(e.Fresh(now.rev, changes, gaps))
        elif changes or gaps:
            events.append(e.Delta(self.start.rev, now.rev, changes, gaps))
        # `Offline` comes last: otherwise an application that shows whether the mirror is live would
        # show that it is.
        events += [event for event in (self.offline, self.ended) if event is not None]
        return [(event, self.start) for event in before] + [(event, now) for event in events]
