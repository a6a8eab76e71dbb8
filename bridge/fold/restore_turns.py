"""Whose store is restored next: few at a time, so that the first partitions fold again early.

Restoring is work of one processor. All at once, twelve partitions would all be ready at the end of it; three at a
time, the first are ready after a quarter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

AT_A_TIME: Final = 3
"""More than one: a restore also waits for its brokers."""
PATIENCE_S: Final = 5.0
"""Nobody waits for longer than this: a restore may hang with its partition's broker, the others have theirs."""


class RestoreTurns:
    """Gives the turns of one process."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_A_TIME)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, as far as patience goes; it lasts until the end of the block."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._free.acquire()
        except TimeoutError:
            yield
            return

        try:
            yield
        finally:
            self._free.release()
