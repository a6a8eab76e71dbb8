"""A file of device ids in place of a device list: one id a line, `#` begins a comment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, TextIO

from bridge.clouds.errors import BadRequest

LINES_AT_ONCE: Final = 1000
"""A file of a million devices never holds up the event loop, nor is it ever in memory."""


async def device_ids(path: str) -> AsyncGenerator[Sequence[str], None]:
    """Yield the ids in slices. Raises BadRequest where the file cannot be read: it may be there the next time."""
    try:
        file = await asyncio.to_thread(Path(path).open, encoding="utf-8")
    except OSError as error:
        raise BadRequest(f"discovery_file cannot be read: {error}", api="discovery-file") from error
    try:
        while lines := await asyncio.to_thread(_lines, file, path):
            if ids := [device_id for line in lines if (device_id := line.partition("#")[0].strip())]:
                yield ids
    finally:
        await asyncio.to_thread(file.close)


def _lines(file: TextIO, path: str) -> list[str]:
    try:
        return list(islice(file, LINES_AT_ONCE))
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"discovery_file {path} cannot be read: {error}", api="discovery-file") from error
