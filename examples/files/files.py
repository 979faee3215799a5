"""Mirrors a folder both ways: `python files.py FOLDER --state FILE`, one on each machine."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import NamedTuple

import onetree
from folder import Changed, Folder, Look
from names import to_file, to_topic
from onetree import Offline, Online
from parts import MOST, Parted, Parts, Upload

TYPES = {False: "application/octet-stream", True: "application/octet-stream;executable=1"}
PARTED = {
    False: "application/vnd.onetree.parts",
    True: "application/vnd.onetree.parts;executable=1",
}
"""The types of topics that name the parts of a content instead of being the content."""
AT_ONCE = 64
"""How many files may be on their way at the same time."""
LARGE_AT_ONCE = 2
"""How many of these may be in parts: their contents are in memory."""


class Base(NamedTuple):
    """The state in which a file and its topic were last the same."""

    rev: int
    look: Look
    digest: str
    parts: str | None = None
    """Where the content's parts are, if it has any."""


class Content(NamedTuple):
    """The content of a file, as its topic has it."""

    data: bytes
    executable: bool
    digest: str
    parts: str | None


class Syncer:
    """Keeps one folder and the topics under `top` the same. README.md has the rules."""

    def __init__(
        self, client: onetree.Client, folder: Folder, top: str, state: str, label: str,
        clobbers: bool = False,
    ) -> None:  # fmt: skip
        """`top`: the topic above all files. `state`: a file outside of the folder. `label`: names
        this side of a conflict. `clobbers`: makes a mistake on purpose, to check that the test
        notices."""
        self._clobbers = clobbers
        self._client = client
        self._folder = folder
        self._top = top
        self._state = state
        self._identity = folder.identity()
        self._label = label
        self._epoch = ""
        self._base: dict[bytes, Base] = {}
        self._mirror = client.mirror(top, values=False)
        self._parts = Parts(client, top)
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._reached = 0
        self._limit = 0
        self._saved = True
        self.skipped: dict[bytes, str] = {}
        """What is not mirrored, and why, according to the last complete pass."""
        self._passed_over: dict[bytes, str] = {}
        """The same for the present pass: not everything is found at once."""
        self.sent = self.received = self.conflicts = 0
        self._load()
        folder.sweep()

    async def run(self, every: float, tells: bool = True) -> None:
        """Makes passes for ever. `tells` gets what is passed over, each once."""
        told: dict[bytes, str] = {}
        await self._parts.sweep()
        while True:
            await self.pass_once()
            for file, why in sorted(self.skipped.items()):
                if tells and told.get(file) != why:
                    print(f"skipped {os.fsdecode(file)!r}: {why}", file=sys.stderr, flush=True)
            told = dict(self.skipped)
            await asyncio.sleep(every)

    async def pass_once(self) -> int:
        """Compares everything and does what is to be done. Waits for a connection. Returns how much
        there was to do."""
        online = await self._client.until("online")
        assert isinstance(online, Online)
        self._limit = online.limits.value_bytes
        await self._parts.clear()
        tree = await self._tree()
        assert tree.cookie is not None
        if tree.cookie.epoch != self._epoch:
            # This is another history. What is not in it was not deleted; nothing is known in
            # common.
            self._epoch, self._base, self._reached = tree.cookie.epoch, {}, 0
        looks, self._passed_over = self._folder.scan()
        revs: dict[bytes, int] = {}
        for topic in tree:
            if topic == self._top:
                continue
            file = to_file(self._top, topic)
            if file is None:
                self._passed_over[topic.encode()] = "this topic is no file's name"
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
            # Deletes first: a file may be where a directory is to be.
            gone = base is not None and (look is None or not rev)
            (away if gone else rest).append(self._one(file, look, rev, base))
        for work in (away, rest):
            await asyncio.gather(*work)
        self.skipped = self._passed_over
        if self._base != before or not self._saved:
            try:
                self._save()
                self._saved = True
            except OSError as error:
                # The next pass tries again. Without the saved state less is known in common, and
                # nothing is lost.
                self._saved = False
                self.skipped[os.fsencode(self._state)] = f"cannot be saved: {error.strerror}"
        return len(away) + len(rest)

    async def _tree(self) -> onetree.Snapshot:
        """Returns the topics, with everything that this program itself wrote or read: that must not
        look like news."""
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
            if file in self._passed_over:
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
                    self._passed_over[file] = str(refused)
            except OSError as error:
                self._passed_over[file] = error.strerror or str(error)

    async def _settle(self, file: bytes, look: Look | None, rev: int, base: Base | None) -> None:
        """Deals with one file whose two sides differ, or may differ."""
        here = look != (None if base is None else base.look)
        there = rev != (0 if base is None else base.rev)
        if look is None and not rev:
            self._base.pop(file, None)
        elif there and not here:
            await self._fetch(file, look, base)
        elif here and not there:
            await self._send(file, look, rev, base)
        elif look is None:
            # Deleted here, changed there: the change is kept.
            await self._fetch(file, None, base)
        elif not rev:
            await self._send(file, look, 0, None)
        else:
            await self._both(file, look)

    async def _send(self, file: bytes, look: Look | None, rev: int, base: Base | None) -> None:
        topic = to_topic(self._top, file)
        if topic is None:
            self._passed_over[file] = "the name is too long, or too deep"
            return
        if look is None:
            txn = onetree.Txn().if_rev(topic, rev).delete(topic)
            done = await self._commit(txn, base, None)
            self._base.pop(file, None)
        else:
            if look.size > self._limit * MOST:
                most = f"{MOST} values of {self._limit} bytes"
                self._passed_over[file] = f"{look.size} bytes, more than {most}"
                return
            async with self._room(look.size > self._limit):
                data = self._folder.read(file, look)
                digest = _digest(data, look.executable)
                if base is not None and base.digest == digest:
                    self._base[file] = Base(rev, look, digest, base.parts)  # Touched, but the same.
                    return
                upload = None
                value = onetree.Value.of(TYPES[look.executable], data)
                if look.size > self._limit:
                    upload = await self._parts.send(data, self._limit, digest)
                    value = onetree.Value.of(PARTED[look.executable], upload.parted.value())
                txn = onetree.Txn().if_rev(topic, rev).put(topic, value)
                done = await self._commit(txn, base, upload)
                parts = None if upload is None else upload.parted.name
                self._base[file] = Base(done.rev, look, digest, parts)
        self.sent += 1
        self._reached = max(self._reached, done.rev)

    async def _commit(
        self, txn: onetree.Txn, base: Base | None, upload: Upload | None
    ) -> onetree.Done:
        """Puts a content with its parts, and removes the parts of the content that it replaces
        (that of `base`), in one commit."""
        if base is not None and base.parts is not None:
            self._parts.drop(txn, base.parts)
        if upload is None:
            return await self._client.txn(txn)
        self._parts.name(txn, upload)
        try:
            return await self._client.txn(txn)
        except BaseException:
            self._parts.give_up(upload)
            raise

    async def _fetch(self, file: bytes, look: Look | None, base: Base | None) -> None:
        self._folder.check_place(file)  # Before anything is asked for, again and again.
        entry = await self._get(file)
        if entry is None:
            if look is not None:
                self._folder.delete(file, look)
            self._base.pop(file, None)
        else:
            async with self._room(_in_parts(entry)):
                found = await self._content(file, entry)
                new = await asyncio.to_thread(
                    self._folder.write, file, found.data, found.executable, look
                )
            self._base[file] = Base(entry.rev, new, found.digest, found.parts)
        self.received += 1

    async def _both(self, file: bytes, look: Look | None) -> None:
        """Changed on both sides: the tree's file stays, and this side's is kept beside it if they
        differ."""
        entry = await self._get(file)
        if entry is None:
            return  # Deleted by now.
        assert look is not None
        async with self._room(_in_parts(entry) or look.size > self._limit):
            found = await self._content(file, entry)
            ours = _digest(self._folder.read(file, look), look.executable)
            if ours == found.digest:
                self._base[file] = Base(entry.rev, look, found.digest, found.parts)
                return
            self.conflicts += 1
            aside = None
            if not self._clobbers:
                aside = self._folder.set_aside(file, self._label)
                look = None
                self._base.pop(file, None)
            new = await asyncio.to_thread(
                self._folder.write, file, found.data, found.executable, look, aside
            )
            self._base[file] = Base(entry.rev, new, found.digest, found.parts)

    def _room(self, is_large: bool) -> AbstractAsyncContextManager[object]:
        """Returns what limits the contents in memory: few large ones at a time."""
        return self._large if is_large else nullcontext()

    async def _content(self, file: bytes, entry: onetree.Entry) -> Content:
        """Returns the whole content that an entry is or names."""
        assert entry.value is not None
        kind, data = entry.value
        executable = kind in (TYPES[True], PARTED[True])
        if kind not in PARTED.values():
            return Content(data, executable, _digest(data, executable), None)
        parted = Parted.read(data)
        whole = await self._parts.fetch(parted)
        if whole is None or not parted.name.startswith(f"{_digest(whole, executable)}-"):
            again = await self._get(file)
            if again is None or again.rev != entry.rev:
                raise Changed  # Replaced meanwhile, and the parts with it.
            raise OSError("its parts are not all there")
        return Content(whole, executable, _digest(whole, executable), parted.name)

    async def _get(self, file: bytes) -> onetree.Entry | None:
        topic = to_topic(self._top, file)
        assert topic is not None
        found = await self._client.get_many([topic])
        status = self._client.status
        if not isinstance(status, Online) or status.epoch != self._epoch:
            # This may be the answer of another broker: that it has nothing does not mean that it
            # was deleted.
            raise Changed
        self._reached = max(self._reached, found.rev)
        return found.entries[0] if found.entries else None

    def _load(self) -> None:
        try:
            with open(self._state) as opened:
                kept = json.load(opened)
        except FileNotFoundError:
            return
        if kept.get("folder", self._identity) != self._identity:
            raise OSError(
                f"{self._state} is of another folder than is there now; is its disk mounted?"
                " Without this file all is compared anew, and nothing deleted"
            )
        self._epoch = kept["epoch"]
        for name, (rev, look, *rest) in kept["files"].items():
            self._base[os.fsencode(name)] = Base(rev, Look(*look), *rest)

    def _save(self) -> None:
        """Saves the state. It may be behind the folder when the process dies: then files look
        changed on both sides, and are found to be the same."""
        files = {os.fsdecode(file): base for file, base in self._base.items()}
        with open(self._state + ".tmp", "w") as opened:
            kept = {"epoch": self._epoch, "folder": self._identity, "files": files}
            json.dump(kept, opened)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(self._state + ".tmp", self._state)


def _in_parts(entry: onetree.Entry) -> bool:
    return entry.value is not None and entry.value.type in PARTED.values()


def _digest(data: bytes, executable: bool) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest() + ("x" if executable else "")


async def _tell(client: onetree.Client, broker: str) -> None:
    """Prints that the program waits for the broker, once however many attempts there are, and
    prints when the broker is there."""
    waits = False
    async for status in client.statuses():
        if isinstance(status, Offline) and not waits:
            waits = True
            print(f"waits for the broker at {broker}: {status.error}", file=sys.stderr, flush=True)
        elif isinstance(status, Online):
            waits = False
            print(f"connected to the broker at {broker}", file=sys.stderr, flush=True)


async def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("folder")
    args.add_argument("--state", required=True, help="a file outside of the folder")
    args.add_argument("--broker", default="ws://127.0.0.1:7400", help="its URL")
    args.add_argument("--top", default="/files", help="the topic above all files")
    args.add_argument("--label", default=os.uname().nodename, help="names our side of a conflict")
    args.add_argument("--every", type=float, default=0.5, help="seconds between passes")
    given = args.parse_args()
    if given.top == "/":
        args.error("--top: the files' topics need one above them")
    folder = Folder(os.fsencode(os.path.abspath(given.folder)))
    if folder.holds(given.state):
        # The state file would be a file like any other, and each pass would change it: there would
        # be no end.
        args.error(f"--state: {given.state} is in the folder that is mirrored; name one outside")
    try:
        folder.take()
        async with onetree.start(given.broker, reconnect="always", backoff=(0.05, 1)) as client:
            syncer = Syncer(client, folder, given.top, given.state, given.label)
            await asyncio.gather(syncer.run(given.every), _tell(client, given.broker))
    except OSError as error:
        sys.exit(f"{given.folder}: {error}")
    except onetree.OnetreeError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
