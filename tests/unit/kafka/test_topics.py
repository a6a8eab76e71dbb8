"""The topics' names, settings and key mapping: what consumers of other programs rely on."""

from __future__ import annotations

from typing import get_args

import pytest

from bridge.kafka import topics
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import TOPICS, TopicsRefused, partition_of, topic_name
from consumer.sink import TopicName

DAY_MS = 86_400_000


def test_every_topic_that_a_stage_may_write_to_is_made() -> None:
    assert set(TOPICS) == set(get_args(TopicName))


def test_names_carry_prefix_and_major_version() -> None:
    assert topic_name("ota", "upgrade-events") == "ota.upgrade-events.v1"


@pytest.mark.parametrize(
    ("name", "cleanup", "retention_days"),
    [
        ("upgrade-events", "delete", 14),
        ("upgrade-state", "compact", None),
        ("dead-letters", "delete", 30),
        ("observations", "delete", 7),
        ("lookups", "delete", 1),
        ("ingest-progress", "compact", None),
    ],
)
def test_topics_are_kept_as_documented(name: TopicName, cleanup: str, retention_days: int | None) -> None:
    spec = TOPICS[name]

    assert spec.cleanup_policy == cleanup
    retention = None if retention_days is None else str(retention_days * DAY_MS)
    assert spec.settings.get("retention.ms") == retention


def test_state_topic_is_compacted_early_so_that_a_restore_stays_short() -> None:
    assert TOPICS["upgrade-state"].settings == {
        "segment.bytes": str(64 * 1024 * 1024),
        "min.cleanable.dirty.ratio": "0.1",
        "max.compaction.lag.ms": "3600000",
    }


@pytest.mark.parametrize(
    ("key", "positive_murmur2"),
    # Kafka's own test vectors (Utils.murmur2 in UtilsTest), made positive as its partitioner does.
    [
        (b"21", -973932308 & 0x7FFFFFFF),
        (b"foobar", -790332482 & 0x7FFFFFFF),
        (b"a-little-bit-long-string", -985981536 & 0x7FFFFFFF),
        (b"a-little-bit-longer-string", -1486304829 & 0x7FFFFFFF),
        (b"abc", 479470107),
    ],
)
def test_keys_map_as_in_kafkas_own_clients(key: bytes, positive_murmur2: int) -> None:
    assert partition_of(key, 12) == positive_murmur2 % 12


def judged(**partitions_of_topic: int) -> tuple[str, ...]:
    """The problems of topics, all of them of three partitions where six are configured, but for those named."""
    settings = KafkaSettings(bootstrap_servers="kafka:9092", partitions=6)
    found = {
        topic_name(settings.prefix, name): topics._Found(
            partitions_of_topic.get(name.replace("-", "_"), 3),
            {"cleanup.policy": spec.cleanup_policy, **spec.settings},
        )
        for name, spec in TOPICS.items()
        if partitions_of_topic.get(name.replace("-", "_")) != 0
    }
    with pytest.raises(TopicsRefused) as refused:
        topics._judge(settings, found, (), tuple(TOPICS))
    return refused.value.problems


def test_topics_of_another_count_of_partitions_are_one_problem() -> None:
    (problem,) = judged()

    assert all(topic_name("ota", name) in problem for name in TOPICS)
    assert "have 3 partitions, kafka.partitions is 6: set kafka.partitions to 3" in problem


def test_what_is_missing_and_each_count_are_problems_of_their_own() -> None:
    missing, three, four = judged(lookups=0, observations=4)

    assert missing == "topic ota.lookups.v1 is missing: run `ota-bridge topics create`"
    assert three.startswith("topics ota.upgrade-events.v1, ota.upgrade-state.v1, ota.dead-letters.v1, ")
    assert four.startswith("topic ota.observations.v1 has 4 partitions")
