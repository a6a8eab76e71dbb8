"""An event loop whose clock jumps to the next timer whenever nothing else is to do: hours of waiting in no time."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

START_MS = 1_700_000_000_000


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout is None:
            # Nothing is planned: only another thread can go on.
            return ready or super().select(5.0)
        # Each round takes its microsecond, as on a real clock: nothing may rely on time standing still.
        self.now += max(1e-6, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def now_s() -> float:
    """The running loop's clock."""
    return asyncio.get_running_loop().time()


def now_ms() -> int:
    """A wall clock that runs with the loop's."""
    return START_MS + round((now_s() - 1000.0) * 1000)


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own, in virtual time."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(_awaited(test(*args, **kwargs)))

    return run


async def _awaited(test: Awaitable[None]) -> None:
    await test
