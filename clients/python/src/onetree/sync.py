"""The client without `async`, for scripts: an event loop in a thread of its own.

The same words as `onetree`; each call waits. Safe for any number of threads, but not for a process
that is forked: it connects by itself (`Wrong`).

A client has its thread, and three descriptors, until nothing refers to it any more, nor to what it
gave that can still be asked: behind its end mirrors and their `changes()` are read in that thread.
Who keeps clients that he has closed keeps those as well.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeout
from typing import Any, TypeVar

from . import client as _client
from . import live as _live
from .changes import Changes as _Changes
from .errors import KeepError, Refused, Timeout
from .event import Ended, Event, Status, Verdict
from .options import Options
from .protocol.cookies import Cookie
from .protocol.frames import Done, Entry, Found, Write
from .protocol.views import View
from .protocol.wrong import Wrong
from .request import Txn
from .snapshot import Snapshot
from .transact import Committed, Transaction, transact

T = TypeVar("T")

__all__ = ["Changes", "Client", "Mirror", "connect", "start"]


def connect(url: str, **options: Any) -> Client:
    """Connects, and waits for the broker's `welcome`. Options as of `onetree.connect`. To be
    closed, or used as `with connect(…) as client`."""
    run = _Loop()
    return Client(run, run.run(_client.connect(url, **options)._connect()))


def start(url: str, options: Options | None = None, **given: Any) -> Client:
    """Begins to connect and returns at once; what is asked meanwhile waits for the connection. As
    `onetree.start`."""
    run = _Loop()
    return Client(run, run.call(lambda: _client.start(url, options, **given)))


class _Loop:
    """An event loop in a thread of its own. It ends when nobody is left who could ask it: behind
    the end of a client its mirrors can still be read, and who asks for more is told.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = runner.get_loop()
        self._thread = threading.Thread(target=_serve, args=(runner,), name="onetree", daemon=True)
        self._thread.start()
        over = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)
        # The end of the process is the end of its thread.
        over.atexit = False

    def run(
        self,
        work: Coroutine[Any, Any, T],
        timeout: float | None = None,
        sent: Callable[[], bool] | None = None,
    ) -> T:
        """Runs it there, and waits for what comes of it. `sent`: whether what it writes was sent
        when its time was up."""
        if threading.current_thread() is self._thread:
            work.close()
            raise Wrong(
                "unsupported",
                "what this client calls must not call it back, which would wait for itself: "
                "in `transact` use `tx`, elsewhere another client",
            )
        if os.getpid() != self._process:
            work.close()
            raise Wrong(
                "unsupported",
                "a process that was forked has not the thread of its parent's client, which it "
                "would wait for: it is to connect by itself",
            )
        future: Future[T] | None = None
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
            return future.result(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        except WaitTimeout:
            assert future is not None
            if not future.cancel():
                # What came of it is no less for being late; or it was the work's own time.
                return future.result()
            raise Timeout(timeout or 0.0, None if sent is None else sent()) from None
        except BaseException:
            # Also Ctrl-C, also while it is handed over: nobody waits for it any more, and what it
            # has not sent yet goes nowhere.
            if future is not None:
                future.cancel()
            if sent is not None:
                sent()
            raise

    def call(self, work: Callable[[], T]) -> T:
        """The same for what does not wait."""

        async def run() -> T:
            return work()

        return self.run(run())

    def later(self, answer: asyncio.Future[T]) -> Future[T]:
        """What comes of it, for any thread. Called there."""
        return asyncio.run_coroutine_threadsafe(self._wait(answer), self._loop)

    async def _wait(self, answer: asyncio.Future[T]) -> T:
        # Until then the loop goes on: this has it.
        return await answer


def _serve(runner: asyncio.Runner) -> None:
    with runner:
        while True:
            try:
                return runner.get_loop().run_forever()
            except (SystemExit, KeyboardInterrupt):
                # A function of the application raised it, and who waits for that has it.
                continue


class _Commits:
    """The client as a transaction knows it whose time may be up, or for which nobody may wait any
    more: then nothing more is sent."""

    def __init__(self, client: _client.Client) -> None:
        self._client = client
        # Who takes it decides: the loop, which sends, or the thread that waits no more.
        self._mine = threading.Lock()

    def sent(self) -> bool:
        """Nobody waits any more: whether a commit was sent that may still happen."""
        return not self._mine.acquire(blocking=False)

    @property
    def last_done(self) -> tuple[str | None, int]:
        """As of the client."""
        return self._client.last_done

    async def txn_of(self, txn: Txn, history: str | None) -> Done:
        """As of the client."""
        if not self._mine.acquire(blocking=False):
            raise asyncio.CancelledError
        try:
            return await self._client.txn_of(txn, history)
        except Refused as refused:
            if refused.is_conflict:
                # It did not happen, and is run again.
                self._mine.release()
            raise


class Client:
    """A client of one broker, from `connect` or `start`; see `onetree.Client`."""

    def __init__(self, run: _Loop, client: _client.Client) -> None:
        self._run = run
        self._client = client

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def status(self) -> Status:
        """How the client stands."""
        return self._client.status

    def statuses(self) -> Iterator[Status]:
        """How the client stands, now and whenever that changes; ends behind `Ended`."""
        last: Status | None = None
        while not isinstance(last, Ended):
            last = self._run.run(self._client.status_past(last))
            yield last

    def until(self, *names: str, timeout: float | None = None) -> Status:
        """Waits for a status by its name, at most `timeout` seconds (`Timeout`); `Closed` when it
        has ended instead."""
        return self._run.run(self._client.until(*names), timeout)

    def put(self, path: str, value: object, **how: Any) -> Done:
        """Puts `value` at `path`; `if_rev`, `ttl`, `ephemeral` as of `onetree.Client.put`."""
        return self._run.run(self._client.put(path, value, **how))

    def append(self, path: str, value: object, **how: Any) -> Done:
        """Appends to a log; `paths` of the answer has the path."""
        return self._run.run(self._client.append(path, value, **how))

    def delete(self, path: str, **how: Any) -> Done:
        """Deletes an entry."""
        return self._run.run(self._client.delete(path, **how))

    def drop_tree(self, path: str, **how: Any) -> Done:
        """Drops everything at and under a path."""
        return self._run.run(self._client.drop_tree(path, **how))

    def trim(self, path: str, to: str) -> Done:
        """Trims a log up to and including the key `to`."""
        return self._run.run(self._client.trim(path, to))

    def txn(self, txn: Txn) -> Done:
        """Commits a transaction."""
        return self._run.run(self._client.txn(txn))

    def write(self, write: Write | Txn) -> Done:
        """Any write, from the functions of `onetree.request`."""
        return self._run.run(self._client.write(write))

    def enqueue(self, write: Write | Txn) -> Future[Done]:
        """Waits for room in the queue, puts the write there, and returns without its answer: so
        thousands are on their way, in their order."""

        async def put() -> Future[Done]:
            return self._run.later(await self._client.enqueue(write))

        return self._run.run(put())

    def submit(self, write: Write | Txn) -> Future[Done]:
        """As `enqueue` without waiting; `QueueFull` when there is no room."""
        return self._run.call(lambda: self._run.later(self._client.submit(write)))

    def signal(self, path: str, value: object) -> None:
        """Sends a signal to those who are there."""
        self._run.run(self._client.signal(path, value))

    def get(self, path: str) -> Entry | None:
        """The entry at a path."""
        return self._run.run(self._client.get(path))

    def get_many(self, paths: list[str]) -> Found:
        """The entries at paths, all at one revision."""
        return self._run.run(self._client.get_many(paths))

    def list(self, path: str, **how: Any) -> Found:
        """A page of entries; see `onetree.Client.list`."""
        return self._run.run(self._client.list(path, **how))

    def auth(self, token: str) -> None:
        """Tells the broker another token."""
        self._run.run(self._client.auth(token))

    def mirror(self, view: Any, **how: Any) -> Mirror:
        """Starts a live copy; see `onetree.Client.mirror`."""
        return Mirror(self._run, self._run.call(lambda: self._client.mirror(view, **how)))

    def close(self) -> None:
        """Ends the session and the client. While it is `Online`, what its queue holds is done
        first; otherwise that ends with `Closed`. Its thread ends when nothing refers to the client,
        its mirrors and their `changes()` any more."""
        self._run.run(self._client.close())

    def leave(self) -> None:
        """As `close`, but the session lives on for its grace."""
        self._run.run(self._client.leave())


class Mirror:
    """A live copy of a part of the tree; see `onetree.Mirror`. What it gives never changes, and is
    for any thread."""

    def __init__(self, run: _Loop, mirror: _live.Mirror) -> None:
        self._run = run
        self._mirror = mirror

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._mirror)

    @property
    def rev(self) -> int:
        """The revision that it is at."""
        return self._mirror.rev

    @property
    def is_fresh(self) -> bool:
        """Whether it is whole and the connection is there that keeps it so, and it has not
        ended."""
        return self._mirror.is_fresh

    @property
    def view(self) -> View:
        """What it sees."""
        return self._mirror.view

    @property
    def received(self) -> int:
        """How many changes have come of the refresh that is under way, or came of the last one."""
        return self._mirror.received

    @property
    def cookie(self) -> Cookie | None:
        """Where it stands; that of a `snapshot` is saved with its entries."""
        return self._mirror.cookie

    @property
    def keep_error(self) -> KeepError | None:
        """Why it could not be saved the last time that this was tried."""
        return self._mirror.keep_error

    def get(self, path: str) -> Entry | None:
        """The entry at a path."""
        return self._run.call(lambda: self._mirror.get(path))

    def entries(self) -> list[Entry]:
        """All entries, in path order."""
        return self._run.call(self._mirror.entries)

    def under(self, top: str) -> list[Entry]:
        """The entries at and under `top`, in path order."""
        return self._run.call(lambda: self._mirror.under(top))

    def snapshot(self) -> Snapshot:
        """All of it as it is now. Cost: a copy."""
        return self._run.call(lambda: self._mirror.snapshot().alone())

    def fresh(self, timeout: float | None = None) -> int:
        """Waits until it is whole, at most `timeout` seconds (`Timeout`); where it is then."""
        return self._run.run(self._mirror.fresh(), timeout)

    def at(self, rev: int, timeout: float | None = None) -> int:
        """Waits until it is at `rev` or later, at most `timeout` seconds (`Timeout`)."""
        return self._run.run(self._mirror.at(rev), timeout)

    def resync(self, timeout: float | None = None) -> int:
        """Starts again from nothing, and waits until it is whole."""
        return self._run.run(self._mirror.resync(), timeout)

    def verify(self) -> Verdict:
        """Compares it with the tree now, by digest."""
        return self._run.run(self._mirror.verify())

    def earlier(self, log: str, limit: int, before: str | None = None) -> Found:
        """The page of a log before what a `tail` shows."""
        return self._run.run(self._mirror.earlier(log, limit, before))

    def changes(self) -> Changes:
        """What happens to it: `for event in mirror.changes()`."""
        return Changes(self._run, self._run.call(self._mirror.changes))

    def transact(
        self, fn: Callable[[Transaction], T], timeout: float | None = None
    ) -> Committed[T]:
        """Runs `fn(tx)` until what it did is committed, for at most `timeout` seconds (`Timeout`;
        `sent` says whether it may still be). It runs in the client's thread, so it must not call
        this client (`Wrong`)."""
        commits = _Commits(self._mirror._client)
        work = transact(self._mirror, commits, fn)
        return self._run.run(work, timeout, commits.sent)

    def close(self) -> None:
        """Ends it, and waits for its last save."""

        async def end() -> None:
            self._mirror.close()
            await self._mirror.closed()

        self._run.run(end())


class Changes(Iterator[Event]):
    """The events of a mirror, in order, each once. For one thread at a time; each may have
    `changes()` of its own."""

    def __init__(self, run: _Loop, changes: _Changes) -> None:
        self._run = run
        self._changes = changes

    def __iter__(self) -> Changes:
        return self

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event, or `None`: there was none within `timeout` seconds, or will be none."""
        return self._run.run(self._next(timeout))

    def snapshot(self) -> Snapshot:
        """The mirror as of the last event that was taken, with its cookie; see
        `onetree.Changes.snapshot`. Cost: a copy."""
        return self._run.call(lambda: self._changes.snapshot().alone())

    async def _next(self, timeout: float | None) -> Event | None:
        # The time is taken in the loop: one that comes as it is up is not taken and then dropped.
        try:
            async with asyncio.timeout(timeout):
                return await anext(self._changes, None)
        except TimeoutError:
            return None
