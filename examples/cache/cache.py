"""A cache in front of a database. It never serves what a reader knows to be outdated."""

from __future__ import annotations

import asyncio
from typing import Generic, Literal, NamedTuple, TypeVar
from urllib.parse import quote

import onetree

V = TypeVar("V")

TOPIC = "/cache/items"
"""The topic above all items. Each item has a topic; its revision says when the item last changed.
"""

Flaw = Literal["none", "barrier", "fill", "lease"]
"""A rule that is left out, to check that the test notices."""


class Token(NamedTuple):
    """The moment of a commit. Whoever knows it must not be shown anything older."""

    epoch: str
    rev: int


class Stamp(NamedTuple):
    """What the mirror said about an item when a read of it began."""

    epoch: str
    rev: int
    """The revision of the item's topic; 0: there was none."""


class Cache(Generic[V]):
    """Values by key, each with the stamp under which it was read. README.md proves the rules.

    A value is served if three things hold. Its stamp is still what the mirror says now. The mirror
    is at or past the reader's token. The mirror was in step with the broker at most `lease` seconds
    ago. Nothing is removed because of an invalidation: the stamp no longer fits.
    """

    def __init__(
        self, mirror: onetree.Mirror, lease: float, size: int = 100_000, flaw: Flaw = "none"
    ) -> None:
        """`mirror`: the mirror of `TOPIC`, without values. `lease`: in seconds. `size`: at most
        this many values; the oldest are removed first."""
        self._mirror = mirror
        self._lease = lease
        self._size = size
        self._flaw = flaw
        self._values: dict[str, tuple[Stamp, V]] = {}
        self._in_step = float("-inf")

    async def keep_lease(self) -> None:
        """Asks the broker again and again whether the mirror is in step, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            # The answer says how things were at the time of the question or later, not when it
            # came.
            asked = loop.time()
            try:
                async with asyncio.timeout(self._lease):
                    if (await self._mirror.verify()).verdict == "same":
                        self._in_step = asked
            except TimeoutError:
                pass
            await asyncio.sleep(self._lease / 4)

    def get(self, key: str, token: Token | None) -> V | None:
        """Returns the value if it may be served to a reader who knows `token`; otherwise ask the
        database."""
        if not self._may_serve(token):
            return None
        found = self._values.get(key)
        return found[1] if found is not None and found[0] == self.stamp(key) else None

    def stamp(self, key: str) -> Stamp:
        """Returns the stamp. To be called before the database is read."""
        cookie = self._mirror.cookie
        entry = self._mirror.get(path(key))
        return Stamp("" if cookie is None else cookie.epoch, 0 if entry is None else entry.rev)

    def fill(self, key: str, stamp: Stamp, value: V) -> None:
        """Keeps the result of a read that began under `stamp`. If the item changed meanwhile, the
        stamp no longer fits, and the value is never served."""
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
    """Returns the topic of an item, whatever its key looks like. The topic is one segment, which is
    no key of a log. Raises `ValueError` if the key is too long."""
    name = "=" + quote(key, safe="")
    if len(name) > 255:
        raise ValueError(f"a key has at most 254 bytes when it is quoted, not {len(name) - 1}")
    return f"{TOPIC}/{name}"
