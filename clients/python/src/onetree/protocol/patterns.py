"""Patterns: `*/log/**`, matched against what is below the base of a view."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .paths import PATH_BYTES, SEGMENTS, path_fault, shown
from .wrong import Wrong


def check_pattern(text: str) -> str:
    """The pattern itself; `Wrong` with `bad-pattern` when it is none."""
    if not isinstance(text, str):
        raise Wrong("bad-frame", "a pattern is text")
    fault = _fault(text)
    if fault is not None:
        raise Wrong("bad-pattern", f"{shown(text)}: {fault}")
    return text


def check_written(text: str) -> str:
    """As `check_pattern`, of one that somebody wrote. Also a `*` within a segment is refused: on
    the wire it is a character like others, but who writes `user-*` means what begins so, of which
    it would match nothing."""
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
    """Whether any of the patterns matches. What is matched is empty for the base, otherwise each
    segment below it with `/` before it. Cost: one regular expression, or, with several `**`,
    segments times segments."""
    simple: list[str] = []
    hard: list[list[str]] = []
    for pattern in patterns:
        parts = pattern.split("/")
        if parts.count("**") > 2:
            # A regular expression would try all ways to share the segments out.
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
    """Place by place, all places of the pattern that can be reached at once."""
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
    """And what is reached when each `**` stands for nothing."""
    for at in range(len(pattern)):
        if at in reached and pattern[at] == "**":
            reached.add(at + 1)
    return reached
