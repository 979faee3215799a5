"""Paths, such as `/a/b/c`. They are plain `str`; these functions check and compare them."""

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
# Correct without a closer look: short, ASCII, and no segment that begins with a dot.
_PLAIN = re.compile(r"(?:/[!-\-0-~][ -.0-~]*){1,32}", re.ASCII)
_LOG_KEY = re.compile(r"[0-9a-f]{18}", re.ASCII)


def has_surrogate(text: str) -> bool:
    """Returns whether a text has lone surrogates, which UTF-8 cannot encode."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def path_fault(text: str) -> str | None:
    """Returns why a text is no path; `None` if it is one."""
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
    """Returns a wrong text for a message: all of it, unless it is far too long."""
    return repr(text if len(text) <= 2 * PATH_BYTES else text[:PATH_BYTES] + "…")


def check_path(text: str) -> str:
    """Returns the path itself. Raises `Wrong` with `bad-path` if it is none."""
    if not isinstance(text, str):
        raise Wrong("bad-frame", f"a path is text, not {type(text).__name__}")
    fault = path_fault(text)
    if fault is not None:
        raise Wrong("bad-path", f"{shown(text)}: {fault}")
    return text


def segments(path: str) -> list[str]:
    """Returns the segments of a path; none for `/`."""
    return [] if path == "/" else path[1:].split("/")


def order_key(path: str) -> str:
    """Returns a text that is ordered as the path is: `/` below everything else. No path has a NUL,
    and the order of characters is that of their UTF-8."""
    return path.replace("/", "\0")


def contains(top: str, path: str) -> bool:
    """Returns whether `path` is at or under `top`."""
    return path == top or top == "/" or path.startswith(top + "/")


def parent(path: str) -> str:
    """Returns the path above; for `/`, `/` itself."""
    return path[: path.rfind("/")] or "/"


def child(path: str, segment: str) -> str:
    """Returns the path of a direct child. It is not checked."""
    return "/" + segment if path == "/" else f"{path}/{segment}"


def name(path: str) -> str:
    """Returns the last segment; empty for `/`."""
    return path[path.rfind("/") + 1 :]


def parse_log_key(text: str) -> tuple[int, int]:
    """Reads the key of a log's entry: the revision of the commit, and the place in it. Raises
    `Wrong` with `bad-field` if it is none."""
    if not isinstance(text, str):
        raise Wrong("bad-frame", "a log key is text")
    if not is_log_key(text):
        raise Wrong("bad-field", "a log key is 18 lower-case hex digits below 2^53 of revision")
    return int(text[:14], 16), int(text[14:], 16)


def log_key(rev: int, index: int) -> str:
    """Makes the key of a log's entry, of the revision of the commit and the place in it."""
    return f"{rev:014x}{index:04x}"


def is_log_key(text: str) -> bool:
    """Returns whether a segment has the form of a log key."""
    return _LOG_KEY.fullmatch(text) is not None and int(text[:14], 16) < 1 << 53


def is_keyed(path: str) -> bool:
    """Returns whether a path is at or under the entry of a log."""
    return any(map(is_log_key, segments(path)))
