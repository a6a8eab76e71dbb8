"""Waiting that a stop ends at once: of something that may never come, or of a pause."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def unless_stopped(stop: asyncio.Event, work: Awaitable[object]) -> bool:
    """Await the work, or cancel it when `stop` is set first; tell whether it was done. Raises what the work raises."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        await task
        return True
    finally:
        stopped.cancel()
        task.cancel()
        await asyncio.wait({task, stopped})
        # What the work says to its cancellation nobody asks any more.
        if not task.cancelled():
            task.exception()


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Wait this long, or until `stop` is set; tell which."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
