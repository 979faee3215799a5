"""The requests of a client: writes and reads. They are checked when they are made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .given import given, millis
from .protocol import frames
from .protocol.frames import Append, Delete, Drop, Put, Trim
from .protocol.kinds import flag
from .protocol.kinds import rev as check_rev
from .protocol.paths import check_path, is_keyed, parse_log_key
from .protocol.values import Value
from .protocol.wrong import Wrong


def put(
    path: str,
    value: object,
    *,
    if_rev: int | None = None,
    ttl: float | None = None,
    ephemeral: bool = False,
) -> Put:
    """`put`: sets the value at a path (see `Value.make`). `if_rev`: only if the entry is at this
    revision; 0 means only if there is none. `ttl`: how long the entry lives, in seconds.
    `ephemeral`: binds the entry to the session; see `Client.put`."""
    made = value_at(path, value)
    return Put(0, path, made, None, _if(if_rev), _for(ttl), _dies(ephemeral))


def append(
    path: str, value: object, *, ttl: float | None = None, ephemeral: bool = False
) -> Append:
    """`append`: adds an entry to a log. The broker assigns its key; `Done.paths` has the path."""
    return Append(0, path, value_at(path, value), None, _for(ttl), _dies(ephemeral))


def delete(path: str, *, if_rev: int | None = None) -> Delete:
    """`delete`: deletes the entry at a path. It is no error if there is none."""
    return Delete(0, check_path(path), None, _if(if_rev))


def drop_tree(path: str, *, if_rev: int | None = None) -> Drop:
    """`drop`: deletes everything at and under a path. `if_rev`: only if nothing there has changed
    after this revision."""
    return Drop(0, check_path(path), None, _if(if_rev))


def trim(path: str, to: str) -> Trim:
    """`trim`: deletes the entries of a log up to and including a key."""
    parse_log_key(to)
    return Trim(0, check_path(path), to)


class Txn:
    """`txn`: several writes as one commit, all or nothing, if all conditions hold."""

    def __init__(self) -> None:
        self._conditions: list[frames.Condition] = []
        self._steps: list[frames.Step] = []

    @property
    def frame(self) -> frames.Txn:
        """The frame of what was added so far. What is added later is not part of it."""
        return frames.Txn(0, None, [*self._conditions], [*self._steps])

    def if_rev(self, path: str, rev: int) -> Txn:
        """Adds a condition: the entry at `path` is at revision `rev`; 0: there is none."""
        return self._when(frames.Condition(check_path(path), check_rev(rev)))

    def if_tree(self, path: str, rev: int) -> Txn:
        """Adds a condition: nothing at or under `path` has changed after revision `rev`."""
        return self._when(frames.Condition(check_path(path), check_rev(rev), True))

    def put(
        self, path: str, value: object, *, ttl: float | None = None, ephemeral: bool = False
    ) -> Txn:
        """Adds a step: puts `value` at `path`, as the function `put` does."""
        made = value_at(path, value)
        return self._then(frames.Step("put", path, made, _for(ttl), _dies(ephemeral)))

    def append(
        self, path: str, value: object, *, ttl: float | None = None, ephemeral: bool = False
    ) -> Txn:
        """Adds a step: appends `value` to the log at `path`."""
        made = value_at(path, value)
        return self._then(frames.Step("append", path, made, _for(ttl), _dies(ephemeral)))

    def delete(self, path: str) -> Txn:
        """Adds a step: deletes the entry at `path`."""
        return self._then(frames.Step("delete", check_path(path)))

    def drop_tree(self, path: str) -> Txn:
        """Adds a step: deletes everything at and under `path`."""
        return self._then(frames.Step("drop", check_path(path)))

    def trim(self, path: str, to: str) -> Txn:
        """Adds a step: deletes the entries of a log up to and including the key `to`."""
        parse_log_key(to)
        return self._then(frames.Step("trim", check_path(path), to=to))

    def _when(self, condition: frames.Condition) -> Txn:
        self._conditions.append(condition)
        return self

    def _then(self, step: frames.Step) -> Txn:
        self._steps.append(step)
        return self


def value_at(path: str, found: object) -> Value:
    """Checks a path, and returns the value for it."""
    check_path(path)
    return given(f"the value of {path}", Value.make, found)


def written(write: Any) -> frames.Write:
    """Returns the frame of a write: of a result of this module's functions, or of a `Txn`."""
    frame = write.frame if isinstance(write, Txn) else write
    if not isinstance(frame, frames.WRITES):
        what = type(write).__name__
        raise Wrong("bad-field", f"this is to be of onetree.request, or a Txn(), not of {what}")
    return frame


def transaction(txn: Any) -> frames.Txn:
    """Returns the frame of a transaction."""
    if not isinstance(txn, Txn):
        raise Wrong("bad-field", f"this is to be a Txn(), not of {type(txn).__name__}")
    return txn.frame


def values(frame: frames.ClientFrame) -> Iterator[tuple[str, Value]]:
    """Yields the values that a frame carries, each with its path."""
    if isinstance(frame, frames.Txn):
        for step in frame.steps:
            if step.value is not None:
                yield step.path, step.value
    elif isinstance(frame, Put | Append | frames.SendSignal):
        yield frame.path, frame.value


def of_history(frame: frames.Request) -> list[str]:
    """Returns the paths at which a write names a revision, in a condition or by the key of a log.
    Another history may have something else at that revision. The condition that an entry is absent
    (revision 0) is not listed: it names no revision."""
    if isinstance(frame, frames.Txn):
        conditions = [condition.path for condition in frame.conditions if condition.rev > 0]
        steps = [step.path for step in frame.steps if step.do == "trim" or is_keyed(step.path)]
        return conditions + steps
    if not isinstance(frame, frames.WRITES):
        return []
    only = None if isinstance(frame, Append | Trim) else frame.if_rev
    named = isinstance(frame, Trim) or bool(only) or is_keyed(frame.path)
    return [frame.path] if named else []


def is_ephemeral(frame: frames.Request) -> bool:
    """Returns whether a frame makes an ephemeral entry, which belongs to the session."""
    if isinstance(frame, frames.Txn):
        return any(step.ephemeral for step in frame.steps)
    return isinstance(frame, Put | Append) and frame.ephemeral


def cost(frame: frames.ClientFrame) -> int:
    """Returns how many bytes a frame counts in the queue: its values, and an estimate of everything
    else."""
    steps = 0
    if isinstance(frame, frames.Txn):
        steps = len(frame.steps) + len(frame.conditions)
    elif isinstance(frame, frames.Get):
        steps = len(frame.paths)
    return 512 + steps * 128 + sum(len(value.data) for _, value in values(frame))


def _for(ttl: float | None) -> int | None:
    return None if ttl is None else given("ttl", millis, ttl)


def _if(rev: int | None) -> int | None:
    return None if rev is None else given("if_rev", check_rev, rev)


def _dies(ephemeral: bool) -> bool:
    return given("ephemeral", flag, ephemeral)
