"""Bad messages among good ones, in short; the whole corpus is in `make chaos`."""

from __future__ import annotations

from pathlib import Path

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration.consumer_fuzzing import fuzz


async def test_every_bad_message_is_one_dead_letter_and_every_good_one_arrives(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    await fuzz(brokers, gateway_account, kafka_prefix, tmp_path, every=10)
