"""The consumer under a steady load with a reconnection now and then: how its memory fares, and that all arrives."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from msgspec import Struct

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration.consumer_under_load import under_load, working
from tests.integration.observed import records_of
from tests.integration.resident_memory import ResidentMemory
from tests.integration.tcp_proxy import proxied

_SETTLED: Final = 0.3
"""In this share of the time pools, caches and arenas fill up; the slope is that of what comes after."""


class Soaked(Struct, frozen=True, kw_only=True):
    """The figures of a soak."""

    pushed: int
    lost: int
    reconnections: int
    first_mb: float
    last_mb: float
    peak_mb: float
    slope_mb_per_minute: float

    def __str__(self) -> str:
        return (
            f"{self.pushed} messages, {self.lost} lost, {self.reconnections} reconnections; "
            f"{self.first_mb:.1f} MB in the first tenth, {self.last_mb:.1f} MB in the last, "
            f"{self.peak_mb:.1f} MB at most; {self.slope_mb_per_minute:+.2f} MB a minute"
        )


async def soak(
    brokers: Brokers,
    account: GatewayAccount,
    prefix: str,
    folder: Path,
    *,
    rate_per_s: float,
    reconnections: int,
    every_s: float,
) -> Soaked:
    """Push at a rate, break the connections every so often, and count by the messages' own numbers."""
    pulsar, kafka = brokers.pulsar, brokers.kafka
    async with (
        proxied(pulsar.proxy_port, pulsar.behind_proxy_port) as proxy,
        under_load(brokers, account, prefix, folder, rate_per_s=rate_per_s, audited=False) as house,
    ):
        bridge = house.copy(port=proxy.port)
        bridge.start()
        await bridge.status(working)
        with ResidentMemory(bridge.child.pid) as memory:
            for _ in range(reconnections):
                await asyncio.sleep(every_s)
                proxy.cut()
                print(f"{memory.now_mb():.1f} MB", flush=True)
            await asyncio.sleep(every_s)
        await house.drain()

    missing = bytearray(b"\x01") * house.load.pushed
    for observation in records_of(kafka.bootstrap_servers, house.observations, within_s=600):
        missing[int(observation["evidence"]["raw"]["bizData"]["description"])] = 0
    return Soaked(
        pushed=house.load.pushed,
        lost=sum(missing),
        reconnections=proxy.cuts,
        first_mb=memory.mean_mb(0, 0.1),
        last_mb=memory.mean_mb(0.9, 1),
        peak_mb=memory.peak_mb(),
        slope_mb_per_minute=memory.slope_mb_per_minute(_SETTLED),
    )
