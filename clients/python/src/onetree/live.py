"""A live copy of a part of the tree."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar, overload

from . import event as e
from .changes import Changes
from .errors import Closed, KeepError
from .event import Event, Verdict
from .gaps import Gaps
from .given import given
from .keep import Keep, Keeper
from .loops import unchanged, within
from .mirror import State
from .protocol.cookies import Cookie, epoch_of
from .protocol.frames import Entry, Found
from .protocol.kinds import rev as check_rev
from .protocol.kinds import u32
from .protocol.paths import check_path, is_log_key, parent
from .protocol.views import View
from .snapshot import Snapshot
from .transact import Committed, Transaction, transact

if TYPE_CHECKING:
    from .client import Client

T = TypeVar("T")

U32: Final = (1 << 32) - 1
"""The largest limit of a page."""


class Mirror:
    """A live copy of a part of the tree, which the client keeps right: at every moment it is its
    view of the tree at `rev`, exactly. It ends with `close`, with its client, or at the end of a
    `with` block. From `Client.mirror`."""

    def __init__(
        self, client: Client, sub: int, state: State, initial: Snapshot, keep: Keep | None
    ) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._sub = sub
        self._state = state
        self._initial = initial
        # For who begins to read when it is whole.
        self._gaps = Gaps(initial)
        self._whole = False
        # While there is no connection: why.
        self._offline: e.Offline | None = None
        self._ended: e.Ended | None = None
        self._waiters: list[asyncio.Future[None]] = []
        # Who reads, and how far each has got: only who waits is held.
        self._feeds: list[tuple[weakref.ref[Changes], list[Snapshot]]] = []
        self._waiting: set[Changes] = set()
        self._last_shown: Snapshot | None = None
        self._keeper = None if keep is None else Keeper(keep, self.shown, initial, state.snapshot())

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def view(self) -> View:
        """What it sees."""
        return self._state.view

    @property
    def rev(self) -> int:
        """The revision that it is at."""
        return self._state.rev

    @property
    def is_fresh(self) -> bool:
        """Whether it is whole and the connection is there that keeps it so. One that has ended, as
        one of mode `once` does, is not: it stays what it was."""
        return self._state.is_fresh and self._ended is None

    @property
    def received(self) -> int:
        """How many changes have come of the refresh that is under way, or came of the last one: for
        progress that people look at."""
        return self._state.received

    @property
    def cookie(self) -> Cookie | None:
        """Where it stands; `None` before it was whole for the first time. The cookie is saved with
        the entries of the same moment, hence taken from a `snapshot`."""
        return self._state.cookie

    def __len__(self) -> int:
        return len(self._state)

    def get(self, path: str) -> Entry | None:
        """The entry at `path`."""
        check_path(path)
        self._look()
        return self._state.get(path)

    def entries(self) -> list[Entry]:
        """All entries, in path order."""
        return self.snapshot().entries()

    def under(self, top: str) -> list[Entry]:
        """The entries at and under `top`, in path order."""
        return self.snapshot().under(top)

    def snapshot(self) -> Snapshot:
        """All of it as it is now, with its cookie; costs O(1). Who reads `changes` and saves takes
        `Changes.snapshot` instead, which is never ahead of what was read."""
        unchanged(self._loop)
        self._look()
        return self._state.snapshot()

    def changes(self) -> Changes:
        """What happens to it, from the beginning: if it is whole already, the first event is
        `Fresh` with all that differs from what it was started with, and all gaps since; if there is
        no connection now, `Offline` comes behind that."""
        unchanged(self._loop)
        fresh = e.Fresh(self.rev, (), sorted(self._gaps.logs)) if self._whole else None
        past = [event for event in (fresh, self._offline, self._ended) if event is not None]
        feed = Changes(self._initial, self._state.snapshot(), past, self._waiting, self._loop)
        # Behind the end nothing comes that was not there when he began.
        if self._ended is None:
            self._feeds.append((weakref.ref(feed), feed.progress))
        return feed

    async def at(self, rev: int) -> int:
        """Waits until it is fresh and at `rev` or later: with the revision of a write, until it
        shows that write. The revision that it is at then. `Closed` when the mirror has ended. A
        revision is of one history: where the broker has begun another (the `epoch` of `Online` and
        of `cookie`), one of before may be far ahead, so that a limit of time is wise."""
        given("rev", check_rev, rev)
        # A `sync` moves fresh mirrors only.
        await self.fresh()
        if self.rev < rev:
            # Otherwise a write that the view does not see would show at the next heartbeat only.
            self._client.want_sync()
            await self._wait(lambda: self.is_fresh and self.rev >= rev)
        return self.rev

    async def fresh(self) -> int:
        """Waits until it is fresh; a mirror of mode `once`: until it was. The revision that it is
        at then. `Closed` when the mirror has ended."""
        await self._wait(lambda: self.is_fresh or (self._whole and self._once_done()))
        return self.rev

    def _once_done(self) -> bool:
        return self._ended is not None and self._ended.error is None and self._state.is_fresh

    def lacks(self, rev: int, epoch: str | None, shown: Snapshot) -> bool:
        """Whether a snapshot is before this revision of a history, and the mirror gets there. For
        `transact`."""
        return self._ended is None and shown.rev < rev and epoch_of(shown.cookie) == epoch

    async def past(self, before: Snapshot, rev: int | None) -> None:
        """Waits until it is at `rev`, or past `before` where there is none, or of another history.
        For `transact`."""

        def reached() -> bool:
            there = self.rev > before.rev if rev is None else self.rev >= rev
            return self.is_fresh and (there or epoch_of(self.cookie) != epoch_of(before.cookie))

        await self.fresh()
        if not reached():
            self._client.want_sync()
        await self._wait(reached)

    async def changed(self, differs: Callable[[Snapshot], bool]) -> None:
        """Waits until what it shows is different in the eyes of `differs`. For `transact`."""
        await self._wait(lambda: differs(self._state.snapshot()))

    async def resync(self) -> int:
        """Starts again from nothing, and waits until it is whole. What it shows stays until then.
        The revision that it is at then. `Closed` when the mirror has ended."""
        if self._ended is not None:
            raise self._why()
        self._client.resync_mirror(self._sub)
        return await self.fresh()

    async def verify(self) -> Verdict:
        """Compares it with the tree now, by digest. When it differs it starts again by itself.
        `unknown`: it is not fresh, it has gone on before the answer was there, or its view has a
        `tail`: there is no digest of what depends on when it began. `Timeout` when there is no
        answer within `request_timeout`."""
        if self._ended is not None:
            return Verdict("unknown")
        return await self._client.verify_mirror(self._sub)

    async def earlier(self, log: str, limit: int, before: str | None = None) -> Found:
        """The page of a log in front of the oldest entry of it that the mirror shows, or of
        `before` (a path): at most `limit` entries (0: as many as the broker likes), oldest first.
        `rev` is of the broker's last answer. It does not become part of the mirror."""
        within(self._loop)
        check_path(log)
        given("limit", u32, limit)

        def is_logged(entry: Entry) -> bool:
            key = entry.path.rpartition("/")[2]
            return entry.rev > 0 and parent(entry.path) == log and is_log_key(key)

        if before is None:
            shown = self._state.snapshot().under(log)
            before = next((e.path for e in shown if is_logged(e)), None)
        found: list[Entry] = []
        # A broker may send fewer than asked for, and among the children may be others: there are
        # more when one more was seen.
        while True:
            answer = await self._client.list(
                log,
                depth="children",
                before=before,
                after=log,
                limit=min(limit + 1 - len(found), U32) if limit else 0,
                reverse=True,
                values=self.view.values,
            )
            found += filter(is_logged, answer.entries)
            # Without a limit, the broker has said how many it likes.
            limit = limit or len(found)
            if len(found) > limit or not answer.more or not answer.entries:
                break
            before = answer.entries[-1].path
        return Found(answer.id, answer.rev, found[:limit][::-1], len(found) > limit)

    @overload
    async def transact(self, fn: Callable[[Transaction], Awaitable[T]]) -> Committed[T]: ...
    @overload
    async def transact(self, fn: Callable[[Transaction], T]) -> Committed[T]: ...
    async def transact(self, fn: Callable[[Transaction], T | Awaitable[T]]) -> Committed[T]:
        """Runs `fn` against a snapshot, commits what it writes when nothing that it read has
        changed, and otherwise runs it again. See `onetree.transact`. Where this is cancelled while
        `fn` waits, nothing is written; behind `fn` the write is on its way, and as of `put`
        cancelling does not take it back: also where `fn` has kept the loop busy until then."""
        return await transact(self, self._client, fn)

    def _look(self) -> None:
        """The application looks at the mirror itself: where all who read have left, it goes by that
        from now on."""
        if self._keeper is not None and not self._readers():
            self._last_shown = None

    def shown(self) -> Snapshot:
        """What the application was shown: by the slowest of those who read its `changes`, or the
        last who did; with no reader, what there is."""
        shown = [feed.shown() for feed in self._readers()]
        if not shown:
            # Not by its truth: one that is empty was shown as well.
            return self._state.snapshot() if self._last_shown is None else self._last_shown
        epoch = epoch_of(self.cookie)
        return min(shown, key=lambda s: (epoch_of(s.cookie) == epoch, s.rev))

    @property
    def keep_error(self) -> KeepError | None:
        """Why it could not be saved the last time that this was tried; `None` when it could, and
        where it is not kept. It is tried again."""
        return None if self._keeper is None else self._keeper.error

    def close(self) -> None:
        """Ends it. What it shows stays. Its last save is done when `closed` returns."""
        if self._ended is None:
            self._client.drop_mirror(self._sub)
            self.publish(e.Ended(None))

    async def closed(self) -> None:
        """Waits until it has ended and its last save is done: then another may have what it was
        kept in."""
        await self._wait(lambda: self._ended is not None)
        await self.kept()

    async def _wait(self, reached: Callable[[], bool]) -> None:
        within(self._loop)
        while not reached():
            if self._ended is not None:
                raise self._why()
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def _why(self) -> Exception:
        error = None if self._ended is None else self._ended.error
        return Closed(who="mirror") if error is None else error

    def publish(self, event: Event | None) -> None:
        """The mirror went on. For the client."""
        if event is not None:
            self._gaps.fold(event, self._state.snapshot)
        if type(event) is not e.Delta:
            self._whole |= isinstance(event, e.Fresh)
            if isinstance(event, e.Offline | e.Online):
                self._offline = event if isinstance(event, e.Offline) else None
            elif isinstance(event, e.Ended):
                self._ended = event
        if self._feeds:
            readers = self._readers()
            snapshot = self._state.snapshot() if readers else None
            for feed in readers:
                assert snapshot is not None
                feed.push(event, snapshot)
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
        if self._keeper is not None and isinstance(event, e.Ended):
            self._keeper.end()

    def _readers(self) -> list[Changes]:
        """Who reads. Of those who have left, how far the last one got is kept."""
        readers, left = [], False
        for ref, progress in self._feeds:
            feed = ref()
            if feed is not None:
                readers.append(feed)
            else:
                left = True
                if self._keeper is not None:
                    self._last_shown = progress[0]
        if left:
            self._feeds = [one for one in self._feeds if one[0]() is not None]
        return readers

    async def kept(self) -> None:
        """Waits until the last save of an ended mirror is done. For the client."""
        if self._keeper is not None:
            await self._keeper.done()
