"""Keeping a mirror: the place where it survives its process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import onetree
from onetree import keep as keep_module
from onetree import sync
from onetree.protocol.cookies import Cookie
from onetree.protocol.frames import Entry
from onetree.protocol.values import Value
from onetree.snapshot import Snapshot
from server import SOURCE, naive, run

HEAD = (
    '{"epoch":"000102030405060708090a0b0c0d0e0f","rev":9,"view":"0001020304050607","entries":2}\n'
)
A = '{"path":"/a","rev":7,"json":{"x": 1}}\n'
B = '{"path":"/b","rev":9,"type":"text/plain","text":"b"}\n'
LINES = '{"path":"/%s","rev":7,"type":"application/json","bytes":"%s"}\n'
"""JSON with line ends in it."""


_DATED = Cookie("0" * 32, 1, "0" * 16)
NO_COPIES: list[Any] = [
    5, (), "ab", (None, ()), (("x", 5, "y"), ()), (_DATED._replace(rev=-1), ()), (_DATED, 5),
    (_DATED, ["x"]), (_DATED, [("/a", 1, None)]), (_DATED, [Entry("a", 1, None)]),
    (_DATED, [Entry("/a", "1", None)]), (_DATED, [Entry("/a", 1, b"1")]),
]  # fmt: skip
"""What no mirror can go on from."""


def load(path: Path, text: str) -> Any:
    path.write_text(text)
    keep = onetree.FileKeep(path)
    try:
        return keep.load()
    finally:
        keep.close()


def test_what_was_saved_is_read_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "state"
    cookie, entries = load(path, HEAD + A + B)
    assert cookie == Cookie("000102030405060708090a0b0c0d0e0f", 9, "0001020304050607")
    assert entries == [Entry("/a", 7, Value("application/json", b'{"x": 1}')),
                       Entry("/b", 9, Value("text/plain", b"b"))]  # fmt: skip
    keep = onetree.FileKeep(path)
    path.unlink()
    keep.save(Snapshot.saved(cookie, entries))
    assert path.read_text() == HEAD + A + B
    spaced = [Entry("/c", 7, Value("application/json", b"[1,\n2]")),
              Entry("/d", 7, Value("application/json", b"[1,\r2]"))]  # fmt: skip
    keep.save(Snapshot.saved(cookie, spaced))
    lines = LINES % ("c", "WzEsCjJd") + LINES % ("d", "WzEsDTJd")
    assert path.read_text() == HEAD + lines
    keep.close()
    assert load(path, HEAD + lines) == (cookie, spaced)
    assert load(path, "") is None
    path.unlink()
    assert onetree.FileKeep(path).load() is None


def test_what_is_broken_is_named_by_its_line(tmp_path: Path) -> None:
    path, whole = tmp_path / "state", HEAD + A + B
    for text, said in [
        ("hello\n", ":1: a state file begins"),
        (A, ":1: "),
        (HEAD + B + A, ":3: the path does not"),
        (HEAD + A + A, ":3: the path does not"),
        (HEAD + A, ":2: the file ends after 1 of 2"),
        (whole.replace('"rev":7', '"rev":-7'), ":2: "),
        (HEAD + '{"path":"/a","rev":7,"delete":true}\n' + B, ":2: the line is no"),
        (whole[:-1], ":3: the line is cut off"),
        ("\n", ":1: "),
    ]:
        with pytest.raises(onetree.KeepError) as broken:
            load(path, text)
        assert said in str(broken.value) and broken.value.word == "state-broken"
        assert path.read_text() == text
    for cut in range(1, len(whole)):
        with pytest.raises(onetree.KeepError):
            load(path, whole[:cut])


def test_it_is_for_one_at_a_time(tmp_path: Path) -> None:
    one, other = (onetree.FileKeep(tmp_path / "state") for _ in range(2))
    assert one.load() is None
    with pytest.raises(onetree.KeepError) as used:
        other.load()
    assert used.value.word == "state-in-use"
    one.close()
    assert other.load() is None
    other.close()


def test_a_crash_between_leaves_the_old_one(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "state"
    cookie, entries = load(path, HEAD + A + B)
    keep = onetree.FileKeep(path)
    later = Snapshot.saved(cookie._replace(rev=12), entries[:1])
    for crash in ("fsync", "replace"):

        def die(*_: Any) -> None:
            raise OSError("the process dies here")

        with monkeypatch.context() as patch:
            patch.setattr(os, crash, die)
            with pytest.raises(onetree.KeepError):
                keep.save(later)
        assert path.read_text() == HEAD + A + B
        # On a full disk the temporary file would take up room that others need.
        assert not path.with_name("state.tmp").exists()
    keep.save(later)
    assert keep.load() == (later.cookie, entries[:1])
    keep.close()


def test_a_mirror_goes_on_where_it_was(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(keep_module, "EVERY", 0.05)
    path = str(tmp_path / "state")

    async def story() -> None:
        async with naive() as server:
            async with onetree.connect(server.url) as client:
                mirror = client.mirror("/", keep=path)
                done = await client.put("/a", 1)
                await mirror.at(done.rev)
            async with onetree.connect(server.url) as other:
                await other.put("/b", 2)
                await other.delete("/a")
            async with onetree.connect(server.url) as client:
                mirror = client.mirror("/", keep=path)
                assert mirror.rev == done.rev and mirror.get("/a") is not None
                changes = mirror.changes()
                events = [await anext(changes), await anext(changes)]
                assert [event.name for event in events] == ["refreshing", "fresh"]
                assert events[0].kind == "delta"  # type: ignore[union-attr]
                came = {c.path: (c.old is None, c.new is None) for c in events[1].changes}  # type: ignore[union-attr]
                assert came == {"/a": (False, True), "/b": (True, False)}

    run(story())


async def _holds(path: Path, text: str) -> None:
    """Waits until the mirror was saved."""
    async with asyncio.timeout(10):
        while not path.exists() or text not in path.read_text():
            await asyncio.sleep(0.01)


def test_what_was_not_shown_is_not_saved(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(keep_module, "EVERY", 0.02)
    path = tmp_path / "state"

    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/", keep=str(path))
            changes = mirror.changes()
            await mirror.fresh()
            while changes.next_now() is not None:
                pass
            done = await client.put("/a", 1)
            await mirror.at(done.rev)
            await _holds(path, '"rev":0')
            await asyncio.sleep(0.15)
            assert '"rev":0' in path.read_text()
            # Taken, but not dealt with yet.
            assert changes.next_now() is not None
            await asyncio.sleep(0.15)
            assert '"rev":0' in path.read_text()
            assert changes.next_now() is None
            await _holds(path, '"path":"/a"')

    run(story())


def test_what_a_reader_has_left_before_its_first_event_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "state"

    async def story() -> None:
        async with naive() as server:
            async with onetree.connect(server.url) as client:
                await client.put("/a", 1)
                mirror = client.mirror("/", keep=str(path))
                with pytest.raises(RuntimeError):
                    async for _ in mirror.changes():
                        raise RuntimeError("not dealt with")
            assert not path.exists() or '"path":"/a"' not in path.read_text()

    run(story())


def test_who_begins_to_read_behind_the_end_holds_up_no_save(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(keep_module, "EVERY", 60)
    path = tmp_path / "state"

    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/", keep=str(path))
            await mirror.at((await client.put("/a", 1)).rev)
            mirror.close()
            changes = mirror.changes()
            await mirror.closed()
            assert '"path":"/a"' in path.read_text()
            assert [event.name async for event in changes] == ["fresh", "ended"]
            # The reader is not remembered either.
            assert not mirror._feeds

    run(story())


@pytest.mark.parametrize("looks", [False, True])
def test_a_reader_that_has_left_holds_back_nothing_that_was_looked_at(
    tmp_path: Path, looks: bool
) -> None:
    path = tmp_path / "state"

    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/", keep=str(path))
            async for event in mirror.changes():
                if event.name == "fresh":
                    break
            done = await client.put("/a", 1)
            await mirror.at(done.rev)
            if looks:
                assert mirror.get("/a") is not None

    run(story())
    assert looks == (path.exists() and '"path":"/a"' in path.read_text())


def test_a_keep_that_fails_is_told_of_and_tried_again(monkeypatch: Any) -> None:
    monkeypatch.setattr(keep_module, "EVERY", 0.02)
    saves: list[Snapshot] = []

    class Failing:
        def load(self) -> None:
            return None

        def save(self, snapshot: Snapshot) -> None:
            saves.append(snapshot)
            if len(saves) < 3:
                raise LookupError("disk")

    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/", keep=Failing())
            await mirror.at((await client.put("/a", 1)).rev)
            while mirror.keep_error is None:
                await asyncio.sleep(0.01)
            assert "disk" in str(mirror.keep_error)
            assert isinstance(mirror.keep_error.__cause__, LookupError)
            while mirror.keep_error is not None:
                await asyncio.sleep(0.01)
        assert [*saves[-1]] == ["/a"]

    run(story())


def test_a_file_that_was_broken_is_free(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("nothing\n")
    try:
        onetree.FileKeep(path).load()
    except onetree.KeepError as error:
        assert error.word == "state-broken"
        path.unlink()
        # While the error, and everything that it refers to, still exists.
        keep = onetree.FileKeep(path)
        assert keep.load() is None
        keep.close()


def test_a_file_is_free_behind_a_mirror_that_could_not_be_begun(tmp_path: Path) -> None:
    path = tmp_path / "state"

    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            for from_ in NO_COPIES:
                with pytest.raises(onetree.Wrong, match=r"^from_: "):
                    client.mirror("/", keep=path, from_=from_)
                # While the error, and everything that it refers to, still exists.
                mirror = client.mirror("/", keep=path)
                mirror.close()
                await mirror.closed()

    run(story())


def test_what_a_keep_of_the_application_gives_is_looked_at_before_it_is_shown() -> None:
    class Odd:
        def __init__(self, found: Any) -> None:
            self.load = lambda: found

        def save(self, snapshot: Snapshot) -> None:
            pass

    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            for found in NO_COPIES:
                with pytest.raises(onetree.KeepError) as broken:
                    client.mirror("/", keep=Odd(found))
                assert broken.value.word == "state-broken"
            for entries in ([Entry("/a", 1, Value.json(1))], []):
                kept = client.mirror("/", keep=Odd((_DATED, entries)), from_=Snapshot.saved(None))
                assert (kept.entries(), kept.cookie) == (entries, _DATED)

    run(story())


def test_a_file_is_free_behind_a_loop_that_ended_without_a_close(tmp_path: Path) -> None:
    path = tmp_path / "state"

    async def story() -> onetree.Mirror:
        async with naive() as server:
            mirror = (await onetree.connect(server.url)).mirror("/", keep=str(path))
            await mirror.fresh()
            return mirror

    mirror = run(story())
    keep = onetree.FileKeep(path)
    keep.load()
    keep.close()
    assert len(mirror) == 0


def test_a_mirror_that_was_made_right_again_is_saved(tmp_path: Path, monkeypatch: Any) -> None:
    """Even though its cookie may be that of the wrong copy, with which a later reader begins."""
    monkeypatch.setattr(keep_module, "EVERY", 0.02)
    path = tmp_path / "state"

    async def story() -> None:
        async with naive() as server:
            async with onetree.connect(server.url) as client:
                mirror = client.mirror("/", keep=path)
                await client.put("/a", 1)
                await mirror.at((await client.put("/b", 2)).rev)
            right = path.read_text()
            wrong = right.replace('"path":"/a","rev":1', '"path":"/a","rev":2')
            assert wrong != right
            path.write_text(wrong)
            async with onetree.connect(server.url) as client:
                mirror = client.mirror("/", keep=path)
                changes = mirror.changes()
                names = [(await anext(changes)).name for _ in range(4)]
                assert names == ["refreshing", "corrupt", "refreshing", "fresh"]
                # Now it is dealt with.
                assert changes.next_now() is None
                for _ in range(200):
                    if path.read_text() == right:
                        break
                    await asyncio.sleep(0.05)
                assert path.read_text() == right
                late = mirror.changes()
                await asyncio.sleep(0.1)
                assert path.read_text() == right
                del late
            assert path.read_text() == right

    run(story())


def test_a_mirror_that_ends_while_it_is_saved_is_saved_once_more(monkeypatch: Any) -> None:
    monkeypatch.setattr(keep_module, "EVERY", 0.02)
    begun, goes_on = threading.Event(), threading.Event()
    saved: list[int] = []

    class Slow:
        def load(self) -> None:
            return None

        def save(self, snapshot: Snapshot) -> None:
            begun.set()
            assert goes_on.wait(10)
            saved.append(snapshot.rev)

    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/", keep=Slow())
            await mirror.at((await client.put("/a", 1)).rev)
            assert await asyncio.to_thread(begun.wait, 10)
            await mirror.at((await client.put("/b", 2)).rev)
            mirror.close()
            goes_on.set()
            await mirror.closed()
        assert saved[-1] == 2

    run(story())


def test_a_mirror_that_is_closed_waits_for_its_last_save(tmp_path: Path) -> None:
    path = tmp_path / "state"

    class Slow(onetree.FileKeep):
        def save(self, snapshot: Snapshot) -> None:
            time.sleep(0.2)
            super().save(snapshot)

    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            done = await client.put("/a", 1)
            for _ in range(3):
                mirror = client.mirror("/", keep=Slow(path))
                await mirror.at(done.rev)
                ended = asyncio.create_task(mirror.closed())
                await asyncio.sleep(0)
                assert not ended.done()
                mirror.close()
                await asyncio.wait_for(ended, 5)
                await mirror.closed()
                with open(path, "rb") as file:
                    assert file.readline().count(b'"rev":%d,' % done.rev) == 1
                done = await client.put("/a", done.rev)

    def work(url: str) -> None:
        with sync.connect(url) as client:
            done = client.put("/a", 1)
            for _ in range(3):
                with client.mirror("/", keep=Slow(path)) as mirror:
                    mirror.at(done.rev)

    run(story())

    async def threads() -> None:
        async with naive() as server:
            path.unlink()
            await asyncio.to_thread(work, server.url)

    run(threads())


AT_EXIT = """
import atexit, sys
from onetree import sync
client = sync.connect(sys.argv[1])
mirror = client.mirror("/", keep=sys.argv[2])
mirror.at(client.put("/a", 1).rev)
atexit.register(client.close)
"""


def test_what_is_closed_as_the_program_ends_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "state"

    def work(url: str) -> None:
        command = [sys.executable, "-c", AT_EXIT, url, str(path)]
        ran = subprocess.run(command, env=SOURCE, capture_output=True, text=True, timeout=20)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert '"path":"/a"' in path.read_text()

    async def story() -> None:
        async with naive() as server:
            await asyncio.to_thread(work, server.url)

    run(story())


def test_a_file_is_not_free_before_the_save_that_has_begun_is_over(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """The program ends meanwhile, and with it the task that waits for that save."""
    path = tmp_path / "state"
    begun, order = threading.Event(), list[str]()
    fsync = os.fsync

    def slow(file: int) -> None:
        begun.set()
        time.sleep(0.2)
        fsync(file)
        order.append("saved")

    keep = keep_module.FileKeep(path)
    monkeypatch.setattr(keep_module.os, "fsync", slow)
    cookie = Cookie("00" * 16, 1, "00" * 8)
    snapshot = Snapshot.saved(cookie, [Entry("/a", 1, Value.json(1))])
    saving = threading.Thread(target=lambda: keep.save(snapshot))
    saving.start()
    assert begun.wait(10)
    keep.close()
    order.append("free")
    saving.join()
    assert order == ["saved", "saved", "free"]
    whole = path.read_bytes()
    keep.save(snapshot)
    assert path.read_bytes() == whole and len(order) == 3, "nothing is saved behind the end"
