"""The application's side of a connection: drives a session with a socket and a clock."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Generator, Iterable, Sequence
from random import Random
from types import TracebackType
from typing import Any, Literal, cast

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


class _Waiting:
    """A request that the application waits for."""

    __slots__ = ("answer", "cost", "future")

    def __init__(self, future: asyncio.Future[Any], cost: int, answer: type) -> None:
        self.future = future
        self.cost = cost
        self.answer = answer
        """What its answer is to be."""


class Client:
    """A client of one broker, from `connect` or `start`, for any number of tasks of the event loop
    that it was made in: what is called from elsewhere is refused (`Wrong`). It ends with `close` or
    `leave`, or at the end of an `async with` block, as `close` does."""

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

    # How it stands.

    @property
    def status(self) -> Status:
        """How the client stands: `Connecting`, `Online`, `Offline` or `Ended`."""
        return self._status

    async def statuses(self) -> AsyncIterator[Status]:
        """How the client stands, now and whenever that changes; ends behind `Ended`. Who is slow
        gets the latest."""
        last: Status | None = None
        while not isinstance(last, Ended):
            last = await self.status_past(last)
            yield last

    async def status_past(self, last: Status | None) -> Status:
        """For `statuses`: how it stands, once that is not `last`."""
        within(self._loop)
        while self._status is last:
            await self._status_change()
        return self._status

    async def until(self, *names: str) -> Status:
        """Waits for a status by its name: `connecting`, `online`, `offline` or `ended`. `Closed`
        when it has ended instead."""
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
        """Puts `value` at `path`: a `Value`, or what `Value.make` takes (`str` becomes text, bytes
        stay bytes, anything else JSON). `if_rev`: only when the entry is at this revision, 0: only
        when there is none. `ttl`: it lives so many seconds.

        `ephemeral`: it dies with the session: when the client closes, or has been without a
        connection for longer than the broker's grace, 30 s where its `session_grace_ms` says
        nothing else. It is not put again when a session was lost: that is the application's to do,
        at an `Online` that is not `resumed`. Where it happened, but in a session that was over
        before the client heard of it, the answer is `outcome-unknown`: it is not there any more.
        With `if_rev=0` it is a lock, or says who leads; `rev` of `Done` is its fencing token: who
        has it later has a higher one. Who is offline must have stepped down when the grace is over,
        of which nobody tells him, and which is counted from when the broker lost the connection:
        the client may notice that as much later as `heartbeat` of `Online` and 10 s.

        A write that was sent and whose answer was lost is sent again until it has one, and takes
        effect once; cancelling this does not take it back. Raises `Refused`, `Timeout`, `Closed`,
        and `Wrong` for arguments that cannot be."""
        return await self.write(
            request.put(path, value, if_rev=if_rev, ttl=ttl, ephemeral=ephemeral)
        )

    async def append(
        self, path: str, value: object, *, ttl: float | None = None, ephemeral: bool = False
    ) -> Done:
        """Appends `value` to the log at `path`; `paths` of the answer has the path that the broker
        assigned. Otherwise as `put`."""
        return await self.write(request.append(path, value, ttl=ttl, ephemeral=ephemeral))

    async def delete(self, path: str, *, if_rev: int | None = None) -> Done:
        """Deletes the entry at `path`; of nothing is no error."""
        return await self.write(request.delete(path, if_rev=if_rev))

    async def drop_tree(self, path: str, *, if_rev: int | None = None) -> Done:
        """Drops everything at and under `path`; `if_rev`: only when nothing there has changed after
        this revision."""
        return await self.write(request.drop_tree(path, if_rev=if_rev))

    async def trim(self, path: str, to: str) -> Done:
        """Trims the log at `path` up to and including the key `to`."""
        return await self.write(request.trim(path, to))

    async def txn(self, txn: request.Txn) -> Done:
        """Commits a transaction; `Refused` with `conflict` when a condition does not hold."""
        given("txn", request.transaction, txn)
        return await self.write(txn)

    async def write(self, write: Write | request.Txn) -> Done:
        """Any write, from the functions of `onetree.request`; waits for the answer."""
        return await (await self.enqueue(write))

    async def enqueue(self, write: Write | request.Txn) -> asyncio.Future[Done]:
        """Waits for room in the queue, puts the write there, and returns without its answer: so one
        task can have thousands on their way, in their order."""
        within(self._loop)
        frame = given("write", request.written, write)
        return await self._enqueue(frame, self._session.history_of(frame))

    @property
    def last_done(self) -> tuple[str | None, int]:
        """For `transact`: the history of now, and the highest revision of it at which the
        application was told that something is done."""
        return self._session.last_done

    async def txn_of(self, txn: request.Txn, history: str | None) -> Done:
        """For `transact`: commits what is about this history, and no other."""
        return cast(Done, await (await self._enqueue(txn.frame, history)))

    def submit(self, write: Write | request.Txn) -> asyncio.Future[Done]:
        """As `enqueue` without waiting; `QueueFull` when there is no room."""
        within(self._loop)
        frame = given("write", request.written, write)
        cost = self._room.needed(request.cost(frame))
        if not self._room.try_acquire(cost):
            raise QueueFull
        of = self._session.history_of(frame)
        return cast("asyncio.Future[Done]", self._hand_over(frame, cost, of))

    async def signal(self, path: str, value: object) -> None:
        """Sends a signal to those who are there; returns when the broker has it. It is never sent
        twice: `Lost` when the connection was lost before the answer. Without a connection it waits
        for one, as a write does: one that must not come late is sent while `Online` only."""
        await self._ask(frames.SendSignal(0, path, request.value_at(path, value)))

    # Reads.

    async def get(self, path: str) -> Entry | None:
        """The entry at `path`, if there is one."""
        entries = (await self.get_many([path])).entries
        return entries[0] if entries else None

    async def get_many(self, paths: Iterable[str]) -> Found:
        """The entries at at most 1,024 paths, all at one revision; what is absent is missing."""
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
        """A page of the entries at and under `path`, in path order, strictly between `after` and
        `before`; at most `limit`, 0: as many as the broker likes. `reverse`: from the last to the
        first."""
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
        """Tells the broker another token, for now and for later connections."""
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
        """Starts a live copy of what a view sees: a `View`, or a path with the parts of one.

        `signals`: also signals. `every`: at most one delta in so many seconds, folded. `once`: it
        ends when it is fresh. `from_`: goes on from a copy that was saved, a cookie with its
        entries, which must be of one snapshot. `keep`: where it survives this process, a file's
        path or a `Keep`; it is read at once (blocking), and `KeepError` raised when it cannot be.
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
        # Last of all: behind what is refused nobody would let it go.
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
        """For the mirror: it ends."""
        within(self._loop)
        self._session.drop_mirror(sub)
        mirror = self._mirrors.pop(sub, None)
        if mirror is not None:
            self._spawn(mirror.kept())
        self._pump()

    def resync_mirror(self, sub: int) -> None:
        """For the mirror: it starts from nothing."""
        within(self._loop)
        self._session.resync(sub)
        self._pump()

    async def verify_mirror(self, sub: int) -> Verdict:
        """For the mirror: it is compared."""
        within(self._loop)
        ticket, future = self._ticket(0, Verdict)
        self._session.verify(self._loop.time(), ticket, sub)
        self._pump()
        return cast(Verdict, await future)

    def want_sync(self) -> None:
        """Asks the broker to bring all mirrors to the present."""
        self._session.want_sync()
        self._pump()

    # The end.

    async def close(self) -> None:
        """Ends the session at once, with its ephemeral entries, and the client with it. While it is
        `online`, what its queue holds is done first; otherwise that ends with `Closed`."""
        await self._end(True)

    async def leave(self) -> None:
        """As `close`, but the session lives on for its grace: the broker keeps its ephemeral
        entries that long."""
        await self._end(False)

    async def _end(self, bye: bool) -> None:
        within(self._loop)
        self._session.close(self._loop.time(), bye)
        self._pump()
        while not isinstance(self._status, Ended):
            await self._status_change()
        for mirror in list(self._mirrors.values()):
            await mirror.kept()
        # Not for itself, where a token's function closes its client.
        others = self._tasks - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)

    # The queue.

    async def _ask(self, frame: frames.Request) -> Any:
        return await (await self._enqueue(frame, None))

    async def _enqueue(self, frame: frames.Request, history: str | None) -> asyncio.Future[Any]:
        """`history`: what it is about, however long it waits."""
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
        """Does what the session wants done, and sees to it that it is called again in time."""
        if self._pumping:
            return
        self._do_all()
        if self._wake is not None and self._session.has_news:
            self._wake.set()
        at = self._session.next_timeout()
        # One that is too early finds nothing to do, and sets the next.
        if at is not None and (self._timer is None or at < self._timer.when()):
            self._drop_timer()
            self._timer = self._loop.call_at(at, self._timeout)

    def _do_all(self) -> bool:
        """Does what the session wants done. Whether there was more than deltas, so that there may
        be something to be sent, and other times."""
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

    def _timeout(self) -> None:
        self._timer = None
        self._session.handle_timeout(self._loop.time())
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
                    # A write may have happened: it is not to be asked again.
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
        # It is forgotten before there is another: one that does not come must not seem to.
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
        """One connection, from its beginning to its end."""
        me = asyncio.current_task()
        error: ConnectError
        link: Link | None = None
        writer: asyncio.Task[None] | None = None
        try:
            # One time for all of it: the token, the WebSocket, and `welcome`.
            patience = self._options.connect_timeout
            until = self._loop.time() + patience
            if callable(self._options.token):
                given, until = await token.ask(self._options.token, patience)
                if self._link is not me:
                    # Its function has closed the client.
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
            # Where somebody catches it, this is tried again.
            self._link_is_gone(me, LinkLost(type(end).__name__))
            raise
        except Exception as fault:
            # A fault of this program: the application is told, and it is tried again.
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
        """A message came; `ConnectError` when it is none. What comes behind the end of a link is
        nobody's."""
        if self._link is not me:
            return
        if type(message) is not self._kind:
            raise ProtocolBroken("a message of the other codec")
        try:
            frame = self._decode(message)
        except Wrong as wrong:
            raise ProtocolBroken(f"a frame cannot be read: {wrong}") from None
        self._session.handle_frame(self._loop.time(), frame)
        # Behind a delta that went well there is nothing to be sent, and no other time to wait for.
        if self._do_all() or type(frame) is not frames.Delta:
            self._pump()

    async def _send(self, link: Link, wake: asyncio.Event) -> None:
        """Sends what the session has to say, as fast as the socket takes it."""
        try:
            while True:
                message = self._session.poll_transmit(self._loop.time())
                if self._session.is_closing:
                    # Behind a `bye` the end is near, also when the socket does not take it.
                    self._pump()
                if message is None:
                    self._pump_effects()
                    wake.clear()
                    await wake.wait()
                else:
                    await link.send(message)
        except ConnectError:
            # Who receives is told why.
            return
        except Exception:
            # A fault of this program: the connection is given up, and the next one tried.
            _log.exception("a message could not be made or sent")
            await link.close()

    def _pump_effects(self) -> None:
        if self._session.effects:
            self._pump()


class _Connecting(Awaitable[Client]):
    """What `connect` returns: `client = await connect(…)`, or `async with connect(…) as client`."""

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
    """Connects to the broker at `url` (`ws://host:port`, with `/v1/sync` as the path when there is
    none), and waits for its `welcome`. What the options mean: `Options`. Raises `ConnectError`:
    with `reconnect="always"` only what retrying does not help against, otherwise whatever the
    first attempt fails with."""
    options = Options(
        codec, label, token, agent, reconnect, request_timeout, connect_timeout, queue_bytes,
        backoff,
    )  # fmt: skip
    return _Connecting(url, options)


def start(url: str, options: Options | None = None, **given: Any) -> Client:
    """Begins to connect and returns at once; what is asked meanwhile waits for the connection.
    Options as of `connect`, or as `Options`. `BadUrl` when the URL is not one of a broker. Needs a
    running event loop."""
    if options is not None and given:
        raise Wrong("bad-field", f"{', '.join(given)}: given beside Options, which have it")
    return Client(url, options if options is not None else Options(**given))
