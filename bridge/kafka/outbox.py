"""The writer's queues: one per Kafka partition, in order, with at most one batch of each under way.

Pure bookkeeping without a broker: what is offered, taken, confirmed, refused or taken back. A partition that waits
for an answer collects the next batch meanwhile; that is all the batching there is, and no record waits for company.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from aiokafka.structs import TopicPartition

from consumer.sink import OutgoingRecord


class Write:
    """One call of `write`: done when each of its records was confirmed or refused."""

    __slots__ = ("_refused", "_unsettled", "done")

    def __init__(self, count: int) -> None:
        self._unsettled = count
        self._refused: list[int] = []
        self.done: asyncio.Future[Sequence[int]] = asyncio.get_running_loop().create_future()

    def settle(self, count: int) -> None:
        """Note that this many more of its records are settled."""
        self._unsettled -= count
        if self._unsettled == 0 and not self.done.done():
            self.done.set_result(sorted(self._refused))

    def refuse(self, index: int) -> None:
        """Note that the broker refuses one record for good."""
        self._refused.append(index)
        self.settle(1)

    def fail(self, error: Exception) -> None:
        """End the call without a confirmation."""
        if not self.done.done():
            self.done.set_exception(error)


class Run:
    """Records of one call that follow each other to one partition; `indexes` are their places in the call."""

    __slots__ = ("indexes", "records", "size_bytes", "write")

    def __init__(self, write: Write, records: list[OutgoingRecord], indexes: list[int]) -> None:
        self.write = write
        self.records = records
        self.indexes = indexes
        self.size_bytes = sum([_size_bytes(record) for record in records])

    def split(self, count: int) -> Run:
        """Cut off and return the first `count` records."""
        head = Run(self.write, self.records[:count], self.indexes[:count])
        del self.records[:count], self.indexes[:count]
        self.size_bytes -= head.size_bytes
        return head


class Outbox:
    """Every record that was offered and is not settled yet."""

    def __init__(self) -> None:
        self._queues: dict[TopicPartition, deque[Run]] = {}
        self._under_way: dict[TopicPartition, list[Run]] = {}
        # An ordered set: the partitions that have records and no batch under way, the longest ready first.
        self._ready: dict[TopicPartition, None] = {}
        # By topic: what a batch may hold, where the broker refused a larger one. It lasts as long as the process.
        self._rooms: dict[str, int] = {}
        self.records = 0
        self.size_bytes = 0

    def offer(self, destination: TopicPartition, run: Run) -> None:
        """Put a run behind all earlier ones of its partition."""
        queue = self._queues.get(destination)
        if queue is None:
            queue = self._queues[destination] = deque()
        queue.append(run)
        self.records += len(run.records)
        self.size_bytes += run.size_bytes
        if destination not in self._under_way:
            self._ready[destination] = None

    def next_ready(self) -> TopicPartition | None:
        """Return a partition from which a batch may be taken."""
        return next(iter(self._ready), None)

    def take(self, destination: TopicPartition, fill: Callable[[Sequence[OutgoingRecord]], int]) -> None:
        """Take a batch under way: records in order as long as they fit, and the broker takes so many bytes at once.

        `fill` puts records into the batch and returns how many of them found room.
        """
        queue = self._queues[destination]
        room = self._rooms.get(destination.topic)
        taken: list[Run] = []
        while queue:
            run = queue[0]
            wanted = len(run.records)
            if room is not None and run.size_bytes > room:
                wanted = _count_within(room, run.records, is_first=not taken)
            count = fill(run.records if wanted == len(run.records) else run.records[:wanted])
            if count < len(run.records):
                if count:
                    taken.append(run.split(count))
                break
            taken.append(queue.popleft())
            if room is not None:
                room -= run.size_bytes
        if not taken:
            raise AssertionError("the first record of a batch always fits")
        del self._ready[destination]
        self._under_way[destination] = taken

    def confirmed(self, destination: TopicPartition) -> int:
        """The broker has the batch under way; return how many records it held."""
        taken = self._pop(destination)
        for run in taken:
            run.write.settle(len(run.records))
        return sum(len(run.records) for run in taken)

    def too_large(self, destination: TopicPartition) -> int | None:
        """The broker never takes the batch under way: the record it held is refused for good.

        A batch of several is not settled by this. Return how many bytes the topic's batches hold from now on: half of
        this one. As it was more than the topic takes, that is never less than half of what the topic takes, and a
        record that is too large ends in a batch alone.
        """
        taken = self._under_way[destination]
        if sum(len(run.records) for run in taken) > 1:
            half = sum(run.size_bytes for run in taken) // 2
            # Several partitions' batches are under way at once: what one learned the next must not forget.
            self._rooms[destination.topic] = min(half, self._rooms.get(destination.topic, half))
            return self._rooms[destination.topic]
        self._pop(destination)
        taken[0].write.refuse(taken[0].indexes[0])
        return None

    def take_back(self) -> None:
        """Put every batch under way back to the head of its queue, in order."""
        for destination, taken in self._under_way.items():
            self._queues[destination].extendleft(reversed(taken))
            self._ready[destination] = None
        self._under_way.clear()

    def is_awaited(self) -> bool:
        """Whether somebody still waits for any of it: who was cancelled left his records to be delivered again."""
        unsettled = itertools.chain(*self._queues.values(), *self._under_way.values())
        return any(not run.write.done.done() for run in unsettled)

    def unsettled_writes(self) -> Iterable[Write]:
        """Return the calls that still wait."""
        self.take_back()
        return {run.write for queue in self._queues.values() for run in queue}

    def _pop(self, destination: TopicPartition) -> list[Run]:
        taken = self._under_way.pop(destination)
        for run in taken:
            self.records -= len(run.records)
            self.size_bytes -= run.size_bytes
        if self._queues[destination]:
            self._ready[destination] = None
        return taken


def _size_bytes(record: OutgoingRecord) -> int:
    key = record.key
    return len(record.value) + (len(key) if key else 0)


def _count_within(room: int, records: Sequence[OutgoingRecord], *, is_first: bool) -> int:
    """Count the records that there is room for; the first of a batch always counts."""
    used = 0
    for count, record in enumerate(records):
        used += _size_bytes(record)
        if used > room and not (is_first and count == 0):
            return count
    return len(records)
