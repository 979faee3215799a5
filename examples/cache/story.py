"""The test: three services, many readers and writers. The connection of one service fails."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import stage

LEASE = 0.6
KEYS = [f"item-{n}" for n in range(37)] + ["user/7", "a//b %", "0000000000008a0003"]
LIMITED = ["--set", "digest_scan_entries=10"]
"""More items than a broker would count for a digest."""
HERE = Path(__file__).resolve().parent


@dataclass
class Seen:
    """What the readers and writers saw."""

    reads: int = 0
    writes: int = 0
    stale: int = 0
    """Reads that returned something older than a write which was acknowledged before they began."""
    too_old: int = 0
    """Reads without a token that returned something older than a write which was acknowledged more
    than a lease before they began."""
    age: float = 0.0
    """How old the result of a read without a token was at most, in seconds."""
    token: list[Any] | None = None
    """The latest token that anybody got."""
    acked: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    """When which version of an item was acknowledged."""
    example: str = ""
    hits: int = 0
    database: int = 0
    outdated: int = 0
    told_late: int = 0


class Connection:
    """A connection to a service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, **what: Any) -> dict[str, Any]:
        self._writer.write(json.dumps(what).encode() + b"\n")
        line = await self._reader.readline()
        if not line:
            raise ConnectionResetError("the service is gone")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def close(self) -> None:
        self._writer.close()


class Process:
    """A service in a process of its own."""

    async def start(
        self, url: str, database: Path, broken: str, stderr: int | None = None
    ) -> Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "service.py"), "--broker", url,
            "--database", str(database), "--lease", str(LEASE), "--slow", "0.004",
            "--broken", broken, stdout=asyncio.subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        self._port = int(line.split(b":")[-1])
        return self

    async def connect(self) -> Connection:
        return Connection(*await asyncio.open_connection("127.0.0.1", self._port))

    async def end(self) -> bytes:
        """Returns what it wrote to its standard error, if that is a pipe."""
        if self._process.returncode is None:
            self._process.kill()
        return (await self._process.communicate())[1] or b""


async def reader(to: Connection, seen: Seen, r: random.Random, stop: asyncio.Event) -> None:
    now = asyncio.get_running_loop().time
    while not stop.is_set():
        # Some items are read more than others.
        number = int(len(KEYS) * r.random() ** 2)
        key = KEYS[number]
        started, acked = now(), list(seen.acked.get(key, ()))
        # By item: a read with a token would refill the cache for reads without one.
        with_token = number % 4 != 0
        answer = await to.ask(get=key, after=seen.token if with_token else None)
        version = answer["version"]
        seen.reads += 1
        missed = [at for at, newer in acked if newer > version]
        if missed and with_token:
            seen.stale += 1
            seen.example = seen.example or f"{key}: version {version}, not {max(acked)[1]}"
        elif missed:
            age = started - min(missed)
            seen.age = max(seen.age, age)
            seen.too_old += age > LEASE
        await asyncio.sleep(r.random() * 0.004)


async def writer(to: Connection, seen: Seen, r: random.Random, stop: asyncio.Event) -> None:
    now = asyncio.get_running_loop().time
    while not stop.is_set():
        key = r.choice(KEYS)
        answer = await to.ask(put=key, body=f"{r.random()}")
        acknowledge(seen, key, answer, now())
        await asyncio.sleep(r.random() * 0.03)


def acknowledge(seen: Seen, key: str, answer: dict[str, Any], now: float) -> None:
    """Notes a write: from here on, each reader knows its token."""
    seen.writes += 1
    seen.acked.setdefault(key, []).append((now, answer["version"]))
    seen.token = max(seen.token or answer["token"], answer["token"], key=lambda t: t[1])


async def dies(url: str, file: Path, seen: Seen, other: Connection) -> str:
    """A service dies between its database and the broker. The next one reports what it left."""
    one = await Process().start(url, file, "none")
    to = await one.connect()
    await other.ask(get="left")
    try:
        await to.ask(put="left", body="by one that died", dies=True)
        return "the service that was to die answered"
    except ConnectionResetError:
        pass
    await one.end()
    next_one = await Process().start(url, file, "none")
    try:
        seen.told_late = (await (await next_one.connect()).ask(stats=1))["told late"]
        await asyncio.sleep(LEASE)
        body = (await other.ask(get="left"))["body"]
    finally:
        await next_one.end()
    return "" if body == "by one that died" and seen.told_late else f"it was lost: {body!r}"


async def serves(to: Connection) -> str:
    """However many items there are, those that are not written are soon served from the cache."""
    try:
        async with asyncio.timeout(10):
            while not (await to.ask(get=KEYS[0]))["cached"]:
                await asyncio.sleep(LEASE / 10)
    except TimeoutError:
        return "the cache serves nothing"
    return ""


async def wrong_asks(url: str, file: Path, to: Connection) -> str:
    """Wrong requests are refused, and end nothing: no connection, and no later start."""
    for wrong in ({"put": "k" * 255}, {"put": [1]}, {"put": "key", "body": [1]}, {"get": [1]}):
        try:
            return f"{wrong} was answered: {await to.ask(**{'body': '', **wrong})}"
        except RuntimeError:
            pass
    database = sqlite3.connect(file)
    with database:
        database.execute("INSERT INTO outbox (key) VALUES (?)", ("k" * 255,))
    database.close()
    one = Process()
    try:
        await one.start(url, file, "none", asyncio.subprocess.PIPE)
        await (await one.connect()).ask(get="key")
    except ValueError:
        return "a line of the outbox that cannot be told stopped a start"
    finally:
        said = (await one.end()).decode()
    is_told = "'kkkk" in said and "a key has at most 254 bytes" in said and "stays in it" in said
    return "" if is_told and len(said) < 200 else f"of a line that cannot be told it says {said!r}"


async def play(program: Path, seed: int, broken: str) -> tuple[Seen, str]:
    """Runs the story once. Returns what was seen, and what is wrong."""
    seen, wrong = Seen(), ""
    stop = asyncio.Event()
    with TemporaryDirectory() as folder, stage.broker(program, *LIMITED) as url:
        file = Path(folder) / "items.sqlite"
        async with stage.Proxy(url) as proxy:
            services = [await Process().start(at, file, broken) for at in (url, url, proxy.url)]
            try:
                connections = []
                async with asyncio.TaskGroup() as group:
                    for n in range(15):
                        to = await services[n % 3].connect()
                        connections.append(to)
                        work = writer if n < 6 else reader
                        group.create_task(work(to, seen, random.Random(seed * 100 + n), stop))
                    await asyncio.sleep(1.5)
                    proxy.cut()
                    await asyncio.sleep(0.7)
                    proxy.mend()
                    await asyncio.sleep(1.3)
                    proxy.stall()
                    await asyncio.sleep(1.5)
                    proxy.mend()
                    await asyncio.sleep(1.5)
                    stop.set()
                for service in services:
                    to = await service.connect()
                    stats = await to.ask(stats=1)
                    seen.hits += stats["hits"]
                    seen.database += stats["reads"]
                    seen.outdated += stats["outdated"]
                    to.close()
                if broken == "none":
                    wrong = await dies(url, file, seen, connections[0])
                    wrong = wrong or await serves(connections[0])
                    wrong = wrong or await wrong_asks(url, file, connections[0])
                for to in connections:
                    to.close()
            finally:
                for service in services:
                    await service.end()
    if seen.stale:
        wrong = f"{seen.stale} stale reads, such as {seen.example}"
    elif seen.too_old:
        wrong = f"{seen.too_old} reads without a token were older than the lease"
    elif broken == "none" and (not seen.hits or not seen.outdated or seen.writes < 100):
        wrong = wrong or "too little happened to tell"
    return seen, wrong


def table(seen: Seen) -> str:
    """Prints the result for people."""
    saved = 100 * seen.hits / max(1, seen.reads)
    rows = [
        ("writes acknowledged", f"{seen.writes}"),
        ("reads", f"{seen.reads}"),
        ("database reads saved", f"{seen.hits} ({saved:.0f} %)"),
        ("database reads", f"{seen.database}"),
        ("of them outdated before they were kept", f"{seen.outdated}"),
        ("stale reads after an acknowledgement", f"{seen.stale}"),
        ("oldest read without a token", f"{seen.age * 1000:.0f} ms (lease {LEASE * 1000:.0f} ms)"),
        ("told for a service that died", f"{seen.told_late}"),
    ]
    return "\n".join(f"  {name:40} {value}" for name, value in rows)
