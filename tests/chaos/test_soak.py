"""Ten minutes at 5,000 messages a second with a reconnection every minute: memory does not grow.

`SOAK_MINUTES` sets another length. The figures are printed, whatever comes of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration.consumer_soak import soak

MINUTES: Final = int(os.environ.get("SOAK_MINUTES", "10"))
MOST_MB_PER_MINUTE: Final = 1.0
"""One message in three hundred that is kept for ever, at 1 KB, would show as this."""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(MINUTES * 60 + 900)]


async def test_memory_does_not_grow(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    soaked = await soak(
        brokers,
        gateway_account,
        kafka_prefix,
        tmp_path,
        rate_per_s=5000,
        reconnections=MINUTES - 1,
        every_s=60,
    )
    print(soaked)
    assert soaked.lost == 0
    assert soaked.slope_mb_per_minute < MOST_MB_PER_MINUTE
    assert soaked.peak_mb < 150
