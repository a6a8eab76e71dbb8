"""The public events as a stranger sees them: a read_committed consumer that shares nothing with the bridge."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from typing import Any

from aiokafka import AIOKafkaConsumer
from msgspec import Struct

_METADATA_MAX_AGE_MS = 1000
"""The topic is made by the bridge, perhaps after we began to look for it."""


class Happening(Struct, frozen=True, kw_only=True):
    """One event: its CloudEvents type, its value, and when it reached us (Unix ms)."""

    kind: str
    event: dict[str, Any]
    arrived_at_ms: float

    @property
    def account(self) -> str:
        """The account that it is about."""
        return str(self.event["account"])

    @property
    def latency_ms(self) -> float | None:
        """From the cloud's push to us; None for what the bridge had asked for or concluded."""
        position = self.event["evidence"].get("position")
        return None if position is None else self.arrived_at_ms - position["publish_time_at_ms"]


class Tally:
    """What the feed adds up to."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.accounts: Counter[str] = Counter()
        """Events of each."""
        self._latencies_ms: dict[str, list[float]] = defaultdict(list)

    @property
    def events(self) -> int:
        """Seen so far."""
        return self.kinds.total()

    def add(self, happening: Happening) -> None:
        """Count one more."""
        self.kinds[happening.kind] += 1
        self.accounts[happening.account] += 1
        if (latency_ms := happening.latency_ms) is not None:
            self._latencies_ms[happening.account].append(latency_ms)

    def latency_percentile(self, account: str, percent: float) -> float | None:
        """Return the latency that `percent` of an account's pushed events stay below; None where none was pushed."""
        ordered = sorted(self._latencies_ms.get(account, ()))
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else None


async def follow(bootstrap_servers: str, prefix: str = "ota") -> AsyncGenerator[Happening, None]:
    """Yield every event from the topic's beginning, for ever."""
    consumer = AIOKafkaConsumer(
        f"{prefix}.upgrade-events.v1",
        bootstrap_servers=bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        metadata_max_age_ms=_METADATA_MAX_AGE_MS,
    )
    await consumer.start()
    try:
        async for record in consumer:
            headers = dict(record.headers)
            yield Happening(
                kind=headers["ce_type"].decode(),
                event=json.loads(record.value or b""),
                arrived_at_ms=time.time() * 1000,
            )
    finally:
        await consumer.stop()
