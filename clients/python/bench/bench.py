"""How fast a mirror is filled and followed, against a real broker.

    ONETREE_BIN=target/release/onetree python clients/python/bench/bench.py

Prints, for each codec, one line a figure: a refresh of so many entries; changes a second that a
mirror takes as they come (the broker holds them back first: a client that fell behind takes them
at its own speed); the same with the events read; and the floor beside it: what `json.loads` or
`msgpack.unpackb` alone take for the same bytes.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
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
    """Keeps the messages that a client decodes."""

    def __init__(self, client: onetree.Client) -> None:
        self.messages: list[bytes | str] = []
        decode = client._decode

        def counted(message: Any) -> Any:
            self.messages.append(message)
            return decode(message)

        client._decode = counted


def floor(codec: str, messages: list[bytes | str]) -> float:
    """Seconds that the bare parser takes for the same messages."""
    start = time.perf_counter()
    for message in messages:
        if codec == "json":
            json.loads(message)
        else:
            msgpack.unpackb(message, raw=False)
    return time.perf_counter() - start


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
    bare = floor(codec, counted.messages)
    print(f"{codec:8} refresh of {ENTRIES} entries: {took:.2f} s (the parser alone: {bare:.2f} s)")


async def follow(url: str, codec: str, each: int, read: bool) -> None:
    """`each` changes a commit, written by another process, to a mirror of 100,000 entries."""
    client = client_module.start(url, codec=codec)
    counted = Counted(client)
    await client.until("online")
    mirror = client.mirror("/load")
    await mirror.fresh()
    changes = mirror.changes() if read else None
    counted.messages.clear()
    base = mirror.rev
    writer = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--write", url, str(each), stdout=subprocess.PIPE
    )
    await mirror._wait(lambda: mirror.rev > base)
    start, cpu = time.perf_counter(), time.process_time()
    seen = 0

    async def take() -> None:
        nonlocal seen
        assert changes is not None
        async for event in changes:
            if event.name in ("fresh", "delta"):
                seen += len(event.changes)
            if mirror.rev >= base + CHANGES // each:
                return

    reading = asyncio.create_task(take()) if read else None
    await mirror.at(base + CHANGES // each)
    took, spent = time.perf_counter() - start, time.process_time() - cpu
    if reading is not None:
        reading.cancel()
    await writer.wait()
    deltas = [m for m in counted.messages if len(m) > 60]
    await client.close()
    bare = floor(codec, deltas)
    how = "events read" if read else "mirror alone"
    print(
        f"{codec:8} {CHANGES} changes, {each} a commit, {how}: {CHANGES / took:,.0f}/s as written,"
        f" {CHANGES / spent:,.0f}/s of the client's CPU time in {len(deltas)} frames"
        f" (the parser alone: {CHANGES / bare:,.0f}/s)"
    )


async def write(url: str, each: int) -> None:
    async with onetree.connect(url) as client:
        answers = []
        for n in range(0, CHANGES, each):
            txn = onetree.Txn()
            for k in range(n, n + each):
                txn.put(f"/load/{k % 100:02}/entry-{k}", {"n": -k, "name": f"entry {k}"})
            answers.append(await client.enqueue(txn))
        await asyncio.gather(*answers)


async def main() -> None:
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
        for codec in ("msgpack", "json"):
            await refresh(url, codec)
            await follow(url, codec, 1, False)
            await follow(url, codec, 1, True)
            await follow(url, codec, 100, True)
    finally:
        broker.terminate()
        broker.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        asyncio.run(write(sys.argv[2], int(sys.argv[3])))
    else:
        asyncio.run(main())
