"""The loop that a client belongs to."""

from __future__ import annotations

import asyncio

from .protocol.wrong import Wrong


def within(loop: asyncio.AbstractEventLoop) -> None:
    """Refuses (`Wrong`) what is called in another loop, or in none, before anything comes of it:
    what was queued there would be carried out, though its caller is told that it failed."""
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
    """As `within`, for what reads: where nobody runs the loop, nothing changes meanwhile."""
    if loop.is_running():
        within(loop)
