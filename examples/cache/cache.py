"""A cache in front of a database, which never serves what a reader knows to be old."""

from __future__ import annotations

import asyncio
from typing import Generic, Literal, NamedTuple, TypeVar
from urllib.parse import quote

import onetree

V = TypeVar("V")

TOPIC = "/cache/items"
"""Under it one topic for each item; the topic's revision is when the item last changed."""

Flaw = Literal["none", "barrier", "fill", "lease"]
"""A rule that is left out, to see that the test notices."""


class Token(NamedTuple):
    """The moment of a commit: whoever knows it must not be shown anything older."""

    epoch: str
    rev: int


class Stamp(NamedTuple):
    """What the mirror said of an item when a read of it began."""

    epoch: str
    rev: int
    """Of the item's topic; 0: nothing was ever said."""


class Cache(Generic[V]):
    """Values by key, each with the stamp that it was read under. README.md proves the rules.

    A value is served when three things hold: the stamp is still what the mirror says now; the
    mirror is at or past the reader's token; the mirror was in step with the broker at most `lease`
    seconds ago. Nothing is ever thrown out because of an invalidation: the stamp no longer fits.
    """

    def __init__(
        self, mirror: onetree.Mirror, lease: float, size: int = 100_000, flaw: Flaw = "none"
    ) -> None:
        """`mirror`: of `TOPIC`, without values. `lease`: seconds. `size`: at most so many values,
        the oldest go first."""
        self._mirror = mirror
        self._lease = lease
        self._size = size
        self._flaw = flaw
        self._values: dict[str, tuple[Stamp, V]] = {}
        self._in_step = float("-inf")

    async def keep_lease(self) -> None:
        """Asks the broker again and again whether the mirror is in step; for ever."""
        loop = asyncio.get_running_loop()
        while True:
            # The answer says how things were when it was asked for, or later, not when it came.
            asked = loop.time()
            try:
                async with asyncio.timeout(self._lease):
                    if (await self._mirror.verify()).verdict == "same":
                        self._in_step = asked
            except TimeoutError:
                pass
            await asyncio.sleep(self._lease / 4)

    def get(self, key: str, token: Token | None) -> V | None:
        """The value, when it may be served to one who knows `token`; else ask the database."""
        if not self._may_serve(token):
            return None
        found = self._values.get(key)
        return found[1] if found is not None and found[0] == self.stamp(key) else None

    def stamp(self, key: str) -> Stamp:
        """To be taken before the database is read."""
        cookie = self._mirror.cookie
        entry = self._mirror.get(path(key))
        return Stamp("" if cookie is None else cookie.epoch, 0 if entry is None else entry.rev)

    def fill(self, key: str, stamp: Stamp, value: V) -> None:
        """Keeps what a read gave that began under `stamp`. When the item changed meanwhile, the
        stamp does not fit any more, and the value is never served."""
        if self._flaw == "fill":
            stamp = self.stamp(key)
        self._values.pop(key, None)
        self._values[key] = (stamp, value)
        if len(self._values) > self._size:
            del self._values[next(iter(self._values))]

    def _may_serve(self, token: Token | None) -> bool:
        cookie = self._mirror.cookie
        if cookie is None:
            return False
        if self._flaw != "lease":
            now = asyncio.get_running_loop().time()
            if not self._mirror.is_fresh or now - self._in_step > self._lease:
                return False
        if token is not None and self._flaw != "barrier":
            # Revisions of another history say nothing.
            return cookie.epoch == token.epoch and self._mirror.rev >= token.rev
        return True


def path(key: str) -> str:
    """The topic of an item, whatever its key looks like: one segment, which is no key of a log.
    `ValueError`: the key is too long."""
    name = "=" + quote(key, safe="")
    if len(name) > 255:
        raise ValueError(f"a key has at most 254 bytes when it is quoted, not {len(name) - 1}")
    return f"{TOPIC}/{name}"
