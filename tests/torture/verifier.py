"""The verifier: a stranger that reads the public topics with librdkafka, and the broker's own files.

It proves, device by device, that every change was told once and nothing else was: revisions rise by one, the events
show what the truth says in its order, the latest state is the truth's end, and behind each owner of a partition
nothing was written by an older one. It imports nothing of the bridge.
"""

from __future__ import annotations

import json
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

Shown = tuple[int, str, int | None]
"""Of an event: the change it tells of, the status and the progress that it shows."""

_READ_WITHIN_S = 300.0
_BATCH_HEADER = struct.Struct(">qiibIhiqqqhii")
"""Of a record batch, version 2: the broker writes to its files what clients send."""
_TRANSACTIONAL, _CONTROL = 0x10, 0x20


@dataclass
class Verdict:
    """What is wrong, a sentence each; and how much was looked at."""

    devices: int = 0
    changes: int = 0
    events: int = 0
    aborted: int = 0
    """Transactions of which nothing may be seen: proof that the disturbances hit something."""
    owners: int = 0
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    broken_revisions: list[str] = field(default_factory=list)
    wrong_states: list[str] = field(default_factory=list)
    fenced: list[str] = field(default_factory=list)

    def assert_exactly_once(self) -> None:
        """Nothing is wrong."""
        assert self.events > 0
        wrong = (
            self.lost
            + self.repeated
            + self.disordered
            + self.broken_revisions
            + self.wrong_states
            + self.fenced
        )
        assert not wrong, f"{self}\n" + "\n".join(wrong[:20])

    def __str__(self) -> str:
        return (
            f"{self.devices} devices, {self.changes} changes, {self.events} events: {len(self.lost)} lost, "
            f"{len(self.repeated)} repeated, {len(self.disordered)} out of order, "
            f"{len(self.broken_revisions)} devices with broken revisions, {len(self.wrong_states)} wrong states, "
            f"{len(self.fenced)} batches of fenced owners; "
            f"{self.owners} owners in turn, {self.aborted} transactions aborted"
        )


def verify(
    bootstrap_servers: str, prefix: str, truth: Mapping[str, Sequence[Shown]], log_folder: Path
) -> Verdict:
    """Read everything that is public and compare it with `truth`. `log_folder` is where the broker keeps its log."""
    verdict = Verdict(devices=len(truth), changes=sum(told[-1][0] + 1 for told in truth.values()))
    _check_what_was_written(bootstrap_servers, f"{prefix}.observations.v1", truth)
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for message in records(bootstrap_servers, f"{prefix}.upgrade-events.v1"):
        event = json.loads(message.value() or b"")
        events[event["device_id"]].append(event)
        verdict.events += 1
    states = {
        (message.key() or b"").decode(): json.loads(message.value() or b"null")
        for message in records(bootstrap_servers, f"{prefix}.upgrade-state.v1")
    }
    for device in truth.keys() | events.keys() | states.keys():
        _judge(verdict, device, truth.get(device, ()), events[device], states.get(device))
    _judge_owners(verdict, log_folder, f"{prefix}.upgrade-events.v1")
    return verdict


def records(bootstrap_servers: str, topic: str) -> Iterator[Message]:
    """Yield every committed record of a topic, up to its end as it is now."""
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
    deadline = time.monotonic() + _READ_WITHIN_S
    try:
        while unfinished:
            assert time.monotonic() < deadline, f"{topic} could not be read to its end"
            for message in consumer.consume(5000, timeout=1.0):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    unfinished.discard(message.partition())
    finally:
        consumer.close()


def is_read(bootstrap_servers: str, group: str, topic: str) -> bool:
    """Tell whether the group has committed that it read the topic to its end."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group})
    try:
        numbers = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        places = consumer.committed([TopicPartition(topic, number) for number in numbers], timeout=30)
        ends = (consumer.get_watermark_offsets(place, timeout=30)[1] for place in places)
        return all(end in (place.offset, 0) for place, end in zip(places, ends, strict=True))
    finally:
        consumer.close()


def _check_what_was_written(bootstrap_servers: str, topic: str, truth: Mapping[str, Sequence[Shown]]) -> None:
    """The truth is what the driver wrote only if all of it is there, in each device's order."""
    written: dict[str, int] = defaultdict(int)
    for message in records(bootstrap_servers, topic):
        change = json.loads(message.value() or b"")
        device, number = change["device_id"], change["evidence"]["position"]["entry"]
        assert number <= written[device], f"{device}: change {number} was written before {written[device]}"
        written[device] = max(written[device], number + 1)
    assert written == {device: told[-1][0] + 1 for device, told in truth.items()}


def _judge(
    verdict: Verdict,
    device: str,
    truth: Sequence[Shown],
    events: Sequence[Mapping[str, Any]],
    state: Mapping[str, Any] | None,
) -> None:
    revisions = [event["revision"] for event in events]
    if revisions != list(range(revisions[0], revisions[0] + len(revisions))) if revisions else truth:
        verdict.broken_revisions.append(f"{device}: revisions do not rise by one: {revisions[:50]}")
    told = [_shown(event) for event in events]
    lost, invented = Counter(truth) - Counter(told), Counter(told) - Counter(truth)
    verdict.lost += [f"{device}: never told: {each}" for each in lost.elements()]
    verdict.repeated += [f"{device}: told and not due (again): {each}" for each in invented.elements()]
    if not lost and not invented and told != list(truth):
        verdict.disordered.append(f"{device}: told in another order: {told[:50]}")
    if state is None or not truth:
        verdict.wrong_states.append(f"{device}: {'no state' if truth else 'a state of no known device'}")
        return
    channel = state["channels"][0]
    latest = truth[-1][1], truth[-1][2], revisions[-1] if revisions else None
    kept = channel["status"], channel["attempt"].get("progress"), state["revision"]
    if kept != latest or state["status"] != channel["status"]:
        verdict.wrong_states.append(f"{device}: the state is {kept}, the truth {latest}")


def _shown(event: Mapping[str, Any]) -> Shown:
    position = event["evidence"].get("position")
    return -1 if position is None else position["entry"], event["status"], event.get("progress")


def _judge_owners(verdict: Verdict, log_folder: Path, topic: str) -> None:
    """An owner is a producer's id with its epoch: the broker gives each new one a higher epoch."""
    for folder in sorted(log_folder.glob(f"{topic}-*")):
        latest: dict[int, int] = {}
        owners = set()
        for producer, epoch, is_abort in _batches(folder):
            owners.add((producer, epoch))
            if epoch < latest.get(producer, -1):
                verdict.fenced.append(f"{folder.name}: epoch {epoch} of {producer} after {latest[producer]}")
            latest[producer] = max(epoch, latest.get(producer, -1))
            verdict.aborted += is_abort
        verdict.owners += len(owners)


def _batches(folder: Path) -> Iterator[tuple[int, int, bool]]:
    """Yield, of each batch in a partition's files, the producer and its epoch, and whether it is an abort's marker."""
    for segment in sorted(folder.glob("*.log")):
        content = segment.read_bytes()
        at = 0
        while at + _BATCH_HEADER.size <= len(content):
            _, length, _, _, _, attributes, _, _, _, producer, epoch, _, _ = _BATCH_HEADER.unpack_from(
                content, at
            )
            if length == 0:  # reserved, not written yet
                break
            # The only record of a marker: length, attributes, two deltas, key length; then version and type.
            key_at = at + _BATCH_HEADER.size + 5
            marker = content[key_at : key_at + 4] if attributes & _CONTROL else b""
            if attributes & _TRANSACTIONAL:
                yield producer, epoch, marker == b"\0\0\0\0"
            at += 12 + length
