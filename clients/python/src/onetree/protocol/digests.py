"""Digests: fingerprints of sets of entries, of constant size."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import blake2s
from typing import NamedTuple

from .wrong import Wrong

_DIGEST = re.compile(r"(0|[1-9][0-9]{0,19}):([0-9a-f]{32})", re.ASCII)
_MASK = (1 << 128) - 1


class Digest(NamedTuple):
    """The number of entries, and the sum of their hashes modulo 2^128."""

    entries: int
    sum: int

    def __str__(self) -> str:
        return f"{self.entries}:{self.sum:032x}"

    @staticmethod
    def of(count: int, total: int) -> Digest:
        """Makes a digest of a sum that was not reduced."""
        return Digest(count, total & _MASK)


def parse_digest(text: str) -> Digest:
    """Reads `count:sum`. Raises `Wrong` with `bad-field` if it is none."""
    if not isinstance(text, str):
        raise Wrong("bad-frame", "a digest is text")
    match = _DIGEST.fullmatch(text)
    if match is None or (count := int(match[1])) >= 1 << 64:
        raise Wrong("bad-field", f"{text[:80]!r} is no digest")
    return Digest(count, int(match[2], 16))


def hasher(key: bytes) -> Callable[[str, int], int]:
    """Returns the function that hashes (path, revision) under a digest key. It takes about a
    microsecond."""
    keyed = blake2s(key=key, digest_size=16).copy
    number = int.from_bytes

    def entry_hash(path: str, rev: int) -> int:
        state = keyed()
        state.update(rev.to_bytes(8, "big") + path.encode())
        return number(state.digest(), "big")

    return entry_hash
