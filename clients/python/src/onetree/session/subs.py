"""The subscription of a mirror, and how often the mirror may start again."""

from __future__ import annotations

from collections import deque
from typing import Final

from ..mirror import State
from ..options import SubOptions
from ..protocol import frames

RESTARTS: Final = 3
"""How many starts from nothing within `WINDOW` happen without a wait. The next one waits."""
WINDOW: Final = 60.0
HOLD: Final = 10.0
"""How long a mirror waits that starts again too often: this long at first, then twice as long each
time, up to `HOLD_MOST`."""
HOLD_MOST: Final = 300.0
AGAIN: Final = 1.0
"""How long to wait before a subscription that was refused for now is tried again."""


class Slot:
    """A subscription."""

    __slots__ = ("_holds", "_restarts", "held", "options", "state", "subscribed")

    def __init__(self, state: State, options: SubOptions) -> None:
        self.state = state
        self.options = options
        self.subscribed = False
        """Whether the broker has the subscription, or is about to get it."""
        self.held: float | None = None
        """Until when the mirror waits before it starts again."""
        self._restarts: deque[float] = deque()
        self._holds = 0

    def frame(self, id: int, sub: int) -> frames.Sub:
        """Returns the `sub` frame."""
        view, options = self.state.view, self.options
        return frames.Sub(
            id,
            sub,
            view.path,
            view.depth,
            view.match,
            view.tail,
            view.values,
            self.state.cookie,
            "once" if options.once else "stay",
            options.signals,
            options.every_ms,
        )

    def restart(self, now: float) -> float | None:
        """The mirror must start again from nothing. Returns how long it waits first, if it has
        started again too often."""
        while self._restarts and now - self._restarts[0] > WINDOW:
            self._restarts.popleft()
        if not self._restarts:
            self._holds = 0
        self._restarts.append(now)
        if len(self._restarts) <= RESTARTS:
            return None
        wait = min(HOLD * 2.0 ** min(self._holds, 5), HOLD_MOST)
        self._holds += 1
        self.held = now + wait
        # It cannot start while it waits, so the wait is no part of the window.
        self._restarts = deque(at + wait for at in self._restarts)
        return wait
