"""The client without `async`: where it can be used, and when."""

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
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeout
from pathlib import Path
from typing import Any

import pytest

import onetree
from onetree import event as e
from onetree import request, sync
from server import SOURCE, naive, run


def script(work: Callable[[str], None]) -> None:
    """Runs a function with the URL of a broker, in a thread of its own."""

    async def story() -> None:
        async with naive() as server:
            await asyncio.to_thread(work, server.url)

    run(story())


def test_what_the_client_calls_cannot_wait_for_it() -> None:
    """The call would wait in the thread that has to do the work."""

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
            # It goes on as if nothing had happened.
            assert mirror.transact(lambda tx: tx.put("/n", 1)).done is not None
            with sync.connect(url) as other:
                # Another client has a thread of its own, and can be waited for.
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
        assert mirror.verify().verdict == "unknown"
        assert [event.name for event in changes][-1] == "ended"
        assert [event.name for event in mirror.changes()] == ["fresh", "ended"]
        mirror.close()
        client.close()
        client.leave()

    script(work)


def test_it_has_the_words_of_the_other() -> None:
    own = {"closed", "past", "changed", "publish", "shown", "kept", "txn_of", "status_past"}
    own |= {"drop_mirror", "resync_mirror", "verify_mirror", "want_sync", "progress", "push"}
    own |= {"lacks", "last_done"}
    # `Changes.next` takes its place.
    own |= {"next_now"}
    pairs = ((onetree.Client, sync.Client), (onetree.Mirror, sync.Mirror))
    for one, other in (*pairs, (onetree.Changes, sync.Changes), (onetree, sync)):
        names = ("connect", "start") if one is onetree else dir(one)
        words = {name for name in names if not name.startswith("_")}
        assert words - {*dir(other)} <= own


def test_what_had_no_time_left_says_whether_it_may_still_happen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def timeout(ask: Callable[[], object]) -> tuple[bool | None, str, str]:
        with pytest.raises(onetree.Timeout) as late:
            ask()
        return late.value.sent, late.value.action, str(late.value).partition("; ")[2]

    # The test decides when the time is up, and not a clock.
    up, goes_on = threading.Event(), threading.Event()
    ran: list[int] = []
    begin = asyncio.run_coroutine_threadsafe

    def without_clock(*what: Any) -> Any:
        future: Any = begin(*what)
        waits = future.result

        def result(limit: float | None = None) -> Any:
            if limit is None:
                return waits()
            assert up.wait(10)
            up.clear()
            raise WaitTimeout

        future.result = result
        return future

    def write(tx: onetree.Transaction) -> None:
        ran.append(tx.rev)
        tx.put("/n", len(ran))

    def slow(tx: onetree.Transaction) -> None:
        write(tx)
        up.set()
        assert goes_on.wait(10)

    def sends(tx: onetree.Transaction) -> None:
        write(tx)
        asyncio.get_running_loop().call_soon(up.set)

    never = (False, "retry", "it was never sent")
    away = sync.start("ws://127.0.0.1:9", reconnect="always", backoff=(0.01, 0.02))
    with away, away.mirror("/") as mirror:
        assert timeout(lambda: mirror.transact(write, timeout=0.05)) == never and not ran
        # These write nothing, and are no requests.
        waits: list[Callable[[], object]] = [
            lambda: mirror.fresh(timeout=0.05),
            lambda: mirror.at(5, timeout=0.05),
            lambda: mirror.resync(timeout=0.05),
            lambda: away.until("online", timeout=0.05),
        ]
        for wait in waits:
            assert timeout(wait) == (None, "retry", "")

    def work(url: str, deafen: Callable[[], object], cut: Callable[[], object]) -> None:
        with sync.connect(url) as client, client.mirror("/") as mirror:
            mirror.fresh()
            # The time is up before the function has returned: what it wrote is not sent.
            assert timeout(lambda: mirror.transact(slow, timeout=1)) == never and ran == [0]
            goes_on.set()
            assert client.get("/n") is None
            # The commit has an answer, a conflict, and the function is running again when the time
            # is up.
            with sync.connect(url) as other:
                rev = other.put("/a", 1).rev
                mirror.at(rev)

                def behind(tx: onetree.Transaction) -> None:
                    tx.get("/a")
                    if tx.rev == rev:
                        other.put("/a", 2)
                    else:
                        up.set()
                        tx.retry()
                    write(tx)

                assert timeout(lambda: mirror.transact(behind, timeout=1)) == never
            deafen()
            sent = (True, "stop", "it may still happen, once")
            assert timeout(lambda: mirror.transact(sends, timeout=1)) == sent
            # Without the cut, the end of a client would wait long for a broker that does not
            # answer.
            cut()

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", without_clock)

    async def story() -> None:
        async with naive() as server:
            cut = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, server.cut)
            await asyncio.to_thread(work, server.url, lambda: setattr(server, "deaf", True), cut)

    run(story())


def test_who_starts_does_not_wait_and_is_told_how_it_stands() -> None:
    def work(url: str) -> None:
        away = sync.start("ws://127.0.0.1:9", reconnect="always", backoff=(0.01, 0.02))
        assert away.until("offline", timeout=10).name == "offline"
        with pytest.raises(onetree.Timeout) as late:
            away.until("online", timeout=0.05)
        assert late.value.action == "retry"
        away.close()
        with sync.start(url) as client:
            assert client.put("/a", 1).rev == 1
            statuses = client.statuses()
            assert next(statuses).name == "online"
            client.close()
            assert [status.name for status in statuses] == ["ended"]
            with pytest.raises(onetree.Closed):
                client.until("online")
        with pytest.raises(onetree.Wrong, match="Options"):
            sync.start(url, onetree.Options(), codec="json")

    script(work)


def test_many_writes_are_on_their_way() -> None:
    def work(url: str) -> None:
        with sync.connect(url, queue_bytes=2000) as client:
            asked = [client.enqueue(request.put("/a", n)) for n in range(100)]
            assert [one.result(10).rev for one in asked] == [*range(1, 101)]
            assert client.submit(onetree.Txn().delete("/a")).result(10).rev == 101
            refused = client.enqueue(onetree.Txn().if_rev("/c", 7).put("/c", 1))
            with pytest.raises(onetree.Refused) as conflict:
                refused.result(10)
            assert conflict.value.is_conflict
        with pytest.raises(onetree.Closed):
            client.enqueue(request.put("/a", 1))
        away = sync.start("ws://127.0.0.1:9", reconnect="always", queue_bytes=1500)
        waiting = [away.submit(request.put("/b", n)) for n in range(2)]
        with pytest.raises(onetree.QueueFull):
            away.submit(request.put("/b", 2))
        away.close()
        for one in waiting:
            with pytest.raises(onetree.Closed):
                one.result(10)
        # Nobody else refers to the client any more.
        last = sync.connect(url).enqueue(request.put("/a", 1))
        gc.collect()
        assert last.result(10).rev

    script(work)


def test_a_mirror_and_its_events_say_where_they_stand(tmp_path: Path) -> None:
    def work(url: str) -> None:
        with sync.connect(url) as client:
            client.put("/a/1", 1)
            mirror = client.mirror("/a", depth="children", keep=tmp_path / "kept")
            rev = mirror.fresh()
            assert mirror.view == onetree.View("/a", "children")
            assert mirror.received == 1 and mirror.keep_error is None
            assert mirror.cookie is not None and mirror.cookie.rev == rev
            changes = mirror.changes()
            assert changes.snapshot().rev == 0
            assert next(changes).name == "fresh"
            mirror.at(client.put("/a/2", 2).rev)
            shown = changes.snapshot()
            assert [*shown] == ["/a/1"] and shown.cookie == mirror.cookie._replace(rev=rev)
            mirror.at(client.delete("/a/1").rev)
            # The snapshot is for any thread, and never changes.
            assert [*shown] == ["/a/1"]
            assert next(changes).name == next(changes).name == "delta"
            assert [*changes.snapshot()] == ["/a/2"]

    script(work)


def test_what_ends_as_its_time_is_up_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(Future[int]):
        def cancel(self) -> bool:
            self.set_result(7)
            return super().cancel()

    def begin(work: Any, loop: Any) -> Future[int]:
        work.close()
        return Late()

    async def seven() -> int:
        return 7

    loop = sync._Loop()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "run_coroutine_threadsafe", begin)
        assert loop.run(seven(), timeout=0.01) == 7


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
        # Threads of other tests may be about to end.
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


def test_ctrl_c_while_a_transaction_runs_leaves_it_unwritten() -> None:
    program = """
import signal, sys, threading
from onetree import sync
with sync.connect(sys.argv[1]) as client, client.mirror("/") as mirror:
    runs, goes_on = threading.Event(), threading.Event()
    def write(tx):
        runs.set()
        goes_on.wait()
        tx.put("/a", 1)
    def stop():
        runs.wait()
        # Again: one may come between two looks at it.
        while not goes_on.wait(0.2):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    threading.Thread(target=stop).start()
    try:
        mirror.transact(write)
    except KeyboardInterrupt:
        goes_on.set()
    print(mirror.transact(lambda tx: tx.get("/a")).result, client.get("/a"))
"""

    def work(url: str) -> None:
        command = [sys.executable, "-c", program, url]
        ran = subprocess.run(command, env=SOURCE, capture_output=True, text=True, timeout=20)
        assert ran.stdout.strip() == "None None", ran

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
