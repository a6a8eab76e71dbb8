"""A stranger's look at the observations topic: librdkafka and plain JSON, nothing of ours but the record's shape."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition
from msgspec import Struct

from tests.integration.gateway_load import GatewayLoad, Place


class Observed:
    """What stands on the topic: by place, the number of the push, how often, and in which order."""

    def __init__(self) -> None:
        self.numbers: dict[Place, int] = {}
        self.repeats: dict[Place, int] = {}
        self.contradictions: list[str] = []
        self.disorder: list[str] = []
        self._latest: dict[tuple[str, str], tuple[int, int, int]] = {}

    def add(self, observation: Mapping[str, Any]) -> None:
        """Take one record, in the topic's order."""
        evidence = observation["evidence"]
        position = evidence["position"]
        at = position["ledger"], position["entry"], position["batch_index"]
        place: Place = (position["partition"], *at)
        number = int(evidence["raw"]["bizData"]["description"])
        if place in self.numbers:
            self.repeats[place] = self.repeats.get(place, 0) + 1
            if self.numbers[place] != number:
                self.contradictions.append(f"{place} is push {self.numbers[place]} and push {number}")
            return
        self.numbers[place] = number
        device = observation["device_id"], place[0]
        if self._latest.get(device, (-1, -1, -1)) > at:
            self.disorder.append(f"{device}: {at} came first after {self._latest[device]}")
        else:
            self._latest[device] = at


class Verdict(Struct, frozen=True, kw_only=True):
    """What was pushed against what was observed."""

    pushed: int
    stored: int
    observed: int
    repeated: int
    lost_numbers: tuple[int, ...]
    lost_places: tuple[Place, ...]
    invented: tuple[Place, ...]
    contradictions: tuple[str, ...]
    disorder: tuple[str, ...]

    def assert_complete(self) -> None:
        """Nothing lost, nothing invented, everything at its place and in its device's order. Repeats are allowed."""
        assert self.pushed > 0
        assert (self.lost_numbers[:5], self.lost_places[:5]) == ((), ()), self
        assert (self.invented[:5], self.contradictions[:5], self.disorder[:5]) == ((), (), ()), self

    def __str__(self) -> str:
        return (
            f"{self.pushed} pushed, {self.stored} stored, {self.observed} observed, {self.repeated} repeated, "
            f"{len(self.lost_numbers)} lost ({len(self.lost_places)} places), {len(self.invented)} invented, "
            f"{len(self.contradictions)} contradictions, {len(self.disorder)} out of order"
        )


def judge(load: GatewayLoad, bootstrap_servers: str, topic: str) -> Verdict:
    """Compare what the publisher knows and the broker holds with what stands on the topic."""
    stored = load.audit()
    observed = Observed()
    for observation in records_of(bootstrap_servers, topic):
        observed.add(observation)
    seen = set(observed.numbers.values())
    return Verdict(
        pushed=load.pushed,
        stored=len(stored),
        observed=len(observed.numbers),
        repeated=sum(observed.repeats.values()),
        lost_numbers=tuple(number for number in range(load.pushed) if number not in seen),
        lost_places=tuple(sorted(stored.keys() - observed.numbers.keys())),
        invented=tuple(sorted(observed.numbers.items() - stored.items())),
        contradictions=tuple(observed.contradictions),
        disorder=tuple(observed.disorder),
    )


def records_of(bootstrap_servers: str, topic: str, *, within_s: float = 120) -> Iterator[dict[str, Any]]:
    """Yield every record of the topic, up to its end as it is now."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "stranger",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    unfinished = set(partitions)
    deadline = time.monotonic() + within_s
    try:
        while unfinished:
            assert time.monotonic() < deadline, f"{topic} could not be read to its end"
            for message in consumer.consume(5000, timeout=1.0):
                error = message.error()
                if error is None:
                    yield json.loads(message.value() or b"")
                elif error.code() == KafkaError._PARTITION_EOF:
                    unfinished.discard(message.partition())
    finally:
        consumer.close()
