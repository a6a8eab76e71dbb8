"""The driver: changes of many devices, each with a number, and what a stranger must see of each.

It writes the observations topic itself, with librdkafka and plain JSON, and keeps the truth. A change's number is the
entry of its source position, which the bridge hands on with every event: so each event says which change it tells of.
Some changes are written twice, as stage one does after a restart: the second must change nothing.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import KafkaError, Message, Producer

Shown = tuple[int, str, int | None]
"""Of an event: the change it tells of, the status and the progress that it shows."""

UPGRADE: Final[tuple[Mapping[str, Any], ...]] = (
    {"kind": "status", "status": "pending"},
    {"kind": "status", "status": "downloading"},
    *({"kind": "progress", "progress": percent} for percent in (10, 30, 50, 70, 90)),
    {"kind": "status", "status": "installing"},
    {"kind": "status", "status": "verifying", "claimed": "succeeded"},
)
"""The changes of one upgrade; the next begins with another task, which ends this one as it was claimed."""

_TICK_S: Final = 0.01
_TWICE: Final = 0.02
"""Share of the changes that are written twice."""
_CONFIRMED_WITHIN_S: Final = 120.0


def shown(number: int) -> Iterator[Shown]:
    """Yield what the events of a device's change number `number` show, counted from 0."""
    upgrade, step = divmod(number, len(UPGRADE))
    if step == 0:
        if upgrade:
            yield number, "succeeded", 90
        yield number, "pending", None
        return
    progress = max((change.get("progress", 0) for change in UPGRADE[: step + 1]), default=0)
    statuses = [change["status"] for change in UPGRADE[: step + 1] if "status" in change]
    yield number, statuses[-1], progress or None


class Driver:
    """Changes `devices` devices in turn, at a rate, from a thread of its own, until told to stop."""

    def __init__(
        self, bootstrap_servers: str, topic: str, *, devices: int, rate_per_s: float, seed: int = 1
    ) -> None:
        self._topic = topic
        self._devices = [f"6c{number:020x}" for number in range(devices)]
        self._rate_per_s = rate_per_s
        self._chance = random.Random(seed)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "message.timeout.ms": 0,  # the broker may be gone for a while, and nothing may be lost here
                "linger.ms": 5,
                "compression.type": "lz4",
                "log_level": 2,  # that the broker is away is what some tests are about
            }
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._change_for_long, name="driver", daemon=True)
        self._failures: list[KafkaError] = []
        self.changes = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def end(self) -> dict[str, list[Shown]]:
        """Stop, wait until the broker has confirmed every change, and return the truth by device."""
        self._stop.set()
        self._thread.join()
        assert self._producer.flush(_CONFIRMED_WITHIN_S) == 0, "the broker did not take every change"
        assert not self._failures, self._failures[:3]
        return self._truth()

    def _truth(self) -> dict[str, list[Shown]]:
        rounds, rest = divmod(self.changes, len(self._devices))
        return {
            device: [each for number in range(rounds + (index < rest)) for each in shown(number)]
            for index, device in enumerate(self._devices)
            if rounds or index < rest
        }

    def _change_for_long(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(_TICK_S):
            for index in range(self.changes, int((time.monotonic() - began) * self._rate_per_s)):
                number, turn = divmod(index, len(self._devices))
                change = self._change(self._devices[turn], number)
                for _ in range(2 if self._chance.random() < _TWICE else 1):
                    self._producer.produce(
                        self._topic, change, self._devices[turn], on_delivery=self._answered
                    )
                self.changes = index + 1
                if index == 0:
                    # What is produced before the library knows the partitions may be overtaken by what comes later.
                    self._producer.flush(_CONFIRMED_WITHIN_S)
            self._producer.poll(0)

    def _change(self, device: str, number: int) -> bytes:
        now_ms = time.time_ns() // 1_000_000
        upgrade, step = divmod(number, len(UPGRADE))
        position = {
            "partition": "event/0",
            "ledger": 1,
            "entry": number,
            "batch_index": -1,
            "publish_time_at_ms": now_ms,
        }
        change = {
            "device_id": device,
            "cloud": "tuya-cloud",
            "account": "home",
            "channel": "0",
            **UPGRADE[step],
            "vendor_time_at_ms": now_ms,
            "observed_at_ms": now_ms,
            "evidence": {"origin": "push", "name": "torture", "position": position},
        }
        if step == 0:
            change["task_id"] = f"task-{upgrade}"
        return json.dumps(change).encode()

    def _answered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failures.append(error)
