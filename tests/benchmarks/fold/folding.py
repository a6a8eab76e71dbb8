"""A running fold process, seen from outside: its readings, and waiting for one."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import msgspec

from deploy.sandbox.supervisor import PROJECT
from tests.benchmarks.fold.job import Job, Reading

PROCESS: Final = "tests.benchmarks.fold.process"
_STOP_WITHIN_S: Final = 30.0
_POLL_S: Final = 0.02


class Unfinished(Exception):
    """The fold ended early, or did not get there in time."""


class Folding:
    """The process's readings so far, the latest at the end."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.is_over = False

    async def until(self, reached: Callable[[Reading], bool], *, within_s: float) -> Reading:
        """Return the first reading for which it holds. Raises Unfinished."""
        seen = 0
        try:
            async with asyncio.timeout(within_s):
                while not self.is_over:
                    for reading in self.readings[seen:]:
                        seen += 1
                        if reached(reading):
                            return reading
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            pass
        raise Unfinished(f"the last reading: {self.readings[-1:]}")


@contextlib.asynccontextmanager
async def folding(job: Job, log: Path, *, module: str = PROCESS) -> AsyncIterator[Folding]:
    """Run the fold, or another that reads the same job, in a process of its own; what it says goes to `log`."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            msgspec.json.encode(job).decode(),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            cwd=PROJECT,
        )
    running = Folding()
    reading = asyncio.create_task(_follow(process, running))
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading


async def _follow(process: asyncio.subprocess.Process, running: Folding) -> None:
    decode = msgspec.json.Decoder(Reading).decode
    if process.stdout is not None:
        async for line in process.stdout:
            with contextlib.suppress(msgspec.MsgspecError):  # a log line
                running.readings.append(decode(line))
    running.is_over = True
