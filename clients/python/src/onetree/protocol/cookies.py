"""Cookies: which copy of a view a mirror has."""

from __future__ import annotations

from typing import NamedTuple


class Cookie(NamedTuple):
    """Says of which history, revision and view a mirror's entries are. Save it together with them,
    never before."""

    epoch: str
    """The history, 32 hex digits."""
    rev: int
    """The revision that the entries are at."""
    view: str
    """The fingerprint of the view, 16 hex digits."""


def epoch_of(cookie: Cookie | None) -> str | None:
    """Returns the history of a cookie; `None` without a cookie."""
    return None if cookie is None else cookie.epoch
