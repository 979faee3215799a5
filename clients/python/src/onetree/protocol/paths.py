"""Paths: `/a/b/c`. They are plain `str`; these functions say which are right, and their order."""

from __future__ import annotations

import re
from typing import Final

from .wrong import Wrong

PATH_BYTES: Final = 1024
"""The most bytes of a path."""
SEGMENT_BYTES: Final = 255
"""The most bytes of a segment."""
SEGMENTS: Final = 32
"""The most segments of a path."""

_SEGMENTS = re.compile(r"(?:/[^/\x00-\x1f\x7f-\x9f]+)+")
# Right without a second look: short, ASCII, and nothing that begins with a dot.
_PLAIN = re.compile(r"(?:/[!-\-0-~][ -.0-~]*){1,32}", re.ASCII)
_LOG_KEY = re.compile(r"[0-9a-f]{18}", re.ASCII)


def has_surrogate(text: str) -> bool:
    """Whether this is no text: there are halves of characters in it, which UTF-8 cannot write."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def path_fault(text: str) -> str | None:
    """Why this is no path; `None` when it is one."""
    if (len(text) <= SEGMENT_BYTES and _PLAIN.fullmatch(text)) or text == "/":
        return None
    if not _SEGMENTS.fullmatch(text):
        return (
            "a path is '/', or segments with '/' before each and nothing behind the last, "
            "without control characters"
        )
    if has_surrogate(text):
        return "a path has no lone surrogates"
    parts = text[1:].split("/")
    if len(parts) > SEGMENTS:
        return f"a path has at most {SEGMENTS} segments"
    if "." in parts or ".." in parts:
        return "'.' and '..' are no segments"
    if any(len(part.encode()) > SEGMENT_BYTES for part in parts):
        return f"a segment has at most {SEGMENT_BYTES} bytes"
    if len(text.encode()) > PATH_BYTES:
        return f"a path has at most {PATH_BYTES:,} bytes"
    return None


def shown(text: str) -> str:
    """A text that is wrong, in a message: all of it, unless nobody can have meant it."""
    return repr(text if len(text) <= 2 * PATH_BYTES else text[:PATH_BYTES] + "…")


def check_path(text: str) -> str:
    """The path itself; `Wrong` with `bad-path` when it is none."""
    if not isinstance(text, str):
        raise Wrong("bad-frame", f"a path is text, not {type(text).__name__}")
    fault = path_fault(text)
    if fault is not None:
        raise Wrong("bad-path", f"{shown(text)}: {fault}")
    return text


def segments(path: str) -> list[str]:
    """The segments of a path; none of `/`."""
    return [] if path == "/" else path[1:].split("/")


def order_key(path: str) -> str:
    """A text that is ordered as the path is: `/` below everything else. No path has a NUL, and
    the order of characters is the order of their UTF-8."""
    return path.replace("/", "\0")


def contains(top: str, path: str) -> bool:
    """Whether `path` is at or under `top`."""
    return path == top or top == "/" or path.startswith(top + "/")


def parent(path: str) -> str:
    """The path above; of `/` itself."""
    return path[: path.rfind("/")] or "/"


def child(path: str, segment: str) -> str:
    """The path of a direct child; not checked."""
    return "/" + segment if path == "/" else f"{path}/{segment}"


def name(path: str) -> str:
    """The last segment; empty for `/`."""
    return path[path.rfind("/") + 1 :]


def parse_log_key(text: str) -> tuple[int, int]:
    """A log key's revision and place in its commit; `Wrong` with `bad-field` when it is none."""
    if not isinstance(text, str):
        raise Wrong("bad-frame", "a log key is text")
    if not is_log_key(text):
        raise Wrong("bad-field", "a log key is 18 lower-case hex digits below 2^53 of revision")
    return int(text[:14], 16), int(text[14:], 16)


def log_key(rev: int, index: int) -> str:
    """The log key of a place in a commit."""
    return f"{rev:014x}{index:04x}"


def is_log_key(text: str) -> bool:
    """Whether a segment has the form of a log key."""
    return _LOG_KEY.fullmatch(text) is not None and int(text[:14], 16) < 1 << 53


def is_keyed(path: str) -> bool:
    """Whether a path is at or under the entry of a log."""
    return any(map(is_log_key, segments(path)))
