"""How fast a mirror is filled and followed, against a real broker.

    ONETREE_BIN=target/release/onetree python clients/python/bench/bench.py

Prints, for each codec, one line for each figure:

- a refresh of a number of entries
- changes written by another process, with the mirror alone and with its events read: how many a
  second as they are written (the writer shares the machine), and how many for each second of CPU
  time of the client, which is what it could take

Puts are written by this client, which is slower than a mirror. Appends are written by `onetree
append --lines`, which is faster, so that the mirror is what is measured. Beside that is the floor:
what `json.loads` or `msgpack.unpackb` alone take for the same bytes.

`--appends` does only the appends. `--rounds N` does everything N times, and prints the median at
the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Any

import msgpack

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import onetree
from onetree import client as client_module

ENTRIES = 100_000
CHANGES = 20_000


async def fill(url: str) -> None:
    """Puts the entries, some hundred at a time."""
    async with onetree.connect(url) as client:
        answers = []
        for start in range(0, ENTRIES, 500):
            txn = onetree.Txn()
            for n in range(start, start + 500):
                txn.put(f"/load/{n % 100:02}/entry-{n}", {"n": n, "name": f"entry {n}", "on": True})
            answers.append(await client.enqueue(txn))
        await asyncio.gather(*answers)


class Counted:
    """Counts the messages that a client decodes, and keeps one in ten. To keep all would burden
    what is measured."""

    def __init__(self, client: onetree.Client) -> None:
        self.count = 0
        self.some: list[bytes | str] = []
        decode = client._decode

        def counted(message: Any) -> Any:
            self.count += 1
            if self.count % 10 == 0:
                self.some.append(message)
            return decode(message)

        client._decode = counted

    def clear(self) -> None:
        self.count = 0
        self.some.clear()

    def floor(self, codec: str) -> float:
        """Returns the seconds of CPU time that the bare parser takes for as many messages."""
        start = time.process_time()
        for message in self.some:
            if codec == "json":
                json.loads(message)
            else:
                msgpack.unpackb(message, raw=False)
        return (time.process_time() - start) * self.count / len(self.some)


async def refresh(url: str, codec: str) -> None:
    async with onetree.connect(url, codec=codec) as client:
        start = time.perf_counter()
        mirror = client.mirror("/load")
        await mirror.fresh()
        took = time.perf_counter() - start
        assert len(mirror) == ENTRIES
    client = client_module.start(url, codec=codec)
    counted = Counted(client)
    await client.until("online")
    await client.mirror("/load").fresh()
    await client.close()
    bare = counted.floor(codec)
    print(f"{codec:8} refresh of {ENTRIES} entries: {took:.2f} s (the parser alone: {bare:.2f} s)")


Start = Callable[[str], Awaitable[asyncio.subprocess.Process]]


def puts(each: int) -> Start:
    """The writer of puts, `each` of them in a commit."""

    async def start(url: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--write", url, str(each)
        )

    return start


async def appends(url: str) -> asyncio.subprocess.Process:
    """The writer of appends, each in a commit of its own."""
    with TemporaryFile() as lines:
        for n in range(CHANGES):
            lines.write(b'{"n":%d,"name":"entry %d"}\n' % (-n, n))
        lines.seek(0)
        return await asyncio.create_subprocess_exec(
            os.environ["ONETREE_BIN"], "append", "/load/log", "--lines", "--type",
            "application/json", "--url", url, stdin=lines, stdout=subprocess.DEVNULL,
        )  # fmt: skip


async def follow(
    url: str, codec: str, what: str, commits: int, start_writer: Start, read: bool
) -> None:
    """Changes, written by another process, in a mirror of 100,000 entries."""
    client = client_module.start(url, codec=codec)
    counted = Counted(client)
    await client.until("online")
    mirror = client.mirror("/load")
    await mirror.fresh()
    changes = mirror.changes() if read else None
    counted.clear()
    base = mirror.rev
    seen = 0

    async def take() -> None:
        nonlocal seen
        assert changes is not None
        async for event in changes:
            if event.name == "delta":
                seen += len(event.changes)

    reading = asyncio.create_task(take()) if read else None
    writer = await start_writer(url)
    # Wait for the mirror itself: `at` would send requests to the broker meanwhile.
    await mirror._wait(lambda: mirror.rev > base)
    start, cpu = time.perf_counter(), time.process_time()
    await mirror._wait(lambda: mirror.rev >= base + commits)
    took, spent = time.perf_counter() - start, time.process_time() - cpu
    frames = counted.count
    await writer.wait()
    compared = await mirror.verify()
    assert compared.verdict == "same", "the mirror is wrong"
    if reading is not None:
        assert seen == CHANGES, f"{seen} changes were told"
        reading.cancel()
    bare = counted.floor(codec)
    await client.close()
    row = f"{codec:8} {CHANGES} {what}, {'events read' if read else 'mirror alone'}"
    figures[row].append((CHANGES / took, CHANGES / spent))
    print(
        f"{row}: {CHANGES / took:,.0f}/s as written, {CHANGES / spent:,.0f}/s of the client's CPU"
        f" time in {frames} frames (the parser alone: {CHANGES / bare:,.0f}/s)",
        flush=True,
    )


figures: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
"""By row: the changes a second of each round, by the clock and for the CPU time."""


async def write(url: str, each: int) -> None:
    async with onetree.connect(url) as client:
        answers = []
        for n in range(0, CHANGES, each):
            txn = onetree.Txn()
            for k in range(n, n + each):
                txn.put(f"/load/{k % 100:02}/entry-{k}", {"n": -k, "name": f"entry {k}"})
            answers.append(await client.enqueue(txn))
        await asyncio.gather(*answers)


async def drop_log(url: str) -> None:
    """Removes what was appended, so that each round has the same tree."""
    async with onetree.connect(url) as client:
        await client.drop_tree("/load/log")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--appends", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    binary = os.environ.get("ONETREE_BIN")
    if binary is None:
        sys.exit("ONETREE_BIN says where the broker is: target/release/onetree, say")
    broker = subprocess.Popen(
        [binary, "serve", "--memory", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert broker.stdout is not None
        url = broker.stdout.readline().split()[-1]
        await fill(url)
        for _ in range(given.rounds):
            for codec in ("msgpack", "json"):
                if not given.appends:
                    await refresh(url, codec)
                    await follow(url, codec, "puts, 1 a commit", CHANGES, puts(1), False)
                    await follow(url, codec, "puts, 1 a commit", CHANGES, puts(1), True)
                    await follow(url, codec, "puts, 100 a commit", CHANGES // 100, puts(100), True)
                await follow(url, codec, "appends, 1 a commit", CHANGES, appends, False)
                await drop_log(url)
                await follow(url, codec, "appends, 1 a commit", CHANGES, appends, True)
                await drop_log(url)
    finally:
        broker.terminate()
        broker.wait()
    if given.rounds > 1:
        for row, rounds in figures.items():
            clock, cpu = (f"{median(one):,.0f}" for one in zip(*rounds, strict=True))
            print(f"median   {row}: {clock}/s as written, {cpu}/s of the client's CPU time")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        asyncio.run(write(sys.argv[2], int(sys.argv[3])))
    else:
        asyncio.run(main())
