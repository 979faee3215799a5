"""Contents above the broker's limit of a value: they are stored in parts beside the tree of files.

No commit can hold such a content. So its parts are put first, under a name of their own that nobody
knows yet. Then one commit puts the file's topic, which names them. The topic of the name itself
says whether the parts below it belong to anybody. While they are sent it is ephemeral, so it goes
with the sender. The commit that names the parts puts it for good. If there is no such topic, the
parts were left by a sender that died.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from typing import NamedTuple

import onetree
from onetree import request

MOST = 64
"""The largest number of parts. Contents are in memory as a whole, here and in the broker."""
NAME = re.compile("[0-9a-f]{32}x?-[0-9a-f]{1,16}")
"""The form of a name of parts."""


class Parted(NamedTuple):
    """What a file's topic holds instead of the content."""

    name: str
    """The name of the parts: the content's digest, and something that makes it unique."""
    number: int
    """The number of parts."""

    def value(self) -> bytes:
        """Returns the value of the topic."""
        return json.dumps(self).encode()

    @staticmethod
    def read(value: bytes) -> Parted:
        """Reads the value of a topic. Raises `OSError` if it is none."""
        try:
            name, number = json.loads(value)
        except (ValueError, TypeError, OverflowError, RecursionError):
            name = number = None
        if type(name) is str and NAME.fullmatch(name):
            if type(number) is int and 1 <= number <= MOST:
                return Parted(name, number)
        raise OSError("its topic names no parts")


class Upload(NamedTuple):
    """Parts that are there, and not named yet."""

    parted: Parted
    rev: int
    """The revision of the topic that holds them until then."""


class Parts:
    """The parts of all files of one tree."""

    def __init__(self, client: onetree.Client, top: str) -> None:
        """`top`: the topic above all files; the parts are beside it."""
        self._client = client
        self._top = top + ".parts"
        self._given_up: list[tuple[str, int | None]] = []
        """Names, each with the revision of its topic; `None` if no commit can have named it."""

    async def send(self, data: bytes, limit: int, digest: str) -> Upload:
        """Puts a content in parts of at most `limit` bytes."""
        name = f"{digest}-{secrets.token_hex(8)}"
        at = f"{self._top}/{name}"
        number = -(-len(data) // limit)
        try:
            held = await self._client.put(at, "sending", if_rev=0, ephemeral=True)
            answers = [
                await self._client.enqueue(
                    request.put(f"{at}/{n}", data[n * limit : (n + 1) * limit], if_rev=0)
                )
                for n in range(number)
            ]
            await asyncio.gather(*answers)
        except BaseException:
            self._given_up.append((name, None))
            raise
        return Upload(Parted(name, number), held.rev)

    def name(self, txn: onetree.Txn, upload: Upload) -> None:
        """Adds to the commit that names the parts: from then on they stay."""
        at = f"{self._top}/{upload.parted.name}"
        txn.if_rev(at, upload.rev).put(at, "sent")

    def drop(self, txn: onetree.Txn, name: str) -> None:
        """Adds to the commit that replaces the content: its parts are removed."""
        txn.drop_tree(f"{self._top}/{name}")

    def give_up(self, upload: Upload) -> None:
        """Notes that nobody will name these parts: the next `clear` removes them. If somebody has
        named them after all, they stay."""
        self._given_up.append((upload.parted.name, upload.rev))

    async def clear(self) -> None:
        """Removes what was given up. A failure that will pass is tried again the next time."""
        await asyncio.gather(*(self._remove(*given) for given in list(self._given_up)))

    async def _remove(self, name: str, rev: int | None) -> None:
        at = f"{self._top}/{name}"
        # If the session was lost, there is no such topic. If the parts were named for good, it is
        # at neither.
        for holds in (None,) if rev is None else (rev, 0):
            txn = onetree.Txn() if holds is None else onetree.Txn().if_rev(at, holds)
            try:
                await self._client.txn(txn.drop_tree(at))
            except onetree.Timeout:
                return
            except onetree.Refused as refused:
                if refused.code == "conflict":
                    continue
                if refused.action == "retry" or refused.code == "outcome-unknown":
                    return
            break
        self._given_up.remove((name, rev))

    async def fetch(self, parted: Parted) -> bytes | None:
        """Returns the content; `None` if some parts are missing."""
        found = []
        for n in range(parted.number):
            # One by one: an answer has its limit, too.
            part = await self._client.get(f"{self._top}/{parted.name}/{n}")
            if part is None or part.value is None:
                return None
            found.append(part.value.data)
        return b"".join(found)

    async def sweep(self) -> None:
        """Removes what senders left that died."""
        with self._client.mirror(self._top, values=False, once=True) as there:
            await there.fresh()
            topics = set(there.snapshot())
        for name in {topic[len(self._top) + 1 :].split("/")[0] for topic in topics}:
            at = f"{self._top}/{name}"
            if name and at not in topics:
                try:
                    await self._client.txn(onetree.Txn().if_rev(at, 0).drop_tree(at))
                except (onetree.Refused, onetree.Timeout):
                    pass  # Somebody's by now; or it is tried again at the next start.
