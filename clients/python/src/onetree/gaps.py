"""The logs that have a gap for a reader: entries were trimmed which the reader never had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from . import event as e
from .event import Difference, Event
from .protocol.paths import is_log_key, name
from .snapshot import Snapshot

GAPS: Final = 1024
"""How many gaps are kept before those of logs without any entries are forgotten."""


class Gaps:
    """The gaps for a reader who knows what a mirror was at `start`, and has read nothing since."""

    def __init__(self, start: Snapshot) -> None:
        self.start = start
        self.logs: set[str] = set()
        # Whether the last refresh began from nothing.
        self._full = False
        # At this many gaps, those of logs without any entries are forgotten.
        self._most = GAPS

    def fold(self, event: Event, now: Callable[[], Snapshot]) -> None:
        """Folds in the next event. `now` gives the mirror after it."""
        if isinstance(event, e.Refreshing):
            self._full = event.kind == "full"
        elif isinstance(event, (e.Delta, e.Fresh)):
            if self._full and isinstance(event, e.Fresh):
                # What the refresh brought is there, whatever was trimmed before.
                self.logs.clear()
            self.logs.update(event.gaps)
            if event.trimmed:
                self._note(event.changes, event.trimmed)
            if len(self.logs) >= self._most:
                self._forget(now())

    def _note(self, changes: Sequence[Difference], trimmed: Mapping[str, str]) -> None:
        for path, _, old, new in changes:
            # If a log's entry came and was trimmed meanwhile, the reader never saw it: that is a
            # gap. A deleted entry was meant to be gone. Entries are compared and not only
            # revisions: another history may have other entries at the same revision.
            log = trimmed.get(path)
            if log is None or new is not None or not is_log_key(name(path)):
                continue
            if self.start.get(path) != old:
                self.logs.add(log)

    def _forget(self, now: Snapshot) -> None:
        """Forgets the gaps of logs that had nothing before and have nothing now. The application
        does not know these logs. Without this, such gaps would accumulate for as long as nothing is
        read."""
        self.logs -= self.start.without(now.without(self.logs))
        self._most = max(GAPS, 2 * len(self.logs))
