"""Patterns such as `*/log/**`. They match what is below the base of a view."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .paths import PATH_BYTES, SEGMENTS, path_fault, shown
from .wrong import Wrong


def check_pattern(text: str) -> str:
    """Returns the pattern itself. Raises `Wrong` with `bad-pattern` if it is none."""
    if not isinstance(text, str):
        raise Wrong("bad-frame", "a pattern is text")
    fault = _fault(text)
    if fault is not None:
        raise Wrong("bad-pattern", f"{shown(text)}: {fault}")
    return text


def check_written(text: str) -> str:
    """Checks a pattern of the application. Unlike `check_pattern`, refuses a `*` inside a segment.
    On the wire such a `*` is a character like any other, but an application that writes `user-*`
    means every name that begins with `user-`, and the pattern would match none of them."""
    for part in check_pattern(text).split("/"):
        if "*" in part and part not in ("*", "**"):
            raise Wrong(
                "bad-pattern",
                f"{shown(text)}: '*' stands for a whole segment, and '**' for any number of them, "
                f"not for a part of one ('{part}')",
            )
    return text


def _fault(text: str) -> str | None:
    if text == "":
        return "no segment"
    if len(text.encode("utf-8", "surrogatepass")) > PATH_BYTES:
        return f"a pattern has at most {PATH_BYTES:,} bytes"
    parts = text.split("/")
    if len(parts) > SEGMENTS:
        return f"a pattern has at most {SEGMENTS} segments"
    if "" in parts:
        return "a segment is not empty"
    return next(filter(None, (path_fault("/" + part) for part in parts)), None)


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Returns a function that says whether any of the patterns matches. Its argument is empty for
    the base, and otherwise has each segment below the base with `/` before it. Costs one regular
    expression or, for patterns with several `**`, segments times segments."""
    simple: list[str] = []
    hard: list[list[str]] = []
    for pattern in patterns:
        parts = pattern.split("/")
        if parts.count("**") > 2:
            # A regular expression would try all ways to divide the segments.
            hard.append(parts)
        else:
            simple.append("".join(map(_expression, parts)))
    match = re.compile("|".join(simple)).fullmatch if simple else None

    def matches(below: str) -> bool:
        if match is not None and match(below):
            return True
        return any(_matches(parts, below.split("/")[1:]) for parts in hard)

    return matches


def _expression(segment: str) -> str:
    if segment == "**":
        return r"(?:/[^/]+)*"
    return "/[^/]+" if segment == "*" else "/" + re.escape(segment)


def _matches(pattern: list[str], below: list[str]) -> bool:
    """Matches place by place, with all places of the pattern that can be reached at once."""
    reached = _skip(pattern, {0})
    for segment in below:
        step = {
            at if pattern[at] == "**" else at + 1
            for at in reached
            if at < len(pattern) and pattern[at] in ("**", "*", segment)
        }
        reached = _skip(pattern, step)
    return len(pattern) in reached


def _skip(pattern: list[str], reached: set[int]) -> set[int]:
    """Adds the places that are reached if each `**` stands for nothing."""
    for at in range(len(pattern)):
        if at in reached and pattern[at] == "**":
            reached.add(at + 1)
    return reached
