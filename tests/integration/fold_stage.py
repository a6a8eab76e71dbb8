"""The fold stage in this process, upgrades to feed it, and what a reader must find of them."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from confluent_kafka import Message

from bridge.fold.policy import Policy
from bridge.fold.stage import Fold
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics
from deploy.sandbox.brokers import Brokers
from schemas import Observation
from tests.integration.fold_topics import pushed, until

STEPS = ("pending", "downloading", "installing")


async def fold_settings(brokers: Brokers, prefix: str, *, partitions: int = 3) -> KafkaSettings:
    """Return settings under which the topics exist; sessions are as short as the broker allows."""
    settings = KafkaSettings(
        bootstrap_servers=brokers.kafka.bootstrap_servers,
        prefix=prefix,
        partitions=partitions,
        session_timeout_s=6,
    )
    await ensure_topics(settings)
    return settings


@asynccontextmanager
async def folding(settings: KafkaSettings, policy: Policy | None = None) -> AsyncIterator[Fold]:
    """A running fold that owns every partition."""
    fold, stop = Fold(settings, policy or Policy()), asyncio.Event()
    running = asyncio.create_task(fold.run(stop))
    await until(lambda: running.done() or len(fold.statistics().partitions_folding) == settings.partitions)
    try:
        yield fold
    finally:
        stop.set()
        await running


def upgrades(devices: int) -> list[Observation]:
    """Each device goes through three statuses; all devices take each step before any takes the next."""
    names = [f"device-{number}" for number in range(devices)]
    return [pushed(name, step + 1, status) for step, status in enumerate(STEPS) for name in names]


def assert_each_once(events: Sequence[Message], devices: int) -> None:
    """Every device's three statuses were told, in order, and nothing else."""
    told: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for message in events:
        event = json.loads(message.value() or b"")
        told[event["device_id"]].append((event["revision"], event["status"]))
    assert len(told) == devices
    for published in told.values():
        first = published[0][0]
        assert published == [(first + step, status) for step, status in enumerate(STEPS)]
