"""The service: items of a database, with a cache in front. This is one process of several.

Requests over TCP are one JSON text a line: {"get": key, "after": token?},
{"put": key, "body": text} or {"stats": 1}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import reprlib
import sqlite3
import sys
from typing import Any

import onetree
from cache import TOPIC, Cache, Token, path
from database import Database, Item

WRONG = (ValueError, TypeError, KeyError, sqlite3.Error, onetree.OnetreeError)
"""Errors of a request. The caller gets them, and may go on."""


class Service:
    """Answers requests."""

    def __init__(self, database: Database, client: onetree.Client, cache: Cache[Item]) -> None:
        self._database = database
        self._client = client
        self._cache = cache
        self._hits = self._reads = self._outdated = self._told_late = 0

    async def get(self, key: str, token: Token | None) -> dict[str, Any]:
        """Returns an item that is at least as new as the write that was answered with `token`."""
        found = self._cache.get(key, token)
        cached = found is not None
        if found is None:
            stamp = self._cache.stamp(key)
            found = await asyncio.to_thread(self._database.read, key)
            self._reads += 1
            self._outdated += stamp != self._cache.stamp(key)
            self._cache.fill(key, stamp, found)
        self._hits += cached
        return {"version": found.version, "body": found.body, "cached": cached}

    async def put(self, key: str, body: str, dies: bool = False) -> dict[str, Any]:
        """Writes an item. When this answers, nobody who knows its token is shown anything older."""
        path(key)  # Before the database has it: what has no topic could never be told.
        version, number = await asyncio.to_thread(self._database.write, key, body)
        if dies:
            os._exit(7)  # For the test: at the worst moment.
        token = await self._tell(number, key)
        return {"version": version, "token": token}

    async def tell_what_was_left(self) -> None:
        """Reports what another process has written that died before it could report it."""
        for number, key in await asyncio.to_thread(self._database.outbox):
            # This may include what another process is about to report: twice does no harm.
            try:
                await self._tell(number, key)
            except (ValueError, onetree.Refused) as error:
                # A key may have any length: this shows enough to tell it from others.
                line = f"line {number} of the outbox, item {reprlib.repr(key)}"
                print(f"{line}, is not told to caches, and stays in it: {error}", file=sys.stderr)
            else:
                self._told_late += 1

    async def _tell(self, number: int, key: str) -> Token:
        """Invalidates, after the database has committed. To do it twice does no harm, so it is
        repeated until it is certain."""
        while True:
            try:
                done = await self._client.put(path(key), number)
                break
            except (onetree.Timeout, onetree.Refused) as error:
                if error.action == "fix":
                    raise
                await asyncio.sleep(0.1)
        status = self._client.status
        # The client may be offline by now. Then the token is one with which the database is always
        # asked.
        epoch = getattr(status, "epoch", "")
        await asyncio.to_thread(self._database.told, number)
        return Token(epoch, done.rev)

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Returns the answer to a request."""
        if "get" in asked:
            after = asked.get("after")
            return await self.get(asked["get"], None if after is None else Token(*after))
        if "put" in asked:
            return await self.put(asked["put"], asked["body"], asked.get("dies", False))
        return {
            "hits": self._hits,
            "reads": self._reads,
            "outdated": self._outdated,
            "told late": self._told_late,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection, one request at a time."""
        try:
            while line := await reader.readline():
                try:
                    answer = await self.answer(json.loads(line))
                except WRONG as e:
                    answer = {"error": f"{type(e).__name__}: {e}"}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            # The caller has gone, or this process ends.
            pass
        finally:
            writer.close()


async def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--broker", default="ws://127.0.0.1:7400", help="its URL")
    args.add_argument("--database", required=True, help="SQLite's file")
    args.add_argument("--port", type=int, default=0, help="of loopback; 0: any that is free")
    args.add_argument("--lease", type=float, default=1.0, help="seconds")
    args.add_argument("--slow", type=float, default=0.0, help="seconds a read takes more, at most")
    args.add_argument("--broken", default="none", choices=["none", "barrier", "fill", "lease"])
    given = args.parse_args()
    async with onetree.connect(given.broker, reconnect="always", backoff=(0.05, 0.5)) as client:
        # All of the tree: its digest costs the same however large it is. The digest of the children
        # alone would have to be counted, which a broker does for some thousands at most.
        mirror = client.mirror(TOPIC, values=False)
        cache: Cache[Item] = Cache(mirror, given.lease, flaw=given.broken)
        service = Service(Database(given.database, given.slow), client, cache)
        await service.tell_what_was_left()
        async with asyncio.TaskGroup() as group:
            group.create_task(cache.keep_lease())
            server = await asyncio.start_server(service.serve, "127.0.0.1", given.port)
            print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
            await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
