"""The topics on a real broker, looked at with another client than the one that made them."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import msgspec
import pytest
import trustme
from aiokafka.errors import KafkaConnectionError
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import TOPICS, TopicsRefused, ensure_topics, topic_name
from consumer.secret import Secret
from deploy.sandbox.brokers import Brokers

PARTITIONS = 3


@pytest.fixture
def settings(brokers: Brokers, kafka_prefix: str) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=brokers.kafka.bootstrap_servers, prefix=kafka_prefix, partitions=PARTITIONS
    )


@pytest.fixture
def admin(brokers: Brokers) -> AdminClient:
    return AdminClient({"bootstrap.servers": brokers.kafka.bootstrap_servers})


async def create(admin: AdminClient, topic: str, partitions: int = PARTITIONS, **config: str) -> None:
    new = NewTopic(
        topic, partitions, 1, config={name.replace("_", "."): value for name, value in config.items()}
    )
    await asyncio.to_thread(admin.create_topics([new])[topic].result)
    # A new topic is confirmed a moment before the broker itself lists it.
    while topic not in (await asyncio.to_thread(admin.list_topics, timeout=10)).topics:
        await asyncio.sleep(0.05)


async def effective(admin: AdminClient, topic: str) -> dict[str, str]:
    """Return the settings that the broker goes by."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = await asyncio.to_thread(admin.describe_configs([resource])[resource].result)
    return {name: entry.value for name, entry in entries.items()}


async def test_missing_topics_are_created_as_documented(settings: KafkaSettings, admin: AdminClient) -> None:
    reports = await ensure_topics(settings)

    assert all(report.created and not report.differences for report in reports)
    existing = (await asyncio.to_thread(admin.list_topics, timeout=10)).topics
    for name, spec in TOPICS.items():
        topic = topic_name(settings.prefix, name)
        assert len(existing[topic].partitions) == PARTITIONS
        found = await effective(admin, topic)
        assert found["cleanup.policy"] == spec.cleanup_policy
        assert {key: found[key] for key in spec.settings} == dict(spec.settings)
        # One broker: two in-sync replicas would stop every write.
        assert found["min.insync.replicas"] == "1"


async def test_second_start_finds_everything_and_changes_nothing(settings: KafkaSettings) -> None:
    await ensure_topics(settings)

    assert not any(report.created for report in await ensure_topics(settings))


async def test_copies_that_start_together_do_not_disturb_each_other(settings: KafkaSettings) -> None:
    runs = await asyncio.gather(*(ensure_topics(settings) for _ in range(4)))

    assert sum(report.created for reports in runs for report in reports) == len(TOPICS)


async def test_all_wrong_topics_are_refused_at_once_with_both_values(
    settings: KafkaSettings, admin: AdminClient
) -> None:
    state, lookups = topic_name(settings.prefix, "upgrade-state"), topic_name(settings.prefix, "lookups")
    await create(admin, state, cleanup_policy="delete")
    await create(admin, lookups, partitions=5)

    with pytest.raises(TopicsRefused) as refused:
        await ensure_topics(settings)

    policy, partitions = refused.value.problems
    assert state in policy
    assert "cleanup.policy=delete" in policy
    assert "compact" in policy
    assert lookups in partitions
    assert "5 partitions" in partitions
    assert "kafka.partitions is 3" in partitions


async def test_nothing_is_created_beside_a_topic_that_is_refused(
    settings: KafkaSettings, admin: AdminClient
) -> None:
    await create(admin, topic_name(settings.prefix, "observations"), 5)

    with pytest.raises(TopicsRefused):
        await ensure_topics(settings)

    existing = (await asyncio.to_thread(admin.list_topics, timeout=10)).topics
    assert [topic for topic in existing if topic.startswith(settings.prefix)] == [
        topic_name(settings.prefix, "observations")
    ]


async def test_both_cleanup_policies_together_are_refused(
    settings: KafkaSettings, admin: AdminClient
) -> None:
    await create(admin, topic_name(settings.prefix, "upgrade-state"), cleanup_policy="compact,delete")

    with pytest.raises(TopicsRefused, match="compact,delete"):
        await ensure_topics(settings)


async def test_settings_that_an_operator_may_choose_are_reported_not_refused(
    settings: KafkaSettings, admin: AdminClient
) -> None:
    topic = topic_name(settings.prefix, "observations")
    await create(admin, topic, cleanup_policy="delete", retention_ms="3600000")

    reports = {report.topic: report for report in await ensure_topics(settings)}

    assert reports[topic].differences == ("retention.ms is 3600000, documented 604800000",)


async def test_check_alone_creates_nothing(settings: KafkaSettings, admin: AdminClient) -> None:
    with pytest.raises(TopicsRefused) as refused:
        await ensure_topics(settings, create=False)

    (problem,) = refused.value.problems
    assert problem.startswith("topics ")
    assert problem.count(settings.prefix) == len(TOPICS)
    existing = (await asyncio.to_thread(admin.list_topics, timeout=10)).topics
    assert not any(topic.startswith(settings.prefix) for topic in existing)


@pytest.fixture
def secured(brokers: Brokers, settings: KafkaSettings) -> KafkaSettings:
    return msgspec.structs.replace(
        settings,
        bootstrap_servers=brokers.kafka.sasl_ssl_bootstrap_servers,
        security="sasl_ssl",
        sasl_mechanism="PLAIN",
        ca_file=str(brokers.ca_file),
        username=brokers.kafka.username,
        password=Secret(brokers.kafka.password),
    )


async def test_topics_are_created_over_tls_with_credentials(secured: KafkaSettings) -> None:
    assert all(report.created for report in await ensure_topics(secured))


async def test_broker_of_another_authority_is_not_talked_to(secured: KafkaSettings, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other-ca.pem")

    with pytest.raises((KafkaConnectionError, ssl.SSLError)):
        await ensure_topics(msgspec.structs.replace(secured, ca_file=str(tmp_path / "other-ca.pem")))
