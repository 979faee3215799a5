"""How long to wait before the next attempt."""

from __future__ import annotations

from random import Random


class Backoff:
    """Exponential backoff with full jitter: each wait is random between nothing and a bound that
    doubles, so that clients which lost their broker together do not come back together."""

    def __init__(self, base: float, cap: float, random: Random) -> None:
        """Waits of up to `base` seconds, then twice that, and so on, up to `cap`."""
        self._base = base
        self._cap = max(base, cap)
        self._random = random
        self._failures = 0

    def next(self, asked: float | None = None) -> float:
        """The next wait, seconds. One that the broker asked for is kept to: it has spread its
        clients itself. A wait of zero is none that anybody asked for: all would come back at
        once, for ever."""
        bound = min(self._base * 2.0 ** min(self._failures, 60), self._cap)
        self._failures += 1
        jitter = bound * self._random.random()
        return asked or jitter

    def reset(self) -> None:
        """The connection proved good: the next wait is short again."""
        self._failures = 0
