"""The Python client's adapter of `spec/scenarios`. It carries out the runner's commands, one line
at a time. It judges nothing; the runner does."""

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

Fields = dict[str, Any]

MIRROR = ("path", "depth", "match", "tail", "values", "signals", "keep")
LIST = ("path", "depth", "after", "before", "limit", "reverse", "values")
CONNECT = ("url", "codec", "label", "token", "reconnect", "queue_bytes")


class Adapter:
    def __init__(self) -> None:
        self.client: Any = None
        self.mirrors: dict[str, onetree.Mirror] = {}
        self.changes: dict[str, onetree.Changes] = {}
        self.asked = 0

    async def answer(self, text: str) -> None:
        command = scan.frame(text)
        answer: Fields = {"id": command["id"]}
        try:
            ok = await self.command(command, text)
            answer["ok"] = {} if ok is None else onetree.as_json(ok)
        except Exception as error:
            code = getattr(error, "word", "application")
            answer["error"] = {"code": code, "message": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, ensure_ascii=False), flush=True)

    async def command(self, c: Fields, text: str) -> Any:
        if c["op"] == "connect":
            return self.connect(c)
        if self.client is None:
            raise onetree.Wrong("adapter", "connect first")
        if "mirror" in c and c["op"] != "sub":
            return await self.of_mirror(c)
        match c["op"]:
            case "status":
                if "wait" in c:
                    await self.client.until(c["wait"])
                return {"status": self.client.status.name, "asked": self.asked}
            case "sub":
                return self.mirror(c)
            case "signal":
                signal: Any = json_codec.decode_client(text)
                return await self.client.signal(signal.path, signal.value)
            case "get":
                return await self.client.get_many(c["paths"])
            case "list":
                return await self.client.list(**some(c, LIST))
            case "close" | "leave":
                return await getattr(self.client, c["op"])()
        return await self.client.write(json_codec.decode_client(text))

    def connect(self, c: Fields) -> None:
        options = some(c, CONNECT)
        if "request_timeout_ms" in c:
            options["request_timeout"] = c["request_timeout_ms"] / 1000
        if "backoff_ms" in c:
            options["backoff"] = [ms / 1000 for ms in c["backoff_ms"]]
        if tokens := c.get("tokens"):

            def token() -> Any:
                self.asked += 1
                return tokens[min(self.asked, len(tokens)) - 1]

            options["token"] = token
        self.client = onetree.start(**options)

    def mirror(self, c: Fields) -> None:
        options = some(c, MIRROR)
        if saved := c.get("from"):
            copied = [json_codec.read_change(entry) for entry in saved["entries"]]
            options["from_"] = (json_codec.read_cookie(saved["cookie"]), copied)
        every, once = c.get("every_ms", 0) / 1000, c.get("mode") == "once"
        mirror = self.client.mirror(options.pop("path"), every=every, once=once, **options)
        self.mirrors[c["mirror"]] = mirror
        self.changes.pop(c["mirror"], None)
        if not c.get("late"):
            self.read(c["mirror"])

    def read(self, name: str) -> onetree.Changes:
        if name not in self.changes:
            self.changes[name] = self.mirrors[name].changes()
        return self.changes[name]

    async def of_mirror(self, c: Fields) -> Any:
        if c["mirror"] not in self.mirrors:
            raise onetree.Wrong("adapter", "no mirror of that name")
        mirror = self.mirrors[c["mirror"]]
        match c["op"]:
            case "fresh" | "resync":
                return {"rev": await getattr(mirror, c["op"])()}
            case "at":
                return {"rev": await mirror.at(c["rev"])}
            case "verify":
                return await mirror.verify()
            case "dump":
                return mirror.snapshot()
            case "events":
                return [*iter(self.read(c["mirror"]).next_now, None)]
            case "earlier":
                return await mirror.earlier(c["log"], c["limit"], c.get("before"))
            case "transact":
                paths = c.get("paths") or [c["path"]]
                return await mirror.transact(lambda tx: PROGRAMS[c["program"]](tx, *paths))
        raise onetree.Wrong("adapter", f"no command {c['op']}")


def some(c: Fields, names: tuple[str, ...]) -> Fields:
    return {name: c[name] for name in names if name in c}


async def main() -> None:
    adapter = Adapter()
    tasks = set()
    while line := await asyncio.to_thread(sys.stdin.readline):
        # Tasks start in the order in which they were made, and so do commands.
        tasks.add(task := asyncio.create_task(adapter.answer(line)))
        task.add_done_callback(tasks.discard)


asyncio.run(main())
