"""A stop under load, in short; fifty of them are in `make chaos`."""

from __future__ import annotations

from pathlib import Path

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration.consumer_under_load import stop_again_and_again


async def test_stops_under_load_lose_nothing_and_repeat_nothing(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    verdict = await stop_again_and_again(
        brokers, gateway_account, kafka_prefix, tmp_path, times=3, rate_per_s=2000, seed=2
    )
    verdict.assert_complete()
    assert verdict.repeated == 0
