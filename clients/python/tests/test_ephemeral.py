"""What is gone with a session that is over is not reported as if it was there."""

from __future__ import annotations

from typing import Any

import pytest

from naive import Broker
from onetree import request
from onetree.errors import Refused
from onetree.protocol import frames as f
from test_session import World, online

WRITES: dict[str, Any] = {
    "put": lambda ephemeral: request.put("/lock", "me", if_rev=0, ephemeral=ephemeral),
    "append": lambda ephemeral: request.append("/log", "me", ephemeral=ephemeral),
    "txn that puts": lambda ephemeral: (
        request.Txn().delete("/a").put("/lock", "me", ephemeral=ephemeral).frame
    ),
    "txn that appends": lambda ephemeral: (
        request.Txn().delete("/a").append("/log", "me", ephemeral=ephemeral).frame
    ),
}


def come_back(write: f.Request, resumed: bool, executed: bool = True) -> World:
    """Loses the connection before the answer to a write, which was executed before that or will be
    after it."""
    world = online()
    world.session.request(world.now, 1, write)
    message = world.session.poll_transmit(world.now)
    assert message is not None and world.connection is not None
    if executed:
        world.connection.handle(world.codec.decode_client(message))
    world.cut()
    world.broker.resumes = resumed
    world.settle()
    assert len(world.broker.executed) == 1
    return world


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_happened_in_a_session_that_is_over_is_not_told_as_done(write: Any) -> None:
    world = come_back(write(ephemeral=True), resumed=False)
    error = world.replies[1].error
    assert isinstance(error, Refused)
    assert (error.word, error.action) == ("outcome-unknown", "stop")
    assert error.message == (
        "it happened in a session that is over, and what was ephemeral went with it"
    )
    # The broker has answered: the numbers continue, under the same name.
    name = world.session.name
    world.session.request(world.now, 2, write(ephemeral=True))
    world.settle()
    assert len(world.broker.executed) == 2 and world.session.name == name


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize(
    ("resumed", "executed", "ephemeral"),
    [(True, True, True), (False, False, True), (False, True, False)],
    ids=["it goes on", "it happened in the new one", "it outlives sessions"],
)
def test_what_is_done_in_the_session_of_now_is_told_as_done(
    write: Any, resumed: bool, executed: bool, ephemeral: bool
) -> None:
    world = come_back(write(ephemeral=ephemeral), resumed, executed)
    assert isinstance(world.replies[1].reply, f.Done), world.replies[1]


def test_a_session_that_another_history_knows_began_in_that_one() -> None:
    broker = Broker()
    broker.rev = 50
    world = online(broker=broker)
    world.cut()
    # The broker was restored from a backup, in which the session owns something.
    broker.epoch, broker.rev, broker.resumes = "d" * 32, 3, True
    world.session.request(world.now, 1, request.put("/lock", "me", ephemeral=True))
    world.settle()
    assert isinstance(world.replies[1].reply, f.Done), world.replies[1]
