"""Does what it is told, a line at a time: the Python client's adapter of `spec/scenarios`. It
judges nothing; the runner does."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import onetree
from onetree.protocol import json_codec, scan
from programs import PROGRAMS
from told import Fields, code_of, event_of, line, page

WRITES = ("put", "append", "delete", "drop", "trim", "txn")
LIST = ("depth", "after", "before", "limit", "reverse", "values")


class Adapter:
    def __init__(self) -> None:
        self.client: onetree.Client | None = None
        self.mirrors: dict[str, tuple[onetree.Mirror, onetree.Changes]] = {}
        self.asked = 0

    async def answer(self, text: str) -> None:
        command = scan.frame(text)
        answer: Fields = {"id": command.get("id")}
        try:
            answer["ok"] = await self.command(command["do"], command)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            answer["error"] = {"code": code_of(error), "message": message}
        print(json.dumps(answer, ensure_ascii=False), flush=True)

    async def command(self, do: str, c: Fields) -> Any:
        if do == "connect":
            return self.connect(c)
        if self.client is None:
            raise onetree.Wrong("adapter", "connect first")
        if do in WRITES:
            done = await self.client.write(frame(do, c))
            return {"rev": done.rev, **({"names": list(done.paths)} if done.paths else {})}
        match do:
            case "status":
                if "wait" in c:
                    await self.client.until(c["wait"])
                return {"status": self.client.status.name, "asked": self.asked}
            case "signal":
                signal = frame(do, c)
                await self.client.signal(signal.path, signal.value)
                return {}
            case "get":
                return page(await self.client.get_many(c["paths"]))
            case "list":
                options = {name: c[name] for name in LIST if name in c}
                return page(await self.client.list(c["path"], **options))
            case "mirror":
                return self.mirror(self.client, c)
            case "close" | "leave":
                await getattr(self.client, do)()
                return {}
        return await self.of_mirror(do, c)

    def connect(self, c: Fields) -> Fields:
        names = ("codec", "label", "token", "reconnect", "queue_bytes")
        options: Fields = {name: c[name] for name in names if name in c}
        if "request_timeout_ms" in c:
            options["request_timeout"] = c["request_timeout_ms"] / 1000
        if "backoff_ms" in c:
            options["backoff"] = tuple(ms / 1000 for ms in c["backoff_ms"])
        if tokens := c.get("tokens"):

            async def token() -> str:
                self.asked += 1
                return str(tokens[min(self.asked, len(tokens)) - 1])

            options["token"] = token
        self.client = onetree.start(c["url"], **options)
        return {}

    def mirror(self, client: onetree.Client, c: Fields) -> Fields:
        sub = frame("sub", c)
        saved = None
        if "from" in c:
            entries = [json_codec.read_change(entry) for entry in c["from"]["entries"]]
            saved = (json_codec.read_cookie(c["from"]["cookie"]), entries)
        mirror = client.mirror(
            sub.view, signals=sub.signals, every=sub.every_ms / 1000, once=sub.mode == "once",
            from_=saved, keep=c.get("keep"),
        )  # fmt: skip
        self.mirrors[c["mirror"]] = (mirror, mirror.changes())
        return {}

    async def of_mirror(self, do: str, c: Fields) -> Any:
        if c.get("mirror") not in self.mirrors:
            raise onetree.Wrong("adapter", "no mirror of that name")
        mirror, changes = self.mirrors[c["mirror"]]
        match do:
            case "fresh" | "resync":
                return {"rev": await getattr(mirror, do)()}
            case "at":
                return {"rev": await mirror.at(c["rev"])}
            case "verify":
                return {"verdict": (await mirror.verify()).word}
            case "dump":
                now = mirror.snapshot()
                cookie = None if now.cookie is None else now.cookie._asdict()
                return {"rev": now.rev, "cookie": cookie, "entries": [*map(line, now.entries())]}
            case "events":
                return [event_of(event) for event in iter(changes.next_now, None)]
            case "earlier":
                found = await mirror.earlier(c["log"], c["limit"], c.get("before"))
                return {"changes": [*map(line, found)], "more": found.more}
            case "transact":
                return await self.transact(mirror, c)
        raise onetree.Wrong("adapter", f"no command {do}")

    async def transact(self, mirror: onetree.Mirror, c: Fields) -> Fields:
        runs = 0

        def run(tx: onetree.Transaction) -> Any:
            nonlocal runs
            runs += 1
            return PROGRAMS[c["program"]](tx, *([c["path"]] if "path" in c else c["paths"]))

        done = await mirror.transact(run)
        return {"result": done.result, "rev": done.rev, "runs": runs}


def frame(op: str, c: Fields) -> Any:
    """The frame that a command's fields are those of; `do` of a `txn` stands in `steps`."""
    fields = {**c, "op": op, "id": 0, "sub": 0, "do": c.get("steps")}
    return json_codec._decode(fields, json_codec._CLIENT)


async def main() -> None:
    adapter = Adapter()
    tasks = set()
    while line := await asyncio.to_thread(sys.stdin.readline):
        # Tasks begin in the order in which they were made: so do commands.
        tasks.add(task := asyncio.create_task(adapter.answer(line)))
        task.add_done_callback(tasks.discard)


asyncio.run(main())
