"""More than ten thousand bad messages among as many good ones: each is one dead letter, and nothing else suffers."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration.consumer_fuzzing import fuzz

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


async def test_every_bad_message_is_one_dead_letter_and_every_good_one_arrives(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    await fuzz(brokers, gateway_account, kafka_prefix, tmp_path)
