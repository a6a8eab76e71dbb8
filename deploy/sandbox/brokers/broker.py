"""The life of a broker: launched, awaited until it answers, stopped, restarted with the same ports and data."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from deploy.sandbox.brokers.process import Child

_START_TIMEOUT_S = 240.0
"""Seconds as a rule; minutes where twenty other programs want the same two cores (seen: 80 s)."""
_STOP_GRACE_S = 15.0
_POLL_S = 0.05


class Broker(ABC):
    """One Java process below `directory`. Calls may come from any event loop, but not from two at a time."""

    name: str

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.log_file = directory.with_suffix(".log")
        """Beside the broker's folder: it stays when the folder is removed."""
        self._command: Sequence[str] = ()
        self._child: Child | None = None

    async def restart(self, *, abruptly: bool = False) -> None:
        """Stop the broker (`abruptly`: by SIGKILL), start it again and return once it answers."""
        await self.down(0, abruptly=abruptly)

    async def down(self, seconds: float, *, abruptly: bool = False) -> None:
        """As `restart`, with `seconds` between the end of the old process and the start of the new one."""
        await self.stop(abruptly=abruptly)
        await asyncio.sleep(seconds)
        await self._launch()

    async def stop(self, *, abruptly: bool = True) -> None:
        """End the broker; nothing happens when it does not run."""
        child, self._child = self._child, None
        if child is not None:
            await (child.kill() if abruptly else child.stop(_STOP_GRACE_S))

    def pause(self) -> None:
        """Freeze the broker as it is: connections stay open and nothing answers."""
        if self._child is not None:
            self._child.pause()

    def proceed(self) -> None:
        """Let a frozen broker go on."""
        if self._child is not None:
            self._child.proceed()

    def check(self) -> None:
        """Raise ChildFailed if the broker ended without being told to."""
        if self._child is not None and (code := self._child.exit_code) is not None:
            raise self._child.failed(f"ended by itself with exit code {code}")

    async def _launch(self) -> None:
        child = self._child = Child(self.name, self._command, log_file=self.log_file)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not await self._answers():
            self.check()
            if time.monotonic() > deadline:
                raise child.failed(f"did not answer within {_START_TIMEOUT_S:.0f} s")
            await asyncio.sleep(_POLL_S)

    @abstractmethod
    async def _answers(self) -> bool:
        """Tell whether clients are served; never raises for a broker that is not there yet."""
