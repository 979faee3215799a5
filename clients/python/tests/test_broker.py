"""Tests against the real broker, if ONETREE_BIN names one."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import onetree
from onetree import event as e
from onetree.protocol import json_codec
from server import BINARY, needs_broker, real, run

pytestmark = needs_broker
CODECS = pytest.mark.parametrize("codec", ["json", "msgpack"])


def export(url: str) -> list[str]:
    command = [str(BINARY), "export", "/", "--url", url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


@CODECS
def test_a_mirror_is_the_tree_byte_by_byte(codec: Any) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    r = random.Random(seed)

    async def story(url: str) -> None:
        values: list[Any] = [{"a": [1, 2.5, None, "ä"]}, "text", b"\0\xff", 10**30, True,
                             onetree.Value.of("application/json", b'{ "x" : 1.50e+2 }'),
                             onetree.Value.of("image/png", b"png")]  # fmt: skip
        async with (
            onetree.connect(url, codec=codec) as client,
            onetree.connect(url) as other,
        ):
            mirror = client.mirror("/")
            changes = mirror.changes()
            for _ in range(300):
                path = "/" + "/".join(r.choice(["a", "b", "ä ö", "a-b"]) for _ in range(3))
                action = r.random()
                if action < 0.6:
                    done = await other.put(path, r.choice(values))
                elif action < 0.8:
                    done = await other.append(path[:2] + "/log", r.choice(values))
                elif action < 0.9:
                    done = await other.delete(path)
                else:
                    done = await other.drop_tree(path[: path.rindex("/")])
            await mirror.at(done.rev)
            tree = await asyncio.to_thread(export, url)
            assert [*map(json_codec.entry_text, mirror.entries())] == tree
            assert (await mirror.verify()).verdict == "same"
            copy: dict[str, onetree.Entry] = {}
            while (event := changes.next_now()) is not None:
                for change in getattr(event, "changes", ()):
                    assert copy.pop(change.path, None) == change.old
                    if change.new is not None:
                        copy[change.path] = change.new
            assert copy == {**mirror.snapshot()}
            await mirror.resync()
            assert [*map(json_codec.entry_text, mirror.entries())] == tree

    with real() as url:
        run(story(url))


@CODECS
def test_all_that_can_be_asked(codec: Any) -> None:
    async def story(url: str) -> None:
        async with onetree.connect(url, codec=codec) as client:
            log = [(await client.append("/log", n)).paths[0] for n in range(30)]
            await client.put("/log", "about the log")
            await client.put("/log/other", 1)
            tail = client.mirror("/log", tail=5, signals=True)
            await tail.fresh()
            assert [x.path for x in tail.entries()] == ["/log", *log[-5:], "/log/other"]
            page = await tail.earlier("/log", 10)
            assert [x.path for x in page.entries] == log[15:25] and page.more
            page = await tail.earlier("/log", 100, before=log[15])
            assert [x.path for x in page.entries] == log[:15] and not page.more
            page = await tail.earlier("/log", 0)
            assert [x.path for x in page.entries] == log[:25] and not page.more
            changes = tail.changes()
            await client.signal("/log/typing", {"who": "me"})
            while not isinstance(event := await anext(changes), e.Signal):
                pass
            assert event.path == "/log/typing" and event.value.get() == {"who": "me"}
            await client.trim("/log", log[27].rpartition("/")[2])
            found = await client.list("/log", depth="children", after="/log", limit=2)
            assert [x.path for x in found.entries] == log[28:30] and found.more
            short = await client.put("/short", 1, ttl=0.05)
            assert short.rev
            async with asyncio.timeout(10):
                while await client.get("/short") is not None:
                    await asyncio.sleep(0.02)
            done = await client.txn(onetree.Txn().put("/x", 1).append("/log", 2).delete("/y"))
            assert len(done.paths) == 1
            await client.txn(onetree.Txn().if_tree("/x", done.rev).drop_tree("/x"))
            with pytest.raises(onetree.Refused) as refused:
                await client.put("/log", 1, if_rev=0)
            assert refused.value.code == "conflict" and refused.value.path == "/log"
            with pytest.raises(onetree.Refused) as refused:
                await client.auth("token")
            assert refused.value.code == "unsupported"
            once = client.mirror("/log", once=True, values=False)
            await once.fresh()
            assert once.entries() and all(entry.value is None for entry in once.entries())
            every = client.mirror("/", every=0.05)
            await every.fresh()
            await every.at((await client.put("/e", 1)).rev)
            async with onetree.connect(url, codec=codec) as guest:
                await guest.put("/here", True, ephemeral=True)
                assert await client.get("/here") is not None
            await client.put("/sync", 1)
            assert await client.get("/here") is None

    with real() as url:
        run(story(url))


def test_a_file_that_watch_goes_on_from(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"

    async def story(url: str) -> None:
        async with onetree.connect(url) as client:
            await client.put("/a", {"x": 1})
            await client.put("/b", "text")
            mirror = client.mirror("/", keep=str(state))
            await mirror.fresh()
        first = state.read_text()
        cookie = json.loads(first.splitlines()[0])
        assert cookie["entries"] == 2 and first.splitlines()[1:] == await asyncio.to_thread(
            export, url
        )
        async with onetree.connect(url) as client:
            await client.delete("/a")
        # The program goes on from the client's file, and this client from the program's.
        command = [str(BINARY), "watch", "/", "--state", str(state), "--once", "--url", url]
        watched = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=20
        )
        assert watched.returncode == 0, watched.stderr
        async with onetree.connect(url) as client:
            mirror = client.mirror("/", keep=str(state))
            assert [entry.path for entry in mirror.entries()] == ["/b"]
            changes = mirror.changes()
            refreshing = await anext(changes)
            assert isinstance(refreshing, e.Refreshing) and refreshing.kind == "delta"

    with real() as url:
        run(story(url))


def test_the_adapter() -> None:
    program = Path(__file__).parents[1] / "conformance" / "adapter.py"

    def ask(adapter: Any, id: int, **command: Any) -> Any:
        print(json.dumps({"id": id, **command}), file=adapter.stdin, flush=True)
        answer = json.loads(adapter.stdout.readline())
        assert answer["id"] == id
        return answer.get("ok", answer.get("error", {}))

    with real() as url:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        adapter = subprocess.Popen([sys.executable, str(program)], **pipes)
        try:
            assert ask(adapter, 1, op="put", path="/a", json=1)["code"] == "adapter"
            assert ask(adapter, 2, op="connect", url=url, codec="json") == {}
            assert ask(adapter, 3, op="status", wait="online")["status"] == "online"
            assert ask(adapter, 4, op="sub", sub=1, mirror="m", path="/") == {}
            assert ask(adapter, 5, op="append", path="/log", text="x")["paths"]
            steps = [{"do": "put", "path": "/a", "json": [1]}]
            rev = ask(adapter, 6, op="txn", do=steps)["rev"]
            assert ask(adapter, 7, op="at", mirror="m", rev=rev)["rev"] >= rev
            dump = ask(adapter, 8, op="dump", mirror="m")
            assert dump["entries"] == [json.loads(line) for line in export(url)]
            events = ask(adapter, 9, op="events", mirror="m")
            assert [x["event"] for x in events[:2]] == ["refreshing", "fresh"]
            done = ask(adapter, 10, op="transact", mirror="m", program="increment", path="/n")
            assert done["result"] == 1 and done["runs"] == 1
            failed = ask(adapter, 11, op="transact", mirror="m", program="fail", path="/n")
            assert failed["code"] == "application"
            assert ask(adapter, 12, op="get", paths=["/n"])["entries"][0]["json"] == 1
            assert ask(adapter, 13, op="put", path="a", json=1)["code"] == "bad-path"
            assert ask(adapter, 14, op="verify", mirror="m")["verdict"] == "same"
            assert ask(adapter, 15, op="close") == {}
            assert ask(adapter, 16, op="put", path="/a", json=1)["code"] == "closed"
        finally:
            adapter.stdin.close()  # type: ignore[union-attr]
            assert adapter.wait(10) == 0
