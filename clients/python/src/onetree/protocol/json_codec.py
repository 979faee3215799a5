"""Frames as JSON texts. A value that is JSON is never parsed and written again: it stays text."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable
from typing import Any

from . import frames as f
from . import scan
from .cookies import Cookie
from .kinds import READ, flag, listed, log_key, rev, text, u32
from .paths import check_path
from .values import BYTES, JSON, TEXT, Value, known
from .wrong import Wrong

SUBPROTOCOL = "onetree.v1.json"

Fields = dict[str, Any]


def decode_server(message: bytes | str) -> f.ServerFrame:
    """Reads a frame of a broker. Raises `Wrong` if it is none."""
    try:
        text = message if isinstance(message, str) else message.decode()
    except UnicodeDecodeError as error:
        raise Wrong("bad-frame", f"not UTF-8: {error}") from None
    # The most frequent frames, fast.
    live = scan.changes(text, _put, read_change)
    if live is not None and live[1] < 1 << (53 if live[0] else 32):
        is_delta, number, changes = live
        if is_delta:
            return f.Delta(number, None, None, False, tuple(changes))
        return f.Entries(number, tuple(changes))
    found: f.ServerFrame = _decode(_fields(text), _SERVER)
    return found


def decode_client(message: bytes | str) -> f.ClientFrame:
    """Reads a frame of a client. Raises `Wrong` if it is none."""
    found: f.ClientFrame = _decode(_fields(message), _CLIENT)
    return found


def encode(frame: f.ClientFrame | f.ServerFrame) -> str:
    """Returns the text of a frame."""
    op = f.OP_OF[type(frame)]
    return f'{{"op":"{op.name}"{_body(frame, op.fields)}}}'


def read_cookie(found: Any) -> Cookie:
    """Reads a cookie from its fields."""
    fields = _record(found)
    return Cookie(
        READ["epoch"](_must(fields, "epoch")),
        rev(_must(fields, "rev")),
        READ["fingerprint"](_must(fields, "view")),
    )


def cookie_text(cookie: Cookie) -> str:
    """Returns the JSON of a cookie."""
    return f'{{"epoch":"{cookie.epoch}","rev":{cookie.rev},"view":"{cookie.view}"}}'


def read_value(fields: Fields, must: bool = True) -> Value | None:
    """Reads the value among the fields of a record, which come from `scan.frame`."""
    kind = fields.get("type")
    if kind is not None and type(kind) is not str:
        raise Wrong("bad-frame", "a media type is text")
    found: Value | None = None
    values = 0
    if "json" in fields:
        # `null` is a value, too.
        values += 1
        if kind is not None and kind != JSON:
            raise Wrong("bad-field", "json is of the type application/json")
        found = known(JSON, fields["json"].encode())
    if (as_text := fields.get("text")) is not None:
        values += 1
        kind_ = TEXT if kind is None else kind
        data = text(as_text).encode()
        if not kind_.startswith("text/"):
            raise Wrong("bad-field", "text is of a type text/…")
        found = known(kind_, data)
    if (as_bytes := fields.get("bytes")) is not None:
        values += 1
        kind_ = BYTES if kind is None else kind
        found = known(kind_, _base64(text(as_bytes)))
    if values == 1 or (values == 0 and kind is None and not must):
        return found
    raise Wrong("bad-frame", "a value is exactly one of json, text and bytes")


def value_text(value: Value, one_line: bool = False) -> str:
    """Returns the fields of a value, each with `,` before it. With `one_line`, JSON that has a line
    end in it is written as bytes."""
    kind, data = value
    if kind == JSON and not (one_line and (b"\n" in data or b"\r" in data)):
        try:
            return f',"json":{data.decode()}'
        except UnicodeDecodeError:
            raise Wrong("bad-value", "JSON is UTF-8") from None
    field = f',"type":"{kind}"' if kind.isprintable() and '"' not in kind and "\\" not in kind \
        else f',"type":{_quote(kind)}'  # fmt: skip
    if kind.startswith("text/"):
        try:
            return f'{field},"text":{_quote(data.decode())}'
        except UnicodeDecodeError:
            pass
    return f'{field},"bytes":"{b64encode(data).decode()}"'


def entry_text(entry: f.Entry, one_line: bool = False) -> str:
    """Returns an entry as JSON. With `one_line`, it is the line that `export` prints, without the
    line end."""
    value = "" if entry.value is None else value_text(entry.value, one_line)
    return f'{{"path":{_quote(entry.path)},"rev":{entry.rev}{value}}}'


def read_change(found: Any) -> f.Change:
    """Reads a change from its fields, which come from `scan.frame`."""
    fields = _record(found)
    path = check_path(_must(fields, "path"))
    at = rev(_must(fields, "rev"))
    if len(fields) == 3 and (raw := fields.get("json")) is not None:
        return f.Entry(path, at, known(JSON, raw.encode()))
    acts = [act for act in ("delete", "drop") if _flag(fields, act)]
    to = fields.get("trim")
    if to is not None:
        acts.append("trim")
    if not acts:
        if _flag(fields, "gap"):
            raise Wrong("bad-frame", "a gap is of a trim")
        return f.Entry(path, at, read_value(fields, must=False))
    if (
        len(acts) > 1
        or any(fields.get(x) is not None for x in ("type", "text", "bytes"))
        or ("json" in fields)
    ):
        raise Wrong("bad-frame", "a change does one thing")
    if acts == ["trim"]:
        return f.Gone(path, at, "trim", log_key(to), _flag(fields, "gap"))
    if _flag(fields, "gap"):
        raise Wrong("bad-frame", "a gap is of a trim")
    return f.Gone(path, at, "drop" if acts == ["drop"] else "delete")


def _put(path: str, at: int, text: str) -> f.Change:
    return f.Entry(check_path(path), rev(at), known(JSON, text.encode()))


def _fields(message: bytes | str) -> Fields:
    try:
        return scan.frame(message if isinstance(message, str) else message.decode())
    except ValueError as error:
        raise Wrong("bad-frame", f"not a JSON object: {error}") from None


def _decode(fields: Fields, ops: dict[str, f.Op]) -> Any:
    id = fields.get("id")
    if type(id) is not int or not 0 <= id < 1 << 32:
        id = None
    try:
        name = _must(fields, "op")
        op = ops.get(text(name))
        if op is None:
            raise Wrong("unknown-op", f"there is no {name[:40]!r}")
        return _read(fields, op)
    except Wrong as wrong:
        wrong.id = id
        raise


def _read(fields: Fields, op: f.Op) -> Any:
    """Makes the frame of these fields."""
    given = {}
    for name, attribute, kind, must, default in op.fields:
        if kind == "value":
            given[attribute] = read_value(fields)
            continue
        found = fields.get(name)
        if found is not None:
            given[attribute] = _READ[kind](found)
        elif must:
            raise Wrong("bad-frame", f"{name} is missing")
        else:
            given[attribute] = default
    return op.make(**given)


def _body(frame: Any, fields: Iterable[f.Field]) -> str:
    parts = []
    for name, attribute, kind, must, default in fields:
        value = getattr(frame, attribute)
        if kind == "value":
            parts.append(value_text(value))
        elif must or value != default:
            if not must and isinstance(default, tuple) and not value:
                continue
            parts.append(f',"{name}":{_WRITE.get(kind, _plain)(value)}')
    return "".join(parts)


def _must(fields: Fields, name: str) -> Any:
    found = fields.get(name)
    if found is None:
        raise Wrong("bad-frame", f"{name} is missing")
    return found


def _record(found: Any) -> Fields:
    if type(found) is not dict:
        raise Wrong("bad-frame", "this is to be an object")
    return found


def _flag(fields: Fields, name: str) -> bool:
    found = fields.get(name)
    return found is not None and flag(found)


def _base64(digits: str) -> bytes:
    try:
        data = b64decode(digits, validate=True)
    except (Base64Error, ValueError):
        data = None
    # Python also accepts bits after the end, and text after the padding.
    if data is None or b64encode(data).decode() != digits:
        raise Wrong("bad-field", "bytes are padded base64 of the standard alphabet")
    return data


def _if(found: Any) -> int:
    return rev(_must(_record(found), "rev"))


def _subs(found: Any) -> tuple[f.Sub, ...]:
    subs: tuple[f.Sub, ...] = listed(lambda sub: _read(_record(sub), _CLIENT["sub"]))(found)
    return subs


def _limits(found: Any) -> f.Limits:
    fields = _record(found)
    return f.Limits(*(u32(_must(fields, name)) for name in f.Limits._fields))


def _condition(found: Any) -> f.Condition:
    fields = _record(found)
    path, tree = fields.get("path"), fields.get("tree")
    if (path is None) == (tree is None):
        raise Wrong("bad-frame", "a condition has either path or tree")
    top: Any = path if tree is None else tree
    return f.Condition(check_path(top), rev(_must(fields, "rev")), tree is not None)


def _step(found: Any) -> f.Step:
    fields = _record(found)
    do = text(_must(fields, "do"))
    if do not in ("put", "append", "delete", "drop", "trim"):
        raise Wrong("bad-field", f"there is no step {do[:40]!r}")
    path = check_path(_must(fields, "path"))
    if do in ("put", "append"):
        ttl = fields.get("ttl_ms")
        ttl_ms = None if ttl is None else READ["millis"](ttl)
        value = read_value(fields)
        return f.Step(do, path, value, ttl_ms, _flag(fields, "ephemeral"))  # type: ignore[arg-type]
    if do == "trim":
        return f.Step("trim", path, to=log_key(_must(fields, "to")))
    return f.Step(do, path)  # type: ignore[arg-type]


def _digests(found: Any) -> dict[int, Any]:
    digests = {}
    for sub, digest in _record(found).items():
        if not sub.isascii() or not sub.isdigit() or (sub[0] == "0" and sub != "0"):
            raise Wrong("bad-field", "a subscription is a number")
        digests[u32(int(sub[:20]))] = None if digest is None else READ["digest"](digest)
    return digests


_READ: dict[str, Callable[[Any], Any]] = {
    **READ,
    "if": _if,
    "cookie": read_cookie,
    "subs": _subs,
    "limits": _limits,
    "conditions": listed(_condition),
    "steps": listed(_step),
    "changes": listed(read_change),
    "entries": listed(lambda found: f.entry(read_change(found))),
    "digests": _digests,
}

_quote = json.JSONEncoder(ensure_ascii=False).encode


def _plain(value: Any) -> str:
    return str(value) if type(value) is int else _quote(value)


def _change_text(change: f.Change) -> str:
    if isinstance(change, f.Entry):
        return entry_text(change)
    act = f'"trim":"{change.to}"' if change.act == "trim" else f'"{change.act}":true'
    gap = ',"gap":true' if change.gap else ""
    return f'{{"path":{_quote(change.path)},"rev":{change.rev},{act}{gap}}}'


def _step_text(step: f.Step) -> str:
    rest = "" if step.value is None else value_text(step.value)
    if step.ttl_ms is not None:
        rest += f',"ttl_ms":{step.ttl_ms}'
    if step.ephemeral:
        rest += ',"ephemeral":true'
    if step.do == "trim":
        rest += f',"to":"{step.to}"'
    return f'{{"do":"{step.do}","path":{_quote(step.path)}{rest}}}'


def _all(write: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda values: f"[{','.join(map(write, values))}]"


_CLIENT = {op.name: op for op in f.CLIENT_OPS}
_SERVER = {op.name: op for op in f.SERVER_OPS}
_WRITE: dict[str, Callable[[Any], str]] = {
    "if": lambda at: f'{{"rev":{at}}}',
    "cookie": cookie_text,
    "subs": _all(lambda sub: "{" + _body(sub, _CLIENT["sub"].fields)[1:] + "}"),
    "limits": lambda limits: _quote(limits._asdict()),
    "conditions": _all(
        lambda c: f'{{"{"tree" if c.tree else "path"}":{_quote(c.path)},"rev":{c.rev}}}'
    ),
    "steps": _all(_step_text),
    "changes": _all(_change_text),
    "entries": _all(entry_text),
    "digest": lambda digest: f'"{digest}"',
    "digests": lambda all: _quote(
        {str(sub): None if digest is None else str(digest) for sub, digest in all.items()}
    ),
}
