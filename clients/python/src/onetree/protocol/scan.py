"""Reads JSON as strictly as the protocol requires, and keeps the text of values as it came.

The standard library's scanner does the work. This module looks for what the scanner lets pass:
duplicate keys, lone surrogates, numbers beyond a double, deep nesting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.decoder import JSONDecoder, scanstring  # type: ignore[attr-defined]
from typing import Any, Final, TypeVar

from .paths import has_surrogate
from .wrong import Wrong

T = TypeVar("T")

DEPTH: Final = 127
"""How deep JSON may be nested."""
FRAME_DEPTH: Final = DEPTH + 3
"""How deep a frame may be nested: a value in a change in the list of a frame."""

_SPACE = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONG = re.compile(r"[0-9]{309}")
# How most frames and nearly all changes begin in the form that brokers write.
_CHANGES = re.compile(
    r'\{"op":"(?:(delta)","rev"|entries","sub"):(0|[1-9][0-9]{0,15}),"changes":\['
)
_PUT = re.compile(r'\{"path":"([^"\\\x00-\x1f]*)","rev":([1-9][0-9]{0,15}),"json":')
_INF = float("inf")


class Raw(str):
    """The text of a value, as it was in the frame."""

    __slots__ = ()


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a duplicate key")
    return made


def _float(text: str) -> float:
    number = float(text)
    if number in (_INF, -_INF):
        raise ValueError("a number beyond a double")
    return number


def _int(text: str) -> int | float:
    if len(text) > 308:
        _float(text)
    # `-0` has a sign that `int` would lose. Where a whole number is required, it is refused.
    return -0.0 if text == "-0" else int(text)


def _value(text: str, at: int) -> tuple[Any, int]:
    """Reads a value that is kept as text: checks it, and returns it with its end."""
    value, end = _scan_value(text, at)
    if end - at > 308 and _LONG.search(text, at, end) is not None:
        # Whole numbers may be beyond a double, too. This is slow, so it is done only if there are
        # many digits.
        return _scan_once(text, at)  # type: ignore[no-any-return]
    return value, end


def _constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


_strict = JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_float, parse_int=_int, parse_constant=_constant
)
_scan_once = _strict.scan_once  # type: ignore[attr-defined]
# Without a hook for whole numbers, which would cost a call for each.
_scan_value = JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_float, parse_constant=_constant
).scan_once  # type: ignore[attr-defined]


def frame(text: str) -> dict[str, Any]:
    """Reads a frame: one JSON object. In each object of it, at any depth that the protocol uses,
    the field `json` is a `Raw`. `ValueError` says what is wrong."""
    try:
        found, end = _object(text, text.index("{") + 1, 1)
    except (StopIteration, IndexError):
        raise ValueError("the text is cut off, or no JSON") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    if _SPACE.fullmatch(text, 0, text.index("{")) is None or not _SPACE.fullmatch(text, end):
        raise ValueError("there is more than one object")
    if _SURROGATE.search(text) is not None:
        _refuse_surrogates(found)
    return found


def changes(
    text: str, put: Callable[[str, int, str], T], other: Callable[[Any], T]
) -> tuple[bool, int, list[T]] | None:
    """Reads a frame of nothing but changes, in the form that brokers write, fast. Returns whether
    it is a delta, its revision (or else its subscription), and its changes: the results of `put`
    for each put of JSON (path, revision, text) and of `other` for any other change. Returns `None`
    if the frame is anything else, or is wrong: `frame` then says what is wrong. Accepts no frame
    that `frame` does not accept."""
    head = _CHANGES.match(text)
    if head is None or ("\\u" in text and _SURROGATE.search(text) is not None):
        return None
    made: list[T] = []
    at = head.end()
    match_put = _PUT.match
    try:
        while True:
            match = match_put(text, at)
            if match is not None:
                path, rev = match.groups()
                start = match.end()
                value, end = _value(text, start)
                if text[end] == "}":
                    raw = text[start:end]
                    if end - start > DEPTH and text[start] in "[{":
                        check_depth(raw, value, FRAME_DEPTH - 3)
                    made.append(put(path, int(rev), raw))
                    at = end + 1
                else:
                    match = None
            if match is None:
                if text[at] != "{":
                    return None
                fields, at = _object(text, at + 1, 3)
                made.append(other(fields))
            if text[at] != ",":
                break
            at += 1
    except (StopIteration, IndexError, RecursionError, ValueError):
        return None
    if text[at:] != "]}":
        return None
    return head[1] is not None, int(head[2]), made


def check(given: bytes | str) -> bytes:
    """Returns a JSON value without the white space around it. Raises `Wrong` with `bad-value` if it
    is none."""
    try:
        text = (given if isinstance(given, str) else given.decode()).strip(" \t\n\r")
        value, end = _value(text, 0)
        if end != len(text):
            raise ValueError("there is something behind the value")
        check_depth(text, value)
        if _SURROGATE.search(text) is not None:
            _refuse_surrogates(value)
        return text.encode()
    except (ValueError, StopIteration, RecursionError) as error:
        raise Wrong("bad-value", f"not a JSON value: {error or 'it is cut off'}") from None


def loads(data: bytes) -> Any:
    """Returns the Python value of a JSON text that the broker has checked. Raises `Wrong` if it is
    none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Wrong("bad-value", "not a JSON value") from None


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    """Reads the fields of an object, from the place after its `{`."""
    space = _SPACE.match
    fields: dict[str, Any] = {}
    at = space(text, at).end()  # type: ignore[union-attr]
    if text[at] == "}":
        return fields, at + 1
    while True:
        if text[at] != '"':
            raise ValueError("a key is not text")
        key, at = scanstring(text, at + 1)
        if text[at] != ":":
            at = space(text, at).end()  # type: ignore[union-attr]
            if text[at] != ":":
                raise ValueError("no ':' behind a key")
        at += 1
        first = text[at]
        if first in " \t\n\r":
            at = space(text, at).end()  # type: ignore[union-attr]
            first = text[at]
        if key in fields:
            raise ValueError(f"a duplicate key, {key[:40]!r}")
        if first == '"' and key != "json":
            fields[key], at = scanstring(text, at + 1)
        elif key == "json":
            value, end = _value(text, at)
            raw = Raw(text[at:end])
            if first in "[{":
                check_depth(raw, value, FRAME_DEPTH - depth)
            fields[key], at = raw, end
        elif first == "{" and depth < FRAME_DEPTH:
            fields[key], at = _object(text, at + 1, depth + 1)
        elif first == "[" and depth < FRAME_DEPTH:
            fields[key], at = _list(text, at + 1, depth + 1)
        elif first in "[{":
            raise ValueError("nested too deep")
        else:
            fields[key], at = _scan_once(text, at)
        after = text[at]
        if after in " \t\n\r":
            at = space(text, at).end()  # type: ignore[union-attr]
            after = text[at]
        if after == "}":
            return fields, at + 1
        if after != ",":
            raise ValueError("no ',' between two fields")
        at += 1
        if text[at] in " \t\n\r":
            at = space(text, at).end()  # type: ignore[union-attr]


def _list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    """Reads the elements of a list, from the place after its `[`."""
    space = _SPACE.match
    found: list[Any] = []
    element: Any
    at = space(text, at).end()  # type: ignore[union-attr]
    if text[at] == "]":
        return found, at + 1
    while True:
        first = text[at]
        if first == "{" and depth < FRAME_DEPTH:
            element, at = _object(text, at + 1, depth + 1)
        elif first == "[" and depth < FRAME_DEPTH:
            element, at = _list(text, at + 1, depth + 1)
        elif first in "[{":
            raise ValueError("nested too deep")
        else:
            element, at = _scan_once(text, at)
        found.append(element)
        after = text[at]
        if after in " \t\n\r":
            at = space(text, at).end()  # type: ignore[union-attr]
            after = text[at]
        if after == "]":
            return found, at + 1
        if after != ",":
            raise ValueError("no ',' between two elements")
        at += 1
        if text[at] in " \t\n\r":
            at = space(text, at).end()  # type: ignore[union-attr]


def check_depth(text: str, value: Any, most: int = DEPTH) -> None:
    """Raises `ValueError` if `value`, whose text is `text`, is nested too deep."""
    # With so few brackets, nothing can be nested too deep.
    if text.count("[") + text.count("{") > most and _depth(value) > most:
        raise ValueError("nested too deep")


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _refuse_surrogates(value: Any) -> None:
    """Checks all texts, which is slow: only if an escape may be a lone surrogate."""
    if isinstance(value, Raw):
        _refuse_surrogates(_scan_once(value, 0)[0])
    elif isinstance(value, str):
        if has_surrogate(value):
            raise ValueError("a lone surrogate")
    elif isinstance(value, dict):
        for key, held in value.items():
            _refuse_surrogates(key)
            _refuse_surrogates(held)
    elif isinstance(value, list):
        for held in value:
            _refuse_surrogates(held)
