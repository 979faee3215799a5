"""What is about one history is sent in no other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import onetree
from naive import Broker, Connection
from onetree import request
from onetree.protocol import frames as f
from server import naive, run
from test_session import World

KEY = "0000000000000100" + "00"


def txn(*changes: Any) -> f.Txn:
    made = request.Txn()
    for how, *what in changes:
        getattr(made, how)(*what)
    return made.frame


ABOUT: dict[str, f.Request] = {
    "put": request.put("/a", 2, if_rev=1),
    "delete": request.delete("/a", if_rev=1),
    "drop": request.drop_tree("/a", if_rev=1),
    "txn at a revision": txn(("if_rev", "/b", 0), ("if_rev", "/a", 1), ("put", "/a", 2)),
    "txn since a revision": txn(("if_tree", "/", 1), ("put", "/a", 2)),
    "txn that trims": txn(("trim", "/log", KEY)),
    "txn of what is in a log": txn(("delete", f"/log/{KEY}")),
    "trim": request.trim("/log", KEY),
    "drop of what is in a log": request.drop_tree(f"/log/{KEY}/thread"),
}
ANY: dict[str, f.Request] = {
    "put": request.put("/b", 2),
    "put where nothing is": request.put("/b", 2, if_rev=0),
    "txn where nothing is": txn(("if_rev", "/b", 0), ("put", "/b", 2)),
    "append": request.append("/log", 2),
}


def another() -> Broker:
    """Returns a broker of another history, which has something else at the first revision."""
    broker = Broker()
    broker.epoch = "d" * 32
    connection = Connection(broker)
    connection.handle(f.Hello(0, client="other"))
    put = request.put("/a", 5)
    put.seq = 1
    connection.handle(put)
    return broker


def up() -> World:
    """Returns a world whose client has written `/a`."""
    world = World()
    world.session.request(world.now, 1, request.put("/a", 1))
    world.settle()
    return world


def code(world: World, ticket: int) -> str:
    error = world.replies[ticket].error
    return "done" if error is None else error.word


@pytest.mark.parametrize("name", ABOUT)
def test_what_waits_is_not_sent_to_another_history(name: str) -> None:
    world = up()
    world.cut()
    world.session.request(world.now, 2, ABOUT[name])
    world.broker = another()
    world.settle()
    assert code(world, 2) == "conflict"
    assert world.broker.tree["/a"].value == onetree.Value.json(5)


@pytest.mark.parametrize("name", ABOUT)
def test_what_waits_is_sent_to_the_history_that_it_is_about(name: str) -> None:
    world = up()
    world.cut()
    world.session.request(world.now, 2, ABOUT[name])
    world.settle()
    assert code(world, 2) != "conflict"


@pytest.mark.parametrize("name", ANY)
def test_what_is_about_any_history_is_sent_to_another(name: str) -> None:
    world = up()
    world.cut()
    world.session.request(world.now, 2, ANY[name])
    world.broker = another()
    world.settle()
    assert code(world, 2) == "done"


def test_a_transaction_is_about_the_history_of_its_snapshot() -> None:
    world = up()
    again = request.put("/a", 3, if_rev=1)
    before = world.session.history_of(again)
    world.cut()
    world.broker = another()
    world.settle()
    world.session.request(world.now, 2, request.put("/a", 2, if_rev=1), before)
    world.session.request(world.now, 3, again, world.session.history_of(again))
    world.settle()
    assert (code(world, 2), code(world, 3)) == ("conflict", "done")


def test_what_was_sent_before_another_history_began_is_unknown_and_holds_nobody_up() -> None:
    world = World()
    world.settle()
    # The very first write: another broker would take its number, too.
    world.session.request(world.now, 1, request.put("/a", 2, if_rev=1))
    world.session.request(world.now, 2, request.put("/b", 2))
    for _ in range(2):
        assert world.session.poll_transmit(world.now) is not None
    world.cut()
    world.broker = another()
    world.session.request(world.now, 3, request.put("/c", 3))
    world.settle()
    assert code(world, 1) == "outcome-unknown"
    assert code(world, 2) in ("done", "outcome-unknown")
    assert code(world, 3) == "done"
    assert world.broker.tree["/a"].value == onetree.Value.json(5)


def test_who_comes_back_under_another_name_says_why() -> None:
    def away(world: World) -> tuple[str, str, str]:
        [*_, error] = [s.error for s in world.statuses if isinstance(s, onetree.event.Offline)]
        # This is not the outcome of a write.
        return (error.word, error.action, str(error))

    world = up()
    world.cut()
    world.session.request(world.now, 2, request.put("/b", 2))
    world.broker = another()
    world.settle()
    behind = "so this client comes back under another name"
    assert code(world, 2) == "done"
    assert away(world) == ("lost", "retry", f"the broker has begun another history, {behind}")
    # The same history, but the broker has forgotten the name.
    world.broker.last.clear()
    world.cut()
    world.session.request(world.now, 3, request.put("/c", 2))
    world.settle()
    assert code(world, 3) == "done"
    why = "the broker does not know this client's writes"
    assert away(world) == ("lost", "retry", f"{why}, {behind}")


def test_what_waits_for_room_is_about_the_history_in_which_it_was_asked_for() -> None:
    async def story() -> None:
        async with naive() as server:
            options: Any = {"queue_bytes": 600, "backoff": (0.2, 0.2)}
            async with onetree.connect(server.url, **options) as client:
                await client.put("/a", 1)
                # Nobody answers from here on.
                server.deaf = True
                first = asyncio.ensure_future(client.put("/b", 1))
                await asyncio.sleep(0.01)
                late = asyncio.ensure_future(client.put("/a", 2, if_rev=1))
                await asyncio.sleep(0.01)
                server.broker, server.deaf = another(), False
                server.cut()
                await asyncio.gather(first, return_exceptions=True)
                with pytest.raises(onetree.Refused) as refused:
                    await late
                assert refused.value.code == "conflict"
                assert server.broker.tree["/a"].value == onetree.Value.json(5)

    run(story())
