"""Cookies: where a mirror stands."""

from __future__ import annotations

from typing import NamedTuple


class Cookie(NamedTuple):
    """Dates a mirror's entries, and is saved together with them, never before."""

    epoch: str
    """The history, 32 hex digits."""
    rev: int
    """The revision that the entries are at."""
    view: str
    """The fingerprint of the view, 16 hex digits."""


def epoch_of(cookie: Cookie | None) -> str | None:
    """The history that a cookie is of."""
    return None if cookie is None else cookie.epoch
