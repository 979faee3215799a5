"""Transactions that run again: a function reads a snapshot and writes, and the writes are committed
if nothing that it read has changed.

The words are those of software transactional memory (Harris, Marlow, Peyton Jones, Herlihy, 2005).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar, overload

from .errors import OutsideView, Refused
from .given import function, given
from .protocol.cookies import epoch_of
from .protocol.frames import Done, Entry
from .protocol.paths import check_path, contains, is_keyed, order_key
from .protocol.values import Value
from .protocol.views import View
from .protocol.wrong import Wrong
from .request import Txn, value_at
from .snapshot import Snapshot

T = TypeVar("T")


class Retry(BaseException):
    """What `Transaction.retry` raises. It is not an `Exception`, so that handlers for those do not
    catch it."""


@dataclass(frozen=True, slots=True)
class Committed(Generic[T]):
    """The result of a transaction."""

    result: T
    """What the function returned in its last run."""
    done: Done | None
    """The commit; `None` if the function wrote nothing, so that nothing was sent."""
    runs: int
    """How often the function ran."""


@dataclass(slots=True, eq=False)
class _Write:
    """A write of a transaction. Each is equal only to itself, whatever another one contains."""

    do: str
    path: str
    value: Value | None = None
    ttl: float | None = None
    ephemeral: bool = False


class Transaction:
    """What the function of `Mirror.transact` works with. It reads one snapshot, and sees its own
    writes: an entry that it has written has revision 0. What it appends has no path before the
    commit, and cannot be read."""

    def __init__(self, snapshot: Snapshot, view: View) -> None:
        self._snapshot = snapshot
        self._view = view
        self._gets: dict[str, int] = {}
        self._trees: set[str] = set()
        self._writes: list[_Write] = []
        self._over = False
        self.retried = False
        """Whether `retry` was called. The run then retries, even if the function catches what
        `retry` raises."""

    @property
    def rev(self) -> int:
        """The revision of the snapshot."""
        return self._snapshot.rev

    def get(self, path: str) -> Entry | None:
        """Returns the entry at `path`; `None` if there is none. Raises `OutsideView` if the mirror
        does not see the path."""
        self._check()
        check_path(path)
        written = self._written(path)
        if written is not None:
            return written[0]
        entry = self._snapshot.get(path)
        # With a `tail`, an entry that is left out looks like one that is absent.
        cut = self._view.tail is not None and is_keyed(path)
        if not self._view.sees(path) or (cut and entry is None):
            raise OutsideView(path)
        self._gets[path] = 0 if entry is None else entry.rev
        return entry

    def under(self, top: str) -> list[Entry]:
        """Returns the entries at and under `top` that the mirror sees, in path order. The condition
        of the read is that nothing changes at or under `top`, whether the mirror sees it or not.
        Raises `OutsideView` if `top` is outside the base and depth of the mirror's view."""
        self._check()
        check_path(top)
        if not self._view.reaches(top):
            raise OutsideView(top)
        if not any(w.do == "drop" and contains(w.path, top) for w in self._writes):
            self._trees.add(top)
        found = {entry.path: entry for entry in self._snapshot.under(top)}
        for write in self._writes:
            if write.do == "drop":
                for path in [path for path in found if contains(write.path, path)]:
                    del found[path]
            elif write.do == "delete":
                found.pop(write.path, None)
            elif write.do == "put" and contains(top, write.path):
                found[write.path] = self._entry(write)
        return [found[path] for path in sorted(found, key=order_key)]

    def put(
        self, path: str, value: object, *, ttl: float | None = None, ephemeral: bool = False
    ) -> None:
        """Puts `value` at `path`, which may be outside the mirror's view."""
        self._write(_Write("put", path, value_at(path, value), ttl, ephemeral))

    def append(
        self, path: str, value: object, *, ttl: float | None = None, ephemeral: bool = False
    ) -> None:
        """Appends `value` to the log at `path`. `Committed.done` has the path that the broker
        assigned."""
        self._write(_Write("append", path, value_at(path, value), ttl, ephemeral))

    def delete(self, path: str) -> None:
        """Deletes the entry at `path`."""
        self._write(_Write("delete", check_path(path)))

    def drop_tree(self, path: str) -> None:
        """Deletes everything at and under `path`."""
        self._write(_Write("drop", check_path(path)))

    def retry(self) -> NoReturn:
        """Ends the run, even if what this raises is caught. The function runs again when something
        that it read has changed in the mirror."""
        self._check()
        self.retried = True
        raise Retry

    @overload
    def or_else(
        self,
        first: Callable[[Transaction], Awaitable[T]],
        second: Callable[[Transaction], Awaitable[T]],
    ) -> Awaitable[T]: ...
    @overload
    def or_else(
        self, first: Callable[[Transaction], T], second: Callable[[Transaction], T]
    ) -> T: ...
    def or_else(self, first: Callable[[Transaction], Any], second: Callable[..., Any]) -> Any:
        """Runs `first(tx)`. If it retries, its writes are forgotten but what it read is not, and
        `second(tx)` runs instead. If both retry, the transaction retries when something that either
        has read changes. If they are coroutine functions, await this at once: in a task of its own,
        its retry would turn any other error of the run into a retry."""
        given("first", function, first)
        given("second", function, second)
        self._check()
        before = len(self._writes)
        try:
            result = first(self)
        except BaseException as error:
            if not (self.retries(error) and self._has_retried()):
                raise
        else:
            retried = self._has_retried()
            if inspect.isawaitable(result):
                return self._or_else(result, second, self._writes[before:], retried)
            if not retried:
                return result
        del self._writes[before:]
        return second(self)

    async def _or_else(
        self,
        first: Awaitable[Any],
        second: Callable[[Transaction], Any],
        begun: list[_Write],
        retried: bool,
    ) -> Any:
        # What was written since `or_else` was called is not part of `first`, which goes on now.
        kept = set(self._writes).difference(begun)
        self.retried |= retried
        try:
            result = await first
        except BaseException as error:
            if not (self.retries(error) and self._has_retried()):
                raise
        else:
            if not self._has_retried():
                return result
        self._writes = [write for write in self._writes if write in kept]
        return await _result(second(self))

    def retries(self, error: BaseException) -> bool:
        """Returns whether a run or a part that ends with this error retries. It does, whatever the
        error is, unless it ends the program."""
        group = error if isinstance(error, BaseExceptionGroup) else BaseExceptionGroup("", [error])
        return self.retried and group.split((Retry, Exception))[1] is None

    def _has_retried(self) -> bool:
        """Returns whether the part that ends, or gives way to its caller, has retried, and clears
        that: it is dealt with here, and not at the end of the run."""
        retried, self.retried = self.retried, False
        return retried

    def end(self) -> None:
        """The run has ended. What is asked of it later is refused, because it would be lost."""
        self._over = True

    def _check(self) -> None:
        if self._over:
            raise Wrong(None, "this run of the transaction has ended, and its `tx` with it")
        if self.retried:
            raise Retry

    def _write(self, write: _Write) -> None:
        self._check()
        self._writes.append(write)

    def _written(self, path: str) -> tuple[Entry | None] | None:
        """Returns what this run has made of a path; `None` if nothing."""
        for write in reversed(self._writes):
            if write.do in ("put", "delete") and write.path == path:
                return (self._entry(write) if write.do == "put" else None,)
            if write.do == "drop" and contains(write.path, path):
                return (None,)
        return None

    def _entry(self, write: _Write) -> Entry:
        return Entry(write.path, 0, write.value)

    def txn(self) -> Txn | None:
        """Returns the transaction to commit; `None` if nothing was written."""
        if not self._writes:
            return None
        txn = Txn()
        for path, rev in self._gets.items():
            txn.if_rev(path, rev)
        for top in sorted(self._trees, key=order_key):
            txn.if_tree(top, self._snapshot.rev)
        for write in self._writes:
            if write.do == "put":
                txn.put(write.path, write.value, ttl=write.ttl, ephemeral=write.ephemeral)
            elif write.do == "append":
                txn.append(write.path, write.value, ttl=write.ttl, ephemeral=write.ephemeral)
            elif write.do == "delete":
                txn.delete(write.path)
            else:
                txn.drop_tree(write.path)
        return txn

    def changed(self, now: Snapshot) -> bool:
        """Returns whether something that was read has changed."""
        for path, rev in self._gets.items():
            entry = now.get(path)
            if (0 if entry is None else entry.rev) != rev:
                return True
        before = self._snapshot
        if epoch_of(now.cookie) != epoch_of(before.cookie):
            return True
        if not self._trees:
            return False
        # Looks at what has changed and not at all that is there: that may be much, and this is
        # called at each revision.
        return any(
            contains(top, change.path) for change in now.since(before) for top in self._trees
        )


class Watched(Protocol):
    """What `transact` needs of a mirror."""

    @property
    def view(self) -> View: ...
    def snapshot(self) -> Snapshot: ...
    async def fresh(self) -> int: ...
    def lacks(self, rev: int, epoch: str | None, shown: Snapshot) -> bool: ...
    async def past(self, before: Snapshot, rev: int | None) -> None: ...
    async def changed(self, differs: Callable[[Snapshot], bool]) -> None: ...


class Commits(Protocol):
    """What `transact` needs of a client."""

    @property
    def last_done(self) -> tuple[str | None, int]: ...
    async def txn_of(self, txn: Txn, history: str | None) -> Done: ...


async def transact(
    mirror: Watched, client: Commits, fn: Callable[[Transaction], T | Awaitable[T]]
) -> Committed[T]:
    """Runs `fn(tx)` until what it writes is committed, or nothing need be committed. `fn` may be a
    coroutine function. It must have no effects of its own, because it may run any number of times.
    An exception of `fn` ends the transaction, and nothing is written.

    A run that raises or writes nothing is judged by its snapshot alone. The snapshot has all writes
    of this client that were answered before you called `transact`. It may be behind the writes of
    others. To know more, use `Client.get`, or write."""
    given("fn", function, fn)
    runs = 0
    epoch, own = client.last_done
    while True:
        await mirror.fresh()
        snapshot = mirror.snapshot()
        tx = Transaction(snapshot, mirror.view)
        runs += 1
        failed = False
        try:
            result = await _result(fn(tx))
        except BaseException as error:
            failed = not tx.retries(error)
            # What ends the program or this task is not a conclusion from what was read, so it is
            # not run again.
            again = isinstance(error, Exception) and mirror.lacks(own, epoch, snapshot)
            if failed and not again:
                raise
        finally:
            tx.end()
        if tx.retried:
            await mirror.changed(tx.changed)
            continue
        txn = None if failed else tx.txn()
        if txn is None and mirror.lacks(own, epoch, snapshot):
            # The broker does not judge such a run. It must have seen what this client has written.
            await mirror.past(snapshot, own)
            continue
        if txn is None:
            return Committed(result, None, runs)
        try:
            done = await client.txn_of(txn, epoch_of(snapshot.cookie))
        except Refused as refused:
            if refused.code != "conflict":
                raise
            there = refused.rev if refused.rev is not None and refused.rev > tx.rev else None
            await mirror.past(snapshot, there)
            continue
        return Committed(result, done, runs)


async def _result(found: T | Awaitable[T]) -> T:
    return await found if inspect.isawaitable(found) else found
