"""Views: what a subscription sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2s
from typing import Final, Literal

from .paths import check_path, contains, segments
from .patterns import check_written, matcher
from .wrong import Wrong

Depth = Literal["entry", "children", "tree"]
DEPTHS: Final = ("entry", "children", "tree")
PATTERNS: Final = 32
"""The largest number of patterns of a view."""


@dataclass(frozen=True)
class View:
    """What a subscription sees: base, depth, patterns, tail, and whether it has values. Checked
    when it is made (`Wrong`)."""

    path: str
    """The base."""
    depth: Depth = "tree"
    """`entry`: the base alone. `children`: also its direct children. `tree`: everything at and
    under it."""
    match: tuple[str, ...] = ()
    """Patterns for what is below the base. A path is seen if any of them matches; without patterns
    every path is. `*` is one whole segment and `**` any number of segments; `user-*` is refused."""
    tail: int | None = None
    """Only this many of the newest entries of each log, and what comes later."""
    values: bool = True
    """Whether the view has values. `False`: paths and revisions only."""

    def __post_init__(self) -> None:
        check_path(self.path)
        if self.depth not in DEPTHS:
            raise Wrong("bad-field", f"depth is one of {', '.join(DEPTHS)}")
        if isinstance(self.match, str):
            raise Wrong("bad-field", "match is a list of patterns")
        object.__setattr__(self, "match", tuple(self.match))
        if len(self.match) > PATTERNS:
            raise Wrong("bad-field", f"a view has at most {PATTERNS} patterns")
        for pattern in self.match:
            check_written(pattern)
        if self.tail is not None and (type(self.tail) is not int or not 0 <= self.tail < 1 << 32):
            raise Wrong("bad-field", "tail is a whole number, at least 0 and below 2^32")
        if type(self.values) is not bool:
            raise Wrong("bad-field", "values is true or false")

    @cached_property
    def sees(self) -> Callable[[str], bool]:
        """Returns whether a path is in the view. This is a function, for speed."""
        base = self.path
        prefix = "" if base == "/" else base
        below = prefix + "/"
        start = len(prefix)
        if self.depth == "tree" and not self.match:
            if base == "/":
                return lambda path: True
            return lambda path: path == base or path.startswith(below)
        matches = matcher(self.match) if self.match else lambda rest: True
        deepest = {"entry": 0, "children": 1, "tree": 99}[self.depth]

        def sees(path: str) -> bool:
            if path == base:
                return matches("")
            if not path.startswith(below):
                return False
            rest = path[start:]
            return rest.count("/") <= deepest and matches(rest)

        return sees

    def reaches(self, top: str) -> bool:
        """Returns whether `top` is within base and depth, whatever patterns and tail leave out."""
        below = len(segments(top)) - len(segments(self.path))
        return contains(self.path, top) and below <= {"entry": 0, "children": 1}.get(self.depth, 99)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the view, as the broker sends it in `fresh`."""
        return blake2s(self.hashed(), digest_size=8).hexdigest()

    def hashed(self) -> bytes:
        """Returns the bytes that are hashed for the fingerprint."""
        parts = [
            self.path,
            self.depth,
            "" if self.tail is None else str(self.tail),
            "1" if self.values else "0",
            *sorted(set(self.match)),
        ]
        return b"".join(part.encode() + b"\0" for part in parts)
