"""The logs of which entries went that a reader never had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from . import event as e
from .event import Difference, Event
from .protocol.paths import is_log_key, name
from .snapshot import Snapshot

GAPS: Final = 1024
"""So many gaps are remembered of logs of which there is nothing."""


class Gaps:
    """Gaps, for one who knows what a mirror was at `start` and is told of nothing since."""

    def __init__(self, start: Snapshot) -> None:
        self.start = start
        self.logs: set[str] = set()
        # Whether the last refresh began from nothing.
        self._full = False
        # When there are so many of them, those that are for nobody are forgotten.
        self._most = GAPS

    def fold(self, event: Event, now: Callable[[], Snapshot]) -> None:
        """The next event that happened; `now`: the mirror behind it."""
        if isinstance(event, e.Refreshing):
            self._full = event.kind == "full"
        elif isinstance(event, (e.Delta, e.Fresh)):
            if self._full and isinstance(event, e.Fresh):
                # What it brings is there, whatever was trimmed before.
                self.logs.clear()
            self.logs.update(event.gaps)
            if event.trimmed:
                self._note(event.changes, event.trimmed)
            if len(self.logs) >= self._most:
                self._forget(now())

    def _note(self, changes: Sequence[Difference], trimmed: Mapping[str, str]) -> None:
        for path, _, old, new in changes:
            # A log entry that came and was trimmed meanwhile was never seen: there was something.
            # One that was deleted, was to be gone. Its revision does not say it: another history
            # may have others at the same.
            log = trimmed.get(path)
            if log is None or new is not None or not is_log_key(name(path)):
                continue
            if self.start.get(path) != old:
                self.logs.add(log)

    def _forget(self, now: Snapshot) -> None:
        """Of a log that came and went the application knows nothing, and is told nothing: otherwise
        such logs would add up for as long as nothing is read."""
        self.logs -= self.start.without(now.without(self.logs))
        self._most = max(GAPS, 2 * len(self.logs))
