"""Transactions that run again, against the naive broker behind a socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

import onetree
from naive import Broker, Connection
from onetree import sync
from onetree.protocol.cookies import epoch_of
from onetree.transact import transact
from server import Server, naive, numbers, run


async def two(server: Server) -> tuple[onetree.Client, onetree.Mirror, onetree.Client]:
    client = await onetree.connect(server.url)
    mirror = client.mirror("/")
    await mirror.fresh()
    return client, mirror, await onetree.connect(server.url)


def test_transactions_run_again_until_nothing_they_read_has_changed() -> None:
    async def story() -> None:
        async with naive() as server:
            clients = [await two(server) for _ in range(3)]

            def increment(tx: onetree.Transaction) -> int:
                entry = tx.get("/n")
                n = entry.value.get() + 1 if entry and entry.value else 1
                tx.put("/n", n)
                assert tx.get("/n").value.get() == n  # type: ignore[union-attr]
                return int(n)

            work = [mirror.transact(increment) for _, mirror, _ in clients for _ in range(20)]
            done = await asyncio.gather(*work)
            assert sorted(one.result for one in done) == list(range(1, 61))
            assert sum(one.runs for one in done) > 60
            for client, _, other in clients:
                await client.close()
                await other.close()

    run(story())


class Looks(dict[str, onetree.Entry]):
    """Entries that count how often one of them is looked at."""

    count = 0

    def __getitem__(self, path: str) -> onetree.Entry:
        self.count += 1
        return super().__getitem__(path)

    def get(self, path: str, default: Any = None) -> Any:
        self.count += 1
        return super().get(path, default)

    def __iter__(self) -> Any:
        for path in super().__iter__():
            self.count += 1
            yield path

    def values(self) -> Any:
        return (self[path] for path in super().__iter__())

    def items(self) -> Any:
        return ((path, self[path]) for path in super().__iter__())


def test_who_waits_for_what_is_under_a_path_looks_at_what_changes_not_at_what_is_there() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            many = onetree.Txn()
            for n in range(1000):
                many.put(f"/seats/{n}", n)
            mirror = client.mirror("/")
            await mirror.at((await client.txn(many)).rev)
            store = mirror._state._store
            store.entries = looks = Looks(store.entries)
            runs: list[int] = []

            def taken(tx: onetree.Transaction) -> None:
                runs.append(len(tx.under("/seats")))
                if len(runs) == 1:
                    tx.retry()

            waiting = asyncio.create_task(mirror.transact(taken))
            await asyncio.sleep(0.01)
            assert runs == [1000] and looks.count >= 1000, "it counts"
            looks.count = 0
            for n in range(20):
                await mirror.at((await client.put("/elsewhere", n)).rev)
            # A few for each run, and for the wait.
            assert runs == [1000] and 0 < looks.count < 500
            await client.delete("/seats/7")
            await waiting
            assert runs == [1000, 999]

    run(story())


@pytest.mark.parametrize("there", [False, True], ids=["before it is there", "though it is there"])
def test_what_a_transaction_has_read_of_another_history_does_not_count(there: bool) -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            await client.put("/balance", 1000)

            async def add_one(tx: onetree.Transaction) -> int:
                entry = tx.get("/balance")
                assert entry is not None and entry.value is not None
                if entry.value.get() == 1000:
                    # Another tree, which has the same revision.
                    server.broker = Broker()
                    server.broker.epoch = "d" * 32
                    server.cut()
                    async with onetree.connect(server.url) as other:
                        await other.put("/balance", 5)
                    while there and epoch_of(mirror.cookie) != server.broker.epoch:
                        await asyncio.sleep(0.01)
                tx.put("/balance", entry.value.get() + 1)
                return int(entry.value.get())

            done = await mirror.transact(add_one)
            assert (done.result, done.runs) == (5, 2)
            found = await client.get("/balance")
            assert found is not None and found.value is not None and found.value.get() == 6

    run(story())


def test_a_transaction_waits_and_tries_another_way() -> None:
    async def story() -> None:
        async with naive() as server:
            client, mirror, other = await two(server)

            def take(path: str) -> Any:
                def run(tx: onetree.Transaction) -> Any:
                    entry = tx.get(path)
                    tx.put("/forgotten" if path == "/a" else "/kept", 1)
                    if entry is None or entry.value is None:
                        tx.retry()
                    tx.delete(path)
                    return entry.value.get()

                return run

            waiting = asyncio.ensure_future(mirror.transact(take("/b")))
            either = asyncio.ensure_future(
                mirror.transact(lambda tx: tx.or_else(take("/a"), take("/c")))
            )
            await other.put("/unread", 1)
            await asyncio.sleep(0.05)
            assert not waiting.done() and not either.done()
            await other.put("/b", "b")
            assert (await waiting).result == "b"
            await other.put("/c", "c")
            taken = await either
            assert taken.result == "c" and taken.runs == 2
            assert taken.done is not None and taken.done.durable is False
            await mirror.at(taken.done.rev)
            assert numbers(mirror) == {"/unread": 1, "/kept": 1}
            # The first way is taken if it is possible.
            await other.put("/a", "a")
            both = await mirror.transact(lambda tx: tx.or_else(take("/a"), take("/c")))
            assert both.result == "a"

            async def reads(tx: onetree.Transaction) -> int:
                await asyncio.sleep(0)
                tx.drop_tree("/unread")
                return len(tx.under("/"))

            before = server.broker.rev
            only_read = await mirror.transact(lambda tx: len(tx.under("/")))
            assert only_read.done is None and server.broker.rev == before
            assert (await mirror.transact(reads)).result == 2
            with pytest.raises(ZeroDivisionError):
                await mirror.transact(lambda tx: (tx.put("/z", 1), 1 // 0))
            small = client.mirror("/small")
            with pytest.raises(onetree.OutsideView):
                await small.transact(lambda tx: tx.get("/b"))
            with pytest.raises(onetree.OutsideView):
                await small.transact(lambda tx: tx.under("/"))
            await client.close()
            await other.close()

    run(story())


def test_what_a_transaction_has_put_has_its_value_also_in_a_view_without_values() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            await client.put("/a", 1)
            mirror = client.mirror("/", values=False)

            def fn(tx: onetree.Transaction) -> list[Any]:
                tx.put("/b", 2)
                return [entry and entry.value for entry in (tx.get("/a"), tx.get("/b"))] + [
                    entry.value for entry in tx.under("/")
                ]

            two = onetree.Value.json(2)
            assert (await mirror.transact(fn)).result == [None, two, None, two]

    run(story())


def test_a_retry_ends_the_run_whoever_catches_it() -> None:
    async def story() -> None:
        async with naive() as server:
            client, mirror, other = await two(server)

            def goes_on(tx: onetree.Transaction) -> str:
                if tx.get("/a") is None:
                    with contextlib.suppress(BaseException):
                        tx.retry()
                return "went on"

            def writes(tx: onetree.Transaction) -> str:
                try:
                    return goes_on(tx)
                finally:
                    tx.put("/failed", 1)

            async def another(tx: onetree.Transaction) -> str:
                if tx.get("/a") is None:
                    try:
                        tx.retry()
                    except BaseException as retry:
                        raise ValueError from retry
                return "another"

            runs: list[Callable[[onetree.Transaction], Any]] = [goes_on, writes, another]
            waiting = [asyncio.ensure_future(mirror.transact(run)) for run in runs]
            either = asyncio.ensure_future(
                mirror.transact(lambda tx: tx.or_else(writes, lambda tx: tx.get("/failed")))
            )
            await asyncio.wait(waiting, timeout=0.05)
            assert not any(one.done() for one in waiting)
            # What the first way wrote is forgotten.
            assert (await either).result is None and (await either).done is None
            await other.put("/a", 1)
            done = await asyncio.gather(*waiting)
            assert [one.result for one in done] == ["went on", "went on", "another"]
            assert all(one.runs > 1 for one in done)
            # This does not hide another error.
            cancelled = asyncio.ensure_future(mirror.transact(goes_on_for_ever))
            await asyncio.sleep(0.05)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(cancelled, 5)
            await client.close()
            await other.close()

    async def goes_on_for_ever(tx: onetree.Transaction) -> None:
        with contextlib.suppress(BaseException):
            tx.retry()
        await asyncio.sleep(60)

    run(story())


def test_a_retry_of_a_task_beside_is_told_by_who_waits_for_it() -> None:
    async def story() -> None:
        async with naive() as server:
            client, mirror, other = await two(server)

            async def must(tx: onetree.Transaction) -> str:
                await asyncio.sleep(0)
                if tx.get("/a") is None:
                    tx.retry()
                return "there"

            def must_at_once(tx: onetree.Transaction) -> str:
                if tx.get("/a") is None:
                    tx.retry()
                return "there"

            async def renames(tx: onetree.Transaction) -> str:
                try:
                    return await asyncio.ensure_future(must(tx))
                except BaseException as retry:
                    raise ValueError from retry

            async def forgets(tx: onetree.Transaction) -> str:
                if tx.get("/a") is None:
                    with contextlib.suppress(BaseException):
                        tx.retry()
                    raise ValueError
                return "there"

            async def gone(tx: onetree.Transaction) -> str:
                return "gone"

            def grouped(way: Any) -> Any:
                async def run(tx: onetree.Transaction) -> str:
                    async with asyncio.TaskGroup() as group:
                        task = group.create_task(way(tx))
                        group.create_task(asyncio.sleep(0.01))
                    return str(task.result())

                return run

            def aside(way: Any) -> Any:
                async def run(tx: onetree.Transaction) -> str:
                    return str(await asyncio.ensure_future(tx.or_else(way, gone)))

                return run

            async def gathers(tx: onetree.Transaction) -> str:
                one, other = await asyncio.gather(must(tx), must(tx), return_exceptions=True)
                return str(max(one, other))

            runs: list[Any] = [
                gathers,
                renames,
                grouped(must),
                grouped(renames),
                grouped(grouped(must)),
            ]
            runs += [forgets, grouped(forgets), lambda tx: asyncio.to_thread(must_at_once, tx)]
            # The second way is taken for each of them.
            for way in runs:
                for either in (aside(way), grouped(aside(way))):
                    done = await asyncio.wait_for(mirror.transact(either), 5)
                    assert (done.result, done.runs) == ("gone", 1)
            waiting = [asyncio.ensure_future(mirror.transact(run)) for run in runs]
            await asyncio.sleep(0.1)
            assert not any(one.done() for one in waiting)
            await other.put("/a", 1)
            for one in waiting:
                assert (await asyncio.wait_for(one, 5)).result == "there"

            # What ends the program does not wait, whatever is beside it.
            async def exits(tx: onetree.Transaction) -> None:
                with contextlib.suppress(BaseException):
                    tx.retry()
                raise BaseExceptionGroup("both", [GeneratorExit(), ZeroDivisionError()])

            with pytest.raises(BaseExceptionGroup):
                await asyncio.wait_for(mirror.transact(exits), 5)
            await client.close()
            await other.close()

    run(story())


def test_another_way_may_be_a_coroutine() -> None:
    async def story() -> None:
        async with naive() as server:
            client, mirror, other = await two(server)

            async def first(tx: onetree.Transaction) -> str:
                tx.put("/first", 1)
                await asyncio.sleep(0)
                if tx.get("/a") is None:
                    tx.retry()
                return "first"

            async def second(tx: onetree.Transaction) -> str:
                await asyncio.sleep(0)
                tx.put("/second", 1)
                return "second"

            def third(tx: onetree.Transaction) -> str:
                if tx.get("/a") is None:
                    tx.retry()
                return "third"

            async def waits(tx: onetree.Transaction) -> str:
                return await tx.or_else(first, second)

            either: Any
            for either in (
                waits, lambda tx: tx.or_else(first, second), lambda tx: tx.or_else(third, second),
            ):  # fmt: skip
                committed = await asyncio.wait_for(mirror.transact(either), 5)
                assert committed.result == "second" and committed.runs == 1
            assert committed.done is not None
            await mirror.at(committed.done.rev)
            assert numbers(mirror) == {"/second": 1}
            # If both retry, the transaction retries; and an error counts as one.
            ways: tuple[Any, Any] = (first, third)
            waiting = asyncio.ensure_future(mirror.transact(lambda tx: tx.or_else(*ways)))
            await asyncio.sleep(0.05)
            await other.put("/a", 1)
            assert (await asyncio.wait_for(waiting, 5)).result == "first"
            with pytest.raises(ZeroDivisionError):
                await mirror.transact(lambda tx: tx.or_else(fails, second))
            with pytest.raises(onetree.Wrong, match="^second: "):
                await mirror.transact(lambda tx: tx.or_else(third, "no"))  # type: ignore[call-overload]
            await client.close()
            await other.close()

    async def fails(tx: onetree.Transaction) -> str:
        raise ZeroDivisionError

    run(story())


def test_what_is_written_before_another_way_is_awaited_is_kept() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")

            async def first(tx: onetree.Transaction) -> int:
                tx.put("/first", 1)
                return tx.retry()

            def begins(tx: onetree.Transaction) -> Any:
                tx.put("/begun", 1)
                return first(tx)

            async def second(tx: onetree.Transaction) -> int:
                tx.put("/second", 1)
                return 2

            for way in (first, begins):

                async def between(tx: onetree.Transaction, way: Any = way) -> int:
                    tx.put("/before", 1)
                    either = tx.or_else(way, second)
                    tx.put("/between", 1)
                    return await either

                committed = await mirror.transact(between)
                assert committed.done is not None
                await mirror.at(committed.done.rev)
                assert committed.result == 2
                assert numbers(mirror) == {"/before": 1, "/between": 1, "/second": 1}
                await client.drop_tree("/")

    run(story())


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a broker that answers a write before it sends it to the mirror, which it does at the
    next `sync`."""
    write = Connection.write

    def answer(me: Connection, frame: Any) -> Any:
        at = me.at
        said = write(me, frame)[-1:]
        me.at = at
        return said

    monkeypatch.setattr(Connection, "write", answer)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("commits", [lambda client: client, sync._Commits], ids=["async", "sync"])
@pytest.mark.parametrize("fails", [True, False])
def test_what_commits_nothing_has_seen_what_its_client_was_told_is_done(
    fails: bool, commits: Any
) -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            await mirror.fresh()

            async def is_there(path: str) -> onetree.Committed[bool]:
                def look(tx: onetree.Transaction) -> bool:
                    there = tx.get(path) is not None
                    if fails and not there:
                        raise LookupError
                    return there

                return await transact(mirror, commits(client), look)

            await client.put("/a", 1)
            assert mirror.get("/a") is None
            done = await is_there("/a")
            assert (done.result, done.runs) == (True, 2)
            # Once the run has seen the write, its result counts.
            if fails:
                with pytest.raises(LookupError):
                    await is_there("/b")
            else:
                done = await is_there("/b")
                assert (done.result, done.runs) == (False, 1)

    run(story())


@pytest.mark.usefixtures("late")
def test_what_commits_nothing_waits_for_no_other_history_and_no_end() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url, backoff=(0.01, 0.02)) as client:
            once = client.mirror("/", once=True)
            await once.fresh()
            for n in range(9):
                await client.put("/a", n)
            # The mirror gets no further.
            done = await once.transact(lambda tx: tx.get("/a"))
            assert (done.result, done.runs) == (None, 1)
            # Here the write is nothing new.
            mirror = client.mirror("/")
            server.broker = Broker()
            server.broker.epoch = "d" * 32
            server.cut()
            await client.until("offline")
            await client.until("online")
            await mirror.fresh()
            done = await mirror.transact(lambda tx: tx.get("/a"))
            assert (done.result, done.runs, mirror.rev) == (None, 1, 0)

    run(story())


@pytest.mark.usefixtures("late")
def test_what_is_cancelled_is_not_run_again() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            await mirror.fresh()
            await client.put("/a", 1)
            runs: list[onetree.Transaction] = []

            async def waits(tx: onetree.Transaction) -> None:
                runs.append(tx)
                await asyncio.sleep(60)

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(mirror.transact(waits), 0.05)
            assert len(runs) == 1

    run(story())


def test_ways_within_ways_keep_what_is_not_theirs() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")

            async def rest(tx: onetree.Transaction, name: str, retries: bool) -> str:
                tx.put(f"/{name}-rest", 1)
                if retries:
                    tx.retry()
                return name

            def begins(tx: onetree.Transaction) -> Any:
                tx.put("/begun", 1)
                return rest(tx, "begun", retries=True)

            def catches(tx: onetree.Transaction) -> Any:
                with contextlib.suppress(BaseException):
                    tx.retry()
                return rest(tx, "caught", retries=False)

            async def second(tx: onetree.Transaction) -> str:
                tx.put("/second", 1)
                return tx.retry()

            async def third(tx: onetree.Transaction) -> str:
                tx.put("/third", 1)
                return "third"

            def within(tx: onetree.Transaction) -> Any:
                return tx.or_else(begins, second)

            def behind(tx: onetree.Transaction) -> Any:
                return tx.or_else(begins, catches)

            for way in (within, behind, catches):

                async def between(tx: onetree.Transaction, way: Any = way) -> str:
                    tx.put("/before", 1)
                    either = tx.or_else(way, third)
                    tx.put("/between", 1)
                    return await either

                committed = await asyncio.wait_for(mirror.transact(between), 5)
                assert committed.done is not None
                await mirror.at(committed.done.rev)
                assert (committed.result, committed.runs) == ("third", 1)
                assert numbers(mirror) == {"/before": 1, "/between": 1, "/third": 1}
                await client.drop_tree("/")

    run(story())


def test_a_transaction_ends_with_its_run() -> None:
    async def story() -> None:
        async with naive() as server, onetree.connect(server.url) as client:
            mirror = client.mirror("/")
            kept: list[onetree.Transaction] = []

            async def keeps(tx: onetree.Transaction) -> None:
                kept.append(tx)
                tx.put("/a", 1)

            def fails(tx: onetree.Transaction) -> None:
                kept.append(tx)
                raise ZeroDivisionError

            done = (await mirror.transact(keeps)).done
            assert done is not None
            await mirror.at(done.rev)
            with pytest.raises(ZeroDivisionError):
                await mirror.transact(fails)
            before = server.broker.rev
            uses: list[Callable[[onetree.Transaction], Any]] = [
                lambda tx: tx.get("/a"), lambda tx: tx.under("/"), lambda tx: tx.put("/a", 2),
                lambda tx: tx.append("/a", 2), lambda tx: tx.delete("/a"),
                lambda tx: tx.drop_tree("/a"), lambda tx: tx.retry(),
                lambda tx: tx.or_else(lambda _: 1, lambda _: 2),
                lambda tx: tx.or_else(keeps, keeps),
            ]  # fmt: skip
            for tx in kept:
                for use in uses:
                    with pytest.raises(onetree.Wrong, match="ended") as wrong:
                        use(tx)
                    assert wrong.value.word == "ended"
            assert server.broker.rev == before

    run(story())
