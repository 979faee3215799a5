"""How much a client's queue takes, in bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from .errors import Closed, Timeout


class Room:
    """The room in a queue. Who comes first has his first, however little another one needs."""

    def __init__(self, size: int, patience: float) -> None:
        """`patience`: how long is waited for room, seconds."""
        self._size = self._left = max(1, size)
        self._patience = patience
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._why: Callable[[], Closed] | None = None

    def needed(self, cost: int) -> int:
        """What is taken for this cost: what needs more than all of the room has all of it."""
        return min(cost, self._size)

    def try_acquire(self, cost: int) -> bool:
        """Takes room, if there is any now and nobody waits. Whether it did."""
        if self._waiters or cost > self._left:
            return False
        self._left -= cost
        return True

    async def acquire(self, cost: int) -> None:
        """Waits for room (`Timeout`), and takes it."""
        if self.try_acquire(cost):
            return
        if self._why is not None:
            raise self._why()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((cost, waiter))
        try:
            # Not `wait_for`: where room comes as the time is up, or with a cancel, that of 3.12
            # says that there was none, and that of 3.11 that nobody has cancelled.
            await asyncio.wait({waiter}, timeout=self._patience)
            if not waiter.done():
                raise Timeout(self._patience, False)
            waiter.result()
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give_back(cost)
            raise
        finally:
            waiter.cancel()
            self._make_room()

    def give_back(self, cost: int) -> None:
        """This is no longer in the queue."""
        self._left += cost
        self._make_room()

    def _make_room(self) -> None:
        while self._waiters:
            cost, waiter = self._waiters[0]
            if not waiter.done():
                if cost > self._left:
                    return
                self._left -= cost
                waiter.set_result(None)
            self._waiters.popleft()

    def close(self, why: Callable[[], Closed]) -> None:
        """Nobody waits any more: who does, or would, is told why."""
        self._why = why
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(why())
