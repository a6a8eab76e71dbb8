"""What the gateway dropped while the bridge was away is found again: a short form of `make chaos`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.sandbox.supervisor import Sandbox
from tests.chaos.lost_pushes import lose_pushes_while_away

SPEED = 16.0
"""Upgrades take 1 to 2 s."""


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path / "build", speed=SPEED) as sandbox:
        yield sandbox


async def test_what_the_gateway_dropped_while_the_bridge_was_away_is_asked_for(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    aftermath = await lose_pushes_while_away(
        sandbox, tmp_path / "bridge.log", devices=40, rate_per_s=40, missed=20, seed=4
    )

    print(aftermath)
    aftermath.assert_found_again()
