"""The token that a function of the application gives."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from .errors import BadToken
from .given import plain


async def ask(function: Callable[[], str | Awaitable[str]], patience: float) -> str:
    """What it gives, within `patience` seconds; `BadToken` whatever else it does, but for what ends
    the program, and for a cancel of this task."""
    try:
        given = function()
        if inspect.isawaitable(given):
            given = await asyncio.wait_for(given, patience)
        return plain(given)
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
