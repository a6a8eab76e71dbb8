"""Brokers and a copy of the consumer, away, killed and frozen: all that was pushed arrives, and memory is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration.consumer_under_load import UnderLoad, account_of, under_load, working
from tests.integration.resident_memory import ResidentMemory

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

RATE_PER_S: Final = 3000
SOURCE_PARTITIONS: Final = 11
MOST_KB_PER_MESSAGE: Final = 5
"""A message of 450 bytes takes 2.5 KB from its receipt to its confirmation: payload, record, what the client adds."""


@pytest.fixture
async def house(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> AsyncIterator[UnderLoad]:
    async with under_load(brokers, gateway_account, kafka_prefix, tmp_path, rate_per_s=RATE_PER_S) as house:
        yield house


@pytest.mark.restarts_brokers
async def test_a_minute_without_kafka_costs_no_message_and_no_more_memory_than_the_caps(
    house: UnderLoad,
) -> None:
    gateway = house.account.gateway
    held = gateway.max_unconfirmed_messages + gateway.receive_ahead_messages
    bridge = house.copy()
    bridge.start()
    await bridge.status(working)
    with ResidentMemory(bridge.child.pid) as memory:
        await asyncio.sleep(10)
        before_mb, pushed_before = memory.peak_mb(), house.load.pushed
        away = asyncio.create_task(house.brokers.kafka.down(60))
        await bridge.status(lambda status: bool(account_of(status)["paused"]))
        await away
        assert house.load.pushed - pushed_before > 4 * held, "the backlog says nothing about the caps"
        await asyncio.sleep(5)
        verdict = await house.finish()

    grown_mb = memory.peak_mb() - before_mb
    print(
        f"{verdict}; {before_mb:.0f} MB before, {grown_mb:.0f} MB more for the {held} messages that may be held"
    )
    verdict.assert_complete()
    assert grown_mb * 1000 < MOST_KB_PER_MESSAGE * held


@pytest.mark.restarts_brokers
async def test_a_pulsar_that_is_killed_three_times_loses_nothing(house: UnderLoad) -> None:
    bridge = house.copy()
    bridge.start()
    await bridge.status(working)
    for _ in range(3):
        await asyncio.sleep(10)
        await house.brokers.pulsar.restart(abruptly=True)
    await asyncio.sleep(10)
    verdict = await house.finish()

    print(verdict)
    verdict.assert_complete()


@pytest.mark.restarts_brokers
async def test_a_pulsar_that_hangs_until_its_clients_give_it_up_loses_nothing(house: UnderLoad) -> None:
    bridge = house.copy()
    bridge.start()
    await bridge.status(working)
    house.brokers.pulsar.pause()
    try:
        await asyncio.sleep(
            75
        )  # the client looks for a sign of life each 30 s, and misses it the second time
    finally:
        house.brokers.pulsar.proceed()
    await asyncio.sleep(10)
    verdict = await house.finish()

    print(verdict)
    verdict.assert_complete()


async def test_a_copy_that_was_frozen_loses_nothing_when_it_thaws(house: UnderLoad) -> None:
    frozen, other = house.copy(), house.copy()
    frozen.start()
    await frozen.status(working)
    other.start()
    await other.status(lambda status: 0 < served(status) < SOURCE_PARTITIONS)
    frozen.child.pause()
    # As the client: the broker misses the second sign of life, and gives the frozen copy's share away.
    async with asyncio.timeout(120):
        await other.status(lambda status: served(status) == SOURCE_PARTITIONS)
    await asyncio.sleep(3)
    frozen.child.proceed()
    await asyncio.sleep(10)
    frozen.child.pause()
    await asyncio.sleep(10)  # too short for the broker to notice
    frozen.child.proceed()
    await asyncio.sleep(3)
    verdict = await house.finish()

    print(verdict)
    verdict.assert_complete()


def served(status: dict[str, Any]) -> int:
    """From how many source partitions the account has had a message so far."""
    count: int = account_of(status).get("source_partitions", 0)
    return count
