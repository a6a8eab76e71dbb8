"""`ota-bridge run --stage consumer` under load while something happens to it; judged by a stranger in the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics, topic_name
from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration.gateway_load import AUDIT, GatewayLoad, backlog
from tests.integration.observed import Verdict, judge
from tests.integration.running_bridge import RunningBridge

PARTITIONS: Final = 4
STOP_WITHIN_S: Final = 30
"""The process gives itself 25 s; whoever is still there after this is killed and fails the test by its exit code."""
_DRAINED_WITHIN_S: Final = 300


class UnderLoad:
    """One account, one publisher, as many copies of the consumer as a test wants."""

    def __init__(
        self, brokers: Brokers, account: GatewayAccount, prefix: str, folder: Path, load: GatewayLoad
    ) -> None:
        self.brokers = brokers
        self.account = account
        self.load = load
        self.observations = topic_name(prefix, "observations")
        self._prefix = prefix
        self._folder = folder
        self._copies: list[RunningBridge] = []

    def copy(self, *, port: int | None = None) -> RunningBridge:
        """Return another copy of the consumer, not started yet; `port` is that of a proxy before the gateway."""
        folder = self._folder / f"copy-{len(self._copies)}"
        folder.mkdir()
        account = self.account
        if port is not None:
            gateway = msgspec.structs.replace(account.gateway, url=f"pulsar+ssl://localhost:{port}")
            account = msgspec.structs.replace(account, gateway=gateway)
        copy = RunningBridge(
            folder,
            account,
            self.brokers.kafka.bootstrap_servers,
            self._prefix,
            "--stage",
            "consumer",
            partitions=PARTITIONS,
        )
        self._copies.append(copy)
        return copy

    async def finish(self) -> Verdict:
        """End the load, let everything be acknowledged by whoever runs, stop them, and judge."""
        await self.drain()
        return await asyncio.to_thread(
            judge, self.load, self.brokers.kafka.bootstrap_servers, self.observations
        )

    async def drain(self) -> None:
        """End the load, let everything be acknowledged by whoever runs, and stop them.

        No log may hold the account's key.
        """
        await asyncio.to_thread(self.load.end)
        async with asyncio.timeout(_DRAINED_WITHIN_S):
            while await asyncio.to_thread(backlog, self.brokers, self.account) > 0:
                await asyncio.sleep(0.1)
        for copy in self._copies:
            if copy.child.exit_code is None:
                assert await copy.child.stop(STOP_WITHIN_S) == 0, copy.log_file.read_text()[-4000:]
        key = self.account.access_key.reveal()
        assert not [copy for copy in self._copies if key in copy.log_file.read_text()]

    async def kill(self) -> None:
        """Leave no copy behind."""
        for copy in self._copies:
            await copy.child.kill()


@contextlib.asynccontextmanager
async def under_load(
    brokers: Brokers,
    account: GatewayAccount,
    prefix: str,
    folder: Path,
    *,
    rate_per_s: float,
    audited: bool = True,
) -> AsyncIterator[UnderLoad]:
    """Push at a rate while the block runs. Its copies die with it. Only what is audited can be judged."""
    settings = KafkaSettings(
        bootstrap_servers=brokers.kafka.bootstrap_servers, prefix=prefix, partitions=PARTITIONS
    )
    await ensure_topics(settings)
    if audited:
        key = account.access_key.reveal()
        await brokers.pulsar.create_account(account.access_id, key, subscription=AUDIT)
    with GatewayLoad(brokers, account, rate_per_s=rate_per_s) as load:
        house = UnderLoad(brokers, account, prefix, folder, load)
        try:
            yield house
        finally:
            await house.kill()


def account_of(status: dict[str, Any]) -> dict[str, Any]:
    """Return what `/status` says about the one account; nothing before the stage runs."""
    statistics = status["stages"].get("consumer", {}).get("statistics") or {}
    accounts: dict[str, dict[str, Any]] = statistics.get("accounts", {})
    return next(iter(accounts.values()), {})


def receiving(status: dict[str, Any]) -> bool:
    """Whether the account has received something."""
    return account_of(status).get("received", 0) > 0


def working(status: dict[str, Any]) -> bool:
    """Whether the account has acknowledged something."""
    return account_of(status).get("acknowledged", 0) > 0
