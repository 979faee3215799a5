"""Cuts the bytes of a WebSocket into frames.

Nearly every frame of a server holds a whole message, after two to ten bytes. To cut the message out
here costs a tenth of what the library's parser costs. Everything else (the handshake, fragments,
pings, the close, errors) goes to the library as it came.
"""

from __future__ import annotations

import re
from typing import Final, Literal

Kind = Literal["text", "binary", "other"]

_KINDS: Final[dict[int, Kind]] = {0x81: "text", 0x82: "binary"}
"""How the frame of a whole message begins: it is the last of its message, and has no reserved bits.
"""
_HEAD_END: Final = b"\r\n\r\n"
_HTTP: Final = b"HTTP/1."
_EARLY: Final = re.compile(rb"HTTP/1\.1 1(?!01)[0-9]{2}\b")
"""How a head begins that only announces the answer."""
_STATUS: Final = re.compile(rb"\AHTTP/1\.(?!0 101)[01] ([0-9]{3}) ?(?=[^0-9])")
"""The status of an answer. Only HTTP/1.1 opens a WebSocket."""
_MOST: Final = 65_536
"""How many bytes are searched for the beginning of an answer."""


class Wire:
    """Cuts what a server sends. Pure code."""

    def __init__(self) -> None:
        self.head = b""
        """What has come of the handshake's head."""
        # The beginning of an answer's head, or of a frame's.
        self._rest = b""
        # How much is still to come of a frame whose beginning the library has.
        self._owed = 0
        # Whether a message is coming in fragments: until its end, the library must see everything.
        self._in_fragments = False

    def answer(self, data: bytes) -> bytes:
        """Takes what came next of the answer to the handshake, and returns it in the form that the
        library accepts: HTTP/1.1, with words after the status or a space for them. Heads that only
        announce the answer, and empty lines before it, are left out."""
        if self.head:
            return data
        data, self._rest = (self._rest + data).lstrip(b"\r\n"), b""
        while _EARLY.match(data):
            _, end, behind = data.partition(_HEAD_END)
            if not end:
                break
            data = behind.lstrip(b"\r\n")
        is_whole = b"\n" in data and not _EARLY.match(data)
        if _HTTP.startswith(data[: len(_HTTP)]) and not is_whole and len(data) < _MOST:
            self._rest = data
            return b""
        return _STATUS.sub(rb"HTTP/1.1 \1 ", data)

    def handshake(self, data: bytes) -> int:
        """Returns how much of what came next belongs to the handshake's head. Nothing after its end
        does."""
        before = len(self.head)
        if self.head.endswith(_HEAD_END):
            return 0
        self.head += data
        end = self.head.find(_HEAD_END, max(0, before - len(_HEAD_END) + 1))
        if end >= 0:
            self.head = self.head[: end + len(_HEAD_END)]
        return len(self.head) - before

    def cut(self, data: bytes) -> list[tuple[Kind, bytes]]:
        """Returns the messages in what came next after the handshake, and pieces of other things,
        in their order."""
        found: list[tuple[Kind, bytes]] = []
        at = 0
        if self._owed:
            at = min(self._owed, len(data))
            self._owed -= at
            found.append(("other", data[:at]))
        elif self._rest:
            data, self._rest = self._rest + data, b""
        count = len(data)
        while at < count:
            start = at + 2
            if start > count:
                self._rest = data[at:]
                break
            first, size = data[at], data[at + 1]
            # A mask, which no server may use, is part of what follows.
            more = 0 if size < 0x80 else 4
            size &= 0x7F
            if size > 125:
                long = 2 if size == 126 else 8
                size = int.from_bytes(data[start : start + long], "big")
                start += long
                if start > count:
                    self._rest = data[at:]
                    break
            end = start + more + size
            kind = _KINDS.get(first)
            if kind is not None and end <= count and not more and not self._in_fragments:
                found.append((kind, data[start:end]))
            else:
                # A frame that is no control frame begins, continues or ends a message.
                if not first & 0x08:
                    self._in_fragments = first < 0x80
                self._owed = max(0, end - count)
                found.append(("other", data[at:end]))
            at = end
        return found
