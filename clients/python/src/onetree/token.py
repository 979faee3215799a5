"""The token that a function of the application gives."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from .errors import BadToken
from .given import plain


async def ask(function: Callable[[], str | Awaitable[str]], patience: float) -> tuple[str, float]:
    """What it gives, within `patience` seconds, and when these are over; `BadToken` whatever else
    it does, but for what ends the program, and for a cancel of this task."""
    try:
        given = function()
        # No time is taken of one that does not give way.
        until = asyncio.get_running_loop().time() + patience
        if inspect.isawaitable(given):
            given = await asyncio.wait_for(given, patience)
        return plain(given), until
    except (SystemExit, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as fault:
        me = asyncio.current_task()
        if me is not None and me.cancelling():
            raise
        error = BadToken(f"the token's function failed: {_words(fault)}")
        # It may well be the network that is away.
        error.action = "retry"
        raise error from fault


def _words(fault: BaseException) -> str:
    """What it says, if it can."""
    name = type(fault).__name__
    try:
        return f"{name}: {fault}"
    except Exception:
        return name
