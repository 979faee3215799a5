"""The event loop that a client belongs to."""

from __future__ import annotations

import asyncio

from .protocol.wrong import Wrong


def within(loop: asyncio.AbstractEventLoop) -> None:
    """Refuses (`Wrong`) a call in another loop, or in none, before it has any effect. Otherwise
    what was queued would be carried out, although the caller gets an error."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is not loop:
        raise Wrong(
            "unsupported",
            "a client belongs to the loop that it was made in; onetree.sync is for threads",
        )


def unchanged(loop: asyncio.AbstractEventLoop) -> None:
    """As `within`, but for reads: while the loop is not running, nothing changes."""
    if loop.is_running():
        within(loop)
