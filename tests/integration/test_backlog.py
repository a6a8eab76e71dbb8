"""What waits at the gateway, asked of the real broker; and a source partition starved beside others that flow."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator

import msgspec
import pulsar
import pytest

from bridge.kafka.progress_reader import KafkaProgress
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics
from bridge.kafka.writer import KafkaWriter
from consumer import auth
from consumer.backlog import BacklogQuestion
from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.gateway_messages import sealed, upgrade_status
from tests.integration.fold_topics import until
from tests.integration.gateway_house import Platform, RunningIngest, statuses


@pytest.fixture
async def settings(brokers: Brokers, kafka_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(
        bootstrap_servers=brokers.kafka.bootstrap_servers, prefix=kafka_prefix, partitions=4
    )
    await ensure_topics(settings)
    return settings


@pytest.fixture
def platform(brokers: Brokers, gateway_account: GatewayAccount) -> Iterator[Platform]:
    platform = Platform(brokers, gateway_account)
    yield platform
    platform.close()


@pytest.fixture
async def writer(settings: KafkaSettings) -> AsyncIterator[KafkaWriter]:
    async with KafkaWriter(settings) as writer:
        yield writer


def _account(account: GatewayAccount, **gateway: object) -> GatewayAccount:
    return msgspec.structs.replace(account, gateway=msgspec.structs.replace(account.gateway, **gateway))


async def test_the_gateway_tells_what_waits_and_asking_costs_the_reader_nothing(
    settings: KafkaSettings,
    brokers: Brokers,
    platform: Platform,
    gateway_account: GatewayAccount,
    writer: KafkaWriter,
) -> None:
    account = _account(gateway_account, topics=("event", "event-test"))
    await brokers.pulsar.create_account(
        account.access_id, account.access_key.reveal(), topics=account.gateway.topics
    )
    question = BacklogQuestion(account)
    nothing = await question.ask()
    assert {backlog.partition for backlog in nothing} == {"event-test", *(f"event/{n}" for n in range(11))}
    assert all(backlog.is_empty for backlog in nothing)

    _push(platform, account, "event-test", 1)
    _push(platform, account, "event-partition-4", 1)
    platform.flush()
    waiting = {backlog.partition for backlog in await question.ask() if not backlog.is_empty}
    assert waiting == {"event-test", "event/4"}

    running = RunningIngest([account], writer)
    await running.until_acknowledged(2)
    for number in range(2, 302):
        platform.push_statuses("d", [number])
        if number % 10 == 0:
            await question.ask()
    platform.flush()
    await running.until_acknowledged(302)

    async def nothing_waits() -> bool:
        return all(backlog.is_empty for backlog in await question.ask())

    await until(nothing_waits)
    assert (running.account().subscriptions, running.account().received) == (1, 302)
    await running.close()
    assert (await statuses(settings, 302))["d"] == list(range(2, 302))


async def test_a_source_partition_that_is_starved_grows_old_and_is_not_called_alive(
    settings: KafkaSettings,
    brokers: Brokers,
    platform: Platform,
    gateway_account: GatewayAccount,
    writer: KafkaWriter,
) -> None:
    account = _account(gateway_account, retention_margin_s=5.0, silence_timeout_s=5.0)
    thief = _Thief(brokers, account, "event-partition-2")
    running = RunningIngest([account], writer)
    await until(lambda: running.account().state == "running")
    _push(platform, account, "event-partition-2", 1)
    platform.flush()
    pushed_at_ms = time.time_ns() // 1_000_000
    thief.receive()
    flowing = 0

    def flow() -> None:
        nonlocal flowing
        flowing += 1
        _push(platform, account, "event-partition-5", flowing)

    def is_renewed() -> bool:
        flow()
        return running.account().subscriptions > 1

    await until(is_renewed)
    starved = running.account()
    assert starved.furthest_behind == "event/2"
    assert (starved.alive_age_s or 0) >= 5
    assert starved.last_received_at_ms is not None
    assert starved.last_received_at_ms > pushed_at_ms + 4000
    progress = await KafkaProgress(settings).read_progress("tuya-test")
    assert "event/5" in progress
    assert "event/2" not in progress or progress["event/2"].alive_at_ms <= pushed_at_ms

    thief.close()

    async def is_made_good() -> bool:
        flow()
        return (running.account().alive_age_s or 99) < 4

    await until(is_made_good)
    platform.flush()
    await running.until_acknowledged(flowing + 1)
    await running.close()
    assert (await statuses(settings, flowing + 1))["event-partition-2"] == [1]


def _push(platform: Platform, account: GatewayAccount, topic: str, number: int) -> None:
    """Push a status of the device that is named like the topic."""
    key = account.access_key.reveal()
    platform.push(sealed(upgrade_status(topic, description=str(number)), key=key), device=topic, topic=topic)


class _Thief:
    """Takes the turn at a source partition with an even number, receives, and acknowledges nothing."""

    def __init__(self, brokers: Brokers, account: GatewayAccount, topic: str) -> None:
        user, password = auth.basic_halves(account.access_id, account.access_key)
        self._client = pulsar.Client(
            account.gateway.url,
            authentication=pulsar.AuthenticationBasic(user, password, auth.METHOD),
            tls_trust_certs_file_path=str(brokers.ca_file),
            logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull),
        )
        self._consumer = self._client.subscribe(
            f"persistent://{account.access_id}/out/{topic}",
            account.gateway.subscription,
            consumer_type=pulsar.ConsumerType.Failover,
            consumer_name="!",  # consumers take turns in the order of their names
        )

    def receive(self) -> None:
        self._consumer.receive(timeout_millis=20_000)

    def close(self) -> None:
        self._client.close()
