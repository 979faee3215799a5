"""How long to wait before the next attempt to connect."""

from __future__ import annotations

from random import Random


class Backoff:
    """Exponential backoff with full jitter: each wait is a random time below a bound that doubles.
    So clients that lost their broker together do not come back together."""

    def __init__(self, base: float, cap: float, random: Random) -> None:
        """Waits of up to `base` seconds, then up to twice that, and so on up to `cap`."""
        self._base = base
        self._cap = max(base, cap)
        self._random = random
        self._failures = 0

    def next(self, asked: float | None = None) -> float:
        """Returns the next wait, in seconds. If the broker `asked` for one, that is the wait: the
        broker has spread its clients itself. A wait of zero does not count: with it all clients
        would come back at once, for ever."""
        bound = min(self._base * 2.0 ** min(self._failures, 60), self._cap)
        self._failures += 1
        jitter = bound * self._random.random()
        return asked or jitter

    def reset(self) -> None:
        """The connection proved good: the next wait is short again."""
        self._failures = 0
