"""A gateway's thread that a test plays."""

from __future__ import annotations

import asyncio
from typing import Any

from consumer.settings import GatewayAccount
from consumer.slices import Slice, Slicer
from consumer.statistics import Counters


class PlayedGateway:
    """Delivers what the test says, and notes what is acknowledged."""

    def __init__(
        self,
        _account: GatewayAccount,
        _slicer: Slicer,
        counters: Counters,
        *,
        deliver: Any,
        caught_up: Any,
        partitions_known: Any,
    ) -> None:
        self.counters = counters
        self.deliver = deliver
        self.caught_up = caught_up
        self.partitions_known = partitions_known
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.acknowledged: list[Slice] = []
        self.unconfirmed = 0, 0

    def start(self) -> None:
        return

    def is_connected(self) -> bool:
        return True

    def has_stepped_aside(self) -> bool:
        return False

    def is_paused(self) -> bool:
        return False

    def acknowledge(self, done: Slice) -> None:
        self.acknowledged.append(done)

    async def stop_receiving(self) -> None:
        return

    async def close(self, *, within_s: float) -> None:
        assert within_s > 0
