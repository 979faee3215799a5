"""A mirror as the application uses it: a live copy of a part of the tree."""

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
    view of the tree at `rev`, exactly. `Client.mirror` makes it. It ends with `close`, with its
    client, or at the end of a `with` block."""

    def __init__(
        self, client: Client, sub: int, state: State, initial: Snapshot, keep: Keep | None
    ) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._sub = sub
        self._state = state
        self._initial = initial
        # The gaps for a reader who begins after the mirror was whole.
        self._gaps = Gaps(initial)
        self._whole = False
        # Why there is no connection, while there is none.
        self._offline: e.Offline | None = None
        self._ended: e.Ended | None = None
        self._waiters: list[asyncio.Future[None]] = []
        # The readers, and how far each has come. The mirror keeps a reader alive only while it
        # waits.
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
        """The view of the mirror."""
        return self._state.view

    @property
    def rev(self) -> int:
        """The revision that the mirror is at."""
        return self._state.rev

    @property
    def is_fresh(self) -> bool:
        """Whether the mirror is whole and has the connection that keeps it up to date. A mirror
        that has ended, as one of mode `once` does, is not fresh: it stays as it is."""
        return self._state.is_fresh and self._ended is None

    @property
    def received(self) -> int:
        """How many changes have come in the refresh that is under way, or came in the last one. Use
        it to show progress."""
        return self._state.received

    @property
    def cookie(self) -> Cookie | None:
        """The mirror's cookie; `None` until the mirror is whole for the first time, and from the
        moment it was found to be wrong until it is fresh again. To save a cookie, take it from a
        `snapshot`: a cookie must be saved with the entries of the same moment."""
        return self._state.cookie

    def __len__(self) -> int:
        return len(self._state)

    def get(self, path: str) -> Entry | None:
        """Returns the entry at `path`; `None` if there is none."""
        check_path(path)
        self._look()
        return self._state.get(path)

    def entries(self) -> list[Entry]:
        """Returns all entries as they are now, in path order."""
        return self.snapshot().entries()

    def under(self, top: str) -> list[Entry]:
        """Returns the entries at and under `top` as they are now, in path order."""
        return self.snapshot().under(top)

    def snapshot(self) -> Snapshot:
        """Returns the mirror as it is now, with its cookie. O(1). A snapshot never changes. If you
        read `changes` and save, use `Changes.snapshot` instead: it is never ahead of the events
        that you have read."""
        unchanged(self._loop)
        self._look()
        return self._state.snapshot()

    def changes(self) -> Changes:
        """Returns the events of the mirror, in order, each once, from the beginning. If the mirror
        is whole already, the first event is `Fresh` with everything that differs from the copy that
        the mirror was started with, and with all gaps since then. If there is no connection now,
        `Offline` comes after that."""
        unchanged(self._loop)
        fresh = e.Fresh(self.rev, (), sorted(self._gaps.logs)) if self._whole else None
        past = [event for event in (fresh, self._offline, self._ended) if event is not None]
        feed = Changes(self._initial, self._state.snapshot(), past, self._waiting, self._loop)
        # After the end of the mirror there is nothing that was not there when the reader began.
        if self._ended is None:
            self._feeds.append((weakref.ref(feed), feed.progress))
        return feed

    async def at(self, rev: int) -> int:
        """Waits until the mirror is fresh and at revision `rev` or later. Returns the revision that
        the mirror is at then. With the revision of your own write, this waits until the mirror
        shows the write. Raises `Closed` if the mirror has ended.

        A revision belongs to one history. If the broker has begun another history (`Online` and
        `cookie` have another `epoch`), a revision of the former one may be far ahead: set a time
        limit."""
        given("rev", check_rev, rev)
        # A `sync` moves only a mirror that is fresh.
        await self.fresh()
        if self.rev < rev:
            # Without this, a write outside the view would move the mirror only at the next
            # heartbeat.
            self._client.want_sync()
            await self._wait(lambda: self.is_fresh and self.rev >= rev)
        return self.rev

    async def fresh(self) -> int:
        """Waits until the mirror is fresh, that is, whole. Returns the revision that the mirror is
        at then. For a mirror of mode `once` that has ended, it is enough that it was fresh. Raises
        `Closed` if the mirror has ended."""
        await self._wait(lambda: self.is_fresh or (self._whole and self._once_done()))
        return self.rev

    def _once_done(self) -> bool:
        return self._ended is not None and self._ended.error is None and self._state.is_fresh

    def lacks(self, rev: int, epoch: str | None, shown: Snapshot) -> bool:
        """For `transact`: whether a snapshot is below this revision of a history, and the mirror
        will reach it."""
        return self._ended is None and shown.rev < rev and epoch_of(shown.cookie) == epoch

    async def past(self, before: Snapshot, rev: int | None) -> None:
        """For `transact`: waits until the mirror is fresh and at `rev`; without `rev`, at any
        revision after `before`. A mirror of another history than `before` counts, too."""

        def reached() -> bool:
            there = self.rev > before.rev if rev is None else self.rev >= rev
            return self.is_fresh and (there or epoch_of(self.cookie) != epoch_of(before.cookie))

        await self.fresh()
        if not reached():
            self._client.want_sync()
        await self._wait(reached)

    async def changed(self, differs: Callable[[Snapshot], bool]) -> None:
        """For `transact`: waits until the mirror shows something for which `differs` is true."""
        await self._wait(lambda: differs(self._state.snapshot()))

    async def resync(self) -> int:
        """Starts the mirror again from nothing, and waits until it is whole. Until then the mirror
        shows what it had. Returns the revision that the mirror is at then. Raises `Closed` if the
        mirror has ended."""
        if self._ended is not None:
            raise self._why()
        self._client.resync_mirror(self._sub)
        return await self.fresh()

    async def verify(self) -> Verdict:
        """Compares the mirror with the broker's digest now. If they differ, the mirror starts again
        from nothing by itself.

        The verdict is `unknown` if nothing could be compared: there is no connection, the mirror
        has ended or is not fresh, its view has a `tail`, a change waits for its interval (`every`),
        the mirror moved on before the answer came, or the broker could not compute the digest. (A
        view with a `tail` has no digest, because what it shows depends on when the mirror began.)
        Raises `Timeout` if no answer comes within `request_timeout`."""
        if self._ended is not None:
            return Verdict("unknown")
        return await self._client.verify_mirror(self._sub)

    async def earlier(self, log: str, limit: int, before: str | None = None) -> Found:
        """Reads the page of a log before what the mirror shows of it, or before the entry `before`
        (a path). At most `limit` entries, oldest first; 0: as many as the broker likes. `rev` is
        the revision of the broker's last answer. A page does not become part of the mirror."""
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
        # A broker may send fewer entries than requested, and a log may have other children. So ask
        # for one entry more than wanted: if it comes, there are more.
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
            # Without a limit, the broker has chosen how many to send.
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
        """Runs `fn` and commits what it writes, on the condition that nothing that it read has
        changed. If something has changed meanwhile, runs `fn` again. Each run reads one snapshot of
        the fresh mirror. See `onetree.transact`.

        If you cancel this while `fn` waits, nothing is written. Once `fn` has returned, its write
        is like any other, and to cancel does not take it back. This is so even if `fn` returned
        only after you cancelled, because it did not give way to the event loop."""
        return await transact(self, self._client, fn)

    def _look(self) -> None:
        """The application looks at the mirror itself. If all readers have left, everything that the
        mirror shows counts as shown from now on."""
        if self._keeper is not None and not self._readers():
            self._last_shown = None

    def shown(self) -> Snapshot:
        """Returns what the application was shown: what the slowest reader of `changes` was shown;
        if all have left, what the last one was shown; if there is no reader, what the mirror shows.
        """
        shown = [feed.shown() for feed in self._readers()]
        if not shown:
            # Test for `None`: an empty snapshot is false, but it was shown as well.
            return self._state.snapshot() if self._last_shown is None else self._last_shown
        epoch = epoch_of(self.cookie)
        return min(shown, key=lambda s: (epoch_of(s.cookie) == epoch, s.rev))

    @property
    def keep_error(self) -> KeepError | None:
        """Why the last attempt to save the mirror failed. `None` if it succeeded, or if the mirror
        is not kept. A failed save is tried again."""
        return None if self._keeper is None else self._keeper.error

    def close(self) -> None:
        """Ends the mirror. It goes on showing what it had. The last save is done when `closed`
        returns."""
        if self._ended is None:
            self._client.drop_mirror(self._sub)
            self.publish(e.Ended(None))

    async def closed(self) -> None:
        """Waits until the mirror has ended and its last save is done. Then another mirror can have
        the place where it was kept."""
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
        """For the client: reports an event, or `None` if only the revision has moved."""
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
        """Returns the readers. Notes how far the last of those that have left had come."""
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
        """For the client: waits until the last save of a mirror that has ended is done."""
        if self._keeper is not None:
            await self._keeper.done()
