"""Ingest progress: per source partition, what was acknowledged last and until when nothing can be missing.

`alive_at_ms` is the point up to which everything was consumed: the publish time of the last message done, or, while
nothing is waiting, the time itself. A quiet night moves it as well as a busy one. Nothing is told of it while a gap
may be behind it: the next run would take the loss for consumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from consumer.gaps import Chain, GapRule
from consumer.settings import GatewaySettings
from consumer.sink import OutgoingRecord
from consumer.slices import Slice
from schemas import IngestProgress, Position

_encode = msgspec.json.Encoder().encode

CAUGHT_UP_AFTER_S: Final = 2.0
"""Nothing for this long while connected: nothing is waiting. A broker that dispatches a backlog pauses for less."""
_FRACTION_OF_MARGIN: Final = 10
_LONGEST_PERIOD_S: Final = 10.0
_SHORTEST_PERIOD_S: Final = 0.5


def progress_period_s(retention_margin_s: float) -> float:
    """Return how often progress is written: a tenth of the margin, so that its age never looks like a gap."""
    return max(_SHORTEST_PERIOD_S, min(_LONGEST_PERIOD_S, retention_margin_s / _FRACTION_OF_MARGIN))


class _Partition:
    __slots__ = ("chain", "position", "received_at_ms", "written_at_ms")

    def __init__(self, rule: GapRule) -> None:
        self.chain = Chain(rule)
        self.received_at_ms = 0
        self.written_at_ms: int | None = None
        self.position: Position | None = None


class ProgressBook:
    """The progress of one account's source partitions, the gaps in it, and the records that tell it."""

    def __init__(self, account: str, gateway: GatewaySettings) -> None:
        self._account = account
        self._rule = GapRule.of(gateway.retention_s, gateway.retention_margin_s)
        self._partitions: dict[str, _Partition] = {}
        self._told: Mapping[str, IngestProgress] | None = None

    def know(self, partitions: Iterable[str], now_ms: int) -> None:
        """Take note of source partitions, also of those that never had a message."""
        for name in partitions:
            self._partition(name, now_ms)

    def received(self, come: Slice) -> None:
        """Messages came: how long the first of them waited tells whether others were dropped before it."""
        partition = self._partition(come.partition, come.received_at_ms)
        partition.received_at_ms = come.received_at_ms
        partition.chain.received(come.received_at_ms, come.first_published_at_ms)

    def acknowledged(self, done: Slice) -> None:
        """Everything up to the end of this slice is confirmed and acknowledged."""
        partition = self._partition(done.partition, done.received_at_ms)
        partition.position = done.last_position
        # The publishing host's clock may run ahead of ours.
        partition.chain.done(min(done.last_published_at_ms, done.received_at_ms))

    def caught_up(self, at_ms: int, unfinished: Iterable[str]) -> None:
        """At this time the client had handed over all it had.

        A source partition was caught up then unless something of it had just come, or is in the works still (those
        are named): the gateway sends each of them what it has, whatever the others do.
        """
        busy = frozenset(unfinished)
        for name, partition in self._partitions.items():
            if name not in busy and at_ms - partition.received_at_ms >= CAUGHT_UP_AFTER_S * 1000:
                partition.chain.caught_up(at_ms)

    @property
    def oldest_alive_at_ms(self) -> int | None:
        """Up to when everything is done in the source partition that is furthest behind; None before anything is."""
        known = [partition.chain.alive_at_ms for partition in self._partitions.values()]
        return min((at_ms for at_ms in known if at_ms is not None), default=None)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the progress topic has to be read before anything is told."""
        return self._told is None or any(each.chain.is_in_doubt for each in self._partitions.values())

    def recall(self, told: Mapping[str, IngestProgress], now_ms: int) -> None:
        """Settle the doubts by what earlier runs and other copies wrote, by source partition."""
        self._told = told
        for name, partition in self._partitions.items():
            if partition.chain.is_in_doubt:
                _recall(partition, told.get(name), now_ms)

    @property
    def lost_since_ms(self) -> Mapping[str, int]:
        """The source partitions in which messages may be missing, and since when."""
        lost = {name: partition.chain.lost_since_ms for name, partition in self._partitions.items()}
        return {name: since_ms for name, since_ms in lost.items() if since_ms is not None}

    def gap_told(self, at_ms: int) -> None:
        """A gap of this time is confirmed. It covers every device of the account, so all source partitions."""
        for partition in self._partitions.values():
            partition.chain.told(at_ms)

    def records(self, now_ms: int) -> Sequence[OutgoingRecord]:
        """Return what moved since it was last asked: nothing while there is a doubt, or a gap to tell first."""
        if self.is_in_doubt or self.lost_since_ms:
            return []
        moved: list[OutgoingRecord] = []
        for name, partition in self._partitions.items():
            alive_at_ms = partition.chain.alive_at_ms
            if alive_at_ms is not None and alive_at_ms != partition.written_at_ms:
                partition.written_at_ms = alive_at_ms
                moved.append(self._record(name, partition.position, alive_at_ms, now_ms))
        return moved

    def _partition(self, name: str, now_ms: int) -> _Partition:
        partition = self._partitions.get(name)
        if partition is None:
            partition = self._partitions[name] = _Partition(self._rule)
            if self._told is not None:
                _recall(partition, self._told.get(name), now_ms)
        return partition

    def _record(self, name: str, position: Position | None, alive_at_ms: int, now_ms: int) -> OutgoingRecord:
        progress = IngestProgress(
            account=self._account,
            source_partition=name,
            position=position,
            publish_time_at_ms=None if position is None else position.publish_time_at_ms,
            alive_at_ms=alive_at_ms,
        )
        return OutgoingRecord(
            topic="ingest-progress",
            key=f"{self._account}/{name}".encode(),
            value=_encode(progress),
            timestamp_ms=now_ms,
        )


def _recall(partition: _Partition, told: IngestProgress | None, now_ms: int) -> None:
    partition.chain.recall(None if told is None else told.alive_at_ms, now_ms)
    if partition.position is None and told is not None:
        partition.position = told.position
