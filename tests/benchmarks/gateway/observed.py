"""The observations topic as a stranger sees it: how much is on it, and what comes, the moment it can be read."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from bridge.kafka.settings import KafkaSettings

_TOPIC: Final = "observations"
_ANSWER_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.1


async def count_observations(settings: KafkaSettings) -> int:
    """Return how many observations Kafka holds."""
    return await asyncio.to_thread(_count, settings)


def _count(settings: KafkaSettings) -> int:
    consumer = _consumer(settings)
    try:
        ends = [
            consumer.get_watermark_offsets(each, timeout=_ANSWER_WITHIN_S) for each in _partitions(settings)
        ]
        return sum(high - low for low, high in ends)
    finally:
        consumer.close()


class Observer:
    """Reads what is produced from now on, in a thread, and keeps each value with the time it arrived."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._consumer = _consumer(settings)
        self._partitions = _partitions(settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self.arrived: list[tuple[int, bytes]] = []
        """`time.perf_counter_ns` and value."""

    def start(self) -> None:
        """Begin at each partition's present end."""
        for each in self._partitions:
            _, each.offset = self._consumer.get_watermark_offsets(each, timeout=_ANSWER_WITHIN_S)
        self._consumer.assign(self._partitions)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(_POLL_S)
            if message is not None and message.error() is None:
                self.arrived.append((time.perf_counter_ns(), message.value() or b""))


def _consumer(settings: KafkaSettings) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": "benchmark",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )


def _partitions(settings: KafkaSettings) -> list[TopicPartition]:
    name = f"{settings.prefix}.{_TOPIC}.v1"
    return [TopicPartition(name, number) for number in range(settings.partitions)]
