"""Kinds of fields that both codecs read alike: numbers, words, names, paths."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..codes import CODES
from .digests import parse_digest
from .paths import check_path, parse_log_key
from .patterns import check_pattern
from .views import DEPTHS, PATTERNS
from .wrong import Wrong

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)


def number(bits: int) -> Callable[[Any], int]:
    """Reads a whole number below 2^bits."""
    end = 1 << bits

    def read(found: Any) -> int:
        if type(found) is not int or found < 0:
            raise Wrong("bad-frame", "a number is whole and not negative")
        if found >= end:
            raise Wrong("bad-field", f"a number is below 2^{bits}")
        return found

    return read


rev = number(53)
u32 = number(32)


def text(found: Any) -> str:
    """Reads a text."""
    if type(found) is not str:
        raise Wrong("bad-frame", "this is to be text")
    return found


def flag(found: Any) -> bool:
    """Reads true or false."""
    if type(found) is not bool:
        raise Wrong("bad-frame", "this is to be true or false")
    return found


def name(found: Any) -> str:
    """Reads a name."""
    if not _NAME.fullmatch(text(found)):
        raise Wrong("bad-field", "a name is 1 to 64 of A-Z a-z 0-9 _ -")
    return str(found)


def digits(count: int) -> Callable[[Any], str]:
    """Reads this many lower-case hexadecimal digits."""

    def read(found: Any) -> str:
        if len(text(found)) != count or not _HEX.fullmatch(found):
            raise Wrong("bad-field", f"this is to be {count} lower-case hex digits")
        return str(found)

    return read


def word(*known: str) -> Callable[[Any], str]:
    """Reads one of these words."""

    def read(found: Any) -> str:
        if text(found) not in known:
            raise Wrong("bad-field", f"{found[:80]!r} is none of {', '.join(known)}")
        return str(found)

    return read


def log_key(found: Any) -> str:
    """Reads a log key, as text."""
    parse_log_key(text(found))
    return str(found)


def listed(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Reads a list of what `read` reads."""

    def read_all(found: Any) -> tuple[Any, ...]:
        if type(found) is not list:
            raise Wrong("bad-frame", "this is to be a list")
        return tuple(map(read, found))

    return read_all


def patterns(found: Any) -> tuple[str, ...]:
    """Reads the patterns of a view."""
    read: tuple[str, ...] = listed(check_pattern)(found)
    if len(read) > PATTERNS:
        raise Wrong("bad-field", f"a view has at most {PATTERNS} patterns")
    return read


def paths(found: Any) -> tuple[str, ...]:
    """Reads a list of paths."""
    read: tuple[str, ...] = listed(check_path)(found)
    if len(read) > 1024:
        raise Wrong("bad-field", "at most 1,024 paths at once")
    return read


READ: dict[str, Callable[[Any], Any]] = {
    "u32": u32,
    "count": u32,
    "u53": number(53),
    "rev": rev,
    "millis": number(53),
    "text": text,
    "flag": flag,
    "bool": flag,
    "yes": flag,
    "name": name,
    "path": check_path,
    "paths": paths,
    "patterns": patterns,
    "depth": word(*DEPTHS),
    "mode": word("stay", "once"),
    "refresh": word("full", "delta", "repair"),
    "why": word("no-cookie", "cookie", "epoch", "view", "future", "horizon", "resync", "outrun"),
    "code": word(*CODES),
    "epoch": digits(32),
    "fingerprint": digits(16),
    "digest": parse_digest,
    "log_key": log_key,
}
"""The function that reads a field, by the kind of the field."""
