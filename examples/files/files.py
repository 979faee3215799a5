"""Mirrors a folder both ways: `python files.py FOLDER --state FILE`, one on each machine."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Coroutine
from typing import NamedTuple

import onetree
from folder import Changed, Folder, Look
from names import to_file, to_topic
from onetree.event import Online

TYPES = {False: "application/octet-stream", True: "application/octet-stream;executable=1"}
AT_ONCE = 64
"""Files on their way at the same time."""


class Base(NamedTuple):
    """Where a file and its topic were the same the last time."""

    rev: int
    look: Look
    digest: str


class Syncer:
    """Keeps one folder and the topics under `top` the same. README.md has the rules."""

    def __init__(
        self, client: onetree.Client, folder: Folder, top: str, state: str, label: str,
        clobbers: bool = False,
    ) -> None:  # fmt: skip
        """`top`: the topic above all files. `state`: a file outside of the folder. `label`: names
        our side of a conflict. `clobbers`: wrong on purpose, to see that the test notices."""
        self._clobbers = clobbers
        self._client = client
        self._folder = folder
        self._top = top
        self._state = state
        self._label = label
        self._epoch = ""
        self._base: dict[bytes, Base] = {}
        self._mirror = client.mirror(top, values=False)
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._reached = 0
        self._limit = 0
        self.skipped: dict[bytes, str] = {}
        """What is not mirrored, and why, as of the last pass."""
        self.sent = self.received = self.conflicts = 0
        self._load()
        folder.sweep()

    async def run(self, every: float, tells: bool = True) -> None:
        """Passes again and again, for ever. `tells`: names what is passed over, each once."""
        told: dict[bytes, str] = {}
        while True:
            await self.pass_once()
            for file, why in sorted(self.skipped.items()):
                if tells and told.get(file) != why:
                    print(f"skipped {os.fsdecode(file)!r}: {why}", file=sys.stderr, flush=True)
            told = dict(self.skipped)
            await asyncio.sleep(every)

    async def pass_once(self) -> int:
        """Compares all and does what is to be done; waits for a connection. How much that was."""
        online = await self._client.until("online")
        assert isinstance(online, Online)
        self._limit = online.limits.value_bytes
        tree = await self._tree()
        assert tree.cookie is not None
        if tree.cookie.epoch != self._epoch:
            # Another history. What is not in it was not deleted; nothing is known in common.
            self._epoch, self._base, self._reached = tree.cookie.epoch, {}, 0
        looks, self.skipped = self._folder.scan()
        revs: dict[bytes, int] = {}
        for topic in tree:
            if topic == self._top:
                continue
            file = to_file(self._top, topic)
            if file is None:
                self.skipped[topic.encode()] = "this topic is no file's name"
            else:
                revs[file] = tree[topic].rev
        before = dict(self._base)
        away: list[Coroutine[None, None, None]] = []
        rest: list[Coroutine[None, None, None]] = []
        for file in {*looks, *revs, *self._base}:
            if self._is_skipped(file):
                continue
            look, rev, base = looks.get(file), revs.get(file, 0), self._base.get(file)
            if base is not None and base.look == look and base.rev == rev:
                continue
            # Deletes first: a file may be in the way of a directory.
            gone = base is not None and (look is None or not rev)
            (away if gone else rest).append(self._one(file, look, rev, base))
        for work in (away, rest):
            await asyncio.gather(*work)
        if self._base != before:
            self._save()
        return len(away) + len(rest)

    async def _tree(self) -> onetree.Snapshot:
        """The topics, with all that we wrote or read ourselves: it must not look like news."""
        while True:
            await self._mirror.fresh()
            cookie = self._mirror.cookie
            # In another history that revision may never come.
            if cookie is not None and cookie.epoch == self._epoch:
                try:
                    async with asyncio.timeout(2):
                        await self._mirror.at(self._reached)
                except TimeoutError:
                    continue
            return self._mirror.snapshot()

    def _is_skipped(self, file: bytes) -> bool:
        while file:
            if file in self.skipped:
                return True
            file = os.path.dirname(file)
        return False

    async def _one(self, file: bytes, look: Look | None, rev: int, base: Base | None) -> None:
        async with self._gate:
            try:
                await self._settle(file, look, rev, base)
            except (Changed, onetree.Timeout):
                pass  # The next pass sees how it is then.
            except onetree.Refused as refused:
                if refused.code == "conflict":
                    self._reached = max(self._reached, refused.rev or 0)
                else:
                    self.skipped[file] = str(refused)
            except OSError as error:
                self.skipped[file] = error.strerror or str(error)

    async def _settle(self, file: bytes, look: Look | None, rev: int, base: Base | None) -> None:
        """One file of which the two sides are not, or may not be, the same."""
        here = look != (None if base is None else base.look)
        there = rev != (0 if base is None else base.rev)
        if look is None and not rev:
            self._base.pop(file, None)
        elif there and not here:
            await self._fetch(file, look, base)
        elif here and not there:
            await self._send(file, look, rev, base)
        elif look is None:
            # Deleted here, changed there: what was changed is not lost.
            await self._fetch(file, None, base)
        elif not rev:
            await self._send(file, look, 0, None)
        else:
            await self._both(file, look)

    async def _send(self, file: bytes, look: Look | None, rev: int, base: Base | None) -> None:
        topic = to_topic(self._top, file)
        if topic is None:
            self.skipped[file] = "the name is too long, or too deep"
            return
        if look is None:
            done = await self._client.delete(topic, if_rev=rev)
            self._base.pop(file, None)
        else:
            if look.size > self._limit:
                self.skipped[file] = f"{look.size} bytes, more than the broker's {self._limit}"
                return
            data = self._folder.read(file, look)
            digest = _digest(data, look.executable)
            if base is not None and base.digest == digest:
                self._base[file] = Base(rev, look, digest)  # Touched, but the same.
                return
            value = onetree.Value.of(TYPES[look.executable], data)
            done = await self._client.put(topic, value, if_rev=rev)
            self._base[file] = Base(done.rev, look, digest)
        self.sent += 1
        self._reached = max(self._reached, done.rev)

    async def _fetch(self, file: bytes, look: Look | None, base: Base | None) -> None:
        entry = await self._get(file)
        if entry is None:
            if look is not None:
                self._folder.delete(file, look)
            self._base.pop(file, None)
        else:
            data, executable = _content(entry)
            new = await asyncio.to_thread(self._folder.write, file, data, executable, look)
            self._base[file] = Base(entry.rev, new, _digest(data, executable))
        self.received += 1

    async def _both(self, file: bytes, look: Look | None) -> None:
        """Changed on both sides: the tree's stays, ours is kept beside it, if they differ."""
        entry = await self._get(file)
        if entry is None:
            return  # Deleted by now.
        data, executable = _content(entry)
        digest = _digest(data, executable)
        assert look is not None
        ours = _digest(self._folder.read(file, look), look.executable)
        if ours == digest:
            self._base[file] = Base(entry.rev, look, digest)
            return
        self.conflicts += 1
        if not self._clobbers:
            self._folder.set_aside(file, self._label)
            look = None
            self._base.pop(file, None)
        new = await asyncio.to_thread(self._folder.write, file, data, executable, look)
        self._base[file] = Base(entry.rev, new, digest)

    async def _get(self, file: bytes) -> onetree.Entry | None:
        topic = to_topic(self._top, file)
        assert topic is not None
        found = await self._client.get_many([topic])
        status = self._client.status
        if not isinstance(status, Online) or status.epoch != self._epoch:
            # Perhaps another broker's answer: that it has nothing does not mean deleted.
            raise Changed
        self._reached = max(self._reached, found.rev)
        return found.entries[0] if found.entries else None

    def _load(self) -> None:
        try:
            with open(self._state) as opened:
                kept = json.load(opened)
        except FileNotFoundError:
            return
        self._epoch = kept["epoch"]
        for name, (rev, look, digest) in kept["files"].items():
            self._base[os.fsencode(name)] = Base(rev, Look(*look), digest)

    def _save(self) -> None:
        """May be behind the folder when the process dies: then files look changed on both sides,
        and are found to be the same."""
        files = {os.fsdecode(file): base for file, base in self._base.items()}
        with open(self._state + ".tmp", "w") as opened:
            json.dump({"epoch": self._epoch, "files": files}, opened)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(self._state + ".tmp", self._state)


def _content(entry: onetree.Entry) -> tuple[bytes, bool]:
    assert entry.value is not None
    return bytes(entry.value.data), entry.value.type == TYPES[True]


def _digest(data: bytes, executable: bool) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest() + ("x" if executable else "")


async def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("folder")
    args.add_argument("--state", required=True, help="a file outside of the folder")
    args.add_argument("--broker", default="ws://127.0.0.1:7400", help="its URL")
    args.add_argument("--top", default="/files", help="the topic above all files")
    args.add_argument("--label", default=os.uname().nodename, help="names our side of a conflict")
    args.add_argument("--every", type=float, default=0.5, help="seconds between passes")
    given = args.parse_args()
    async with onetree.connect(given.broker, reconnect="always", backoff=(0.05, 1)) as client:
        folder = Folder(os.fsencode(os.path.abspath(given.folder)))
        await Syncer(client, folder, given.top, given.state, given.label).run(given.every)


if __name__ == "__main__":
    asyncio.run(main())
