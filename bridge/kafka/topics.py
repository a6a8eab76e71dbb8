"""The bridge's topics as data, and making them so on a broker: what is missing is created, what is wrong is refused.

A topic whose cleanup policy or partition count differs would lose truth or split a device's order without a sound;
therefore nothing starts before this check has passed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, get_args

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    LeaderNotAvailableError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.partitioner import murmur2
from msgspec import Struct

from bridge.kafka.clients import client_arguments
from bridge.kafka.settings import KafkaSettings
from consumer.sink import TopicName

log = structlog.get_logger(__name__)

_DAY_MS: Final = 24 * 3600 * 1000

REPLICAS_FOR_MIN_INSYNC: Final = 3
"""With fewer replicas, `min.insync.replicas=2` would stop every write as soon as one broker restarts."""

VISIBLE_WITHIN_S: Final = 10.0
"""A new topic is known to every broker a moment after its creation was confirmed; this long that is waited for."""


class TopicSpec(Struct, frozen=True, kw_only=True):
    """One topic: its cleanup policy and the other settings it is created with."""

    cleanup_policy: Literal["delete", "compact"]
    settings: Mapping[str, str] = {}


def _deleted_after(days: int) -> TopicSpec:
    return TopicSpec(cleanup_policy="delete", settings={"retention.ms": str(days * _DAY_MS)})


_COMPACTED: Final = TopicSpec(
    cleanup_policy="compact",
    # Small segments, compacted early: what has to be read at a start stays close to what is live.
    settings={
        "segment.bytes": str(64 * 1024 * 1024),
        "min.cleanable.dirty.ratio": "0.1",
        "max.compaction.lag.ms": str(3600 * 1000),
    },
)

TOPICS: Final[Mapping[TopicName, TopicSpec]] = {
    "upgrade-events": _deleted_after(14),
    "upgrade-state": _COMPACTED,
    "dead-letters": _deleted_after(30),
    "observations": _deleted_after(7),
    "lookups": _deleted_after(1),
    "ingest-progress": _COMPACTED,
}
"""Every topic of the bridge, in the order a reader meets them; all have the configured number of partitions."""

if set(TOPICS) != set(get_args(TopicName)):
    raise AssertionError("the table of topics and the sink's topic names differ")


class TopicReport(Struct, frozen=True, kw_only=True):
    """What was found or done: `differences` are settings that an operator may have changed on purpose."""

    topic: str
    created: bool
    partitions: int
    cleanup_policy: str | None
    """None where the broker does not let us read it."""
    differences: tuple[str, ...] = ()


class TopicsRefused(Exception):
    """A topic cannot serve the bridge as it is, or may not be created: the daemon ends with exit code 2."""

    def __init__(self, problems: Collection[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class _Found(Struct, frozen=True):
    partitions: int
    settings: Mapping[str, str] | None


def topic_name(prefix: str, name: TopicName) -> str:
    """Return the full name of a topic, such as `ota.upgrade-events.v1`."""
    return f"{prefix}.{name}.v1"


@lru_cache(maxsize=1024)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key as Kafka's own clients choose it (murmur2; librdkafka's default is another).

    Few keys are asked for often: the accounts, whose lookups all have them, cost a murmur2 in Python each.
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


async def ensure_topics(
    settings: KafkaSettings, *, create: bool = True, wanted: Collection[TopicName] = tuple(TOPICS)
) -> list[TopicReport]:
    """Create the missing topics of those wanted, then check all of them as the broker really has them.

    With `create` false a missing topic is a problem like any other. Raises TopicsRefused with every problem found;
    KafkaError or OSError when the broker cannot be reached, which the caller may try again.
    """
    names = {name: topic_name(settings.prefix, name) for name in wanted}
    admin = AIOKafkaAdminClient(**client_arguments(settings))
    try:
        await admin.start()
        before = set(await admin.list_topics())
        missing = {name: topic for name, topic in names.items() if topic not in before} if create else {}
        if missing:
            # What is there is judged first: topics made beside a wrong one would be wrong as soon as it is mended.
            there = [topic for topic in names.values() if topic in before]
            _judge(settings, await _read(admin, there, await_new=()), (), set(names) - set(missing))
        created = await _create(admin, settings, missing) if missing else set()
        found = await _read(admin, names.values(), await_new=missing.values())
        return _judge(settings, found, created, set(names))
    finally:
        await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, missing: Mapping[TopicName, str]
) -> set[str]:
    common = await _replication_settings(admin)
    new_topics = [
        NewTopic(
            topic,
            settings.partitions,
            -1,  # the broker's default
            {},
            {"cleanup.policy": TOPICS[name].cleanup_policy, **TOPICS[name].settings, **common},
        )
        for name, topic in missing.items()
    ]
    answer = await admin.create_topics(new_topics)
    problems: list[str] = []
    forbidden: list[str] = []
    created: set[str] = set()
    for topic, code, text in answer.topic_errors:
        error = for_code(code)
        if code == 0:
            created.add(topic)
            log.info("topic_created", topic=topic, partitions=settings.partitions)
        elif error in (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
            forbidden.append(topic)
        elif getattr(error, "retriable", False):
            raise error(text)
        elif error is InvalidReplicationFactorError:
            problems.append(
                f"topic {topic} cannot be created: {text} (see the broker's default.replication.factor)"
            )
        # Another copy of the bridge was faster: the check that follows treats its topic like any existing one.
        elif error is not TopicAlreadyExistsError:
            problems.append(f"topic {topic} cannot be created: {text or error.__name__}")
    if forbidden:
        problems.append(
            f"{_topics(forbidden, 'is', 'are')} missing and this user may not create that: grant Create,"
            " or let an administrator run `ota-bridge topics create`"
        )
    if problems:
        raise TopicsRefused(problems)
    return created


async def _replication_settings(admin: AIOKafkaAdminClient) -> dict[str, str]:
    """Ask for two in-sync replicas only where the broker's default gives a new topic three."""
    cluster = await admin.describe_cluster()
    broker = str(cluster["brokers"][0]["node_id"])
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.BROKER, broker, {"default.replication.factor": None})]
    )
    values = _settings_of(answers).get(broker)
    if values is None:
        log.warning(
            "replication_unknown",
            remedy="set min.insync.replicas on the topics, or grant DescribeConfigs on the cluster",
        )
        return {}
    replicas = int(values.get("default.replication.factor", "1"))
    return {"min.insync.replicas": "2"} if replicas >= REPLICAS_FOR_MIN_INSYNC else {}


async def _read(
    admin: AIOKafkaAdminClient, topics: Collection[str], *, await_new: Collection[str]
) -> dict[str, _Found]:
    deadline = time.monotonic() + VISIBLE_WITHIN_S
    while True:
        # All topics are listed: a request that names a missing one may create it, with the broker's defaults.
        partitions = {
            found["topic"]: len(found["partitions"])
            for found in await admin.describe_topics()
            if found["topic"] in topics
        }
        if all(partitions.get(topic) for topic in await_new):
            try:
                values = await _topic_settings(admin, partitions)
            except UnknownTopicOrPartitionError:
                if time.monotonic() > deadline:
                    raise
            else:
                return {topic: _Found(count, values.get(topic)) for topic, count in partitions.items()}
        elif time.monotonic() > deadline:
            raise LeaderNotAvailableError(f"new topics are not visible after {VISIBLE_WITHIN_S:.0f} s")
        await asyncio.sleep(0.1)


async def _topic_settings(
    admin: AIOKafkaAdminClient, topics: Collection[str]
) -> dict[str, Mapping[str, str] | None]:
    if not topics:
        return {}
    keys = {"cleanup.policy", *(key for spec in TOPICS.values() for key in spec.settings)}
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic, dict.fromkeys(keys)) for topic in sorted(topics)]
    )
    return _settings_of(answers)


def _settings_of(answers: list[Any]) -> dict[str, Mapping[str, str] | None]:
    """Return the settings by resource name, None for a resource that this user may not read."""
    settings: dict[str, Mapping[str, str] | None] = {}
    for answer in answers:
        for code, text, _kind, name, entries in answer.resources:
            error = for_code(code)
            if code == 0:
                settings[name] = {entry[0]: entry[1] for entry in entries}
            elif error in (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
                settings[name] = None
            else:
                raise error(text)
    return settings


def _judge(
    settings: KafkaSettings,
    found: Mapping[str, _Found],
    created: Collection[str],
    wanted: Collection[TopicName],
) -> list[TopicReport]:
    problems: list[str] = []
    missing: list[str] = []
    of_another_count: dict[int, list[str]] = {}
    reports: list[TopicReport] = []
    for name, spec in TOPICS.items():
        topic = topic_name(settings.prefix, name)
        if name not in wanted:
            continue
        if topic not in found:
            missing.append(topic)
            continue
        partitions, values = found[topic].partitions, found[topic].settings
        if partitions != settings.partitions:
            of_another_count.setdefault(partitions, []).append(topic)
        policy = None
        differences: list[str] = []
        if values is None:
            log.warning("topic_settings_unread", topic=topic, remedy="grant DescribeConfigs on the topic")
        else:
            policy = values["cleanup.policy"]
            if policy != spec.cleanup_policy:
                problems.append(
                    f"topic {topic} has cleanup.policy={policy}, the bridge needs {spec.cleanup_policy}: change the"
                    " topic's setting, or take a new kafka.prefix"
                )
            differences = [
                f"{key} is {values.get(key)}, documented {value}"
                for key, value in spec.settings.items()
                if values.get(key) != value
            ]
            if differences:
                log.warning("topic_settings_differ", topic=topic, differences=differences)
        reports.append(
            TopicReport(
                topic=topic,
                created=topic in created,
                partitions=partitions,
                cleanup_policy=policy,
                differences=tuple(differences),
            )
        )
    # One line for one cause: as a rule it concerns all topics alike.
    if missing:
        problems.append(f"{_topics(missing, 'is', 'are')} missing: run `ota-bridge topics create`")
    problems += [
        f"{_topics(topics, 'has', 'have')} {count} partitions, kafka.partitions is {settings.partitions}: set"
        f" kafka.partitions to {count}, or take a new kafka.prefix"
        for count, topics in of_another_count.items()
    ]
    if problems:
        raise TopicsRefused(problems)
    return reports


def _topics(topics: Sequence[str], one: str, many: str) -> str:
    return f"topic {topics[0]} {one}" if len(topics) == 1 else f"topics {', '.join(topics)} {many}"
