"""Requests: what waits to be sent, what waits for its answer, and the numbers with which a write
that is sent again takes effect once.

A write gets its `seq` when it is sent for the first time, in the order in which the writes were
requested. It keeps the `seq` over reconnects. The broker takes `last + 1` only. A write that was
refused before it reached the tree uses up no number. So the writes sent after it come back as
`seq-gap`, and none of them was executed. Then no new write is sent until all writes that are on
their way have been answered ("settling"). Those that came back get new numbers, in their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from ..errors import Closed, ConnectError, Lost, OnetreeError, Refused, Timeout
from ..protocol import frames
from ..protocol.frames import WRITES, Limits, Request
from ..protocol.wrong import Wrong
from ..request import is_ephemeral, of_history, values
from .effects import Effect, Release, Reply

RENUMBERED: Final = 3
"""How often one write may get a new number while no write is answered. Then it is given up. A
refused write before it costs one, a broker that has meanwhile forgotten this client costs two."""

Encode = Callable[[frames.ClientFrame], bytes | str]


def refused(frame: frames.Error) -> Refused:
    """Returns the refusal of an `error` frame."""
    wait = None if frame.retry_ms is None else frame.retry_ms / 1000
    return Refused(frame.code, frame.message, frame.path, frame.rev, wait)


class _Request:
    __slots__ = (
        "frame", "history", "in_flight", "queued", "renumbered", "replied", "sent", "seq", "write",
    )  # fmt: skip

    def __init__(self, frame: Request, history: str | None) -> None:
        self.frame = frame
        self.history = history
        """The history that the request is about, if it is about one."""
        self.write = isinstance(frame, WRITES)
        self.seq: int | None = None
        self.sent = 0
        """How often the request was sent under this number."""
        self.replied = False
        """Whether the application has its answer already, or a timeout."""
        self.in_flight = False
        self.queued = True
        self.renumbered = 0

    @property
    def was_sent(self) -> bool:
        """Whether the broker may have the request."""
        return self.seq is not None or self.sent > 0

    @property
    def again(self) -> bool:
        """Whether it does no harm to request it again, even if the broker has it: it is a read or a
        token."""
        return not self.write and not isinstance(self.frame, frames.SendSignal)


class Requests:
    """All requests that the broker has not answered."""

    def __init__(self, timeout: float, encode: Encode, effects: deque[Effect]) -> None:
        self._timeout = timeout
        self._encode = encode
        self._effects = effects
        self._all: dict[int, _Request] = {}
        self.history: str | None = None
        """The broker's history, from its last `welcome`."""
        self.last_done = 0
        """The highest revision in that history at which the application was told that a write is
        done."""
        # The tickets of the requests to be sent, in the order of the requests. Some were sent
        # already.
        self._queue: list[int] = []
        self._deadlines: deque[tuple[float, int]] = deque()
        self._next_seq = 1
        # The highest `seq` that the broker is known to have used up.
        self._floor = 0
        # The highest revision that was known when number 1 was given.
        self._began: int | None = None
        # The present revision when the current session began: what the session owns is above it.
        self._session = 0
        # Whether a write was answered since numbers were last settled.
        self._progress = False
        self._settling = False
        self._rename = False
        self._numbered = 0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def is_numbered(self) -> bool:
        """Whether a write has had a number under the present client name."""
        return self._next_seq > 1

    def add(self, now: float, ticket: int, frame: Request, history: str | None) -> None:
        """Adds a request. `history` is the one that it is about; `None` means the present one."""
        if not of_history(frame):
            history = None
        elif history is None:
            history = self.history
        self._all[ticket] = _Request(frame, history)
        heappush(self._queue, ticket)
        # Requests that were answered need no deadline: there may be many thousand.
        while self._deadlines and self._deadlines[0][1] not in self._all:
            self._deadlines.popleft()
        self._deadlines.append((now + self._timeout, ticket))
        self._refuse_foreign(ticket)

    def handle_session(self, resumed: bool, epoch: str, rev: int) -> None:
        """Takes from `welcome` whether the session of before goes on. If another has begun, the
        former one is over, and its ephemeral entries are gone."""
        if not resumed:
            self._session = rev
        elif self.history != epoch:
            self._session = 0

    def handle_history(self, epoch: str) -> bool:
        """Takes from `welcome` which history the broker has. A write that is about another history
        is not sent in this one, because something else may be at the same revision. A write that
        was sent in another history is not sent again either: it may be in this history already, if
        this one was made from the other. Returns whether the client must come back under another
        name."""
        if epoch == self.history:
            return False
        self.history, self.last_done = epoch, 0
        if self._numbered:
            # This history may know the numbers, so they must not be given to other writes.
            self._settling = self._rename = True
        for ticket in sorted(self._all):
            self._refuse_foreign(ticket)
        return self._settle()

    def _refuse_foreign(self, ticket: int) -> None:
        request = self._all[ticket]
        # Nothing was sent in the present history yet, so a number is of another one.
        sent = request.seq is not None
        about = None not in (request.history, self.history) and request.history != self.history
        if not sent and not about:
            return
        if sent:
            code = "outcome-unknown"
            why = "it was sent, and the broker has begun another history without an answer"
        else:
            code, why = "conflict", "it is about a history that is no longer the broker's"
        self._finish(ticket, None, Refused(code, why))

    @property
    def since(self) -> int | None:
        """The `since` of `hello`: a revision before all writes that were sent, if no write under
        this name was answered. Otherwise a broker that has forgotten the name meanwhile could take
        the first of them for a new write."""
        return self._began if self._floor == 0 and self._numbered else None

    def next(self, id: int, seen: int | None, limits: Limits) -> tuple[int, bytes | str] | None:
        """Returns the next request to send, with the number `id`. Refuses requests that can never
        be sent. `seen` is the highest revision that is known."""
        while self._queue:
            ticket = self._queue[0]
            request = self._all.get(ticket)
            if request is None or not request.queued:
                heappop(self._queue)
                continue
            if request.write and request.seq is None and self._settling:
                # Later requests that have a number go first: this write waits for their answers,
                # and if the connection was lost meanwhile, they must be sent again.
                numbered = (
                    other
                    for other, waiting in self._all.items()
                    if waiting.queued and waiting.seq is not None
                )
                ticket = min(numbered, default=-1)
                if ticket < 0:
                    return None
                request = self._all[ticket]
            else:
                heappop(self._queue)
            request.queued = False
            frame = request.frame
            frame.id = id
            if request.write:
                new = request.seq is None
                frame.seq = self._next_seq if request.seq is None else request.seq  # type: ignore[union-attr]
            try:
                message = self._message(frame, limits)
            except Refused as refused:
                self._finish(ticket, None, refused)
                continue
            if request.write and new:
                if self._next_seq == 1:
                    self._began = seen
                request.seq = self._next_seq
                self._next_seq += 1
                self._numbered += 1
            request.sent += 1
            request.in_flight = True
            return ticket, message
        return None

    def _message(self, frame: Request, limits: Limits) -> bytes | str:
        """Returns the message of a request, if it is within the broker's limits."""
        for path, value in values(frame):
            if len(value.data) > limits.value_bytes:
                most = f"at most {limits.value_bytes} bytes, this one has {len(value.data)}"
                raise Refused("value-too-large", f"a value has {most}", path)
        try:
            message = self._encode(frame)
            size = len(message) if isinstance(message, bytes) else len(message.encode())
        except (Wrong, UnicodeEncodeError) as wrong:
            code = wrong.code if isinstance(wrong, Wrong) else None
            raise Refused(code or "bad-frame", str(wrong)) from None
        if size > limits.frame_bytes:
            most = f"at most {limits.frame_bytes} bytes, this one has {size}"
            raise Refused("frame-too-large", f"a frame has {most}")
        return message

    def frame(self, ticket: int) -> Request | None:
        """Returns the frame of a request, as long as it waits."""
        request = self._all.get(ticket)
        return None if request is None else request.frame

    def answered(self, ticket: int, reply: object, error: frames.Error | None) -> bool:
        """The answer to a request came. Returns whether the client must come back under another
        name."""
        request = self._all.get(ticket)
        if request is None:
            return self._settle()
        request.in_flight = False
        if error is None:
            if request.seq is not None:
                self._floor = max(self._floor, request.seq)
                self._progress = True
            done = reply.rev if isinstance(reply, frames.Done) else 0
            if 0 < done <= self._session and is_ephemeral(request.frame):
                why = "it happened in a session that is over, and what was ephemeral went with it"
                self._finish(ticket, None, Refused("outcome-unknown", why))
            else:
                self.last_done = max(self.last_done, done)
                self._finish(ticket, reply, None)
            return self._settle()
        if request.seq is None:
            self._finish(ticket, None, refused(error))
            return False
        self._refused(request, ticket, request.seq, error)
        if not request.queued:
            self._finish(ticket, None, refused(error))
        return self._settle()

    def _refused(self, request: _Request, ticket: int, seq: int, error: frames.Error) -> None:
        """A write came back with an error. It is queued if it is to be sent again."""
        # `outcome-unknown` for a write that was sent only once means that it was not executed.
        # `seq-gap` always means that.
        if error.code == "seq-gap":
            harmless = True
        elif error.code == "outcome-unknown":
            harmless = request.sent == 1
        else:
            # Refusals by the tree itself use the number up. For others that shows at the next
            # write.
            if error.code in ("conflict", "log-key", "tree-full"):
                self._floor = max(self._floor, seq)
            self._progress = True
            return
        self._settling = True
        # The write was the next in order and was not taken, so the broker does not know this
        # client's numbers.
        expected = seq == self._floor + 1
        forgotten = error.code == "outcome-unknown" and self._floor > 0
        self._rename |= expected or forgotten or not harmless
        if harmless and request.renumbered < RENUMBERED and not request.replied:
            request.renumbered += 1
            request.seq = None
            request.sent = 0
            self._numbered -= 1
            self._enqueue(ticket, request)

    def _settle(self) -> bool:
        """Once everything that was on its way has been answered, numbers continue after the last
        one that is known to be used up."""
        if not self._settling or self._numbered:
            return False
        self._settling = False
        if self._progress:
            self._progress = False
            for request in self._all.values():
                request.renumbered = 0
        self._next_seq = self._floor + 1
        if self._rename:
            self._rename = False
            self._floor, self._next_seq = 0, 1
            return True
        return False

    def handle_lost(self) -> None:
        """The connection was lost. What has no answer is sent again, except signals."""
        for ticket, request in list(self._all.items()):
            if not request.in_flight:
                continue
            request.in_flight = False
            if isinstance(request.frame, frames.SendSignal):
                self._finish(ticket, None, Lost())
            else:
                self._enqueue(ticket, request)

    def _enqueue(self, ticket: int, request: _Request) -> None:
        if not request.queued:
            request.queued = True
            heappush(self._queue, ticket)

    def next_timeout(self) -> float | None:
        """Returns when to call `handle_timeout` next."""
        return self._deadlines[0][0] if self._deadlines else None

    def handle_timeout(self, now: float) -> None:
        """Reports timeouts."""
        while self._deadlines:
            at, ticket = self._deadlines[0]
            request = self._all.get(ticket)
            waiting = request is not None and not request.replied
            if at > now and waiting:
                return
            self._deadlines.popleft()
            if request is None or not waiting:
                continue
            error = Timeout(self._timeout, request.was_sent, request.again)
            if request.seq is not None:
                # The number is taken, so the write is sent again until the broker has answered.
                request.replied = True
                self._effects.append(Reply(ticket, None, error))
            else:
                self._finish(ticket, None, error)

    def end(self, why: ConnectError | None) -> None:
        """The client has ended."""
        for ticket, request in sorted(self._all.items()):
            self._finish(ticket, None, Closed(why, request.was_sent, request.again))

    def _finish(self, ticket: int, reply: object, error: OnetreeError | None) -> None:
        request = self._all.pop(ticket, None)
        if request is None:
            return
        if request.seq is not None:
            self._numbered -= 1
        if not request.replied:
            self._effects.append(Reply(ticket, reply, error))
        self._effects.append(Release(ticket))
