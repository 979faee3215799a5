"""The session in simulations: the connection is cut at any point, every write takes effect once,
and the mirror is right. Also what the session does about errors, silence and other trouble."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from naive import Broker, Connection
from onetree import event as e
from onetree import request
from onetree.errors import (
    LONGEST,
    BadUrl,
    Closed,
    ConnectError,
    Ended,
    HttpAnswer,
    LinkLost,
    NotABroker,
    ProtocolBroken,
    Refused,
    Silent,
    Timeout,
)
from onetree.event import Verdict
from onetree.mirror import State
from onetree.options import Options, SubOptions
from onetree.protocol import frames as f
from onetree.protocol import json_codec, msgpack_codec
from onetree.protocol.digests import Digest
from onetree.protocol.values import Value
from onetree.protocol.views import View
from onetree.session import Session
from onetree.session import session as session_module
from onetree.session.effects import Connect, Disconnect, MirrorWent, Reply, StatusIs


class World:
    """A session, a broker, and what is on its way between them."""

    def __init__(self, seed: int = 1, broker: Broker | None = None, **options: Any) -> None:
        self.random = random.Random(seed)
        codec = self.random.choice(["json", "msgpack"])
        self.codec: Any = json_codec if codec == "json" else msgpack_codec
        options = {"codec": codec, "reconnect": "always", **options}
        self.session = Session(Options(**options), self.random)
        self.broker = broker or Broker()
        self.now = 0.0
        self.connection: Connection | None = None
        self.up: list[bytes | str] = []
        self.down: list[bytes | str] = []
        self.replies: dict[int, Reply] = {}
        self.events: list[e.Event] = []
        self.statuses: list[e.Status] = []
        self.connecting = False
        self.connects = 0

    def effects(self) -> None:
        while self.session.effects:
            effect = self.session.effects.popleft()
            if isinstance(effect, Connect):
                self.connecting = True
                self.connects += 1
            elif isinstance(effect, Disconnect):
                self.connecting = False
                self.lose()
            elif isinstance(effect, Reply):
                assert effect.ticket not in self.replies, "answered twice"
                self.replies[effect.ticket] = effect
            elif isinstance(effect, MirrorWent) and effect.event is not None:
                self.events.append(effect.event)
            elif isinstance(effect, StatusIs):
                self.statuses.append(effect.status)

    def lose(self) -> None:
        self.connection = None
        self.up.clear()
        self.down.clear()

    def cut(self) -> None:
        # Some of what was sent still arrives, but nothing comes back.
        for message in self.up[: self.random.randrange(len(self.up) + 1)]:
            if self.connection is not None:
                self.connection.handle(self.codec.decode_client(message))
        self.lose()
        self.session.handle_closed(self.now, LinkLost("cut"))
        self.effects()

    def connect(self) -> None:
        assert self.connecting
        self.connecting = False
        self.connection = Connection(self.broker)
        self.session.handle_open(self.now, self.now + 10)

    def step(self) -> bool:
        """Does any one thing that can be done. Returns whether there was one."""
        self.effects()
        can = []
        if self.connecting:
            can.append("connect")
        if self.connection is not None:
            message = self.session.poll_transmit(self.now)
            if message is not None:
                self.up.append(message)
                self.effects()
                return True
            if self.up:
                can.append("up")
            if self.down:
                can.append("down")
        elif not self.connecting and not self.session.is_over:
            can.append("wait")
        if not can:
            return False
        what = self.random.choice(can)
        if what == "connect":
            self.connect()
        elif what == "up":
            assert self.connection is not None
            frame = self.codec.decode_client(self.up.pop(0))
            self.down += map(self.codec.encode, self.connection.handle(frame))
        elif what == "down":
            self.session.handle_frame(self.now, self.codec.decode_server(self.down.pop(0)))
        else:
            at = self.session.next_timeout()
            assert at is not None
            self.now = max(self.now, at)
            self.session.handle_timeout(self.now)
        self.effects()
        return True

    def settle(self) -> None:
        for _ in range(20_000):
            if not self.step():
                return
        raise AssertionError("it does not come to rest")


def seeds() -> list[int]:
    """Returns the seeds. ONETREE_SEED names the only one."""
    named = os.environ.get("ONETREE_SEED")
    return [int(named)] if named else [random.randrange(1 << 32) for _ in range(60)]


@pytest.mark.parametrize("seed", seeds())
def test_cuts_at_any_point(seed: int) -> None:
    print(f"ONETREE_SEED={seed}")
    world = World(seed, request_timeout=1e9)
    r = world.random
    state = State(View("/"))
    copy: dict[str, f.Entry] = {}
    world.session.mirror(1, state, SubOptions())
    ticket, refused = 0, set()
    for _ in range(r.randrange(20, 200)):
        action = r.random()
        if action < 0.35:
            ticket += 1
            path = f"/{r.choice('abc')}/{r.choice('abc')}"
            write: Any = r.choice(
                [
                    request.put(path, ticket),
                    request.append("/log", ticket),
                    request.delete(path),
                    request.drop_tree(path[:2]),
                    request.put("/refused" if r.random() < 0.2 else path, ticket),
                    request.Txn().put(path, 1).append("/log", 2).frame,
                    request.Txn().if_rev(path, 1 << 40).put(path, 1).frame,
                ]
            )
            if isinstance(write, f.Put) and write.path == "/refused":
                refused.add(ticket)
            world.session.request(world.now, ticket, write)
        elif action < 0.4 and world.connection is not None:
            world.cut()
        elif action < 0.42 and world.connection is not None:
            # A write of another client.
            world.connection.execute(request.put("/others", 1))
            world.down += map(world.codec.encode, world.connection.deltas())
        elif action < 0.45:
            world.session.resync(1)
        else:
            world.step()
    world.settle()
    # Every write was answered. What was done, or refused by the tree, was executed once. What was
    # refused before it reached the tree, or was given up after too many refused neighbours, was not
    # executed.
    assert world.replies.keys() == set(range(1, ticket + 1))
    executed = 0
    for number, reply in world.replies.items():
        code = None if reply.error is None else reply.error.code
        executed += code in (None, "conflict")
        assert code in (("unavailable", "seq-gap") if number in refused else
                        (None, "conflict", "seq-gap")), reply  # fmt: skip
    assert len(world.broker.executed) == len(set(world.broker.executed)) == executed
    world.session.want_sync()
    world.settle()
    assert dict(state._store.entries) == world.broker.tree
    assert state.digest() == world.connection.broker.digest(state_sub())  # type: ignore[union-attr]
    assert not [ev for ev in world.events if isinstance(ev, e.Corrupt | e.Broken)]
    for event in world.events:
        for change in getattr(event, "changes", ()):
            assert copy.pop(change.path, None) == change.old
            if change.new is not None:
                copy[change.path] = change.new
    assert copy == world.broker.tree


def state_sub() -> f.Sub:
    return f.Sub(1, 1, "/")


def online(**options: Any) -> World:
    world = World(**options)
    world.settle()
    assert world.session.link == "up"
    return world


def test_a_broker_that_has_forgotten_answers_is_met_under_another_name() -> None:
    world = online()
    name = world.session.name
    world.session.request(0, 1, request.put("/a", 1))
    world.settle()
    world.session.request(0, 2, request.put("/b", 2))
    world.up.append(world.session.poll_transmit(world.now))  # type: ignore[arg-type]
    assert world.connection is not None
    world.connection.handle(world.codec.decode_client(world.up[-1]))
    world.broker.restart()
    world.cut()
    world.settle()
    # The write was executed, and nobody can say so any more.
    error = world.replies[2].error
    assert isinstance(error, Refused) and error.code == "outcome-unknown"
    assert world.session.name != name
    world.session.request(world.now, 3, request.put("/c", 3))
    world.settle()
    assert world.replies[3].error is None


def test_no_more_than_the_broker_takes_at_once() -> None:
    world = online()
    for ticket in range(1, 50):
        world.session.request(0, ticket, request.put("/a", ticket))
    sent = 0
    while world.session.poll_transmit(world.now) is not None:
        sent += 1
    assert sent == 8


@pytest.mark.parametrize("write", [
    request.put("/large", "x" * 65_537), request.append("/large", "x" * 65_537),
    request.Txn().delete("/b").put("/a", 1).put("/large", "x" * 65_537).frame,
    f.SendSignal(0, "/large", Value.text("x" * 65_537)),
])  # fmt: skip
def test_of_a_value_that_is_too_large_it_is_said_where(write: Any) -> None:
    world = online()
    world.session.request(0, 1, write)
    world.settle()
    world.effects()
    error = world.replies[1].error
    assert isinstance(error, Refused) and error.word == "value-too-large"
    assert error.path == "/large"


def test_a_request_that_nobody_answers_times_out_and_a_write_is_sent_again() -> None:
    world = online(request_timeout=5.0)
    world.session.request(0, 1, request.put("/a", 1))
    assert world.session.poll_transmit(world.now) is not None
    world.session.handle_timeout(4.9)
    world.effects()
    assert not world.replies
    world.session.handle_timeout(5.0)
    world.effects()
    error = world.replies[1].error
    assert isinstance(error, Timeout) and error.sent
    world.cut()
    world.settle()
    assert "/a" in world.broker.tree and len(world.broker.executed) == 1


def test_a_comparison_that_nobody_answers_times_out() -> None:
    world = online(request_timeout=5.0)
    session = world.session
    session.mirror(1, State(View("/")), SubOptions())
    world.settle()
    session.verify(1.0, 1, 1)
    sync = world.codec.decode_client(session.poll_transmit(1.0))
    session.verify(2.0, 2, 1)
    assert session.next_timeout() == 6.0
    session.handle_timeout(5.9)
    world.effects()
    assert not world.replies
    for ticket, sent, at in ((1, True, 6.0), (2, False, 7.0)):
        session.handle_timeout(at)
        world.effects()
        assert world.replies.keys() == {*range(1, ticket + 1)}
        error = world.replies[ticket].error
        # As any read, it may be requested again.
        assert isinstance(error, Timeout) and error.sent == sent and error.action == "retry"
    # An answer that comes late is ignored, and so is the end.
    session.handle_frame(7.0, f.Sync(0, {1: Digest(0, 0)}, sync.id))
    world.effects()
    session.verify(7.0, 3, 1)
    world.cut()
    assert world.replies[3].reply == Verdict("unknown")
    at = session.next_timeout()
    assert at is not None and at < 11.0


def test_a_comparison_says_where_they_are_the_same_or_what_differs() -> None:
    world = online()
    session = world.session
    session.mirror(1, State(View("/")), SubOptions())
    world.settle()
    for ticket, digest in ((1, Digest(0, 0)), (2, Digest(1, 2))):
        session.verify(world.now, ticket, 1)
        sync = world.codec.decode_client(session.poll_transmit(world.now))
        session.handle_frame(world.now, f.Sync(0, {1: digest}, sync.id))
        world.effects()
    assert world.replies[1].reply == Verdict("same", 0)
    assert world.replies[2].reply == Verdict("differs", None, Digest(1, 2), Digest(0, 0))


def test_silence_is_the_end_of_a_connection() -> None:
    world = online()
    at = world.session.next_timeout()
    assert at == 11.0  # the heartbeat and ten seconds
    world.session.handle_timeout(10.9)
    assert world.session.link == "up"
    world.session.handle_timeout(at)
    world.effects()
    assert isinstance(world.statuses[-1], e.Offline)
    assert world.statuses[-1].error.code == "silent"


def test_a_part_of_a_message_is_no_silence() -> None:
    world = online()
    world.session.handle_heard(8.0)
    assert world.session.next_timeout() == 19.0
    world.session.handle_timeout(18.9)
    assert world.session.link == "up"


def test_a_bye_is_waited_for_from_when_it_is_said() -> None:
    world = online()
    world.session.close(8.0, True)
    assert isinstance(world.codec.decode_client(world.session.poll_transmit(8.0)), f.Bye)
    # The time for the `bye` does not count from the last message, which may be long ago.
    assert world.session.next_timeout() == 11.0
    world.session.handle_heard(8.5)
    assert world.session.next_timeout() == 13.0
    world.session.handle_timeout(13.0)
    assert world.session.is_over


def test_a_client_that_leaves_ends_when_its_last_request_is_refused_without_being_sent() -> None:
    world = online()
    large = request.put("/a", "x" * (1 << 17))
    world.session.request(0, 1, large)
    world.session.close(0, False)
    assert world.session.poll_transmit(0) is None
    assert world.session.is_over


@pytest.mark.parametrize("code, over", [("session-taken", True), ("shutting-down", False),
                                        ("internal", False), ("bad-frame", True)])  # fmt: skip
def test_a_close_code_says_whether_to_come_back(code: str, over: bool) -> None:
    world = online()
    world.lose()
    world.session.handle_closed(0, Ended(code, "so it is", 3.0))
    world.effects()
    assert world.session.is_over == over
    if not over:
        # The wait is exactly the one that the broker asked for.
        assert world.session.next_timeout() == 3.0


@pytest.mark.parametrize("given, over, times", [
    ([], False, 0), ([LinkLost("no")], False, 1), ([Silent(1)], False, 1),
    ([ProtocolBroken("no")], False, 1), ([LinkLost("no"), Silent(1), LinkLost("no")], False, 3),
    # These were answered, and the last one is about a session that is over.
    ([Ended("shutting-down", "no"), Ended("too-many-connections", "no")], False, 0),
    ([LinkLost("no")], True, 0),
])  # fmt: skip
def test_a_late_hello_of_its_own_does_not_end_a_client_but_another_user_of_its_session_does(
    given: list[ConnectError], over: bool, times: int
) -> None:
    world = online()
    session = world.session

    def lose(error: ConnectError) -> None:
        world.lose()
        session.handle_closed(world.now, error)
        world.effects()

    lose(LinkLost("no"))
    for error in given:
        world.now = session.next_timeout() or world.now
        session.handle_timeout(world.now)
        world.effects()
        world.connect()
        hello = world.codec.decode_client(session.poll_transmit(world.now))
        assert hello.session is not None
        lose(error)
    world.broker.resumes = not over
    for _ in range(times):
        world.settle()
        lose(Ended("session-taken", "no"))
        assert isinstance(world.statuses[-1], e.Offline)
        assert isinstance(world.statuses[-1].error, LinkLost)
    world.settle()
    assert session.link == "up"
    lose(Ended("session-taken", "no"))
    assert isinstance(world.statuses[-1], e.Ended)
    assert world.statuses[-1].error is not None
    assert world.statuses[-1].error.code == "session-taken"


def test_reconnect_never_and_only_after_the_first() -> None:
    for reconnect, over in (("never", True), ("after-first", False)):
        world = online(reconnect=reconnect)
        world.cut()
        assert world.session.is_over == over
    world = World(reconnect="after-first")
    world.effects()
    world.session.handle_closed(0, LinkLost("away"))
    assert world.session.is_over
    world = World(reconnect="always")
    world.effects()
    world.session.handle_closed(0, BadUrl("no"))
    assert world.session.is_over


def test_a_token_is_asked_for_once_more_at_once() -> None:
    world = online(token=lambda: "t")
    for again in (True, False):
        world.lose()
        world.session.handle_closed(0, Ended("unauthorized", "no"))
        world.effects()
        assert world.session.is_over != again
        if again:
            assert world.session.next_timeout() == 0.0
            world.session.handle_timeout(0.0)
            world.effects()
            world.session.handle_open(0.0, 10.0)
    world = online(token="t")
    world.session.handle_closed(0, Ended("unauthorized", "no"))
    assert world.session.is_over


def refuse(world: World) -> bool:
    """The token is refused. Returns whether the client goes on, and is online again."""
    world.lose()
    world.connecting = False
    world.session.handle_closed(world.now, Ended("unauthorized", "no"))
    world.settle()
    return world.session.link == "up"


def test_a_client_that_is_not_to_connect_again_does_not_with_another_token() -> None:
    assert not refuse(online(reconnect="never", token=lambda: "t"))
    # As long as there was no connection, this is still the first attempt.
    world = World(reconnect="never", token=lambda: "t")
    world.effects()
    assert refuse(world)


@pytest.mark.parametrize("reconnect", ["after-first", "always"])
def test_a_token_that_is_refused_behind_welcome_is_not_asked_for_for_ever(reconnect: str) -> None:
    world = online(reconnect=reconnect, token=lambda: "t")
    assert refuse(world)
    # The connection was good for a while.
    world.now += session_module.GOOD
    assert refuse(world)
    world.now += session_module.GOOD - 0.1
    world.cut()
    world.settle()
    assert not refuse(world)
    assert world.session.is_over and world.connects == 4


@pytest.mark.parametrize("good", [True, False])
def test_a_connection_was_good_also_where_another_name_follows(good: bool) -> None:
    world = online(token=lambda: "t")
    assert refuse(world)
    world.now += session_module.GOOD - (0 if good else 0.1)
    world.session.request(world.now, 1, request.put("/a", 1))
    [put] = said(world)
    world.session.handle_frame(world.now, f.Error("outcome-unknown", "no", put.id))
    assert world.session.link == "down"
    world.settle()
    assert refuse(world) == good


def test_a_mirror_that_is_wrong_again_and_again_waits_longer_each_time() -> None:
    world = online()
    world.session.mirror(1, State(View("/")), SubOptions())
    world.settle()

    def wrong(after: float) -> float:
        """Finds it wrong after so many seconds, and returns how many it waits then."""
        world.now += after
        world.session.handle_frame(world.now, f.Sync(9, {1: Digest(77, 1)}))
        world.effects()
        last = world.events[-1]
        if not isinstance(last, e.Circling):
            assert last.name == "corrupt"
            world.settle()
            assert world.events[-1].name == "fresh"
            return 0
        assert world.session.poll_transmit(world.now) is None
        world.now += last.retry_in
        world.session.handle_heard(world.now)
        world.session.handle_timeout(world.now)
        world.settle()
        assert world.events[-1].name == "fresh"
        return last.retry_in

    waits = [wrong(1) for _ in range(11)]
    assert waits == [0, 0, 0, 10, 20, 40, 80, 160, 300, 300, 300]
    # After a minute without a restart it begins anew.
    for _ in range(2):
        world.session.handle_heard(world.now + 61)
        assert [wrong(61), *(wrong(1) for _ in range(3))] == [0, 0, 0, 10]


def test_the_end_answers_everything() -> None:
    for bye in (True, False):
        world = online()
        world.session.request(0, 1, request.put("/a", 1))
        world.session.close(0, bye)
        world.session.request(0, 2, request.put("/b", 1))
        world.effects()
        assert world.replies[2].error is not None
        for _ in range(20):
            if world.connection is None:
                break
            message = world.session.poll_transmit(world.now)
            if message is not None:
                frame = world.codec.decode_client(message)
                answers = (
                    [f.Ok(frame.id)] if isinstance(frame, f.Bye) else world.connection.handle(frame)
                )
                for answer in answers:
                    world.session.handle_frame(0, answer)
                    world.effects()
        assert world.replies[1].error is None
        assert isinstance(world.statuses[-1], e.Ended) and world.statuses[-1].error is None


def test_after_the_end_nothing_is_to_be_done_any_more() -> None:
    # A time that is past and stays would keep an application busy for ever.
    world = online()
    world.session.close(0, False)
    assert world.session.is_over
    assert world.session.next_timeout() is None


def said(world: World) -> list[Any]:
    """Returns everything that the session has to send now."""
    frames = []
    while (message := world.session.poll_transmit(world.now)) is not None:
        frames.append(world.codec.decode_client(message))
    return frames


@pytest.mark.parametrize("unread", [1, 4, 9])
@pytest.mark.parametrize("seed", range(8))
def test_what_the_broker_cannot_read_and_cannot_name_is_found(unread: int, seed: int) -> None:
    world = World(seed)
    world.settle()
    for n in range(1, 10):
        path = "/no-json" if n == unread else f"/{n}"
        world.session.request(world.now, n, request.put(path, n))
    world.settle()
    failed = {n: reply.error.code for n, reply in world.replies.items() if reply.error}
    assert failed == {unread: "bad-frame"}
    assert "it is no JSON" in str(world.replies[unread].error)
    assert [*world.broker.tree] == [f"/{n}" for n in range(1, 10) if n != unread]
    # Then as many go out at once as before.
    for n in range(11, 14):
        world.session.request(world.now, n, request.put(f"/{n}", n))
    assert len(said(world)) == 3


@pytest.mark.parametrize("seed", seeds()[:5])
def test_refused_neighbours_however_many_take_no_good_write_along(seed: int) -> None:
    world = World(seed)
    world.settle()
    for n in range(40):
        path = "/refused" if n % 2 else f"/{n}"
        world.session.request(world.now, n, request.put(path, n))
    world.settle()
    words = [None if error is None else error.word for error in
             (world.replies[n].error for n in range(40))]  # fmt: skip
    assert words == [None, "unavailable"] * 20


def test_who_sends_first_writes_again_says_since_when_they_may_have_happened() -> None:
    world = online()
    session = world.session

    def hello(rev: int) -> int | None:
        session.handle_closed(world.now, LinkLost("cut"))
        at = session.next_timeout()
        assert at is not None
        world.now = at
        session.handle_timeout(at)
        session.handle_open(at, at + 10)
        frame = world.codec.decode_client(session.poll_transmit(at))
        limits = f.Limits(1_000_000, 1_000_000, 9, 9)
        welcome = f.Welcome(frame.id, "s", world.broker.epoch, rev, 1000, "d" * 32, limits)
        session.handle_frame(at, welcome)
        since = frame.since
        assert since is None or isinstance(since, int)
        return since

    assert hello(5) is None
    session.request(world.now, 1, request.put("/a", 1))
    assert len(said(world)) == 1
    session.request(world.now, 2, request.put("/b", 1))
    # The broker was at 5 when the first write was sent, whatever it is at now.
    assert (hello(7), len(said(world)), hello(9)) == (5, 2, 5)
    first = said(world)[0]
    session.handle_frame(world.now, f.Done(first.id, 10, True, []))
    # By a number above 1 the broker itself sees that it has forgotten the client.
    assert hello(11) is None


def test_a_broker_that_cannot_read_a_frame_and_does_not_answer_the_others_is_left() -> None:
    world = online(request_timeout=5.0)
    for n in (1, 2):
        world.session.request(0, n, request.put("/a", n))
    assert len(said(world)) == 2
    world.session.handle_frame(0, f.Error("bad-frame", "it is no JSON"))
    world.session.request(0, 3, request.put("/b", 1))
    assert said(world) == []
    world.session.handle_timeout(5.0)
    world.effects()
    assert isinstance(world.statuses[-1], e.Offline)
    assert isinstance(world.statuses[-1].error, ProtocolBroken)


def test_a_request_that_may_still_happen_is_not_to_be_asked_again() -> None:
    world = online(request_timeout=5.0)
    world.session.request(0, 1, request.append("/log", 1))
    assert world.session.poll_transmit(world.now) is not None
    world.cut()
    world.session.request(0, 2, request.append("/log", 2))
    world.session.handle_timeout(5.0)
    world.effects()
    told = [(r.error.sent, r.error.action) for r in world.replies.values()]  # type: ignore[union-attr]
    assert told == [(True, "stop"), (False, "retry")]


READS = (f.Get(0, ("/a",)), f.List(0, "/"), f.Auth(0, "t"))


@pytest.mark.parametrize(
    "end, word, read, signal, unsent",
    [
        (None, "timeout", "retry", ("timeout", "stop"), "retry"),
        # The client ended by itself: the error that ended it says what helps.
        (LinkLost("cut"), "ended", "retry", ("lost", "retry"), "retry"),
        (NotABroker("no"), "ended", "fix", ("lost", "retry"), "fix"),
        (Ended("session-taken", "no"), "session-taken", "stop", ("lost", "retry"), "stop"),
        # The client was closed: nobody must begin again what the application has ended.
        ("closed", "closed", "stop", ("lost", "retry"), "stop"),
    ],
)
def test_a_read_that_was_sent_may_be_asked_again(
    end: Any, word: str, read: str, signal: tuple[str, str], unsent: str
) -> None:
    world = online(request_timeout=5.0, reconnect="never")
    value = Value.json(1)
    asked = [*READS, f.SendSignal(0, "/a", value), request.put("/a", value), READS[0]]
    for ticket, frame in enumerate(asked[:-1], 1):
        world.session.request(0, ticket, frame)
    assert len(said(world)) == 5
    world.session.request(0, 6, asked[-1])
    if end is None:
        world.session.handle_timeout(5.0)
    elif end == "closed":
        world.session.close(0, True)
        world.session.handle_closed(0, LinkLost("cut"))
    else:
        world.session.handle_closed(0, end)
    world.effects()
    errors = [world.replies[n].error for n in range(1, 7)]
    told = [(error.word, error.action) for error in errors if error is not None]
    assert told == [(word, read)] * 3 + [signal, (word, "stop"), (word, unsent)]
    assert ["happen" in str(error) for error in errors[:3]] == [False] * 3
    assert "happen" in str(errors[4])


def test_the_end_says_of_each_request_whether_it_was_sent() -> None:
    world = online()
    world.session.request(0, 1, request.put("/a", 1))
    assert world.session.poll_transmit(world.now) is not None
    world.cut()
    world.session.request(0, 2, request.put("/b", 1))
    world.session.handle_closed(0, BadUrl("no"))
    world.session.close(0, True)
    world.session.request(0, 3, request.put("/c", 1))
    world.effects()
    errors = [world.replies[n].error for n in (1, 2, 3)]
    assert [error.sent for error in errors if isinstance(error, Closed)] == [True, False, False]
    assert "may have happened" in str(errors[0]) and "never sent" in str(errors[1])


@pytest.mark.parametrize("taken", [True, False])
def test_a_token_is_that_of_later_connections_when_the_broker_has_taken_it(taken: bool) -> None:
    world = online(token="old")
    world.session.request(0, 1, f.Auth(0, "new"))
    (auth,) = said(world)
    answer = f.Ok(auth.id) if taken else f.Error("unauthorized", "no", auth.id)
    world.session.handle_frame(0, answer)
    world.cut()
    world.session.handle_timeout(world.session.next_timeout() or 0)
    world.effects()
    world.connect()
    assert said(world)[0].token == ("new" if taken else "old")


def test_a_mirror_that_is_closed_between_hello_and_welcome_is_unsubscribed() -> None:
    world = World()
    world.effects()
    world.session.mirror(7, State(View("/")), SubOptions())
    world.connect()
    (hello,) = said(world)
    assert [sub.sub for sub in hello.subs] == [7]
    world.session.drop_mirror(7)
    assert world.connection is not None
    for frame in world.connection.handle(hello):
        world.session.handle_frame(0, frame)
    assert [(type(frame), frame.sub) for frame in said(world)] == [(f.Unsub, 7)]


@pytest.mark.parametrize("closes", [True, False])
def test_behind_its_bye_the_broker_is_listened_to_until_it_closes(closes: bool) -> None:
    world = online()
    world.session.request(0, 1, request.put("/a", 1))
    (put,) = said(world)
    world.session.handle_frame(0, f.Goodbye("shutting-down", "so long", 700))
    world.session.request(0, 2, request.put("/b", 1))
    world.session.want_sync()
    assert said(world) == []
    world.session.handle_frame(0, f.Done(put.id, 1, True))
    world.effects()
    assert [(n, reply.error) for n, reply in world.replies.items()] == [(1, None)]
    assert world.connection is not None
    if closes:
        world.session.handle_closed(0, LinkLost("cut"))
    else:
        assert world.session.next_timeout() == 5.0
        world.session.handle_timeout(5.0)
    world.effects()
    status = world.statuses[-1]
    assert isinstance(status, e.Offline)
    assert (status.error.code, status.retry_in) == ("shutting-down", 0.7)


def test_who_is_told_to_come_back_at_once_waits_as_if_nothing_was_said() -> None:
    for error in (Ended("shutting-down", "", 0.0), HttpAnswer("x", 503, "full", 0.0)):
        world = online()
        world.session.handle_closed(0, error)
        world.effects()
        status = world.statuses[-1]
        assert isinstance(status, e.Offline) and status.retry_in > 0


def test_who_is_told_to_come_back_in_a_million_years_comes_back_before() -> None:
    for wait in (4294967.295, 1.8e19, float("inf")):
        for error in (Ended("shutting-down", "", wait), HttpAnswer("x", 503, "full", wait)):
            world = online()
            world.session.handle_closed(0, error)
            world.effects()
            status = world.statuses[-1]
            assert isinstance(status, e.Offline) and status.error.retry_in == LONGEST
            assert world.session.next_timeout() == status.retry_in == LONGEST
