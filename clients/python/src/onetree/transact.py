"""Transactions that run again: read a snapshot, write, commit if nothing that was read has changed.

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
    """What `Transaction.retry` raises; not an `Exception`, so that no handler takes it for one."""


@dataclass(frozen=True, slots=True)
class Committed(Generic[T]):
    """A transaction that was done."""

    result: T
    """What the function returned, the last time it ran."""
    done: Done | None
    """The commit; `None`: it wrote nothing, and nothing was sent."""
    runs: int
    """How often the function ran."""


@dataclass(slots=True, eq=False)
class _Write:
    """What a transaction did, in its order; each is itself alone, whatever is equal to it."""

    do: str
    path: str
    value: Value | None = None
    ttl: float | None = None
    ephemeral: bool = False


class Transaction:
    """What the function of `Mirror.transact` is given. Reads are of one snapshot, and of what the
    transaction has written itself; an entry that it has written has revision 0. What it appends has
    no name yet, and is not read."""

    def __init__(self, snapshot: Snapshot, view: View) -> None:
        self._snapshot = snapshot
        self._view = view
        self._gets: dict[str, int] = {}
        self._trees: set[str] = set()
        self._writes: list[_Write] = []
        self._over = False
        self.retried = False
        """Whether `retry` was said: it holds, whoever catches what that raises."""

    @property
    def rev(self) -> int:
        """The revision of the snapshot."""
        return self._snapshot.rev

    def get(self, path: str) -> Entry | None:
        """The entry at a path; `OutsideView` where the mirror does not see it."""
        self._check()
        check_path(path)
        written = self._written(path)
        if written is not None:
            return written[0]
        entry = self._snapshot.get(path)
        # What a tail has left out cannot be told from what is absent.
        cut = self._view.tail is not None and is_keyed(path)
        if not self._view.sees(path) or (cut and entry is None):
            raise OutsideView(path)
        self._gets[path] = 0 if entry is None else entry.rev
        return entry

    def under(self, top: str) -> list[Entry]:
        """The entries at and under `top` that the mirror sees, in path order. Its condition is that
        nothing changes at or under `top`, seen or not. `OutsideView` when `top` is not within what
        the mirror sees."""
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
        """The entry is to be `value`."""
        self._write(_Write("put", path, value_at(path, value), ttl, ephemeral))

    def append(
        self, path: str, value: object, *, ttl: float | None = None, ephemeral: bool = False
    ) -> None:
        """A new entry of a log; `Committed.done` has its path."""
        self._write(_Write("append", path, value_at(path, value), ttl, ephemeral))

    def delete(self, path: str) -> None:
        """The entry is to be gone."""
        self._write(_Write("delete", check_path(path)))

    def drop_tree(self, path: str) -> None:
        """Everything at and under `path` is to be gone."""
        self._write(_Write("drop", check_path(path)))

    def retry(self) -> NoReturn:
        """Ends the run, also where what this raises is caught: the function runs again when
        something that it read has changed."""
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
        """`first(tx)`; when that retries, its writes are forgotten, what it read is not, and
        `second(tx)` runs. When both retry, the whole retries, on what either read. Where they are
        coroutine functions, this is to be awaited where it stands: as a task of its own that
        retries, it would make of any error beside it a retry, too."""
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
        # What was written since `or_else` was called is not of the first way, which goes on now.
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
        """Whether what ends with this error retries: whatever it is, but what ends the program."""
        group = error if isinstance(error, BaseExceptionGroup) else BaseExceptionGroup("", [error])
        return self.retried and group.split((Retry, Exception))[1] is None

    def _has_retried(self) -> bool:
        """Whether the way that ends, or gives way to its caller, has retried. It is then settled
        here, and not of the run."""
        retried, self.retried = self.retried, False
        return retried

    def end(self) -> None:
        """The run has ended, and what is asked behind it is refused: it would be lost."""
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
        """What this transaction made of a path, if anything."""
        for write in reversed(self._writes):
            if write.do in ("put", "delete") and write.path == path:
                return (self._entry(write) if write.do == "put" else None,)
            if write.do == "drop" and contains(write.path, path):
                return (None,)
        return None

    def _entry(self, write: _Write) -> Entry:
        return Entry(write.path, 0, write.value)

    def txn(self) -> Txn | None:
        """What is to be sent; `None`: there is nothing to do."""
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
        """Whether something that was read is different now."""
        for path, rev in self._gets.items():
            entry = now.get(path)
            if (0 if entry is None else entry.rev) != rev:
                return True
        before = self._snapshot
        if epoch_of(now.cookie) != epoch_of(before.cookie):
            return True
        if not self._trees:
            return False
        # By what has changed, not by what is there: that may be very much, and this is asked at
        # each revision.
        return any(
            contains(top, change.path) for change in now.since(before) for top in self._trees
        )


class Watched(Protocol):
    """What `transact` asks of a mirror."""

    @property
    def view(self) -> View: ...
    def snapshot(self) -> Snapshot: ...
    async def fresh(self) -> int: ...
    def lacks(self, rev: int, epoch: str | None, shown: Snapshot) -> bool: ...
    async def past(self, before: Snapshot, rev: int | None) -> None: ...
    async def changed(self, differs: Callable[[Snapshot], bool]) -> None: ...


class Commits(Protocol):
    """What `transact` asks of a client."""

    @property
    def last_done(self) -> tuple[str | None, int]: ...
    async def txn_of(self, txn: Txn, history: str | None) -> Done: ...


async def transact(
    mirror: Watched, client: Commits, fn: Callable[[Transaction], T | Awaitable[T]]
) -> Committed[T]:
    """Runs `fn(tx)` until what it did is committed, or needs no commit. `fn` may be a coroutine
    function; it must have no effects of its own, for it may run any number of times. What it
    raises ends the transaction, and nothing is written. A run that raises or writes nothing is
    judged by its snapshot alone: that has all writes of this client which were answered before
    `transact` was called, and may be behind those of others. Who must know more asks `Client.get`,
    or writes."""
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
            # What ends the program, or this task, is no answer to what was read.
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
            # No broker judges it: it is to have seen what its client knows.
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
