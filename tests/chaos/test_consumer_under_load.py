"""Under load nothing is lost, whatever happens to the consumer: the full forms, many times each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration import consumer_disturbances as disturb
from tests.integration.consumer_under_load import UnderLoad, under_load

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]


@pytest.fixture
async def house(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> AsyncIterator[UnderLoad]:
    async with under_load(brokers, gateway_account, kafka_prefix, tmp_path, rate_per_s=3000) as house:
        yield house


async def test_fifty_stops_lose_nothing_and_repeat_nothing(house: UnderLoad) -> None:
    verdict = await disturb.stop_again_and_again(house, times=50, seed=1)
    print(verdict)
    verdict.assert_complete()
    assert verdict.repeated == 0


async def test_ten_kills_lose_nothing(house: UnderLoad) -> None:
    verdict = await disturb.kill_again_and_again(house, times=10, seed=6)
    print(verdict)
    verdict.assert_complete()


async def test_twenty_killed_copies_are_taken_over_by_the_others(house: UnderLoad) -> None:
    verdict = await disturb.kill_one_of_two(house, times=20, seed=7)
    print(verdict)
    verdict.assert_complete()


async def test_twenty_broken_connections_lose_nothing(house: UnderLoad) -> None:
    verdict = await disturb.cut_again_and_again(house, times=20, seed=5)
    print(verdict)
    verdict.assert_complete()


@pytest.mark.restarts_brokers
async def test_a_kafka_that_hangs_loses_nothing(house: UnderLoad) -> None:
    verdict = await disturb.freeze_kafka(house, times=3, for_s=10)
    print(verdict)
    verdict.assert_complete()
