"""Getting the token from a function of the application."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from .errors import BadToken
from .given import plain


async def ask(function: Callable[[], str | Awaitable[str]], patience: float) -> tuple[str, float]:
    """Calls `function` and returns the token, which must come within `patience` seconds, and the
    time at which these are over. Raises `BadToken` for whatever else `function` does, except for
    what ends the program and for a cancel of this task."""
    try:
        given = function()
        # The time of a function that blocks is not counted.
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
        # The network may be the reason.
        error.action = "retry"
        raise error from fault


def _words(fault: BaseException) -> str:
    """Returns what an error says, if it can say it."""
    name = type(fault).__name__
    try:
        return f"{name}: {fault}"
    except Exception:
        return name
