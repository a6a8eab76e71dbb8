"""The full forms: 500 devices under faults, and ten kills of the bridge in the middle of a campaign."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.sandbox.supervisor import Sandbox
from tests.chaos.campaign import run_campaign, running_bridge
from tests.chaos.lost_pushes import lose_pushes_while_away

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

FAULTS = {"push_drop": 0.3, "push_duplicate": 0.2, "rest_5xx": 0.2}


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path / "sandbox") as sandbox:
        yield sandbox


async def test_without_faults_no_attempt_is_told_that_no_device_began(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        for seed in (21, 22):
            verdict = await run_campaign(sandbox, bridge, devices=300, rate_per_s=20, seed=seed)

            print(verdict)
            verdict.assert_true_and_whole()
            assert verdict.attempts.phantom == 0


async def test_500_devices_end_in_the_truth_under_faults(sandbox: Sandbox, tmp_path: Path) -> None:
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        verdict = await run_campaign(sandbox, bridge, devices=500, rate_per_s=20, seed=11, faults=FAULTS)

    print(verdict)
    verdict.assert_true_and_whole()


async def test_ten_kills_lose_nothing_and_repeat_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        verdict = await run_campaign(
            sandbox, bridge, devices=500, rate_per_s=5, seed=12, faults=FAULTS, kills=10
        )

    print(verdict)
    verdict.assert_true_and_whole()
    assert verdict.kills == 10


async def test_every_ending_is_told_as_it_was(sandbox: Sandbox, tmp_path: Path) -> None:
    endings = {
        "succeeded": 0.3,
        "failed": 0.1,
        "timed_out": 0.1,
        "silent": 0.1,
        "cancelled": 0.1,
        "stuck": 0.1,
        "removed": 0.1,
        "offline": 0.1,
    }
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        verdict = await run_campaign(
            sandbox,
            bridge,
            devices=300,
            rate_per_s=20,
            seed=13,
            faults={"push_drop": 0.1, "push_duplicate": 0.1},
            endings=endings,
        )

    print(verdict)
    verdict.assert_true_and_whole()


async def test_three_times_everything_is_dropped_and_found_again(sandbox: Sandbox, tmp_path: Path) -> None:
    for seed in (14, 15, 16):
        aftermath = await lose_pushes_while_away(
            sandbox, tmp_path / "bridge.log", devices=1000, rate_per_s=50, missed=200, seed=seed
        )

        print(aftermath)
        aftermath.assert_found_again()


async def test_every_push_knob_at_once_and_both_brokers_away(sandbox: Sandbox, tmp_path: Path) -> None:
    faults: dict[str, object] = {
        "push_drop": 0.1,
        "push_duplicate": 0.1,
        "push_reorder": 0.2,
        "push_delay_s": 0.5,
        "push_garble": 0.1,
        "push_previous_key": 0.3,
        "push_ecb_share": 0.5,
        "pulsar_down_s": 5,
        "kafka_down_s": 8,
    }
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        verdict = await run_campaign(sandbox, bridge, devices=300, rate_per_s=10, seed=17, faults=faults)

    print(verdict)
    verdict.assert_true_and_whole()
    garbled = verdict.report["pushes_garbled"]
    assert garbled.keys() == verdict.dead_letters.keys()
    # Delivered again after an outage, a message may give its dead letter again.
    assert all(verdict.dead_letters[reason] >= count for reason, count in garbled.items())


async def test_a_gateway_that_says_nothing_hides_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    faults = {"gateway_silent": True}
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        verdict = await run_campaign(sandbox, bridge, devices=100, rate_per_s=20, seed=18, faults=faults)

    print(verdict)
    verdict.assert_true_and_whole()
    assert verdict.report["pushes_sent"] == 0
