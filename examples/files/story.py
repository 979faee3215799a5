"""The test: a tree of some thousand files, changed on both sides, one of which is cut off."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import time
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import onetree
import stage
from files import PARTED, Base, Syncer, _digest
from folder import TEMPORARY, Changed, Folder
from onetree import request
from parts import MOST, Parted

HERE = Path(__file__).resolve().parent
SOURCE = Path("/usr/share/doc")
EVERY = 0.1
PATIENCE = 120.0
"""How many seconds both sides may take until they are the same."""
LIMIT = 64 << 10
"""The broker's limit of a value. It is low, so that many files have several parts."""
LIMITED = ["--set", f"value_bytes={LIMIT}"]
ODD = [b"percent%41", b"caf\xe9", "ä ö ü".encode(), b"line\nbreak", b"0123456789abcdef01",
       b"\xff\xfe", b"-rf", b"back\\slash", b".hidden", b"%2F"]  # fmt: skip


@dataclass
class Seen:
    """What happened."""

    files: int = 0
    size: int = 0
    first: float = 0.0
    """How many seconds it took until the second folder was equal to the first."""
    operations: int = 0
    sent: int = 0
    received: int = 0
    conflicts: int = 0
    parts: int = 0
    """In the tree, before the end."""
    skipped: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


class Side:
    """One machine: a folder, a connection, a state file."""

    def __init__(self, seen: Seen, at: Path, url: str, label: str, clobbers: bool) -> None:
        self._seen, self._at, self._url = seen, at, url
        self._label, self._clobbers = label, clobbers
        self._runs = False
        self.root = os.fsencode(at / label)
        os.makedirs(self.root, exist_ok=True)

    async def start(self) -> None:
        """Begins, or goes on from the state file."""
        self._runs = True
        self._client = await onetree.connect(
            self._url, reconnect="always", backoff=(0.05, 0.5), request_timeout=10
        )
        state = str(self._at / f"{self._label}.state")
        self.syncer = Syncer(
            self._client, Folder(self.root), "/files", state, self._label, self._clobbers
        )
        self._task = asyncio.create_task(self.syncer.run(EVERY, tells=False))

    async def stop(self) -> None:
        """Stops, wherever it is. A second call does nothing."""
        if not self._runs:
            return
        self._runs = False
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._client.close()
        s = self.syncer
        self._seen.sent += s.sent
        self._seen.received += s.received
        self._seen.conflicts += s.conflicts

    def running(self) -> None:
        """Raises the error that ended it."""
        if self._task.done():
            self._task.result()

    def content(self) -> dict[bytes, tuple[bytes, bool]]:
        """Returns all files that are mirrored."""
        found = {}
        for top, _, names in os.walk(self.root):
            for name in names:
                at = os.path.join(top, name)
                file = os.path.relpath(at, self.root)
                if name.startswith(TEMPORARY) or file in self.syncer.skipped:
                    continue
                if os.path.islink(at) or not os.path.isfile(at):
                    continue
                with open(at, "rb") as opened:
                    found[file] = (opened.read(), bool(os.fstat(opened.fileno()).st_mode & 0o100))
        return found

    def sizes(self) -> dict[bytes, int]:
        """Returns all files that are mirrored, without reading them."""
        looks = Folder(self.root).scan()[0]
        return {f: look.size for f, look in looks.items() if f not in self.syncer.skipped}

    def names(self) -> list[bytes]:
        """Returns all regular files."""
        return sorted(Folder(self.root).scan()[0])

    def put(self, file: bytes, data: bytes) -> None:
        at = os.path.join(self.root, file)
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "wb") as opened:
            opened.write(data)

    def remove(self, file: bytes) -> None:
        os.unlink(os.path.join(self.root, file))


def fill(side: Side, seen: Seen, most: int) -> None:
    """Makes some thousand files: those of the system's documentation, or invented ones."""
    root = Path(os.fsdecode(side.root))
    if SOURCE.is_dir():
        for at in sorted(SOURCE.rglob("*")):
            if seen.files >= most:
                break
            to = root / at.relative_to(SOURCE)
            if at.is_symlink():
                to.parent.mkdir(parents=True, exist_ok=True)
                to.symlink_to(os.readlink(at))
            elif at.is_file():
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(at, to)
                seen.files += 1
                seen.size += to.stat().st_size
    while seen.files < most:
        data = b"made %d\n" % seen.files * 200
        side.put(b"made/%d/%d.txt" % (seen.files % 40, seen.files), data)
        seen.files += 1
        seen.size += len(data)
    for n, name in enumerate(ODD):
        side.put(b"odd/" + name, b"odd %d" % n)
    side.put(b"odd/tool", b"#!/bin/sh\n")
    os.chmod(os.path.join(side.root, b"odd/tool"), 0o755)
    side.put(b"odd/large", random.Random(1).randbytes(40 * LIMIT + 1))
    os.chmod(os.path.join(side.root, b"odd/large"), 0o755)
    side.put(b"odd/exact", bytes(2 * LIMIT))
    side.put(b"odd/huge", bytes(MOST * LIMIT + 1))
    os.mkfifo(os.path.join(side.root, b"odd/pipe"))
    os.symlink("/etc", os.path.join(side.root, b"odd/link"))


async def random_operations(side: Side, seen: Seen, r: random.Random, count: int) -> None:
    """Does what people do to files."""
    for n in range(count):
        files = [f for f in side.names() if not f.startswith(b"contest/")]
        file = r.choice(files)
        at = os.path.join(side.root, file)
        data = b"%s %d %d " % (side.root, n, r.getrandbits(64)) * r.randrange(1, 50)
        if r.random() < 0.2:
            data *= r.randrange(1, 8) * LIMIT // len(data) + 1
        try:
            action = r.random()
            if action < 0.35:
                side.put(file, data)
            elif action < 0.6:
                side.put(os.path.join(os.path.dirname(file), r.choice(ODD)), data)
            elif action < 0.75:
                side.remove(file)
            elif action < 0.9:
                os.rename(at, at[:200] + b".moved")
            else:
                os.chmod(at, r.choice([0o644, 0o755]))
            seen.operations += 1
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            pass  # The other side's change came first.
        await asyncio.sleep(r.random() * 0.01)


async def same(a: Side, b: Side) -> float:
    """Waits until both folders are the same, and stay so over several passes. Returns how long it
    took."""
    started = time.monotonic()
    quiet = 0
    while quiet < 3:
        a.running()
        b.running()
        # Names first: to read everything is much work.
        quiet = quiet + 1 if a.sizes() == b.sizes() and a.content() == b.content() else 0
        if not quiet and time.monotonic() - started > PATIENCE:
            raise TimeoutError
        await asyncio.sleep(EVERY * 3)
    return time.monotonic() - started


async def another_history(
    a: Side, b: Side, ways: tuple[stage.Proxy, ...], url: str, words: set[bytes], seen: Seen
) -> None:
    """An empty broker takes the place of the first one: nothing must be deleted."""
    # All files, also those that are passed over: the first pass may not have reported them yet.
    had, before = a.names(), a.content()[b"contest/0"][0]
    for way in ways:
        way.aim(url)
        way.cut()
    a.put(b"contest/new", b"new here")
    # Overwritten by somebody who has seen it.
    words -= {before}
    b.put(b"contest/0", b"changed meanwhile")
    words.add(b"changed meanwhile")
    for way in ways:
        way.mend()
    await until_there(a, b"contest/0", b"changed meanwhile")
    await same(a, b)
    if gone := {*had} - {*a.names()}:
        seen.wrong.append(f"an empty broker made files go: {sorted(gone)[:5]}")
    # The sides end before that broker does.
    await a.stop()
    await b.stop()


async def answered_by_another(at: Path, url: str, seen: Seen) -> None:
    """A pass that began with one broker asks another, empty one: nothing must be deleted."""
    folder = Folder(os.fsencode(at / "between"))
    os.makedirs(folder.root)
    look = folder.write(b"file", b"kept", False, None)
    async with onetree.connect(url) as client:
        syncer = Syncer(client, folder, "/between", str(at / "between.state"), "between")
        await syncer._one(b"file", look, 7, Base(3, look, ""))
    if b"file" not in folder.scan()[0]:
        seen.wrong.append("another broker's answer made a file go")


async def named_all_the_time(at: Path, url: str, seen: Seen) -> None:
    """What is passed over stays reported while the next pass is under way."""
    folder = Folder(os.fsencode(at / "named"))
    os.makedirs(folder.root)
    folder.write(b"huge", bytes(MOST * LIMIT + 1), False, None)
    async with onetree.connect(url) as client:
        syncer = Syncer(client, folder, "/named", str(at / "named.state"), "named")
        await syncer.pass_once()
        again = asyncio.create_task(syncer.pass_once())
        while not again.done():
            if [*syncer.skipped] != [b"huge"]:
                seen.wrong.append(f"named in the middle of a pass: {syncer.skipped}")
                break
            await asyncio.sleep(0)
        await again


def whose(at: Path, seen: Seen) -> None:
    """A file keeps its permissions. A folder belongs to one process, and is not mistaken for
    another."""
    folder, again = (Folder(os.fsencode(at / "whose")) for _ in range(2))
    os.makedirs(folder.root)
    os.umask(umask := os.umask(0))
    for mode in (0o600, 0o640, 0o755):
        look = folder.write(b"file", b"1", False, None)
        if _mode(at / "whose" / "file") != 0o666 & ~umask:
            seen.wrong.append(f"a new file has {_mode(at / 'whose' / 'file'):o}")
        for executable in (True, False):
            os.chmod(at / "whose" / "file", mode)
            look = folder.scan()[0][b"file"]
            folder.write(b"file", b"2", executable, look)
            found, reads = _mode(at / "whose" / "file"), mode & 0o666
            if found != (reads | (reads & 0o444) >> 2 if executable else reads):
                seen.wrong.append(f"{mode:o} became {found:o}, executable: {executable}")
        folder.delete(b"file", folder.scan()[0][b"file"])
    # What another program writes beside it is not this program's.
    theirs = at / "whose" / os.fsdecode(TEMPORARY + b"1")
    theirs.write_bytes(b"theirs")
    again.write(b"file", b"3", False, None)
    if theirs.read_bytes() != b"theirs":
        seen.wrong.append("another program's temporary file was used")
    folder.take()
    for what in (again.take, folder.scan):
        try:
            what()
            seen.wrong.append("a folder of another process, or another folder, was taken for ours")
        except OSError:
            pass
        if what == again.take:
            os.rename(at / "whose", at / "was")
            os.makedirs(folder.root)


async def in_the_way(at: Path, url: str, seen: Seen) -> None:
    """A directory in the place of a file is reported. What was set aside, and what came, has the
    same permissions as the file had. If the file is gone, nothing is set aside."""
    folder = Folder(os.fsencode(at / "way"))
    os.makedirs(at / "way" / "directory")
    (at / "way" / "private").write_bytes(b"ours")
    os.chmod(at / "way" / "private", 0o600)
    await asyncio.sleep(0.1)  # Until it is no longer just changed.
    async with onetree.connect(url) as client:
        await client.put("/way/directory", b"a file")
        await client.put("/way/private", b"theirs")
        syncer = Syncer(client, folder, "/way", str(at / "way.state"), "way")
        await syncer.pass_once()
    if [*syncer.skipped] != [b"directory"]:
        seen.wrong.append(f"a directory in the way: {syncer.skipped}")
    modes = {file.name: _mode(file) for file in (at / "way").iterdir() if file.is_file()}
    if modes != {"private": 0o600, "private.conflict-way-1": 0o600}:
        seen.wrong.append(f"of a private file that was changed on both sides: {modes}")
    try:
        folder.set_aside(b"gone", "way")
        seen.wrong.append("what had gone was set aside")
    except Changed:
        pass
    if any(file.startswith(b"gone") for file in folder.scan()[0]):
        seen.wrong.append("of what had gone there is an empty file")


async def state_fails(at: Path, url: str, seen: Seen) -> None:
    """A state file that cannot be written is reported, and written once it can be. The state file
    of another folder deletes nothing."""
    folder, state = Folder(os.fsencode(at / "mount")), at / "mount.state"
    os.makedirs(folder.root)
    folder.write(b"file", b"kept", False, None)
    os.mkdir(at / "mount.state.tmp")
    await asyncio.sleep(0.1)  # Until it is no longer just changed.
    async with onetree.connect(url) as client:
        syncer = Syncer(client, folder, "/mount", str(state), "mount")
        await syncer.pass_once()
        if [*syncer.skipped] != [os.fsencode(state)]:
            seen.wrong.append(f"a state file that cannot be written: {syncer.skipped}")
        os.rmdir(at / "mount.state.tmp")
        await syncer.pass_once()
        if syncer.skipped or not state.exists():
            seen.wrong.append("the state file was not written again")
        # As if its disk was not there at the next start.
        os.rename(folder.root, at / "disk")
        os.makedirs(folder.root)
        try:
            await Syncer(client, folder, "/mount", str(state), "mount").pass_once()
            seen.wrong.append("the state of another folder was taken for this one's")
        except OSError:
            pass
        if not await there(client, "/mount"):
            seen.wrong.append("a disk that was not there made a file go")


async def refuses(at: Path, url: str, seen: Seen) -> None:
    """What cannot work is refused at the start: to mirror all of the tree, and a state file that
    would be mirrored itself, even through a link."""
    folder = at / "refused"
    os.makedirs(folder / "below")
    os.symlink(folder, at / "linked")
    outside, inside = at / "refused.state", at / "linked" / "below" / "state"
    for state, top, word in ((outside, "/", "--top"), (inside, "/files", "--state")):
        program = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "files.py"), str(folder), "--state", str(state),
            "--broker", url, "--top", top, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(10):
                _, said = await program.communicate()
        except TimeoutError:
            program.kill()
            said = b"nothing"
        if program.returncode != 2 or f"error: {word}".encode() not in said:
            seen.wrong.append(f"--state {state} --top {top}: {program.returncode}, {said[-80:]!r}")


async def says_how_it_is(at: Path, url: str, seen: Seen) -> None:
    """The program says once that it waits for a broker, and where, and when the waiting is over."""
    folder = at / "waits"
    os.makedirs(folder)
    async with stage.Proxy(url) as proxy:
        proxy.cut()
        program = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "files.py"), str(folder),
            "--state", str(at / "waits.state"), "--broker", proxy.url, "--top", "/waits",
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert program.stderr is not None
        said = []
        try:
            async with asyncio.timeout(20):
                for change in (proxy.mend, proxy.cut, proxy.mend):
                    said.append((await program.stderr.readline()).decode())
                    await asyncio.sleep(1.5)  # Some attempts to connect.
                    change()
                said.append((await program.stderr.readline()).decode())
        except TimeoutError:
            pass
        program.kill()
        said += (await program.communicate())[1].decode().splitlines()
    words = [line.split(proxy.url)[0] for line in said]
    if words != ["waits for the broker at ", "connected to the broker at "] * 2:
        seen.wrong.append(f"without a broker it says {said}")


def _mode(file: Path) -> int:
    return file.stat().st_mode & 0o777


async def parts_are_missing(at: Path, url: str, seen: Seen) -> None:
    """Half a content, and a wrong one, make no file; the complete one does."""
    folder = Folder(os.fsencode(at / "half"))
    os.makedirs(folder.root)
    async with onetree.connect(url) as client:
        syncer = Syncer(client, folder, "/half", str(at / "half.state"), "half")
        name = f"{_digest(b'onetwo', False)}-1"
        named = onetree.Value.of(PARTED[False], Parted(name, 2).value())
        await client.put("/half/file", named)
        for parts in ([b"one"], [b"one", b"too"], [b"one", b"two"]):
            for n, part in enumerate(parts):
                await client.put(f"/half.parts/{name}/{n}", part)
            await syncer.pass_once()
            is_there = b"file" in folder.scan()[0]
            if is_there != (parts[-1] == b"two") or is_there == (b"file" in syncer.skipped):
                seen.wrong.append(f"of {parts} there is {folder.scan()}, {syncer.skipped}")


async def malformed(at: Path, url: str, seen: Seen) -> None:
    """A topic of the parts' type that names none is passed over, and ends nothing."""
    folder = Folder(os.fsencode(at / "malformed"))
    os.makedirs(folder.root)
    name = f"{_digest(b'', False)}-1"
    wrong = [b"", b"\xff", b"7", b'"ab"', b"{}", b'["",1]', b'["a",1e999]', b"[" * 60_000]
    wrong += [f'["{name}",{n}]'.encode() for n in ("0", "65", "-1", "1.0", "true", "null", '"1"')]
    wrong += [f'["{n}",1]'.encode() for n in (f"{name}/0", f"{name}\\n", f"../{name}", "a" * 5000)]
    async with onetree.connect(url) as client:
        syncer = Syncer(client, folder, "/malformed", str(at / "malformed.state"), "malformed")
        for n, value in enumerate(wrong):
            await client.put(f"/malformed/{n}", onetree.Value.of(PARTED[False], value))
        try:
            await syncer.pass_once()
        except Exception as error:
            seen.wrong.append(f"a malformed topic ended it: {error!r:.80}")
            return
        if {*syncer.skipped} != {b"%d" % n for n in range(len(wrong))} or folder.scan()[0]:
            seen.wrong.append(f"of malformed topics: {syncer.skipped}, {folder.scan()}")


async def given_up(at: Path, url: str, seen: Seen) -> None:
    """Uploads that are given up leave nothing: with a full queue, after a lost session, and if they
    fail on the way. What a commit named for good stays."""
    folder = Folder(os.fsencode(at / "given"))
    os.makedirs(folder.root)
    async with onetree.connect(url) as other, onetree.connect(url, queue_bytes=LIMIT) as client:
        syncer = Syncer(client, folder, "/given", str(at / "given.state"), "given")
        parts, data = syncer._parts, bytes(3 * LIMIT)
        full, lost, named = [await parts.send(data, LIMIT, _digest(data, False)) for _ in range(3)]
        answer = await client.enqueue(request.put("/fill", bytes(LIMIT)))
        parts.give_up(full)
        await answer
        # As the end of the session does.
        await other.delete(f"/given.parts/{lost.parted.name}")
        parts.give_up(lost)
        txn = onetree.Txn()
        parts.name(txn, named)
        await client.txn(txn)
        parts.give_up(named)
        try:
            await parts.send(data, 2 * LIMIT, _digest(data, False))
            seen.wrong.append("values above the limit were taken")
        except onetree.Refused:
            pass
        await syncer.pass_once()
        stays = f"/given.parts/{named.parted.name}"
        left = await there(other, "/given.parts")
        if left != {stays, *(f"{stays}/{n}" for n in range(3))}:
            seen.wrong.append(f"of given-up uploads there is {sorted(left)}")


async def little_memory(at: Path, url: str, seen: Seen) -> None:
    """Many large files, sent and fetched: only few of them are in memory at once."""
    size, most = 30 * LIMIT, 32
    for label in ("many", "fetched"):
        folder = Folder(os.fsencode(at / label))
        os.makedirs(folder.root)
        for n in range(most if label == "many" else 0):
            (at / label / f"{n}").write_bytes(random.Random(n).randbytes(size))
        await asyncio.sleep(0.1)  # Until it is no longer just changed.
        async with onetree.connect(url) as client:
            syncer = Syncer(client, folder, "/many", str(at / f"{label}.state"), label)
            tracemalloc.start()
            await syncer.pass_once()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        if len(folder.scan()[0]) != most or (syncer.sent or syncer.received) != most:
            seen.wrong.append(f"of {most} large files not all are {label}: {syncer.skipped}")
        if peak > most * size / 2:
            seen.wrong.append(f"{label}: {peak} bytes in memory, of {most * size}")


async def leave_parts(url: str) -> None:
    """Makes parts such as a sender leaves that died."""
    async with onetree.connect(url) as client:
        await client.put("/files.parts/dead-1/0", b"half of it")


async def loose_parts(url: str, seen: Seen) -> None:
    """Checks that there are the parts that files name, and no others."""
    async with onetree.connect(url) as client:
        files, parts = client.mirror("/files"), client.mirror("/files.parts")
        await files.fresh()
        await parts.fresh()
        named = set()
        for entry in files.entries():
            assert entry.value is not None
            if entry.value.type in PARTED.values():
                parted = Parted.read(entry.value.data)
                at = f"/files.parts/{parted.name}"
                named |= {at, *(f"{at}/{n}" for n in range(parted.number))}
        seen.parts = len(named)
        if not named or named != set(parts.snapshot()):
            seen.wrong.append(f"{len(named)} parts are named, {len(parts)} are there")


async def there(client: onetree.Client, top: str) -> set[str]:
    """Returns all topics below this one."""
    with client.mirror(top, values=False, once=True) as mirror:
        await mirror.fresh()
        return set(mirror.snapshot())


async def until_there(side: Side, file: bytes, data: bytes) -> None:
    """Waits until a side has this content, in the file or beside it."""
    async with asyncio.timeout(PATIENCE):
        while not any(
            name.startswith(file) and content == data
            for name, (content, _) in side.content().items()
        ):
            await asyncio.sleep(EVERY)


async def play(program: Path, seed: int, most: int, clobbers: bool = False) -> Seen:
    """Runs the story once."""
    seen, r = Seen(), random.Random(seed)
    # In memory if possible: otherwise thousands of waits for a shared disk would be measured.
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with TemporaryDirectory(dir=memory) as folder, stage.broker(program, *LIMITED) as url:
        async with stage.Proxy(url) as direct, stage.Proxy(url) as proxy:
            a = Side(seen, Path(folder), direct.url, "left", clobbers)
            b = Side(seen, Path(folder), proxy.url, "right", clobbers)
            fill(a, seen, most)
            await a.start()
            await b.start()
            try:
                seen.first = await same(a, b)
                print(f"  both have all after {seen.first:.1f} s", flush=True)
                everything = a.content()
                if len(everything) < most or (b"#!/bin/sh\n", True) != everything[b"odd/tool"]:
                    seen.wrong.append("something of the tree is missing")
                for need in ("symbolic link", "special file", f"more than {MOST} values"):
                    if not any(need in why for why in a.syncer.skipped.values()):
                        seen.wrong.append(f"not named: {need}")
                await both(a, b, seen, r, 60)
                await same(a, b)
                contested = [b"contest/%d" % n for n in range(20)]
                for n, file in enumerate(contested):
                    a.put(file, b"before" * (1 if n % 2 else LIMIT))
                await same(a, b)

                proxy.cut()
                words = set()
                for n, file in enumerate(contested):
                    # Some of both sides, or of one, are in parts.
                    ours = b"left %d " % n * (30_000 if n % 3 else 1)
                    theirs = b"right %d " % n * (30_000 if n % 5 else 1)
                    a.put(file, ours)
                    words.add(ours)
                    if n % 4 == 3:
                        b.remove(file)
                    else:
                        b.put(file, theirs)
                        words.add(theirs)
                await both(a, b, seen, r, 60)
                proxy.mend()
                await same(a, b)

                # The process ends. Meanwhile there are changes on both sides.
                await b.stop()
                await both(a, b, seen, r, 40)
                await leave_parts(url)
                await b.start()
                await same(a, b)
                await loose_parts(url, seen)

                if not clobbers:
                    # Their passes would be measured, too, each many times slower.
                    await a.stop()
                    await b.stop()
                    with stage.broker(program, *LIMITED) as empty:
                        await answered_by_another(Path(folder), empty, seen)
                        await named_all_the_time(Path(folder), empty, seen)
                        await parts_are_missing(Path(folder), empty, seen)
                        await malformed(Path(folder), empty, seen)
                        whose(Path(folder), seen)
                        await in_the_way(Path(folder), empty, seen)
                        await state_fails(Path(folder), empty, seen)
                        await refuses(Path(folder), empty, seen)
                        await says_how_it_is(Path(folder), empty, seen)
                        await given_up(Path(folder), empty, seen)
                        await little_memory(Path(folder), empty, seen)
                        await a.start()
                        await b.start()
                        await another_history(a, b, (direct, proxy), empty, words, seen)
                seen.skipped = {why.split(",")[-1].strip() for why in a.syncer.skipped.values()}
                kept = {data for data, _ in a.content().values()}
                for word in sorted(words - kept):
                    seen.wrong.append(f"lost: {word[:10].decode()!r}, {len(word)} bytes")
            except TimeoutError:
                left, right = a.content(), b.content()
                differs = [f for f in {*left, *right} if left.get(f) != right.get(f)]
                seen.wrong.append(f"not the same after {PATIENCE:g} s: {sorted(differs)[:5]}")
            finally:
                await a.stop()
                await b.stop()
    return seen


async def both(a: Side, b: Side, seen: Seen, r: random.Random, count: int) -> None:
    """Makes random operations on both sides at once."""
    await asyncio.gather(
        *(random_operations(s, seen, random.Random(r.getrandbits(64)), count) for s in (a, b))
    )


def table(seen: Seen) -> str:
    """Prints the result for people."""
    rows = [
        ("files in the beginning", f"{seen.files}, {seen.size / 1e6:.0f} MB"),
        ("until both folders had them", f"{seen.first:.1f} s"),
        ("random operations, both sides", f"{seen.operations}"),
        ("sent, received", f"{seen.sent}, {seen.received}"),
        ("conflicts, each kept beside", f"{seen.conflicts}"),
        ("parts of large files", f"{seen.parts}"),
        ("passed over and named", "; ".join(sorted(seen.skipped))),
    ]
    return "\n".join(f"  {name:32} {value}" for name, value in rows)
