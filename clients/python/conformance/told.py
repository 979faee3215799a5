"""How entries, events and errors are told. What is null is as if absent."""

from __future__ import annotations

import json
from typing import Any

import onetree
from onetree.protocol import json_codec

Fields = dict[str, Any]

PLAIN = ("kind", "why", "since", "rev", "path", "gaps", "verified", "resumed")
"""The fields of events that are told as they are."""


def line(entry: onetree.Entry) -> Fields:
    """An entry, as `export` prints it."""
    parsed: Fields = json.loads(json_codec.entry_text(entry))
    return parsed


def plain(entry: onetree.Entry) -> Any:
    """An entry's value: what its JSON says, else its text or the base64 of its bytes."""
    fields = line(entry)
    return next((fields[name] for name in ("json", "text", "bytes") if name in fields), None)


def page(found: onetree.Found) -> Fields:
    return {"rev": found.rev, "changes": [*map(line, found.entries)], "more": found.more}


def change(of: onetree.Change) -> Fields:
    old, new = of.old and line(of.old), of.new and line(of.new)
    return {"path": of.path, "rev": of.rev, "old": old, "new": new}


def event_of(event: Any) -> Fields:
    fields: Fields = {"event": event.name}
    fields |= {name: getattr(event, name) for name in PLAIN if hasattr(event, name)}
    if hasattr(event, "changes"):
        fields["changes"] = [*map(change, event.changes)]
    if hasattr(event, "value"):
        fields |= json.loads("{" + json_codec.value_text(event.value)[1:] + "}")
    if hasattr(event, "retry_in"):
        fields["retry_ms"] = int(event.retry_in * 1000)
    if isinstance(event, onetree.event.Ended) and event.error is not None:
        fields["code"] = event.error.word
    return fields


def code_of(error: Exception) -> str:
    if isinstance(error, onetree.OnetreeError):
        return error.word
    return str(getattr(error, "code", "application"))
