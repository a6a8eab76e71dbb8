"""Fifty times SIGTERM under load, at random moments: what was confirmed never comes again."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration.consumer_under_load import stop_again_and_again

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]


async def test_fifty_stops_under_load_lose_nothing_and_repeat_nothing(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    verdict = await stop_again_and_again(
        brokers, gateway_account, kafka_prefix, tmp_path, times=50, rate_per_s=3000, seed=1
    )
    print(verdict)
    verdict.assert_complete()
    assert verdict.repeated == 0
