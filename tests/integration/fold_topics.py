"""What the fold's integration tests need of Kafka: observations in, and an independent reader of what came out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from confluent_kafka import Consumer, Message, TopicPartition

from bridge.kafka.clients import producer_arguments
from bridge.kafka.settings import KafkaSettings
from schemas import Observation, ObservedEvidence, Position

DEADLINE_S = 60.0
STARTED_AT_MS = time.time_ns() // 1_000_000
"""Observations of long ago would be stalled by now."""


def pushed(device: str, number: int, status: str, **fields: Any) -> Observation:
    """The push number `number` of a device, a second after its last."""
    at_ms = STARTED_AT_MS + number * 1000
    return Observation(
        **{
            "device_id": device,
            "cloud": "tuya-cloud",
            "account": "home",
            "channel": "0",
            "kind": "status",
            "status": status,
            "vendor_time_at_ms": at_ms,
            "observed_at_ms": at_ms,
            "evidence": ObservedEvidence(
                origin="push",
                name="upgradeStatus",
                position=Position(
                    partition="event/1",
                    ledger=1,
                    entry=number,
                    batch_index=-1,
                    publish_time_at_ms=at_ms,
                ),
            ),
        }
        | fields
    )


async def produce(settings: KafkaSettings, observations: Sequence[Observation | bytes]) -> None:
    """Produce observations, or bytes that only claim to be some, in order."""
    async with AIOKafkaProducer(**producer_arguments(settings)) as producer:
        for given in observations:
            is_bytes = isinstance(given, bytes)
            value = given if is_bytes else msgspec.json.encode(given)
            key = b"poison" if is_bytes else given.device_id.encode()
            await producer.send(f"{settings.prefix}.observations.v1", value=value, key=key)
        await producer.flush()


@contextmanager
def reader(settings: KafkaSettings, topic: str) -> Iterator[Consumer]:
    """A librdkafka consumer of every partition from its start, read_committed."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": "independent",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    name = f"{settings.prefix}.{topic}.v1"
    consumer.assign([TopicPartition(name, partition, 0) for partition in range(settings.partitions)])
    try:
        yield consumer
    finally:
        consumer.close()


async def read(settings: KafkaSettings, topic: str, count: int) -> list[Message]:
    """Return the first `count` records, and whatever comes in the second after them."""
    return await asyncio.to_thread(_read, settings, topic, count)


def _read(settings: KafkaSettings, topic: str, count: int) -> list[Message]:
    records: list[Message] = []
    deadline = time.monotonic() + DEADLINE_S
    quiet_since = time.monotonic()
    with reader(settings, topic) as consumer:
        while time.monotonic() < deadline:
            batch = [message for message in consumer.consume(1000, timeout=0.2) if message.error() is None]
            records += batch
            if batch or len(records) < count:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > 1.0:
                break
    return records


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until the condition holds; fail after a minute."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.02)
