"""Fills topics as fast as the brokers take it, and tells observations at an even pace, with each one's event timed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from bridge.kafka.settings import KafkaSettings
from schemas import Observation, ObservedEvidence, Position, UpgradeEvent
from tests.benchmarks.fold.campaign import ACCOUNT
from tests.benchmarks.fold.folding import Unfinished

Record = tuple[bytes, bytes, list[tuple[str, bytes]]]
_FLUSH_WITHIN_S: Final = 60.0
_PROGRESS: Final = tuple(range(0, 101, 10))
"""Each value is worth an event."""


def fill(settings: KafkaSettings, topic: str, records: Iterable[Record]) -> int:
    """Produce key, value and headers; return how many. Raises Unfinished."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "partitioner": "murmur2_random",
            "compression.type": "zstd",
            "linger.ms": 50,
            "batch.size": 500_000,
            "queue.buffering.max.messages": 100_000,
        }
    )
    name, count = f"{settings.prefix}.{topic}.v1", 0
    for key, value, headers in records:
        while True:
            try:
                producer.produce(name, key=key, value=value, headers=headers)
                break
            except BufferError:
                producer.poll(0.05)
        count += 1
    if producer.flush(_FLUSH_WITHIN_S):
        raise Unfinished(f"Kafka did not take all of {topic}")
    return count


def observed_at_ms(event: UpgradeEvent) -> int:
    """Return when the observation that made the event was produced."""
    return event.observed_at_ms


class EventReader(threading.Thread):
    """Reads the events of pushes as a stranger would, and notes how long after its beginning each came, in ms."""

    def __init__(
        self, settings: KafkaSettings, began_at_ms: Callable[[UpgradeEvent], int] = observed_at_ms
    ) -> None:
        super().__init__(daemon=True)
        self._began_at_ms = began_at_ms
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "group.id": "reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
            }
        )
        name = f"{settings.prefix}.upgrade-events.v1"
        self._consumer.assign([TopicPartition(name, number, 0) for number in range(settings.partitions)])
        self._ending = threading.Event()
        self.latencies_ms: list[tuple[int, float]] = []
        """With the time of the beginning."""

    def run(self) -> None:
        decode = msgspec.json.Decoder(UpgradeEvent).decode
        while not self._ending.is_set():
            # One at a time: asked for several, the client waits for all of them until the timeout.
            message = self._consumer.poll(0.05)
            now_ms = time.time() * 1000
            value = None if message is None or message.error() is not None else message.value()
            if value is None:
                continue
            event = decode(value)
            if event.evidence.origin == "push":
                began_at_ms = self._began_at_ms(event)
                self.latencies_ms.append((began_at_ms, now_ms - began_at_ms))
        self._consumer.close()

    def stop(self) -> None:
        self._ending.set()
        self.join()


def tell_evenly(settings: KafkaSettings, rate_per_s: float, seconds: float, label: str) -> int:
    """Tell progress of ever new devices, each worth an event; return how many observations that were."""
    producer = Producer(
        {"bootstrap.servers": settings.bootstrap_servers, "partitioner": "murmur2_random", "linger.ms": 0}
    )
    name, encode = f"{settings.prefix}.observations.v1", msgspec.json.Encoder().encode
    count, began = round(rate_per_s * seconds), time.monotonic()
    crowd = max(round(rate_per_s), 1)
    for number in range(count):
        early_s = began + number / rate_per_s - time.monotonic()
        if early_s > 0:
            time.sleep(early_s)
        lap, place = divmod(number, crowd)
        generation, step = divmod(lap, len(_PROGRESS))
        observation = _progress(f"{label}-{generation}-{place:05d}", step, number)
        producer.produce(name, key=observation.device_id.encode(), value=encode(observation))
        producer.poll(0)
    if producer.flush(_FLUSH_WITHIN_S):
        raise Unfinished("Kafka did not take the observations")
    return count


def _progress(device_id: str, step: int, number: int) -> Observation:
    now_ms = time.time_ns() // 1_000_000
    return Observation(
        device_id=device_id,
        cloud="tuya-cloud",
        account=ACCOUNT,
        channel="0",
        kind="progress" if step else "status",
        status=None if step else "downloading",
        progress=_PROGRESS[step],
        vendor_time_at_ms=now_ms,
        observed_at_ms=now_ms,
        evidence=ObservedEvidence(
            origin="push",
            name="upgradeProcess",
            position=Position(
                partition="event/1", ledger=1, entry=number, batch_index=-1, publish_time_at_ms=now_ms
            ),
        ),
    )
