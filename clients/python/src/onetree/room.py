"""How many bytes a client's queue takes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from .errors import Closed, Timeout


class Room:
    """The room in a queue. Who asked first gets room first, even if a later request needs less."""

    def __init__(self, size: int, patience: float) -> None:
        """`patience`: how long a request waits for room, in seconds."""
        self._size = self._left = max(1, size)
        self._patience = patience
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._why: Callable[[], Closed] | None = None

    def needed(self, cost: int) -> int:
        """Returns what is taken for this cost. A request that is larger than the whole queue takes
        all of it."""
        return min(cost, self._size)

    def try_acquire(self, cost: int) -> bool:
        """Takes room if there is enough now and nobody waits. Returns whether it did."""
        if self._waiters or cost > self._left:
            return False
        self._left -= cost
        return True

    async def acquire(self, cost: int) -> None:
        """Waits for room and takes it. Raises `Timeout` if there was none in time."""
        if self.try_acquire(cost):
            return
        if self._why is not None:
            raise self._why()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((cost, waiter))
        try:
            # Not `wait_for`: if the room comes just when the time is up, or together with a cancel,
            # `wait_for` of Python 3.12 reports that there was no room, and that of 3.11 swallows
            # the cancel.
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
        """A request leaves the queue."""
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
        """Refuses everything that waits, and everything that would."""
        self._why = why
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(why())
