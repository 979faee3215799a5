"""File names as topics and back: any name that a file system has, without loss."""

from __future__ import annotations

import re

_HEX = re.compile(rb"%([0-9A-F]{2})")
_LOG_KEY = re.compile(r"[0-9a-f]{18}")


def to_segment(name: bytes) -> str | None:
    """The segment of a path for a file's name; `None` when it would be too long. What a segment
    cannot hold stands as `%` and two hex digits: control characters, bytes that are no UTF-8, `%`
    itself, and the first character of what would look like a log key."""
    parts = []
    for char in name.decode("utf-8", "surrogateescape"):
        code = ord(char)
        if code < 0x20 or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF or char in "%/":
            data = char.encode("utf-8", "surrogateescape")
            parts.append("".join(f"%{byte:02X}" for byte in data))
        else:
            parts.append(char)
    text = "".join(parts)
    if _LOG_KEY.fullmatch(text):
        text = f"%{ord(text[0]):02X}{text[1:]}"
    return text if 0 < len(text.encode()) <= 255 else None


def to_name(segment: str) -> bytes | None:
    """The file's name; `None` when `to_segment` never gives this."""
    name = _HEX.sub(lambda m: bytes([int(m[1], 16)]), segment.encode())
    unsafe = name in (b"", b".", b"..") or b"/" in name or b"\0" in name
    return None if unsafe or to_segment(name) != segment else name


def to_topic(top: str, file: bytes) -> str | None:
    """The topic of a file, by its path below the folder; `None` when it would be no path."""
    segments = [to_segment(name) for name in file.split(b"/")]
    if None in segments:
        return None
    topic = "/".join([top, *(s for s in segments if s is not None)])
    return topic if len(topic.encode()) <= 1024 and topic.count("/") <= 32 else None


def to_file(top: str, topic: str) -> bytes | None:
    """The file of a topic below `top`; `None` when it can be none."""
    names = [to_name(segment) for segment in topic[len(top) + 1 :].split("/")]
    return None if None in names else b"/".join(n for n in names if n is not None)
