"""What an application gives: read as the fields of frames are, and named where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .protocol.wrong import Wrong

T = TypeVar("T")


def given(name: str, read: Callable[[Any], T], found: Any) -> T:
    """What was given as `name`, read; what `read` has against it, with the name."""
    try:
        return read(found)
    except Wrong as wrong:
        raise Wrong(wrong.code, f"{name}: {wrong}") from None


def seconds(found: Any) -> float:
    """Reads a time."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not found >= 0:
        raise Wrong("bad-field", "a time is a number of seconds, at least 0")
    return found


def millis(found: Any) -> int:
    """Reads a time as whole milliseconds, at least one where there is any time at all."""
    if seconds(found) >= 1 << 43:
        raise Wrong("bad-field", "a time is below 2^43 s")
    return max(int(found * 1000), 1 if found else 0)
