"""Three copies of the fold, disturbed under load: each change is told once, in short. The long form: `make chaos`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from deploy.sandbox.brokers import Brokers
from tests.torture.pauses import PauseReader
from tests.torture.run import tortured


async def test_a_killed_a_frozen_and_a_terminated_copy_lose_nothing_and_repeat_nothing(
    brokers: Brokers, kafka_prefix: str, tmp_path: Path
) -> None:
    async with tortured(brokers, kafka_prefix, tmp_path, devices=100, rate_per_s=300) as torture:
        await torture.copies.all_fold()
        await asyncio.gather(
            torture.copies.kill(0),
            torture.copies.freeze(1, 7.5),
        )
        await torture.copies.terminate(2)
        verdict = await torture.finish()

    print(verdict)
    verdict.assert_exactly_once()


async def test_a_rolling_restart_loses_nothing_and_repeats_nothing(
    brokers: Brokers, kafka_prefix: str, tmp_path: Path
) -> None:
    async with tortured(brokers, kafka_prefix, tmp_path, devices=100, rate_per_s=300) as torture:
        await torture.copies.all_fold()
        with PauseReader(brokers.kafka.bootstrap_servers, kafka_prefix) as reader:
            await torture.copies.restart_in_turn()
        verdict = await torture.finish()

    print(verdict, f"longest pause of a device's events: {reader.longest_s:.2f} s")
    verdict.assert_exactly_once()
