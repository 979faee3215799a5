"""Values: bytes with a media type."""

from __future__ import annotations

import json as _json
import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from . import scan
from .wrong import Wrong

JSON: Final = "application/json"
TEXT: Final = "text/plain"
BYTES: Final = "application/octet-stream"

_BYTES: Final = (bytes, bytearray, memoryview)
_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?: *;[ -~]*)?", re.ASCII)


def _check_type(text: str) -> None:
    if not isinstance(text, str):
        raise Wrong("bad-frame", "a media type is text")
    if len(text) > 127 or not _TYPE.fullmatch(text):
        raise Wrong("bad-field", f"{text[:80]!r} is no media type")


def _kind(found: object) -> str:
    return type(found).__name__


def known(type: str, data: bytes) -> Value:
    """For this package: a value that needs no check. Somebody has checked it already, or a
    codec has read it, and the broker had checked its type."""
    return tuple.__new__(Value, (type, data))


class _Parts(NamedTuple):
    type: str
    """The media type."""
    data: bytes
    """The bytes. Of JSON, its text as it came in."""


class Value(_Parts):
    """A value of the tree: bytes with a media type. Make one with `Value.json`, `Value.text` or
    `Value.of`. Each way checks that the bytes are what the type says (`Wrong`)."""

    __slots__ = ()

    def __new__(cls, type: str, data: bytes) -> Value:
        """See `Value.of`."""
        _check_type(type)
        if not isinstance(data, _BYTES):
            raise Wrong("bad-value", f"a value's data is to be bytes, not {_kind(data)}")
        data = bytes(data)
        return known(type, scan.check(data) if type == JSON else data)

    @classmethod
    def _make(cls, parts: Iterable[Any]) -> Value:  # type: ignore[override]
        # `_replace` calls this, too.
        return cls(*parts)

    @staticmethod
    def json(value: Any) -> Value:
        """A value of type `application/json`, with the JSON that `json.dumps` makes of a Python
        value."""
        try:
            text = _json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (ValueError, TypeError, RecursionError) as error:
            raise Wrong("bad-value", f"not a JSON value: {error}") from None
        # `json.dumps` lets pass a duplicate key, as of `{1: …, "1": …}`, and any number.
        return known(JSON, scan.check(text))

    @staticmethod
    def text(text: str, type: str = TEXT) -> Value:
        """A value that is text. `type` is one of `text/…`."""
        if not isinstance(text, str):
            raise Wrong("bad-value", f"text is to be str, not {_kind(text)}")
        try:
            return Value.of(type, text.encode())
        except UnicodeEncodeError:
            raise Wrong("bad-value", "half a character is no text") from None

    @staticmethod
    def of(type: str, data: bytes) -> Value:
        """A value of any media type. For `application/json` the bytes are checked."""
        return Value(type, data)

    @staticmethod
    def make(value: object) -> Value:
        """Makes a value as requests do. A `Value` stays as it is; `str` becomes `text/plain`, bytes
        become `application/octet-stream`, and anything else becomes JSON."""
        if isinstance(value, Value):
            return value
        if isinstance(value, str):
            return Value.text(value)
        if isinstance(value, _BYTES):
            return known(BYTES, bytes(value))
        return Value.json(value)

    def get(self) -> Any:
        """Returns the value for Python: JSON is parsed (anew each time), `text/…` that is UTF-8 is
        `str`, and anything else is the bytes."""
        if self.type == JSON:
            return scan.loads(self.data)
        if self.type.startswith("text/"):
            try:
                return self.data.decode()
            except UnicodeDecodeError:
                pass
        return self.data
