"""Ingest progress: per source partition, what was acknowledged last and until when nothing can be missing.

The gateway forgets what nobody consumed within its retention. `alive_at_ms` is the point up to which everything was
consumed: the publish time of the last message done, or, while nothing is waiting, the time itself. A quiet night
moves it as well as a busy one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from consumer.sink import OutgoingRecord
from consumer.slices import Slice
from schemas import IngestProgress, Position

_encode = msgspec.json.Encoder().encode

_FRACTION_OF_MARGIN: Final = 10
_LONGEST_PERIOD_S: Final = 10.0
_SHORTEST_PERIOD_S: Final = 0.5


def progress_period_s(retention_margin_s: float) -> float:
    """Return how often progress is written: a tenth of the margin, so that its age never looks like a gap."""
    return max(_SHORTEST_PERIOD_S, min(_LONGEST_PERIOD_S, retention_margin_s / _FRACTION_OF_MARGIN))


class _Partition:
    __slots__ = ("alive_at_ms", "position", "written_at_ms")

    def __init__(self) -> None:
        self.alive_at_ms = 0
        self.written_at_ms = 0
        self.position: Position | None = None


class ProgressBook:
    """The progress of one account's source partitions, and the records that tell it."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._partitions: dict[str, _Partition] = {}

    def know(self, partitions: Iterable[str]) -> None:
        """Take note of source partitions, also of those that never had a message."""
        for name in partitions:
            self._partitions.setdefault(name, _Partition())

    def acknowledged(self, done: Slice) -> None:
        """Everything up to the end of this slice is confirmed and acknowledged."""
        partition = self._partitions.setdefault(done.partition, _Partition())
        partition.position = done.last_position
        # The publishing host's clock may run ahead of ours, and publish times are not monotonic.
        partition.alive_at_ms = max(
            partition.alive_at_ms, min(done.last_published_at_ms, done.received_at_ms)
        )

    def caught_up(self, at_ms: int, unfinished: Iterable[str]) -> None:
        """At this time nothing was waiting at the gateway; it may still be in the works for the partitions named."""
        busy = frozenset(unfinished)
        for name, partition in self._partitions.items():
            if name not in busy:
                partition.alive_at_ms = max(partition.alive_at_ms, at_ms)

    def records(self, now_ms: int) -> Sequence[OutgoingRecord]:
        """Return what moved since it was last asked."""
        moved = [
            (name, partition)
            for name, partition in self._partitions.items()
            if partition.alive_at_ms > partition.written_at_ms
        ]
        return [self._record(name, partition, now_ms) for name, partition in moved]

    def _record(self, name: str, partition: _Partition, now_ms: int) -> OutgoingRecord:
        partition.written_at_ms = partition.alive_at_ms
        position = partition.position
        progress = IngestProgress(
            account=self._account,
            source_partition=name,
            position=position,
            publish_time_at_ms=None if position is None else position.publish_time_at_ms,
            alive_at_ms=partition.alive_at_ms,
        )
        return OutgoingRecord(
            topic="ingest-progress",
            key=f"{self._account}/{name}".encode(),
            value=_encode(progress),
            timestamp_ms=now_ms,
        )
