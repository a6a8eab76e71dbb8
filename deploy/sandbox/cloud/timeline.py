"""The simulation's one clock and one heap of things to come: a hundred thousand devices share it, none has a task.

Actions run on the event loop, in order of time. Tests give it a clock of their own and call `run_due`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

_SLICE = 200
"""Actions run before the servers on the same loop get their turn."""
_IDLE_S = 3600.0


def steady_clock() -> Callable[[], float]:
    """Return a clock of Unix seconds that never jumps: the wall clock now, counted on monotonically."""
    offset_s = time.time() - time.monotonic()
    return lambda: offset_s + time.monotonic()


class Timeline:
    """What happens when. Times are Unix seconds of the given clock."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.now_s: Callable[[], float] = clock or steady_clock()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_at_s(self) -> float | None:
        """When the next action is due."""
        return self._heap[0][0] if self._heap else None

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        """Run `action` at `when_s`, at once when that has passed; equal times keep their order."""
        first = not self._heap or when_s < self._heap[0][0]
        heapq.heappush(self._heap, (when_s, next(self._order), action))
        if first:
            self._changed.set()

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run `action` in `delay_s` seconds."""
        self.at(self.now_s() + delay_s, action)

    def run_due(self, limit: int | None = None) -> int:
        """Run what is due, at most `limit` actions; return how many ran."""
        done = 0
        while self._heap and (limit is None or done < limit) and self._heap[0][0] <= self.now_s():
            heapq.heappop(self._heap)[2]()
            done += 1
        return done

    async def run(self) -> None:
        """Run actions as they fall due, until cancelled."""
        while True:
            if self.run_due(_SLICE) == _SLICE:
                await asyncio.sleep(0)
                continue
            self._changed.clear()
            next_at_s = self.next_at_s
            wait_s = _IDLE_S if next_at_s is None else max(0.0, next_at_s - self.now_s())
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue
