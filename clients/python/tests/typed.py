"""Uses that a type checker must accept. Nothing runs this."""

from __future__ import annotations

import onetree


async def transactions(mirror: onetree.Mirror) -> tuple[int, str]:
    """`fn` is a function or a coroutine function. What it returns is the result."""

    def plain(tx: onetree.Transaction) -> int:
        return tx.rev

    async def slow(tx: onetree.Transaction) -> str:
        return str(tx.rev)

    def either(tx: onetree.Transaction) -> int:
        return tx.or_else(plain, plain)

    async def either_slow(tx: onetree.Transaction) -> str:
        return await tx.or_else(slow, slow)

    await mirror.transact(either_slow)
    done: onetree.Done | None = (await mirror.transact(either)).done
    assert done is not None and done.paths
    return (await mirror.transact(plain)).result, (await mirror.transact(slow)).result


async def kinds(mirror: onetree.Mirror) -> int:
    """The type of an event does this, too."""
    async for event in mirror.changes():
        match event:
            case onetree.Fresh() | onetree.Delta():
                return len(event.changes)
            case onetree.Online():
                return event.rev
            case onetree.Offline() | onetree.Ended():
                return int(event.error is None)
    return 0


async def events(mirror: onetree.Mirror) -> int:
    """The name of an event says which other fields it has."""
    count = 0
    async for event in mirror.changes():
        if event.name == "fresh" or event.name == "delta":
            count += len(event.changes)
        elif event.name == "offline":
            action: onetree.Action = event.error.action
            count += int(event.retry_in) if action == "retry" else 0
    return count
