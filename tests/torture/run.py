"""A torture as a whole: topics, copies of the fold, the driver, and the verdict at the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics
from deploy.sandbox.brokers import Brokers
from tests.torture.disturbances import PARTITIONS, FoldCopies
from tests.torture.driver import Driver
from tests.torture.verifier import Verdict, is_read, verify

_READ_WITHIN_S = 120.0


class Torture:
    """What a test disturbs, and the way to its end."""

    def __init__(self, brokers: Brokers, prefix: str, copies: FoldCopies, driver: Driver) -> None:
        self._brokers = brokers
        self._prefix = prefix
        self.copies = copies
        self.driver = driver

    async def finish(self) -> Verdict:
        """End the load, let the copies fold what is left, stop them, and judge."""
        kafka = self._brokers.kafka
        truth = await asyncio.to_thread(self.driver.end)
        async with asyncio.timeout(_READ_WITHIN_S):
            while not await asyncio.to_thread(
                is_read, kafka.bootstrap_servers, f"{self._prefix}-fold", f"{self._prefix}.observations.v1"
            ):
                await asyncio.sleep(0.2)
        await self.copies.stop_all()
        log_folder = kafka._directory / "data"
        return await asyncio.to_thread(verify, kafka.bootstrap_servers, self._prefix, truth, log_folder)


@contextlib.asynccontextmanager
async def tortured(
    brokers: Brokers,
    prefix: str,
    folder: Path,
    *,
    devices: int,
    rate_per_s: float,
    copies: int = 3,
    session_timeout_s: float = 6.0,
) -> AsyncIterator[Torture]:
    """Copies of the fold under load while the block runs; their sessions are as short as the broker allows."""
    servers = brokers.kafka.bootstrap_servers
    await ensure_topics(KafkaSettings(bootstrap_servers=servers, prefix=prefix, partitions=PARTITIONS))
    driver = Driver(servers, f"{prefix}.observations.v1", devices=devices, rate_per_s=rate_per_s)
    async with FoldCopies(
        folder, servers, prefix, copies=copies, session_timeout_s=session_timeout_s
    ) as fold:
        with driver:
            yield Torture(brokers, prefix, fold, driver)
