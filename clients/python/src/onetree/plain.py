"""What this package returns, converted for `json.dumps`: for logs and other programs."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any

from .errors import OnetreeError
from .event import Connecting, Event, Verdict
from .protocol import json_codec
from .protocol.digests import Digest
from .protocol.frames import Entry
from .protocol.values import Value
from .snapshot import Snapshot
from .transact import Committed


def as_json(given: Any) -> Any:
    """Converts entries, events and answers to the words of the protocol's JSON. An entry is a line
    of `onetree export`. An event or a status has its name in `event`, and a verdict in `verdict`.
    An error is `{"code","message"}`, with `path` and `rev` if it has them. A time is `retry_ms`
    (`None`: longer than any number). Lists of these are converted, too. Anything else stays as it
    is."""
    match given:
        case OnetreeError():
            error = {"code": given.word, "message": given.message}
            more = {name: getattr(given, name, None) for name in ("path", "rev")}
            return error | {name: part for name, part in more.items() if part is not None}
        case Entry():
            return json.loads(json_codec.entry_text(given))
        case Value():
            return json.loads("{" + json_codec.value_text(given)[1:] + "}")
        case Digest():
            return str(given)
        case Snapshot():
            all = as_json(given.entries())
            return {"rev": given.rev, "cookie": as_json(given.cookie), "entries": all}
        case Verdict():
            parts = {field.name: getattr(given, field.name) for field in fields(given)}
            return {name: as_json(part) for name, part in parts.items() if part is not None}
        case Committed(result, done, runs):
            return {"result": as_json(result), **(as_json(done) or {}), "runs": runs}
        case tuple() if hasattr(given, "_asdict"):
            return {name: as_json(part) for name, part in given._asdict().items()}
        case list() | tuple():
            return [as_json(part) for part in given]
    if not is_dataclass(given):
        return given
    told: dict[str, Any] = {"event": given.name} if isinstance(given, Event | Connecting) else {}
    for name in (field.name for field in fields(given) if field.repr):
        part = getattr(given, name)
        if name == "retry_in":
            millis = part * 1000
            told["retry_ms"] = round(millis) if isfinite(millis) else None
        elif isinstance(part, Value):
            told |= as_json(part)
        elif name != "id":
            told[name] = as_json(part)
    return told
