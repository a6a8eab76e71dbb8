"""A partition's topics in memory: a bridge fills them as it would Kafka's, a replay reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
from aiokafka import TopicPartition

from bridge.fold.batch import FoldTopics
from bridge.fold.device import Device
from bridge.fold.encoding import encode_device, encode_event
from bridge.fold.policy import Policy
from bridge.fold.rules import Folded, TimerFired, fold
from bridge.fold.store import Store
from bridge.fold.waiting import next_timer_at
from bridge.replay.findings import Findings
from bridge.replay.partition import PartitionReplay, Selection
from bridge.replay.reading import Published
from schemas import Observation

TOPICS = FoldTopics(
    observations="observations",
    state="state",
    events="events",
    lookups="lookups",
    dead_letters="dead-letters",
    partitions=1,
)
Rules = Callable[[Device | None, Observation | TimerFired, Policy], Folded]


class Topics:
    """What a bridge wrote, and the reader of a replay over it."""

    def __init__(self, policy: Policy, rules: Rules = fold) -> None:
        self.policy = policy
        self.rules = rules
        self.devices: dict[str, Device] = {}
        self.start = 0
        """Observations before this offset were deleted."""
        self.folded_to: int | None = None
        """Where the bridge stopped; None: it folded everything."""
        self.written_at_ms = 0
        self.records: dict[str, list[Any]] = {"observations": [], "events": []}

    # The bridge's side.

    def observe(self, observation: Observation) -> Folded:
        """An observation reaches the topic and is folded."""
        offset = len(self.records["observations"])
        self.written_at_ms = max(self.written_at_ms, observation.observed_at_ms)
        self.records["observations"].append(
            SimpleNamespace(
                offset=offset,
                partition=0,
                key=observation.device_id.encode() or None,
                value=msgspec.json.encode(observation),
                timestamp=observation.observed_at_ms,
            )
        )
        return self.fold(observation.device_id, observation, offset)

    def fire(self, device_id: str, now_ms: int) -> Folded:
        """A device's timer fires."""
        self.written_at_ms = max(self.written_at_ms, now_ms)
        return self.fold(device_id, TimerFired(now_ms))

    def fold(self, device_id: str, given: Observation | TimerFired, offset: int | None = None) -> Folded:
        before = self.devices.get(device_id)
        folded = self.rules(before, given, self.policy)
        after = folded.device
        if after is None:
            self.devices.pop(device_id, None)
        elif after is not before:
            if offset is not None:
                after.book.offset = offset
            self.devices[device_id] = after
        for typed in folded.events:
            key, value, headers = encode_event(typed)
            self.records["events"].append(
                SimpleNamespace(offset=len(self.records["events"]), key=key, value=value, headers=headers)
            )
        return folded

    def timer_at_ms(self, device_id: str) -> int | None:
        device = self.devices.get(device_id)
        return None if device is None else next_timer_at(device, self.policy)

    # The replay's side.

    async def bounds(self, place: TopicPartition) -> tuple[int, int]:
        start = self.start if place.topic == "observations" else 0
        return start, len(self.records[place.topic])

    async def read(self, place: TopicPartition, start: int, end: int) -> AsyncIterator[Sequence[Any]]:
        records = self.records[place.topic][start:end]
        for first in range(0, len(records), self.batch):
            yield records[first : first + self.batch]

    observations = read
    batch = 100

    async def one(self, place: TopicPartition, offset: int) -> Any:
        records = self.records[place.topic]
        return records[offset] if offset < len(records) else None

    async def published(self, states: TopicPartition, observations: TopicPartition) -> Published:
        store = Store(states.partition)
        for device_id, device in self.devices.items():
            store.put(device_id, *encode_device(device, None))
        end = len(self.records[observations.topic]) if self.folded_to is None else self.folded_to
        return Published(store, end, self.written_at_ms)

    async def replay(
        self, policy: Policy | None = None, *, limit: int = 1_000_000, **selection: Iterable[str]
    ) -> Findings:
        """Replay the partition, perhaps under another policy."""
        findings = Findings(limit)
        await PartitionReplay(
            0,
            self,  # type: ignore[arg-type]
            policy or self.policy,
            TOPICS,
            findings,
            selection=Selection(**{name: frozenset(each) for name, each in selection.items()}),
            step=lambda *_: None,
        ).run()
        return findings
