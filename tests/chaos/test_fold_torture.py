"""The fold under everything at once: each change of each device is told once, and the states end in the truth."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from deploy.sandbox.brokers import Brokers
from tests.torture.pauses import PauseReader
from tests.torture.run import tortured

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

DEVICES = 2000
RATE_PER_S = 1000.0


async def test_ten_minutes_of_kills_freezes_and_stops_lose_nothing_and_repeat_nothing(
    brokers: Brokers, kafka_prefix: str, tmp_path: Path
) -> None:
    async with tortured(brokers, kafka_prefix, tmp_path, devices=DEVICES, rate_per_s=RATE_PER_S) as torture:
        await torture.copies.all_fold()
        await torture.copies.disturb(600, seed=1)
        verdict = await torture.finish()

    print(verdict, dict(torture.copies.done))
    verdict.assert_exactly_once()


async def test_rolling_restarts_pause_no_device_for_long(
    brokers: Brokers, kafka_prefix: str, tmp_path: Path
) -> None:
    """The pause is printed, not judged: it says as much about the machine as about the bridge."""
    async with tortured(
        brokers, kafka_prefix, tmp_path, devices=250, rate_per_s=RATE_PER_S, session_timeout_s=30.0
    ) as torture:
        await torture.copies.all_fold()
        for _ in range(3):
            with PauseReader(brokers.kafka.bootstrap_servers, kafka_prefix) as reader:
                await torture.copies.restart_in_turn()
            print(f"longest pause of a device's events: {reader.longest_s:.2f} s")
        verdict = await torture.finish()

    print(verdict)
    verdict.assert_exactly_once()


@pytest.mark.restarts_brokers
async def test_twenty_restarts_of_kafka_lose_nothing_and_repeat_nothing(
    brokers: Brokers, kafka_prefix: str, tmp_path: Path
) -> None:
    chance = random.Random(2)
    async with tortured(brokers, kafka_prefix, tmp_path, devices=DEVICES, rate_per_s=RATE_PER_S) as torture:
        await torture.copies.all_fold()
        for number in range(20):
            await asyncio.sleep(chance.uniform(2, 10))
            await brokers.kafka.restart(abruptly=number % 2 == 0)
        verdict = await torture.finish()

    print(verdict)
    verdict.assert_exactly_once()
