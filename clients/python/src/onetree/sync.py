"""The client without `async`, for scripts: it runs an event loop in a thread of its own.

It has the same words as `onetree`, and each call waits. Any number of threads can use it. After a
`fork` it does not work: the new process must connect by itself (`Wrong`).

Each client has a thread and three file descriptors. It keeps them after `close`, because its
mirrors and their `changes()` can still be read, which happens in that thread. They go when nothing
refers to the client, its mirrors and their `changes()` any more. So a list of closed clients is a
list of threads.
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
    """Creates a client and waits for the broker's `welcome`. For the options see `onetree.connect`.
    Close the client, or use `with connect(…) as client`."""
    run = _Loop()
    return Client(run, run.run(_client.connect(url, **options)._connect()))


def start(url: str, options: Options | None = None, **given: Any) -> Client:
    """Creates a client and returns at once. See `onetree.start`."""
    run = _Loop()
    return Client(run, run.call(lambda: _client.start(url, options, **given)))


class _Loop:
    """An event loop in a thread of its own. It ends when nothing is left that could use it. After
    the end of a client its mirrors can still be read, and requests are refused."""

    def __init__(self) -> None:
        self._process = os.getpid()
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = runner.get_loop()
        self._thread = threading.Thread(target=_serve, args=(runner,), name="onetree", daemon=True)
        self._thread.start()
        over = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)
        # At the end of the process the thread ends anyway.
        over.atexit = False

    def run(
        self,
        work: Coroutine[Any, Any, T],
        timeout: float | None = None,
        sent: Callable[[], bool] | None = None,
    ) -> T:
        """Runs `work` in the loop, and waits for its result. If the time is up, `sent` says whether
        what `work` writes was sent."""
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
                # The work was done after all, though late; or the timeout was the work's own.
                return future.result()
            raise Timeout(timeout or 0.0, None if sent is None else sent()) from None
        except BaseException:
            # This includes Ctrl-C, even while the work is handed over. Nobody waits any more, and
            # what was not sent yet is not sent.
            if future is not None:
                future.cancel()
            if sent is not None:
                sent()
            raise

    def call(self, work: Callable[[], T]) -> T:
        """Runs a function in the loop that does not wait, and returns its result."""

        async def run() -> T:
            return work()

        return self.run(run())

    def later(self, answer: asyncio.Future[T]) -> Future[T]:
        """Returns a future for any thread. To be called in the loop."""
        return asyncio.run_coroutine_threadsafe(self._wait(answer), self._loop)

    async def _wait(self, answer: asyncio.Future[T]) -> T:
        # While this waits it refers to `self`, so the loop goes on.
        return await answer


def _serve(runner: asyncio.Runner) -> None:
    with runner:
        while True:
            try:
                return runner.get_loop().run_forever()
            except (SystemExit, KeyboardInterrupt):
                # A function of the application raised it, and whoever waits for that function gets
                # it.
                continue


class _Commits:
    """The client as seen by a transaction that has a timeout or may be interrupted: after that,
    nothing more is sent."""

    def __init__(self, client: _client.Client) -> None:
        self._client = client
        # Whoever takes it decides: the loop, which sends, or the thread, which no longer waits.
        self._mine = threading.Lock()

    def sent(self) -> bool:
        """Nobody waits any more. Returns whether a commit was sent that may still happen."""
        return not self._mine.acquire(blocking=False)

    @property
    def last_done(self) -> tuple[str | None, int]:
        """See `Client.last_done`."""
        return self._client.last_done

    async def txn_of(self, txn: Txn, history: str | None) -> Done:
        """See `Client.txn_of`."""
        if not self._mine.acquire(blocking=False):
            raise asyncio.CancelledError
        try:
            return await self._client.txn_of(txn, history)
        except Refused as refused:
            if refused.is_conflict:
                # The commit did not happen, and the function runs again.
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
        """The state of the connection: `Connecting`, `Online`, `Offline` or `Ended`."""
        return self._client.status

    def statuses(self) -> Iterator[Status]:
        """Yields the states of the connection: the one of now, then each change. Ends after
        `Ended`."""
        last: Status | None = None
        while not isinstance(last, Ended):
            last = self._run.run(self._client.status_past(last))
            yield last

    def until(self, *names: str, timeout: float | None = None) -> Status:
        """Waits until the state of the connection has one of these names, at most `timeout` seconds
        (`Timeout`). Raises `Closed` if the client has ended without reaching such a state."""
        return self._run.run(self._client.until(*names), timeout)

    def put(self, path: str, value: object, **how: Any) -> Done:
        """Puts `value` at `path`. For `if_rev`, `ttl` and `ephemeral` see `onetree.Client.put`."""
        return self._run.run(self._client.put(path, value, **how))

    def append(self, path: str, value: object, **how: Any) -> Done:
        """Appends `value` to the log at `path`. `paths` of the answer has the path that the broker
        assigned."""
        return self._run.run(self._client.append(path, value, **how))

    def delete(self, path: str, **how: Any) -> Done:
        """Deletes the entry at `path`. It is no error if there is none."""
        return self._run.run(self._client.delete(path, **how))

    def drop_tree(self, path: str, **how: Any) -> Done:
        """Deletes everything at and under `path`."""
        return self._run.run(self._client.drop_tree(path, **how))

    def trim(self, path: str, to: str) -> Done:
        """Deletes the entries of the log at `path` up to and including the key `to`."""
        return self._run.run(self._client.trim(path, to))

    def txn(self, txn: Txn) -> Done:
        """Commits several writes as one, all or nothing."""
        return self._run.run(self._client.txn(txn))

    def write(self, write: Write | Txn) -> Done:
        """Writes, and waits for the answer. The functions of `onetree.request` make the write."""
        return self._run.run(self._client.write(write))

    def enqueue(self, write: Write | Txn) -> Future[Done]:
        """Puts a write into the queue and returns a future of its answer, so that thousands of
        writes are on their way, in their order. Waits for room in the queue."""

        async def put() -> Future[Done]:
            return self._run.later(await self._client.enqueue(write))

        return self._run.run(put())

    def submit(self, write: Write | Txn) -> Future[Done]:
        """Puts a write into the queue and returns a future of its answer. Does not wait: raises
        `QueueFull` if there is no room."""
        return self._run.call(lambda: self._run.later(self._client.submit(write)))

    def signal(self, path: str, value: object) -> None:
        """Sends a signal to the subscribers that are connected now. See `onetree.Client.signal`."""
        self._run.run(self._client.signal(path, value))

    def get(self, path: str) -> Entry | None:
        """Reads the entry at `path` from the broker; `None` if there is none."""
        return self._run.run(self._client.get(path))

    def get_many(self, paths: list[str]) -> Found:
        """Reads the entries at `paths` from the broker, all at one revision. Paths without an entry
        are left out."""
        return self._run.run(self._client.get_many(paths))

    def list(self, path: str, **how: Any) -> Found:
        """Reads one page of entries from the broker. See `onetree.Client.list`."""
        return self._run.run(self._client.list(path, **how))

    def auth(self, token: str) -> None:
        """Gives the broker a later token. Once the broker has taken it, later connections use it,
        too."""
        self._run.run(self._client.auth(token))

    def mirror(self, view: Any, **how: Any) -> Mirror:
        """Starts a live copy of a view. See `onetree.Client.mirror`."""
        return Mirror(self._run, self._run.call(lambda: self._client.mirror(view, **how)))

    def close(self) -> None:
        """Ends the client and its session. While the client is `Online`, earlier requests that had
        room in the queue are done first. Otherwise they fail with `Closed`. The thread ends when
        nothing refers to the client, its mirrors and their `changes()` any more."""
        self._run.run(self._client.close())

    def leave(self) -> None:
        """Ends the client as `close` does, but the session lives on for its grace."""
        self._run.run(self._client.leave())


class Mirror:
    """A live copy of a part of the tree; see `onetree.Mirror`. What it returns never changes, and
    can be used in any thread."""

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
        """The revision that the mirror is at."""
        return self._mirror.rev

    @property
    def is_fresh(self) -> bool:
        """Whether the mirror is whole, has the connection that keeps it up to date, and has not
        ended."""
        return self._mirror.is_fresh

    @property
    def view(self) -> View:
        """The view of the mirror."""
        return self._mirror.view

    @property
    def received(self) -> int:
        """How many changes have come in the refresh that is under way, or came in the last one."""
        return self._mirror.received

    @property
    def cookie(self) -> Cookie | None:
        """The mirror's cookie. To save a cookie, take it from a `snapshot`, and save it with its
        entries."""
        return self._mirror.cookie

    @property
    def keep_error(self) -> KeepError | None:
        """Why the last attempt to save the mirror failed. `None` if it succeeded, or if the mirror
        is not kept."""
        return self._mirror.keep_error

    def get(self, path: str) -> Entry | None:
        """Returns the entry at `path`; `None` if there is none."""
        return self._run.call(lambda: self._mirror.get(path))

    def entries(self) -> list[Entry]:
        """Returns all entries as they are now, in path order."""
        return self._run.call(self._mirror.entries)

    def under(self, top: str) -> list[Entry]:
        """Returns the entries at and under `top` as they are now, in path order."""
        return self._run.call(lambda: self._mirror.under(top))

    def snapshot(self) -> Snapshot:
        """Returns the mirror as it is now, with its cookie. Costs a copy."""
        return self._run.call(lambda: self._mirror.snapshot().alone())

    def fresh(self, timeout: float | None = None) -> int:
        """Waits until the mirror is fresh, that is, whole, at most `timeout` seconds (`Timeout`).
        Returns the revision that the mirror is at then."""
        return self._run.run(self._mirror.fresh(), timeout)

    def at(self, rev: int, timeout: float | None = None) -> int:
        """Waits until the mirror is fresh and at revision `rev` or later, at most `timeout` seconds
        (`Timeout`). Returns the revision that the mirror is at then."""
        return self._run.run(self._mirror.at(rev), timeout)

    def resync(self, timeout: float | None = None) -> int:
        """Starts the mirror again from nothing, and waits until it is whole, at most `timeout`
        seconds (`Timeout`). Returns the revision that the mirror is at then."""
        return self._run.run(self._mirror.resync(), timeout)

    def verify(self) -> Verdict:
        """Compares the mirror with the broker's digest now. See `onetree.Mirror.verify`."""
        return self._run.run(self._mirror.verify())

    def earlier(self, log: str, limit: int, before: str | None = None) -> Found:
        """Reads the page of a log before what the mirror shows. See `onetree.Mirror.earlier`."""
        return self._run.run(self._mirror.earlier(log, limit, before))

    def changes(self) -> Changes:
        """Returns the events of the mirror: `for event in mirror.changes()`."""
        return Changes(self._run, self._run.call(self._mirror.changes))

    def transact(
        self, fn: Callable[[Transaction], T], timeout: float | None = None
    ) -> Committed[T]:
        """Runs `fn(tx)` until what it writes is committed, for at most `timeout` seconds
        (`Timeout`; `sent` says whether the commit may still happen). `fn` runs in the client's
        thread, so it must not call this client (`Wrong`)."""
        commits = _Commits(self._mirror._client)
        work = transact(self._mirror, commits, fn)
        return self._run.run(work, timeout, commits.sent)

    def close(self) -> None:
        """Ends the mirror, and waits for its last save."""

        async def end() -> None:
            self._mirror.close()
            await self._mirror.closed()

        self._run.run(end())


class Changes(Iterator[Event]):
    """The events of a mirror, in order, each once. For one thread at a time; each thread may have
    its own `changes()`."""

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
        """Waits for the next event and returns it. Returns `None` if there was none within
        `timeout` seconds, or if none will come."""
        return self._run.run(self._next(timeout))

    def snapshot(self) -> Snapshot:
        """Returns the mirror as of the last event that was taken, with its cookie. Costs a copy.
        See `onetree.Changes.snapshot`."""
        return self._run.call(lambda: self._changes.snapshot().alone())

    async def _next(self, timeout: float | None) -> Event | None:
        # The timeout is in the loop, so that an event that comes at the last moment is not taken
        # and then dropped.
        try:
            async with asyncio.timeout(timeout):
                return await anext(self._changes, None)
        except TimeoutError:
            return None
