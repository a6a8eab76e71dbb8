"""Ingest progress: per source partition, what was acknowledged last and until when nothing can be missing.

`alive_at_ms` is the point up to which everything was consumed: the publish time of the last message done, or what the
gateway tells of its backlog. A quiet night moves it as well as a busy one. Nothing is told of it while a gap may be
behind it: the next run would take the loss for consumed; and nothing by a copy that only waits, of what another reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final

import msgspec

from consumer.backlog import Backlog, Entry
from consumer.gaps import Chain, GapRule, Silence
from consumer.settings import GatewaySettings
from consumer.sink import OutgoingRecord
from consumer.slices import Slice
from consumer.standing import Standing
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
    __slots__ = ("chain", "position", "received_at_ms", "standing", "written_at_ms")

    def __init__(self, rule: GapRule) -> None:
        self.chain = Chain(rule)
        self.standing = Standing()
        self.received_at_ms = 0
        self.written_at_ms: int | None = None
        self.position: Position | None = None

    def is_known_here(self) -> bool:
        """Whether this copy knows all that is to be told: what was acknowledged last was so by it, or nothing moves."""
        done = self.standing.done
        return done is None or self.standing.rests or self.is_acknowledged_here(done)

    def is_acknowledged_here(self, done: Entry) -> bool:
        """Whether nobody acknowledged more than this copy knows of."""
        return self.position is not None and (self.position.ledger, self.position.entry) >= done


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

    def told(self, asked_at_ms: int, answered_at_ms: int, backlogs: Iterable[Backlog]) -> None:
        """The gateway told what waits in each source partition."""
        for backlog in backlogs:
            partition = self._partition(backlog.partition, asked_at_ms)
            reached_ms = partition.standing.told(asked_at_ms, backlog)
            if reached_ms is not None:
                partition.chain.acknowledged(answered_at_ms, reached_ms)
            if partition.standing.rests and not partition.is_acknowledged_here(backlog.done):
                # Another copy acknowledged it, or it was dropped: what this one remembers is not the last any more.
                partition.position = None

    def standing_still(
        self, backlogs: Iterable[Backlog], unfinished: Collection[str], now_s: float
    ) -> Mapping[str, float]:
        """Return for how many seconds something waits that nobody takes, by source partition.

        What is in the works here (`unfinished`) was taken. `now_s` is of the monotonic clock.
        """
        still: dict[str, float] = {}
        for backlog in backlogs:
            standing = self._partitions[backlog.partition].standing
            if backlog.partition in unfinished:
                standing.moves()
            still[backlog.partition] = standing.still_for_s(backlog, now_s)
        return still

    def cannot_be_asked(self) -> None:
        """The gateway tells nothing any more of what waits: until it does, the client's word counts."""
        for partition in self._partitions.values():
            partition.standing.forget()

    def caught_up(self, at_ms: int, unfinished: Iterable[str]) -> None:
        """At this time the client had handed over all it had. Only for a gateway that cannot be asked.

        A source partition was caught up then unless something of it had just come, or is in the works still (those
        are named): the gateway sends each of them what it has, whatever the others do. But a client that waits beside
        another, or is starved, looks the same.
        """
        busy = frozenset(unfinished)
        for name, partition in self._partitions.items():
            # Our own clock was ahead when something came, and was set back: it must not count as just come until then.
            partition.received_at_ms = min(partition.received_at_ms, at_ms)
            if name not in busy and at_ms - partition.received_at_ms >= CAUGHT_UP_AFTER_S * 1000:
                partition.chain.caught_up(at_ms)

    @property
    def furthest_behind(self) -> tuple[str, int] | None:
        """The source partition that is, and up to when everything in it is done; None before anything is known."""
        known = [(name, partition.chain.reaches_ms) for name, partition in self._partitions.items()]
        return min(
            ((name, at_ms) for name, at_ms in known if at_ms is not None), key=itemgetter(1), default=None
        )

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
    def lost(self) -> Mapping[str, Silence]:
        """The source partitions in which messages may be missing, and the silence in which they were dropped."""
        lost = {name: partition.chain.lost for name, partition in self._partitions.items()}
        return {name: silence for name, silence in lost.items() if silence is not None}

    def gap_told(self, at_ms: int, lost: Mapping[str, Silence]) -> None:
        """A gap of this time, told for these, is confirmed. It is of all devices, so of all source partitions."""
        for name, partition in self._partitions.items():
            partition.chain.told(at_ms, lost.get(name))

    def records(self, now_ms: int) -> Sequence[OutgoingRecord]:
        """Return what moved since it was last asked: nothing while there is a doubt, or a gap to tell first."""
        if self.is_in_doubt or self.lost:
            return []
        moved: list[OutgoingRecord] = []
        for name, partition in self._partitions.items():
            alive_at_ms = partition.chain.alive_at_ms
            if alive_at_ms not in (None, partition.written_at_ms) and partition.is_known_here():
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
    if told is not None and partition.chain.alive_at_ms == told.alive_at_ms:
        partition.written_at_ms = told.alive_at_ms
    if partition.position is None and told is not None:
        partition.position = told.position
