"""What waits for an answer of the broker, by the number that the answer will have."""

from __future__ import annotations

from typing import NamedTuple


class Asked(NamedTuple):
    """What a reply answers."""

    what: str
    """`request`, `sub`, `resync`, `unsub`, `sync` or `bye`."""
    number: int = 0
    """The ticket, or the subscription."""
    verify: tuple[tuple[int, int], ...] = ()
    """For a `sync`: the tickets that wait for it, each with its subscription."""


class Asks:
    """Everything that was sent on this connection and has no answer."""

    def __init__(self) -> None:
        self._last = 0
        self._asked: dict[int, Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def __contains__(self, id: int) -> bool:
        return id in self._asked

    def ids(self) -> list[int]:
        """Returns the numbers of everything that waits."""
        return [*self._asked]

    def next_id(self) -> int:
        """Returns a number that nothing waits under."""
        while True:
            self._last = (self._last + 1) & 0xFFFF_FFFF
            if self._last not in self._asked:
                return self._last

    def put(self, id: int, asked: Asked) -> None:
        """Notes what was sent under a number of `next_id`."""
        self._asked[id] = asked

    def add(self, asked: Asked) -> int:
        """Notes what is sent, and returns a number for it."""
        id = self.next_id()
        self._asked[id] = asked
        return id

    def waits(self, asked: Asked) -> bool:
        """Returns whether an equal request was sent and has no answer."""
        return asked in self._asked.values()

    def take(self, id: int) -> Asked | None:
        """Removes and returns what was answered."""
        return self._asked.pop(id, None)

    def take_sync(self, id: int | None) -> Asked | None:
        """Removes and returns what was answered, if it is a `sync`."""
        asked = None if id is None else self._asked.get(id)
        return self._asked.pop(id) if id is not None and asked and asked.what == "sync" else None

    def clear(self) -> list[tuple[int, int]]:
        """Forgets everything: no answer will come. Returns the tickets that waited for a `sync`."""
        waiting = [one for asked in self._asked.values() for one in asked.verify]
        self._asked.clear()
        return waiting
