"""`ota-bridge run --stage consumer` under load while something happens to it; judged by a stranger in the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics, topic_name
from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration.fold_topics import until
from tests.integration.gateway_load import AUDIT, GatewayLoad, backlog
from tests.integration.observed import Verdict, judge
from tests.integration.running_bridge import RunningBridge

PARTITIONS: Final = 4
STOP_WITHIN_S: Final = 30
"""The process gives itself 25 s; whoever is still there after this is killed and fails the test by its exit code."""


class UnderLoad:
    """One account, one publisher, as many copies of the consumer as a test wants."""

    def __init__(
        self, brokers: Brokers, account: GatewayAccount, prefix: str, folder: Path, load: GatewayLoad
    ) -> None:
        self.brokers = brokers
        self.account = account
        self.load = load
        self._prefix = prefix
        self._folder = folder
        self._copies: list[RunningBridge] = []

    def copy(self) -> RunningBridge:
        """Return another copy of the consumer, not started yet."""
        folder = self._folder / f"copy-{len(self._copies)}"
        folder.mkdir()
        copy = RunningBridge(
            folder,
            self.account,
            self.brokers.kafka.bootstrap_servers,
            self._prefix,
            "--stage",
            "consumer",
            partitions=PARTITIONS,
        )
        self._copies.append(copy)
        return copy

    async def finish(self) -> Verdict:
        """End the load, let everything be acknowledged by whoever runs, stop them, and judge.

        No log may hold the account's key.
        """
        await asyncio.to_thread(self.load.end)
        await until(self.is_acknowledged)
        for copy in self._copies:
            if copy.child.exit_code is None:
                assert await copy.child.stop(STOP_WITHIN_S) == 0, copy.log_file.read_text()[-4000:]
        key = self.account.access_key.reveal()
        assert not [copy for copy in self._copies if key in copy.log_file.read_text()]
        return await asyncio.to_thread(
            judge, self.load, self.brokers.kafka.bootstrap_servers, topic_name(self._prefix, "observations")
        )

    async def is_acknowledged(self) -> bool:
        """Tell whether the gateway has nothing left for the bridge."""
        return await asyncio.to_thread(backlog, self.brokers, self.account) == 0


@contextlib.asynccontextmanager
async def under_load(
    brokers: Brokers, account: GatewayAccount, prefix: str, folder: Path, *, rate_per_s: float
) -> AsyncIterator[UnderLoad]:
    """Push at a rate while the block runs. Its copies die with it."""
    settings = KafkaSettings(
        bootstrap_servers=brokers.kafka.bootstrap_servers, prefix=prefix, partitions=PARTITIONS
    )
    await ensure_topics(settings)
    await brokers.pulsar.create_account(account.access_id, account.access_key.reveal(), subscription=AUDIT)
    with GatewayLoad(brokers, account, rate_per_s=rate_per_s) as load:
        house = UnderLoad(brokers, account, prefix, folder, load)
        try:
            yield house
        finally:
            for copy in house._copies:
                await copy.child.kill()


def account_of(status: dict[str, Any]) -> dict[str, Any]:
    """Return what `/status` says about the one account; nothing before the stage runs."""
    statistics = status["stages"].get("consumer", {}).get("statistics") or {}
    accounts: dict[str, dict[str, Any]] = statistics.get("accounts", {})
    return next(iter(accounts.values()), {})


def working(status: dict[str, Any]) -> bool:
    """Whether the account has acknowledged something."""
    return account_of(status).get("acknowledged", 0) > 0


async def stop_again_and_again(
    brokers: Brokers,
    account: GatewayAccount,
    prefix: str,
    folder: Path,
    *,
    times: int,
    rate_per_s: float,
    seed: int,
) -> Verdict:
    """Stop the consumer by SIGTERM and start it again, `times` times; each stop has to end by itself."""
    chance = random.Random(seed)
    async with under_load(brokers, account, prefix, folder, rate_per_s=rate_per_s) as house:
        bridge = house.copy()
        for _ in range(times):
            bridge.start()
            await bridge.status(working)
            await asyncio.sleep(chance.uniform(0, 0.7))
            assert await bridge.child.stop(STOP_WITHIN_S) == 0, bridge.log_file.read_text()[-4000:]
        bridge.start()
        return await house.finish()
