"""A sink that keeps the records it is given, and can be closed for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from consumer.sink import OutgoingRecord
from schemas import Observation


class MemorySink:
    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []
        self.closed = asyncio.Event()
        self.closed.set()

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        await self.closed.wait()
        self.records.extend(records)
        return []

    @property
    def observations(self) -> list[Observation]:
        return [msgspec.json.decode(record.value, type=Observation) for record in self.records]

    @property
    def answers(self) -> dict[str | None, Observation]:
        return {one.lookup_id: one for one in self.observations if one.kind == "answer"}
