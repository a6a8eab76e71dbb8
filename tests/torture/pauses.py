"""The reader's clock: how long each device's events stayed away from a stranger who reads along."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from tests.torture.disturbances import PARTITIONS


class PauseReader:
    """Reads the events as they come, from a thread of its own; `longest_s` is the longest pause of any device."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
            }
        )
        self._consumer.assign(
            [TopicPartition(f"{prefix}.upgrade-events.v1", number, 0) for number in range(PARTITIONS)]
        )
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, name="pause-reader", daemon=True)
        self._heard: dict[bytes, float] = {}
        self.longest_s = 0.0

    def __enter__(self) -> Self:
        """Begin: a pause lies between two events that are read from here on."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; who is still silent then has paused till now."""
        self._ending.set()
        self._thread.join()
        self._consumer.close()
        self.longest_s = max([self.longest_s, *(time.monotonic() - heard for heard in self._heard.values())])

    def _read(self) -> None:
        while not self._ending.is_set():
            for message in self._consumer.consume(500, timeout=0.05):
                if message.error() is None:
                    device, now = message.key() or b"", time.monotonic()
                    self.longest_s = max(self.longest_s, now - self._heard.get(device, now))
                    self._heard[device] = now
