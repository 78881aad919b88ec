"""Waiting for the core from a coroutine.

Owns :func:`wait`. The idea: the core calls back from a thread of its own; the loop is woken for it. Being cancelled
cancels what was started.
Must not: block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._core import Cancel

Done = Callable[[Any, Any], object]


async def wait(start: Callable[[Done], Cancel | None]) -> Any:
    """Call ``start(done)`` and wait for ``done(result, error)``; what `start` returns cancels it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def done(result: Any, error: BaseException | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    stop = start(done)
    try:
        return await future
    except asyncio.CancelledError:
        if stop is not None:
            stop.cancel()
        raise
