"""Does what it is told, a line at a time: the Python client's adapter of `spec/scenarios`. It
judges nothing; the runner does."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import onetree
from onetree import event as e
from onetree.options import VERSION
from onetree.protocol import json_codec, scan

Fields = dict[str, Any]


class AdapterError(Exception):
    """The command is none."""


class Adapter:
    def __init__(self) -> None:
        self.client: onetree.Client | None = None
        self.mirrors: dict[str, tuple[onetree.Mirror, onetree.Changes]] = {}
        self.asked = 0

    async def answer(self, line: str) -> None:
        command = scan.frame(line)
        answer: Fields = {"id": command.get("id")}
        try:
            answer["ok"] = await self.command(command["do"], command)
        except Exception as error:
            if isinstance(error, onetree.OnetreeError):
                code = error.word
            elif isinstance(error, onetree.Wrong):
                code = error.code
            else:
                code = "adapter" if isinstance(error, AdapterError) else "application"
            answer["error"] = {"code": code, "message": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, ensure_ascii=False), flush=True)

    async def command(self, do: str, c: Fields) -> Any:
        if do == "about":
            can = ["keep", "transact", "token-hook", "earlier", "old-and-new"]
            return {"language": "python", "version": VERSION, "can": can}
        if do == "connect":
            return self.connect(c)
        client = self.client
        if client is None:
            raise AdapterError("connect first")
        if do == "status":
            status = await client.until(c["wait"]) if c.get("wait") else client.status
            return {"status": status.name, "asked": self.asked}
        if do in ("put", "append", "delete", "drop", "trim", "txn"):
            done = await client.write(frame(do, c))
            return {"rev": done.rev, **({"names": list(done.paths)} if done.paths else {})}
        if do == "signal":
            signal = frame(do, c)
            await client.signal(signal.path, signal.value)
            return {}
        if do == "get":
            return found(await client.get_many(frame(do, c).paths))
        if do == "list":
            f = frame(do, c)
            page = await client.list(f.path, depth=f.depth, after=f.after, before=f.before,
                                     limit=f.limit, reverse=f.reverse, values=f.values)  # fmt: skip
            return found(page)
        if do == "mirror":
            return self.mirror(client, c)
        if do in ("close", "leave"):
            await getattr(client, do)()
            return {}
        if c.get("mirror") not in self.mirrors:
            raise AdapterError(f"no mirror of that name, or no command {do}")
        mirror, changes = self.mirrors[c["mirror"]]
        if do in ("fresh", "resync"):
            return {"rev": await getattr(mirror, do)()}
        if do == "at":
            return {"rev": await mirror.at(c["rev"])}
        if do == "verify":
            return {"verdict": (await mirror.verify()).word}
        if do == "dump":
            now = mirror.snapshot()
            cookie = None if now.cookie is None else now.cookie._asdict()
            return {"rev": now.rev, "cookie": cookie, "entries": [*map(line, now.entries())]}
        if do == "events":
            events = []
            while (event := changes.next_now()) is not None:
                events.append(told(event))
            return events
        if do == "earlier":
            page = await mirror.earlier(c["log"], c["limit"], c.get("before"))
            return {"entries": [*map(line, page)], "more": page.more}
        if do == "transact":
            return await self.transact(mirror, c)
        raise AdapterError(f"no command {do}")

    def connect(self, c: Fields) -> Fields:
        options: Fields = {"reconnect": c.get("reconnect", "after-first")}
        for name in ("codec", "label", "token", "queue_bytes"):
            if c.get(name) is not None:
                options[name] = c[name]
        if c.get("request_timeout_ms") is not None:
            options["request_timeout"] = c["request_timeout_ms"] / 1000
        if c.get("backoff_ms") is not None:
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
        if c.get("from"):
            entries = [json_codec.read_change(entry) for entry in c["from"]["entries"]]
            saved = (json_codec.read_cookie(c["from"]["cookie"]), entries)
        mirror = client.mirror(
            sub.view, signals=sub.signals, every=sub.every_ms / 1000, once=sub.mode == "once",
            from_=saved, keep=c.get("keep"),
        )  # fmt: skip
        self.mirrors[c["mirror"]] = (mirror, mirror.changes())
        return {}

    async def transact(self, mirror: onetree.Mirror, c: Fields) -> Fields:
        runs = 0

        def take(path: str, tx: onetree.Transaction) -> Any:
            entry = tx.get(path)
            if entry is None:
                tx.retry()
            tx.delete(path)
            return plain(entry)

        def run(tx: onetree.Transaction) -> Any:
            nonlocal runs
            runs += 1
            program = c["program"]
            if program == "increment":
                entry = tx.get(c["path"])
                n = (plain(entry) if entry else 0) + 1
                tx.put(c["path"], onetree.Value.json(n))
                return n
            if program == "take":
                return take(c["path"], tx)
            if program == "take-either":
                first, second = c["paths"]
                return tx.or_else(lambda tx: take(first, tx), lambda tx: take(second, tx))
            if program == "move":
                source, target = c["paths"]
                for entry in tx.under(source):
                    if entry.path != source:
                        tx.delete(entry.path)
                        tx.put(f"{target}/{entry.path.rpartition('/')[2]}", entry.value)
                        return plain(entry)
                tx.retry()
            tx.put(c["path"], 1)
            raise RuntimeError("the application throws")

        done = await mirror.transact(run)
        return {"result": done.result, "rev": done.rev, "runs": runs}


def frame(op: str, c: Fields) -> Any:
    """The frame that a command's fields are those of; `do` of a `txn` stands in `steps`."""
    fields = {**c, "op": op, "id": 0, "sub": 0, "do": c.get("steps")}
    return json_codec._decode(fields, json_codec._CLIENT)


def line(entry: onetree.Entry) -> Fields:
    """An entry, as `export` prints it."""
    parsed: Fields = json.loads(json_codec.entry_text(entry))
    return parsed


def plain(entry: onetree.Entry) -> Any:
    """An entry's value: what its JSON says, else its text or the base64 of its bytes."""
    fields = line(entry)
    return next((fields[name] for name in ("json", "text", "bytes") if name in fields), None)


def found(found: onetree.Found) -> Fields:
    return {"rev": found.rev, "changes": [*map(line, found.entries)], "more": found.more}


def told(event: onetree.Event) -> Fields:
    fields: Fields = {"event": event.name}
    for name in ("kind", "why", "since", "rev", "verified", "resumed"):
        if hasattr(event, name):
            fields[name] = getattr(event, name)
    if isinstance(event, e.Fresh | e.Delta):
        fields["changes"] = [
            {"path": c.path, "rev": c.rev, **({"old": line(c.old)} if c.old else {}),
             **({"new": line(c.new)} if c.new else {})} for c in event.changes
        ]  # fmt: skip
        fields["gaps"] = list(event.gaps)
    if isinstance(event, e.Signal):
        fields |= json.loads("{" + json_codec.value_text(event.value)[1:] + "}")
        fields["path"] = event.path
    if isinstance(event, e.Circling | e.Offline):
        fields["retry_ms"] = int(event.retry_in * 1000)
    if isinstance(event, e.Ended) and event.error is not None:
        fields["code"] = event.error.word
    return fields


async def main() -> None:
    adapter, loop = Adapter(), asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    tasks = set()
    while (line := await lines.get()) is not None:
        # Tasks begin in the order in which they were made: so do commands.
        tasks.add(task := asyncio.create_task(adapter.answer(line)))
        task.add_done_callback(tasks.discard)


asyncio.run(main())
