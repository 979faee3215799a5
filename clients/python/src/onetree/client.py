"""The client: it drives a session with a socket and a clock, and is the application's handle to the
connection."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Generator, Iterable, Sequence
from random import Random
from types import TracebackType
from typing import Any, Final, Literal, cast

from . import request, token
from .errors import Closed, ConnectError, LinkLost, ProtocolBroken, QueueFull, Refused
from .event import Connecting, Delta, Ended, Event, Online, Status, Verdict
from .given import given, millis, plain, several
from .keep import Keep, load, place
from .live import Mirror
from .loops import within
from .mirror import State
from .options import AGENT, Options, SubOptions, Token
from .protocol import frames, json_codec, msgpack_codec
from .protocol.cookies import Cookie
from .protocol.frames import Done, Entry, Found, Write
from .protocol.kinds import flag, u32, word
from .protocol.kinds import paths as check_paths
from .protocol.paths import check_path
from .protocol.views import Depth, View
from .protocol.wrong import Wrong
from .room import Room
from .session import Session
from .session.effects import Connect, Disconnect, MirrorWent, Release, Reply, StatusIs
from .snapshot import Snapshot
from .transport import Link, parse_url

_log = logging.getLogger("onetree")
BUSY: Final = 1.0
"""How long, in seconds, what is overdue waits at most for a socket that always has something."""


class _Waiting:
    """A request that the application waits for."""

    __slots__ = ("answer", "cost", "future")

    def __init__(self, future: asyncio.Future[Any], cost: int, answer: type) -> None:
        self.future = future
        self.cost = cost
        self.answer = answer
        """The class of the expected answer."""


class Client:
    """A client of one broker, from `connect` or `start`. Any number of tasks of the event loop in
    which it was made can use it; a call from elsewhere is refused (`Wrong`). It ends with `close`
    or `leave`. The end of an `async with` block closes it."""

    def __init__(self, url: str, options: Options) -> None:
        self._url = parse_url(url)
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._session = Session(options, Random(secrets.randbits(256)))
        self._decode: Any = (
            json_codec.decode_server if options.codec == "json" else msgpack_codec.decode_server
        )
        self._kind = str if options.codec == "json" else bytes
        self._status: Status = Connecting()
        self._status_changed: asyncio.Future[None] = self._loop.create_future()
        self._mirrors: dict[int, Mirror] = {}
        self._last_sub = 0
        self._last_ticket = 0
        self._waiting: dict[int, _Waiting] = {}
        self._room = Room(options.queue_bytes, options.request_timeout)
        self._link: asyncio.Task[None] | None = None
        self._wake: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        # When it fires. If it looks for what has arrived, 0: no other one replaces it then.
        self._timer_at = 0.0
        self._pumping = False
        self._pump()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # The state of the connection.

    @property
    def status(self) -> Status:
        """The state of the connection: `Connecting`, `Online`, `Offline` or `Ended`."""
        return self._status

    async def statuses(self) -> AsyncIterator[Status]:
        """Yields the states of the connection: the one of now, then each change. Ends after
        `Ended`. A slow reader gets the latest state; states that came and went meanwhile are left
        out."""
        last: Status | None = None
        while not isinstance(last, Ended):
            last = await self.status_past(last)
            yield last

    async def status_past(self, last: Status | None) -> Status:
        """For `statuses`: waits until the state is not `last`, and returns it."""
        within(self._loop)
        while self._status is last:
            await self._status_change()
        return self._status

    async def until(self, *names: str) -> Status:
        """Waits until the state of the connection has one of these names: `connecting`, `online`,
        `offline` or `ended`. Raises `Closed` if the client has ended without reaching such a state.
        """
        within(self._loop)
        for name in names:
            given("until", word("connecting", "online", "offline", "ended"), name)
        while self._status.name not in names:
            if isinstance(self._status, Ended):
                raise self._closed()
            await self._status_change()
        return self._status

    async def _status_change(self) -> None:
        await asyncio.shield(self._status_changed)

    # Writes.

    async def put(
        self,
        path: str,
        value: object,
        *,
        if_rev: int | None = None,
        ttl: float | None = None,
        ephemeral: bool = False,
    ) -> Done:
        """Puts `value` at `path`. The value is a `Value`, or anything that `Value.make` takes:
        `str` becomes text, bytes stay bytes, and anything else becomes JSON.

        `if_rev`: puts only if the entry is at this revision; 0 means only if there is no entry.
        `ttl`: how long the entry lives, in seconds. Then the broker deletes it.

        `ephemeral` binds the entry to the session. The broker deletes the entry when the session is
        over: when the client closes, or when there was no connection for longer than the broker's
        grace (30 s, unless its `session_grace_ms` says something else). The client does not put the
        entry again when a session was lost. The application may do that, at an `Online` that is not
        `resumed`. If the put happened, but its session was over before the answer came, the put
        fails with `outcome-unknown`: the entry is gone.

        With `if_rev=0` such an entry is a lock, or elects a leader. `rev` of the `Done` is the
        fencing token: each later holder has a higher one. A holder that is offline must step down
        before the grace is over, and nobody tells the holder when that is. The grace begins when
        the broker loses the connection. The client may notice the loss later, by as much as
        `heartbeat` of `Online` plus 10 s.

        If the answer to a write is lost, the client sends the write again until it is answered. The
        write takes effect once. To cancel the call does not take the write back. Raises `Refused`,
        `Timeout`, `Closed`, and `Wrong` for wrong arguments."""
        return await self.write(
            request.put(path, value, if_rev=if_rev, ttl=ttl, ephemeral=ephemeral)
        )

    async def append(
        self, path: str, value: object, *, ttl: float | None = None, ephemeral: bool = False
    ) -> Done:
        """Appends `value` to the log at `path`. `paths` of the answer has the path that the broker
        assigned. For the rest see `put`."""
        return await self.write(request.append(path, value, ttl=ttl, ephemeral=ephemeral))

    async def delete(self, path: str, *, if_rev: int | None = None) -> Done:
        """Deletes the entry at `path`. It is no error if there is none."""
        return await self.write(request.delete(path, if_rev=if_rev))

    async def drop_tree(self, path: str, *, if_rev: int | None = None) -> Done:
        """Deletes everything at and under `path`. `if_rev`: only if nothing there has changed after
        this revision."""
        return await self.write(request.drop_tree(path, if_rev=if_rev))

    async def trim(self, path: str, to: str) -> Done:
        """Deletes the entries of the log at `path` up to and including the key `to`."""
        return await self.write(request.trim(path, to))

    async def txn(self, txn: request.Txn) -> Done:
        """Commits several writes as one, all or nothing. Raises `Refused` with `conflict` if a
        condition does not hold."""
        given("txn", request.transaction, txn)
        return await self.write(txn)

    async def write(self, write: Write | request.Txn) -> Done:
        """Writes, and waits for the answer. The functions of `onetree.request` make the write."""
        return await (await self.enqueue(write))

    async def enqueue(self, write: Write | request.Txn) -> asyncio.Future[Done]:
        """Puts a write into the queue and returns a future of its answer, so that one task can have
        thousands of writes on their way, in their order. Waits for room in the queue."""
        within(self._loop)
        frame = given("write", request.written, write)
        return await self._enqueue(frame, self._session.history_of(frame))

    @property
    def last_done(self) -> tuple[str | None, int]:
        """For `transact`: the present history, and the highest revision in it at which the
        application was told that a write is done."""
        return self._session.last_done

    async def txn_of(self, txn: request.Txn, history: str | None) -> Done:
        """For `transact`: commits a transaction that is about this history and no other."""
        return cast(Done, await (await self._enqueue(txn.frame, history)))

    def submit(self, write: Write | request.Txn) -> asyncio.Future[Done]:
        """Puts a write into the queue and returns a future of its answer. Does not wait: raises
        `QueueFull` if there is no room."""
        within(self._loop)
        frame = given("write", request.written, write)
        cost = self._room.needed(request.cost(frame))
        if not self._room.try_acquire(cost):
            raise QueueFull
        of = self._session.history_of(frame)
        return cast("asyncio.Future[Done]", self._hand_over(frame, cost, of))

    async def signal(self, path: str, value: object) -> None:
        """Sends a signal to the subscribers that are connected now, and returns when the broker has
        it. A signal is never sent twice: if the connection is lost before the answer, this raises
        `Lost`. Without a connection the signal waits for one, as a write does, and arrives that
        much later. If a signal must not come late, send it only while the client is `Online`."""
        await self._ask(frames.SendSignal(0, path, request.value_at(path, value)))

    # Reads.

    async def get(self, path: str) -> Entry | None:
        """Reads the entry at `path` from the broker; `None` if there is none."""
        entries = (await self.get_many([path])).entries
        return entries[0] if entries else None

    async def get_many(self, paths: Iterable[str]) -> Found:
        """Reads the entries at up to 1,024 paths from the broker, all at one revision. Paths
        without an entry are left out."""
        checked = given("paths", lambda found: check_paths(several(found)), paths)
        return cast(Found, await self._ask(frames.Get(0, checked)))

    async def list(
        self,
        path: str,
        *,
        depth: Depth = "tree",
        after: str | None = None,
        before: str | None = None,
        limit: int = 0,
        reverse: bool = False,
        values: bool = True,
    ) -> Found:
        """Reads one page of the entries at and under `path` from the broker, in path order,
        strictly between `after` and `before`. `limit`: at most this many entries; 0: as many as the
        broker likes. `reverse`: from the last path to the first."""
        View(path, depth)
        for bound in (after, before):
            if bound is not None:
                check_path(bound)
        frame = frames.List(
            0, path, depth, after, before, given("limit", u32, limit),
            given("reverse", flag, reverse), given("values", flag, values),
        )  # fmt: skip
        return cast(Found, await self._ask(frame))

    async def auth(self, token: str) -> None:
        """Gives the broker a later token. Once the broker has taken it, later connections use it,
        too."""
        await self._ask(frames.Auth(0, given("token", plain, token)))

    # Mirrors.

    def mirror(
        self,
        view: View | str,
        *,
        depth: Depth = "tree",
        match: Sequence[str] = (),
        tail: int | None = None,
        values: bool = True,
        signals: bool = False,
        every: float = 0.0,
        once: bool = False,
        from_: tuple[Cookie, Iterable[Entry]] | Snapshot | None = None,
        keep: Keep | str | os.PathLike[str] | None = None,
    ) -> Mirror:
        """Starts a live copy of a view, which is a `View`, or a path with the other parts of a
        view.

        `signals`: also receives signals. `every`: at most one delta in this many seconds; changes
        are folded meanwhile. `once`: ends the mirror when it is fresh. `from_`: starts with this
        copy: a snapshot, or the cookie and the entries of one snapshot. `keep`: where the mirror
        survives the process, the path of a file or a `Keep`. What is kept takes precedence over
        `from_`. It is read at once, which blocks; if it cannot be read, this raises `KeepError`.
        """
        within(self._loop)
        if isinstance(view, View):
            if (depth, tuple(match), tail, values) != ("tree", (), None, True):
                raise Wrong(
                    "bad-field", "depth, match, tail and values are the View's, or a path's"
                )
        else:
            view = View(view, depth, cast("tuple[str, ...]", match), tail, values)
        options = SubOptions(once, signals, u32(given("every", millis, every)))
        if from_ is None:
            saved = Snapshot.saved(None)
        elif isinstance(from_, Snapshot):
            saved = from_
        else:
            saved = given("from_", Snapshot.checked, from_)
        kept = given("keep", place, keep)
        # Last: if something after this were refused, nobody would release the place.
        if kept is not None:
            loaded = load(kept)
            saved = saved if loaded is None else loaded
        self._last_sub += 1
        sub = self._last_sub
        state = State(view, saved)
        mirror = self._mirrors[sub] = Mirror(self, sub, state, saved, kept)
        self._session.mirror(sub, state, options)
        self._pump()
        return mirror

    def drop_mirror(self, sub: int) -> None:
        """For the mirror: ends it."""
        within(self._loop)
        self._session.drop_mirror(sub)
        mirror = self._mirrors.pop(sub, None)
        if mirror is not None:
            self._spawn(mirror.kept())
        self._pump()

    def resync_mirror(self, sub: int) -> None:
        """For the mirror: starts it from nothing."""
        within(self._loop)
        self._session.resync(sub)
        self._pump()

    async def verify_mirror(self, sub: int) -> Verdict:
        """For the mirror: compares it with the broker's digest."""
        within(self._loop)
        ticket, future = self._ticket(0, Verdict)
        self._session.verify(self._loop.time(), ticket, sub)
        self._pump()
        return cast(Verdict, await future)

    def want_sync(self) -> None:
        """Asks the broker for a `sync`, which brings all fresh mirrors to the present."""
        self._session.want_sync()
        self._pump()

    # The end.

    async def close(self) -> None:
        """Ends the client and its session, whose ephemeral entries the broker deletes at once.
        While the client is `online`, earlier requests that had room in the queue are done first.
        Otherwise they fail with `Closed`. Returns when the last save of each mirror that is kept is
        done."""
        await self._end(True)

    async def leave(self) -> None:
        """Ends the client as `close` does, but the session lives on for its grace: the broker keeps
        the client's ephemeral entries that long."""
        await self._end(False)

    async def _end(self, bye: bool) -> None:
        within(self._loop)
        self._session.close(self._loop.time(), bye)
        self._pump()
        while not isinstance(self._status, Ended):
            await self._status_change()
        for mirror in list(self._mirrors.values()):
            await mirror.kept()
        # A token's function may close its own client: that task must not wait for itself.
        others = self._tasks - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)

    # The queue.

    async def _ask(self, frame: frames.Request) -> Any:
        return await (await self._enqueue(frame, None))

    async def _enqueue(self, frame: frames.Request, history: str | None) -> asyncio.Future[Any]:
        """`history`: what the request is about, however long it waits."""
        within(self._loop)
        cost = self._room.needed(request.cost(frame))
        await self._room.acquire(cost)
        return self._hand_over(frame, cost, history)

    def _hand_over(
        self, frame: frames.Request, cost: int, history: str | None
    ) -> asyncio.Future[Any]:
        if self._session.is_over:
            self._room.give_back(cost)
            raise self._closed(False)
        ticket, future = self._ticket(cost, frames.answer(frame))
        self._session.request(self._loop.time(), ticket, frame, history)
        self._pump()
        return future

    def _ticket(self, cost: int, answer: type) -> tuple[int, asyncio.Future[Any]]:
        self._last_ticket += 1
        future = self._loop.create_future()
        self._waiting[self._last_ticket] = _Waiting(future, cost, answer)
        return self._last_ticket, future

    def _closed(self, sent: bool | None = None) -> Closed:
        why = self._status.error if isinstance(self._status, Ended) else None
        return Closed(why if isinstance(why, ConnectError) else None, sent)

    # Driving the session.

    def _pump(self) -> None:
        """Does what the session asks for, and sets the timer for the next time."""
        if self._pumping:
            return
        self._do_all()
        if self._wake is not None and self._session.has_news:
            self._wake.set()
        at = self._session.next_timeout()
        # A timer that is early finds nothing to do, and sets the next one.
        if at is not None and (self._timer is None or at < self._timer_at):
            self._drop_timer()
            self._timer, self._timer_at = self._loop.call_at(at, self._timeout), at

    def _do_all(self) -> bool:
        """Does what the session asks for. Returns whether there was anything but deltas: then there
        may be something to send, and another time for the timer."""
        self._pumping = True
        more = False
        try:
            effects = self._session.effects
            while effects:
                effect = effects.popleft()
                if type(effect) is MirrorWent:
                    self._publish(effect[0], effect[1])
                    more |= effect[1] is not None and type(effect[1]) is not Delta
                else:
                    self._do(effect)
                    more = True
        finally:
            self._pumping = False
        return more

    def _publish(self, sub: int, event: Event | None) -> None:
        mirror = self._mirrors.get(sub)
        if mirror is not None:
            mirror.publish(event)
            if type(event) is Ended:
                del self._mirrors[sub]
                self._spawn(mirror.kept())

    def _timeout(self, since: float | None = None, heard: float | None = None) -> None:
        """The time of the session has come. What has arrived is not late, but a loop that was busy
        may not have read all of it. So with a connection, this looks again until nothing has come
        since it last looked. `since` is when it looked first; `heard` is when something had come
        last when it last looked."""
        now, last = self._loop.time(), self._session.heard
        since = now if since is None else since
        if self._wake is not None and heard != last and now - since < BUSY:
            # Not at once: some loops run their timers before they read their sockets.
            self._timer = self._loop.call_later(0.001, self._timeout, since, last)
            self._timer_at = 0.0
            return
        self._timer = None
        self._session.handle_timeout(now)
        self._pump()

    def _do(self, effect: Any) -> None:
        if isinstance(effect, Reply):
            waiting = self._waiting[effect.ticket]
            if not waiting.future.done():
                if effect.error is not None:
                    waiting.future.set_exception(effect.error)
                elif isinstance(effect.reply, waiting.answer):
                    waiting.future.set_result(effect.reply)
                else:
                    # A write may have happened, so it must not be requested again.
                    why = "the broker answered something else than was asked"
                    waiting.future.set_exception(Refused("outcome-unknown", why))
        elif isinstance(effect, Release):
            self._room.give_back(self._waiting.pop(effect.ticket).cost)
        elif isinstance(effect, StatusIs):
            self._set_status(effect.status)
        elif isinstance(effect, Connect):
            self._link = self._spawn(self._run_link())
        elif isinstance(effect, Disconnect):
            self._drop_link()

    def _set_status(self, status: Status) -> None:
        self._status = status
        changed, self._status_changed = self._status_changed, self._loop.create_future()
        changed.set_result(None)
        if isinstance(status, Ended):
            self._drop_timer()
            self._room.close(lambda: self._closed(False))

    def _drop_timer(self) -> None:
        # Forget it before there is another one: `_pump` must not count on a timer that does not
        # fire.
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _spawn(self, run: Any) -> asyncio.Task[Any]:
        task = self._loop.create_task(run)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _drop_link(self) -> None:
        link, self._link, self._wake = self._link, None, None
        if link is not None and link is not asyncio.current_task(self._loop):
            link.cancel()

    async def _run_link(self) -> None:
        """Runs one connection, from its beginning to its end."""
        me = asyncio.current_task()
        error: ConnectError
        link: Link | None = None
        writer: asyncio.Task[None] | None = None
        try:
            # One deadline for the whole attempt: the token, the WebSocket and `welcome`.
            patience = self._options.connect_timeout
            until = self._loop.time() + patience
            if callable(self._options.token):
                given, until = await token.ask(self._options.token, patience)
                if self._link is not me:
                    # The token's function has closed the client.
                    return
                self._session.token = given
            subprotocol = self._session.subprotocol
            link = await Link.connect(
                self._url,
                subprotocol,
                max(0.0, until - self._loop.time()),
                lambda message: self._take(message, me),
                lambda: self._session.handle_heard(self._loop.time()) if self._link is me else None,
            )
            self._wake = asyncio.Event()
            self._session.handle_open(self._loop.time(), until)
            writer = self._loop.create_task(self._send(link, self._wake))
            self._pump()
            error = await link.gone
        except ConnectError as gone:
            error = gone
        except asyncio.CancelledError:
            raise
        except (SystemExit, KeyboardInterrupt) as end:
            # If somebody catches the exception, the client tries again.
            self._link_is_gone(me, LinkLost(type(end).__name__))
            raise
        except Exception as fault:
            # A fault of this program: the application gets the error, and the client tries again.
            error = LinkLost(f"{type(fault).__name__}: {fault}")
            error.__cause__ = fault
        finally:
            if writer is not None:
                writer.cancel()
            if link is not None:
                self._spawn(link.close())
        self._link_is_gone(me, error)

    def _link_is_gone(self, me: object, error: ConnectError) -> None:
        if self._link is me:
            self._link = self._wake = None
            self._session.handle_closed(self._loop.time(), error)
            self._pump()

    def _take(self, message: bytes | str, me: object) -> None:
        """Takes a message. Raises `ConnectError` if it is no frame. What comes after the end of a
        link is ignored."""
        if self._link is not me:
            return
        if type(message) is not self._kind:
            raise ProtocolBroken("a message of the other codec")
        try:
            frame = self._decode(message)
        except Wrong as wrong:
            raise ProtocolBroken(f"a frame cannot be read: {wrong}") from None
        self._session.handle_frame(self._loop.time(), frame)
        # After a delta that went well there is nothing to send, and no other time for the timer.
        if self._do_all() or type(frame) is not frames.Delta:
            self._pump()

    async def _send(self, link: Link, wake: asyncio.Event) -> None:
        """Sends what the session has to send, as fast as the socket takes it."""
        try:
            while True:
                message = self._session.poll_transmit(self._loop.time())
                if self._session.is_closing:
                    # After a `bye` the session has a new deadline, which counts even if the socket
                    # does not take the message.
                    self._pump()
                if message is None:
                    self._pump_effects()
                    wake.clear()
                    await wake.wait()
                else:
                    await link.send(message)
        except ConnectError:
            # The receiving side gets the reason.
            return
        except Exception:
            # A fault of this program: the connection is given up, and the client tries the next
            # one.
            _log.exception("a message could not be made or sent")
            await link.close()

    def _pump_effects(self) -> None:
        if self._session.effects:
            self._pump()


class _Connecting(Awaitable[Client]):
    """What `connect` returns. Use `client = await connect(…)`, or `async with connect(…) as
    client`."""

    def __init__(self, url: str, options: Options) -> None:
        self._url = url
        self._options = options
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._connect().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._connect()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connect(self) -> Client:
        client = Client(self._url, self._options)
        try:
            while not isinstance(client.status, Online | Ended):
                await client._status_change()
        except asyncio.CancelledError:
            client._session.close(client._loop.time(), False)
            client._pump()
            raise
        if isinstance(client.status, Ended):
            error = client.status.error
            raise error if error is not None else Closed()
        return client


def connect(
    url: str,
    *,
    codec: Literal["msgpack", "json"] = "msgpack",
    label: str | None = None,
    token: Token = None,
    agent: str = AGENT,
    reconnect: Literal["never", "after-first", "always"] = "after-first",
    request_timeout: float = 30.0,
    connect_timeout: float = 10.0,
    queue_bytes: int = 16 << 20,
    backoff: tuple[float, float] = (0.1, 20.0),
) -> _Connecting:
    """Creates a client and waits for the broker's `welcome`. `url` is `ws://host:port`; if it has
    no path, the path is `/v1/sync`. For the options see `Options`. Raises `ConnectError`: with
    `reconnect="always"` only for an error against which retrying does not help, otherwise for
    whatever the first attempt fails with."""
    options = Options(
        codec, label, token, agent, reconnect, request_timeout, connect_timeout, queue_bytes,
        backoff,
    )  # fmt: skip
    return _Connecting(url, options)


def start(url: str, options: Options | None = None, **given: Any) -> Client:
    """Creates a client and returns at once. What you request meanwhile waits for the connection. If
    there is no broker at first, the client ends, unless `reconnect` is `always`. Give the options
    as for `connect`, or as `Options`. Raises `BadUrl` if the URL is not one of a broker. Needs a
    running event loop."""
    if options is not None and given:
        raise Wrong("bad-field", f"{', '.join(given)}: given beside Options, which have it")
    return Client(url, options if options is not None else Options(**given))
