"""Converts file names to topics and back: any name that a file system allows, without loss."""

from __future__ import annotations

import re

_HEX = re.compile(rb"%([0-9A-F]{2})")
_LOG_KEY = re.compile(r"[0-9a-f]{18}")


def to_segment(name: bytes) -> str | None:
    """Returns the segment of a path for a file's name; `None` if it would be too long. What a
    segment cannot hold becomes `%` and two hexadecimal digits: control characters, bytes that are
    not UTF-8, `%` itself, and the first character of what would look like a log key."""
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
    """Returns the file's name; `None` if `to_segment` never returns this segment."""
    name = _HEX.sub(lambda m: bytes([int(m[1], 16)]), segment.encode())
    unsafe = name in (b"", b".", b"..") or b"/" in name or b"\0" in name
    return None if unsafe or to_segment(name) != segment else name


def to_topic(top: str, file: bytes) -> str | None:
    """Returns the topic of a file, by its path below the folder; `None` if it would be no path."""
    segments = [to_segment(name) for name in file.split(b"/")]
    if None in segments:
        return None
    topic = "/".join([top, *(s for s in segments if s is not None)])
    return topic if len(topic.encode()) <= 1024 and topic.count("/") <= 32 else None


def to_file(top: str, topic: str) -> bytes | None:
    """Returns the file of a topic below `top`; `None` if it cannot be one."""
    names = [to_name(segment) for segment in topic[len(top) + 1 :].split("/")]
    return None if None in names else b"/".join(n for n in names if n is not None)
