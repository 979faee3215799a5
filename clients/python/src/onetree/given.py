"""Arguments of the application: they are checked like the fields of frames, and a wrong one is
named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .protocol.kinds import text
from .protocol.paths import has_surrogate
from .protocol.wrong import Wrong

T = TypeVar("T")


def given(name: str, read: Callable[[Any], T], found: Any) -> T:
    """Returns the argument `name`, checked by `read`. Adds the name to the error of `read`."""
    try:
        return read(found)
    except Wrong as wrong:
        raise Wrong(wrong.code, f"{name}: {wrong}") from None


def plain(found: Any) -> str:
    """Checks a text that can be sent."""
    if has_surrogate(text(found)):
        raise Wrong("bad-field", "half a character is no text")
    return str(found)


def several(found: Any) -> list[Any]:
    """Checks a list or another iterable, and returns it as a list. A text is refused."""
    if isinstance(found, str) or not isinstance(found, Iterable):
        raise Wrong("bad-field", "this is to be a list")
    return [*found]


def function(found: Any) -> Callable[..., Any]:
    """Checks a function."""
    if not callable(found):
        raise Wrong("bad-field", "this is to be a function")
    return found  # type: ignore[no-any-return]


def seconds(found: Any) -> float:
    """Checks a time."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not found >= 0:
        raise Wrong("bad-field", "a time is a number of seconds, at least 0")
    try:
        return float(found)
    except OverflowError:
        raise Wrong("bad-field", "a time is a number that a float can be") from None


def millis(found: Any) -> int:
    """Checks a time, and returns it in whole milliseconds: at least one, unless it is zero."""
    if seconds(found) >= 1 << 43:
        raise Wrong("bad-field", "a time is below 2^43 s")
    return max(int(found * 1000), 1 if found else 0)
