"""A quarter of a minute of the soak; the ten minutes are in `make soak`, and only they can tell growth."""

from __future__ import annotations

from pathlib import Path

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration.consumer_soak import soak


async def test_memory_stays_small_while_connections_break(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    soaked = await soak(
        brokers, gateway_account, kafka_prefix, tmp_path, rate_per_s=2000, reconnections=2, every_s=3
    )
    print(soaked)
    assert (soaked.lost, soaked.reconnections) == (0, 2)
    assert soaked.peak_mb < 150
