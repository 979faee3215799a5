"""Frames as MessagePack arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from . import frames as f
from .cookies import Cookie
from .kinds import READ, flag, listed, log_key, rev, u32
from .paths import check_path
from .values import JSON, Value, known
from .wrong import Wrong

SUBPROTOCOL = "onetree.v1.msgpack"

_REVS = 1 << 53
"""Revisions are below this."""
_STEPS = ("put", "append", "delete", "drop", "trim")


def decode_server(message: bytes) -> f.ServerFrame:
    """Reads a frame of a broker. Raises `Wrong` if it is none."""
    unpacked = unpack(message)
    if type(unpacked) is list and len(unpacked) == 6 and unpacked[0] == 7:
        live = _live(unpacked)
        if live is not None:
            return live
    found: f.ServerFrame = _decode(unpacked, _SERVER)
    return found


def decode_client(message: bytes) -> f.ClientFrame:
    """Reads a frame of a client. Raises `Wrong` if it is none."""
    found: f.ClientFrame = _decode(unpack(message), _CLIENT)
    return found


def encode(frame: f.ClientFrame | f.ServerFrame) -> bytes:
    """Returns the bytes of a frame."""
    op = f.OP_OF[type(frame)]
    packed: bytes = msgpack.packb([op.number, *_body(frame, op.fields)])
    return packed


def read_cookie(found: Any) -> Cookie:
    """Reads a cookie from its elements."""
    epoch, at, view = _elements(found, 3)
    return Cookie(READ["epoch"](epoch), rev(at), READ["fingerprint"](view))


def unpack(message: bytes) -> Any:
    """Reads what MessagePack may contain here: no maps, no extensions, only text that is UTF-8."""
    try:
        return msgpack.unpackb(
            message, raw=False, object_pairs_hook=_refuse, ext_hook=_refuse, strict_map_key=False
        )
    except UnicodeDecodeError as error:
        # The `id` may still be readable.
        head = msgpack.unpackb(message, raw=True, ext_hook=_refuse)
        id = head[1] if type(head) is list and len(head) > 1 and type(head[1]) is int else None
        raise Wrong("bad-frame", f"text is UTF-8: {error}", id) from None
    except (ValueError, msgpack.UnpackException, RecursionError, MemoryError) as error:
        raise Wrong("bad-frame", f"not MessagePack: {error or 'cut off'}") from None


def read_value(kind: Any, data: Any) -> Value:
    """Reads a value from its two elements."""
    if type(data) is not bytes:
        raise Wrong("bad-frame", "a value's bytes are binary")
    if kind is not None and type(kind) is not str:
        raise Wrong("bad-frame", "a media type is text")
    return known(JSON if kind is None else kind, data)


def write_value(value: Value) -> tuple[str | None, bytes]:
    """Returns the two elements of a value."""
    return (None if value.type == JSON else value.type, value.data)


def read_change(found: Any) -> f.Change:
    """Reads a change from its elements."""
    if type(found) is not list:
        raise Wrong("bad-frame", "a change is an array")
    act = found[2] if len(found) > 2 else None
    if type(act) is not int:
        raise Wrong("bad-frame", "a change has path, rev, and what it does")
    path, at = check_path(found[0]), rev(found[1])
    if act == 0:
        if len(found) > 4 and found[4] is not None:
            return f.Entry(path, at, read_value(found[3], found[4]))
        if len(found) > 3 and found[3] is not None:
            raise Wrong("bad-frame", "a type without bytes")
        return f.Entry(path, at, None)
    if act == 1:
        return f.Gone(path, at, "delete")
    if act == 2:
        return f.Gone(path, at, "drop")
    if act != 3:
        raise Wrong("bad-frame", f"there is no change {act}")
    gap = found[4] if len(found) > 4 else None
    to = log_key(found[3] if len(found) > 3 else None)
    return f.Gone(path, at, "trim", to, gap is not None and flag(gap))


def _live(found: list[Any]) -> f.Delta | None:
    """Reads the most frequent frame, fast. Returns `None` if it is anything else."""
    _, at, since, sub, part, changes = found
    if since is None and sub is None and part is None and type(changes) is list:
        return f.Delta(rev(at), None, None, False, _changes(changes))
    return None


def _changes(found: Any) -> tuple[f.Change, ...]:
    """Reads changes from a list of their elements; puts of JSON are read fast."""
    if type(found) is not list:
        raise Wrong("bad-frame", "this is to be a list")
    changes: list[f.Change] = []
    for change in found:
        if type(change) is list and len(change) == 5:
            path, at, act, kind, data = change
            if (
                type(act) is int
                and act == 0
                and kind is None
                and type(data) is bytes
                and type(at) is int
                and 0 <= at < _REVS
            ):
                changes.append(f.Entry(check_path(path), at, known(JSON, data)))
                continue
        changes.append(read_change(change))
    return tuple(changes)


def _refuse(*what: Any) -> None:
    raise ValueError("maps and extensions are not used")


def _decode(found: Any, ops: dict[int, f.Op]) -> Any:
    if type(found) is not list or not found:
        raise Wrong("bad-frame", "a frame is an array that begins with a number")
    id = found[1] if len(found) > 1 else None
    if type(id) is not int or not 0 <= id < 1 << 32:
        id = None
    try:
        number = found[0]
        if type(number) is not int or number < 0:
            raise Wrong("bad-frame", "a frame begins with its number")
        op = ops.get(number)
        if op is None:
            raise Wrong("unknown-op", f"there is no frame {number}")
        return _read(found, 1, op)
    except Wrong as wrong:
        wrong.id = id
        raise


def _read(found: list[Any], at: int, op: f.Op) -> Any:
    """Makes the frame of these elements, from the one at `at` on."""
    given = {}
    count = len(found)
    for name, attribute, kind, must, default in op.fields:
        element = found[at] if at < count else None
        at += 1
        if kind == "value":
            given[attribute] = read_value(element, found[at] if at < count else None)
            at += 1
        elif element is not None:
            given[attribute] = _READ[kind](element)
        elif must:
            raise Wrong("bad-frame", f"{name} is missing")
        else:
            given[attribute] = default
    for element in found[at:]:
        _look(element)
    return op.make(**given)


def _look(element: Any) -> None:
    """Checks that an element that is ignored is something that MessagePack may contain here."""
    if type(element) is list:
        for inner in element:
            _look(inner)
    elif element is not None and type(element) not in (int, str, bytes, bool):
        raise Wrong("bad-frame", "floats and extensions are not used")


def _body(frame: Any, fields: tuple[f.Field, ...]) -> list[Any]:
    elements: list[Any] = []
    needed = 0
    for _, attribute, kind, must, default in fields:
        value = getattr(frame, attribute)
        if kind == "value":
            elements.extend(write_value(value))
            needed = len(elements)
        elif must or (value != default and not (default == () and not value)):
            elements.append(_WRITE[kind](value) if kind in _WRITE else value)
            needed = len(elements)
        else:
            elements.append(None)
    return elements[:needed]


def _elements(found: Any, count: int) -> list[Any]:
    """Returns at least this many elements; those that are left out are nil."""
    if type(found) is not list:
        raise Wrong("bad-frame", "this is to be an array")
    return (found + [None] * count)[:count]


def _if(found: Any) -> int:
    return rev(_elements(found, 1)[0])


def _sub(found: Any) -> f.Sub:
    if type(found) is not list:
        raise Wrong("bad-frame", "a subscription is an array")
    sub: f.Sub = _read(found, 0, _CLIENT[3])
    return sub


def _limits(found: Any) -> f.Limits:
    return f.Limits(*map(u32, _elements(found, 4)))


def _condition(found: Any) -> f.Condition:
    path, tree, at = _elements(found, 3)
    if (path is None) == (tree is None):
        raise Wrong("bad-frame", "a condition has either path or tree")
    return f.Condition(check_path(path if tree is None else tree), rev(at), tree is not None)


def _step(found: Any) -> f.Step:
    do, path, *rest = _elements(found, 6)
    if type(do) is not int or do < 0:
        raise Wrong("bad-frame", "a step begins with its number")
    if do >= len(_STEPS):
        raise Wrong("bad-field", f"there is no step {do}")
    path = check_path(path)
    if do > 1:
        to = log_key(rest[0]) if do == 4 else ""
        return f.Step(_STEPS[do], path, to=to)  # type: ignore[arg-type]
    kind, data, ttl, ephemeral = rest
    ttl_ms = None if ttl is None else READ["millis"](ttl)
    value = read_value(kind, data)
    return f.Step(_STEPS[do], path, value, ttl_ms, ephemeral is not None and flag(ephemeral))  # type: ignore[arg-type]


def _digests(found: Any) -> dict[int, Any]:
    if type(found) is not list:
        raise Wrong("bad-frame", "digests are a list")
    digests = {}
    for pair in found:
        sub, digest = _elements(pair, 2)
        if u32(sub) in digests:
            raise Wrong("bad-frame", "a subscription is named twice")
        digests[sub] = None if digest is None else READ["digest"](digest)
    return digests


def _write_change(change: f.Change) -> list[Any]:
    if isinstance(change, f.Entry):
        value = () if change.value is None else write_value(change.value)
        return [change.path, change.rev, 0, *value]
    head = [change.path, change.rev, ("delete", "drop", "trim").index(change.act) + 1]
    if change.act == "trim":
        head += [change.to, True] if change.gap else [change.to]
    return head


def _write_step(step: f.Step) -> list[Any]:
    made: list[Any] = [_STEPS.index(step.do), step.path]
    if step.value is not None:
        made += [*write_value(step.value), step.ttl_ms, step.ephemeral or None]
    elif step.do == "trim":
        made.append(step.to)
    while made[-1] is None:
        made.pop()
    return made


def _all(write: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda values: list(map(write, values))


_READ: dict[str, Callable[[Any], Any]] = {
    **READ,
    "if": _if,
    "cookie": read_cookie,
    "subs": listed(_sub),
    "limits": _limits,
    "conditions": listed(_condition),
    "steps": listed(_step),
    "changes": _changes,
    "entries": listed(lambda found: f.entry(read_change(found))),
    "digests": _digests,
}
_WRITE: dict[str, Callable[[Any], Any]] = {
    "if": lambda at: [at],
    "cookie": list,
    "subs": _all(lambda sub: _body(sub, _CLIENT[3].fields)),
    "limits": list,
    "conditions": _all(lambda c: [None, c.path, c.rev] if c.tree else [c.path, None, c.rev]),
    "steps": _all(_write_step),
    "changes": _all(_write_change),
    "entries": _all(_write_change),
    "digest": str,
    "digests": lambda all: [
        [sub] if digest is None else [sub, str(digest)] for sub, digest in all.items()
    ],
}

_CLIENT: dict[int, f.Op] = {op.number: op for op in f.CLIENT_OPS}
_SERVER: dict[int, f.Op] = {op.number: op for op in f.SERVER_OPS}
