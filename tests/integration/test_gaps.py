"""Gaps on the real brokers: what nobody read in time is told once, before anything that would hide it.

Retentions are seconds here: the decision is about our own clock, whatever the gateway really keeps.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from bridge.kafka.progress_reader import KafkaProgress
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics
from bridge.kafka.writer import KafkaWriter
from consumer.settings import GatewayAccount
from consumer.sink import OutgoingRecord, Sink
from deploy.sandbox.brokers import Brokers
from schemas import IngestProgress
from tests.integration.fold_topics import until
from tests.integration.gateway_house import Platform, RunningIngest, records, statuses
from tests.integration.tcp_proxy import proxied
from tests.integration.test_ingest import Gate


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


@asynccontextmanager
async def _running(
    account: GatewayAccount, sink: Sink, settings: KafkaSettings
) -> AsyncIterator[RunningIngest]:
    running = RunningIngest([account], sink, past=KafkaProgress(settings))
    try:
        yield running
    finally:
        await running.close()


async def _progress(settings: KafkaSettings) -> Mapping[str, IngestProgress]:
    return await KafkaProgress(settings).read_progress("tuya-test")


async def _alive_since(settings: KafkaSettings, at_ms: int) -> None:
    """Return once all source partitions were alive later than that."""

    async def alive() -> bool:
        told = await _progress(settings)
        return len(told) == 11 and all(record.alive_at_ms > at_ms for record in told.values())

    await until(alive)


async def _gaps(settings: KafkaSettings, expected: int) -> list[dict[str, Any]]:
    return [seen for seen in await records(settings, "observations", expected) if seen["kind"] == "gap"]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_who_was_away_for_too_long_tells_a_gap_on_every_partition_once(
    settings: KafkaSettings, platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    account = _account(gateway_account, retention_s=5.0, retention_margin_s=2.0)
    async with _running(account, writer, settings):
        await _alive_since(settings, 0)
    platform.push_statuses("d", [1])
    platform.flush()
    await asyncio.sleep(3.2)
    before_ms = _now_ms()

    async with _running(account, writer, settings) as again:
        await _alive_since(settings, before_ms)
        assert again.account().gaps == 1
    gaps = await _gaps(settings, 5)

    assert len(gaps) == 4
    assert {(gap["device_id"], gap["account"], gap["evidence"]["origin"]) for gap in gaps} == {
        ("", "tuya-test", "bridge")
    }
    assert await statuses(settings, 5) == {"d": [1]}


async def test_a_quiet_night_and_a_short_absence_are_no_gap(
    settings: KafkaSettings, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    account = _account(gateway_account, retention_s=12.0, retention_margin_s=4.0)
    async with _running(account, writer, settings) as first:
        await _alive_since(settings, _now_ms() + 8_500)
        assert first.account().gaps == 0
        assert (first.account().alive_age_s or 99) < 8
    before_ms = _now_ms()
    async with _running(account, writer, settings) as second:
        await _alive_since(settings, before_ms)
        assert second.account().gaps == 0

    assert await _gaps(settings, 0) == []


async def test_a_topic_without_messages_is_alive_beside_one_that_never_rests(
    settings: KafkaSettings, platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    began_ms = _now_ms()
    account = _account(gateway_account, retention_margin_s=5.0)
    async with _running(account, writer, settings):
        number = 0

        async def alive() -> bool:
            nonlocal number
            platform.push_statuses("d", [number])
            number += 1
            told = await _progress(settings)
            return sum(record.alive_at_ms > began_ms + 4000 for record in told.values()) == 11

        await until(alive)


async def test_a_copy_that_cannot_confirm_leaves_its_partitions_to_one_that_can(
    settings: KafkaSettings, platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    devices = [f"d{number}" for number in range(40)]
    account = _account(gateway_account, retention_s=60.0, retention_margin_s=4.0)
    gate = Gate()
    async with _running(account, gate, settings) as stuck:
        for device in devices:
            platform.push_statuses(device, [1])
        platform.flush()
        await until(lambda: stuck.account().received == 40)
        async with _running(account, writer, settings) as healthy:
            for device in devices:
                platform.push_statuses(device, [2])
            platform.flush()

            await until(lambda: "left to other copies" in (stuck.account().message or ""))
            assert await statuses(settings, 80) == {device: [1, 2] for device in devices}
            assert healthy.account().gaps == 0

            gate.opened.set()
            await until(lambda: stuck.account().state == "running")


async def test_silence_renews_the_subscription_and_costs_nothing(
    settings: KafkaSettings, platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    account = _account(gateway_account, silence_timeout_s=1.0)
    async with _running(account, writer, settings) as running:
        platform.push_statuses("d", [1])
        platform.flush()
        await running.until_acknowledged(1)
        await until(lambda: running.account().subscriptions >= 3)
        platform.push_statuses("d", [2])
        platform.flush()
        await running.until_acknowledged(2)

        assert running.account().redelivered == 0
    assert await statuses(settings, 2) == {"d": [1, 2]}


async def test_acknowledgements_lost_with_their_connection_are_made_good_after_the_reconnection(
    brokers: Brokers, platform: Platform, gateway_account: GatewayAccount
) -> None:
    pulsar = brokers.pulsar
    account = _account(gateway_account, url=f"pulsar+ssl://127.0.0.1:{pulsar.proxy_port}")
    gate = Gate()
    async with proxied(pulsar.proxy_port, pulsar.behind_proxy_port) as proxy:
        running = RunningIngest([account], gate)
        platform.push_statuses("d", range(10))
        platform.flush()
        await until(lambda: running.account().received == 10)
        proxy.hold()
        gate.opened.set()
        await running.until_acknowledged(10)
        # The client sends them 100 ms later, and they get no further than the proxy.
        await asyncio.sleep(0.3)
        assert await _backlog(brokers, gateway_account) > 0
        proxy.cut()
        proxy.proceed()

        async def nothing_waits() -> bool:
            return await _backlog(brokers, gateway_account) == 0

        await until(nothing_waits)
        assert (running.account().subscriptions, running.account().received) == (1, 10)
        assert running.account().redelivered == 10
        await running.close()


async def test_progress_is_read_of_one_account_and_a_strangers_record_stops_nobody(
    settings: KafkaSettings, writer: KafkaWriter
) -> None:
    told = [
        (b"tuya-test/event/1", b'{"account":"tuya-test","source_partition":"event/1","alive_at_ms":1}'),
        (b"tuya-test/event/1", b'{"account":"tuya-test","source_partition":"event/1","alive_at_ms":2}'),
        (b"tuya-test/event/2", b"not ours"),
        (b"tuya-test-2/event/1", b'{"account":"tuya-test-2","source_partition":"event/1","alive_at_ms":3}'),
    ]
    now_ms = time.time_ns() // 1_000_000
    await writer.write([OutgoingRecord("ingest-progress", key, value, now_ms) for key, value in told])

    assert {name: record.alive_at_ms for name, record in (await _progress(settings)).items()} == {
        "event/1": 2
    }
    assert await KafkaProgress(settings).read_progress("tuya") == {}


async def _backlog(brokers: Brokers, account: GatewayAccount) -> int:
    """Return how many entries the broker does not know acknowledged."""
    url = f"{brokers.pulsar.admin_url}/admin/v2/persistent/{account.access_id}/out/event/partitioned-stats"
    auth = (brokers.pulsar.admin_username, brokers.pulsar.admin_password)
    async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
        stats = (await client.get(url)).json()
    backlog: int = stats["subscriptions"][account.gateway.subscription]["msgBacklog"]
    return backlog
