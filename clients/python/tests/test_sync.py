"""The client without `async`: what it is used from, and when."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import onetree
from onetree import event as e
from onetree import sync
from server import SOURCE, naive, run


def script(work: Callable[[str], None]) -> None:
    """Runs it with the URL of a broker, in a thread of its own."""

    async def story() -> None:
        async with naive() as server:
            await asyncio.to_thread(work, server.url)

    run(story())


def test_what_the_client_calls_cannot_wait_for_it() -> None:
    """It would be waited for in the thread that is to do it."""

    def work(url: str) -> None:
        with sync.connect(url) as client, client.mirror("/") as mirror:
            changes = mirror.changes()
            calls: list[Callable[[Any], Any]] = [
                lambda tx: tx.put("/n", client.get("/a")),
                lambda tx: tx.put("/n", mirror.get("/a")),
                lambda tx: changes.next(timeout=1),
                lambda tx: client.close(),
            ]
            for call in calls:
                with pytest.raises(onetree.Wrong, match="tx"):
                    mirror.transact(call)
            # It goes on as if nothing had been.
            assert mirror.transact(lambda tx: tx.put("/n", 1)).rev is not None
            with sync.connect(url) as other:
                # One that has a thread of its own can be waited for.
                mirror.transact(lambda tx: tx.put("/rev", other.put("/a", 1).rev))

    script(work)


def test_a_token_cannot_come_from_the_client_that_wants_it() -> None:
    def work(url: str, cut: Callable[[], object]) -> None:
        clients: list[sync.Client] = []

        def token() -> str:
            return str(clients[0].get("/token")) if clients else "first"

        with sync.connect(url, token=token, backoff=(0.01, 0.02)) as client:
            clients.append(client)
            cut()
            deadline = time.monotonic() + 10
            while not isinstance(status := client.status, e.Offline) or not status.error.__cause__:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            assert isinstance(status.error, onetree.BadToken)
            assert isinstance(status.error.__cause__, onetree.Wrong)
            clients.clear()

    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with naive() as server:
            cut = functools.partial(loop.call_soon_threadsafe, server.cut)
            await asyncio.to_thread(work, server.url, cut)

    run(story())


def test_after_the_end() -> None:
    def work(url: str) -> None:
        with sync.connect(url) as client:
            mirror = client.mirror("/")
            mirror.at(client.put("/a", 1).rev)
            changes = mirror.changes()
        asked: list[Callable[[], object]] = [
            lambda: client.put("/a", 2),
            lambda: client.get("/a"),
            lambda: client.signal("/a", 2),
            lambda: mirror.at(10_000),
            lambda: mirror.fresh(),
            lambda: mirror.resync(),
            lambda: mirror.transact(lambda tx: tx.put("/a", 2)),
            lambda: client.mirror("/").fresh(),
        ]
        for ask in asked:
            with pytest.raises(onetree.Closed):
                ask()
        entry = mirror.get("/a")
        assert entry is not None and mirror.entries() == mirror.under("/a") == [entry]
        assert mirror.snapshot()["/a"] == entry and len(mirror) == 1
        assert mirror.verify().word == "unknown"
        assert [event.name for event in changes][-1] == "ended"
        assert [event.name for event in mirror.changes()] == ["fresh", "ended"]
        mirror.close()
        client.close()
        client.leave()

    script(work)


def test_an_event_that_comes_as_the_time_is_up_is_not_lost() -> None:
    def work(url: str) -> None:
        with sync.connect(url) as client, client.mirror("/") as mirror:
            changes = mirror.changes()
            mirror.fresh()
            while changes.next(timeout=0.2) is not None:
                pass

            def late() -> None:
                mirror._mirror.publish(e.Synced(1, False))
                time.sleep(0.4)

            client._run._loop.call_soon_threadsafe(client._run._loop.call_later, 0.1, late)
            came = changes.next(timeout=0.3) or changes.next(timeout=5)
            assert came == e.Synced(1, False)

    script(work)


def test_the_thread_ends_with_the_last_who_could_ask_it() -> None:
    def threads() -> set[threading.Thread]:
        return {one for one in threading.enumerate() if one.name == "onetree"}

    def work(url: str) -> None:
        # Those of other tests may be about to end.
        before = threads()
        with sync.connect(url) as client:
            mirror = client.mirror("/")
        with pytest.raises(onetree.Unreachable):
            sync.connect("ws://127.0.0.1:9")
        with pytest.raises(onetree.BadUrl):
            sync.connect("http://x")
        del client
        mirror.close()
        assert threads() - before
        del mirror
        gc.collect()
        deadline = time.monotonic() + 10
        while threads() - before:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    script(work)


NEVER = """
import sys, time
from onetree import sync
client = sync.connect(sys.argv[1])
mirror = client.mirror("/")
never = lambda tx: print("runs", flush=True) or time.sleep(60)
for call in (lambda: mirror.transact(never), client.close):
    try:
        print("calls", flush=True)
        call()
    except KeyboardInterrupt:
        print("left", flush=True)
"""


def test_ctrl_c_leaves_what_waits_for_a_function_that_never_returns() -> None:
    def work(url: str) -> None:
        command = [sys.executable, "-c", NEVER, url]
        with subprocess.Popen(command, env=SOURCE, stdout=subprocess.PIPE, text=True) as program:
            try:
                assert program.stdout is not None
                for said in (["calls", "runs"], ["left", "calls"]):
                    assert [program.stdout.readline().strip() for _ in said] == said
                    # Until it waits.
                    time.sleep(0.3)
                    program.send_signal(signal.SIGINT)
                assert program.stdout.read().strip() == "left"
                assert program.wait(10) == 0
            finally:
                program.kill()

    script(work)


def test_a_function_that_exits_ends_its_call_alone() -> None:
    def work(url: str) -> None:
        with sync.connect(url) as client, client.mirror("/") as mirror:
            with pytest.raises(SystemExit):
                mirror.transact(lambda tx: sys.exit(3))
            assert client.get("/a") is None

    script(work)


def test_a_process_that_was_forked_is_told_that_it_has_no_client() -> None:
    def work(url: str) -> None:
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", FORKED, url],
            env=SOURCE, capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        assert ran.stdout.split() == ["Wrong", "Wrong", "Wrong", "0", "1"], ran

    script(work)


FORKED = """
import os, signal, sys
from onetree import sync, Wrong
client = sync.connect(sys.argv[1])
mirror = client.mirror("/")
client.put("/a", 1)
child = os.fork()
if child == 0:
    signal.alarm(10)
    for call in (lambda: client.put("/a", 2), mirror.entries, client.close):
        try:
            call()
        except Wrong as wrong:
            print("Wrong", flush=True)
    os._exit(0)
print(os.waitpid(child, 0)[1], client.get("/a").value.get(), flush=True)
client.close()
"""
