"""What every part of the benchmark is given: where to work, how much to do, and where its figures go."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from msgspec import Struct
from rich.console import Console


class Run(Struct, kw_only=True):
    """One run of the benchmark. Figures of different runs do not compare: the machine has moods."""

    directory: Path
    """For brokers, logs and profiles; below `build`."""
    console: Console
    quick: bool = False
    """A fraction of the messages: to see that everything works, not to quote."""
    profile: bool = False
    """Also write where the bridge's own time goes."""
    metrics: dict[str, float] = {}
    """By name, which ends in the unit."""
    failed: list[str] = []

    async def attempt(
        self, name: str, measure: Callable[[], Awaitable[Mapping[str, float]]], *, within_s: float
    ) -> None:
        """Take what `measure` returns; tell and remember when it fails or takes too long, and go on."""
        self.console.print(f"measuring {name} …")
        try:
            async with asyncio.timeout(within_s):
                self.metrics |= await measure()
        except Exception:  # noqa: BLE001 - told, and everything else still gives its figures
            self.failed.append(name)
            traceback.print_exc()

    async def part(self, name: str, measure: Callable[[Run], Awaitable[None]]) -> None:
        """Run a whole part; what breaks outside its measurements, such as its brokers, is told and remembered."""
        try:
            await measure(self)
        except Exception:  # noqa: BLE001 - as above
            self.failed.append(name)
            traceback.print_exc()
