"""Under load nothing is lost, whatever happens to the consumer, in short; the full forms are in `make chaos`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration import consumer_disturbances as disturb
from tests.integration.consumer_under_load import UnderLoad, under_load


@pytest.fixture
async def house(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> AsyncIterator[UnderLoad]:
    async with under_load(brokers, gateway_account, kafka_prefix, tmp_path, rate_per_s=2000) as house:
        yield house


async def test_stops_lose_nothing_and_repeat_nothing(house: UnderLoad) -> None:
    verdict = await disturb.stop_again_and_again(house, times=3, seed=2)
    verdict.assert_complete()
    assert verdict.repeated == 0


async def test_the_copy_that_is_left_takes_over_from_the_one_that_is_killed(house: UnderLoad) -> None:
    verdict = await disturb.kill_one_of_two(house, times=1, seed=4)
    verdict.assert_complete()


async def test_connections_that_break_lose_nothing(house: UnderLoad) -> None:
    verdict = await disturb.cut_again_and_again(house, times=3, seed=3)
    verdict.assert_complete()


@pytest.mark.restarts_brokers
async def test_a_kafka_that_hangs_loses_nothing(house: UnderLoad) -> None:
    verdict = await disturb.freeze_kafka(house, times=1, for_s=3)
    verdict.assert_complete()
