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


class Outgoing:
    """A record on its way. `alone`: its batch was refused as too large, so it goes in one of its own."""

    __slots__ = ("alone", "index", "record", "size_bytes", "write")

    def __init__(self, record: OutgoingRecord, write: Write, index: int) -> None:
        self.record = record
        self.write = write
        self.index = index
        self.alone = False
        self.size_bytes = len(record.value) + len(record.key or b"")


class Outbox:
    """Every record that was offered and is not settled yet."""

    def __init__(self) -> None:
        self._queues: dict[TopicPartition, deque[Outgoing]] = {}
        self._under_way: dict[TopicPartition, list[Outgoing]] = {}
        # An ordered set: the partitions that have records and no batch under way, the longest ready first.
        self._ready: dict[TopicPartition, None] = {}
        self.records = 0
        self.size_bytes = 0

    def offer(self, destination: TopicPartition, outgoing: Outgoing) -> None:
        """Put a record behind all earlier ones of its partition."""
        queue = self._queues.get(destination)
        if queue is None:
            queue = self._queues[destination] = deque()
        queue.append(outgoing)
        self.records += 1
        self.size_bytes += outgoing.size_bytes
        if destination not in self._under_way:
            self._ready[destination] = None

    def next_ready(self) -> TopicPartition | None:
        """Return a partition from which a batch may be taken."""
        return next(iter(self._ready), None)

    def take(self, destination: TopicPartition, fits: Callable[[OutgoingRecord], bool]) -> None:
        """Take a batch under way: records in order as long as they fit, one that has to go alone by itself."""
        queue = self._queues[destination]
        taken: list[Outgoing] = []
        while queue and _may_join(queue[0], taken) and fits(queue[0].record):
            taken.append(queue.popleft())
        if not taken:
            raise AssertionError("the first record of a batch always fits")
        del self._ready[destination]
        self._under_way[destination] = taken

    def confirmed(self, destination: TopicPartition) -> int:
        """The broker has the batch under way; return how many records it held."""
        taken = self._pop(destination)
        write, run = taken[0].write, 0
        for outgoing in taken:
            if outgoing.write is not write:
                write.settle(run)
                write, run = outgoing.write, 0
            run += 1
        write.settle(run)
        return len(taken)

    def too_large(self, destination: TopicPartition) -> int:
        """The broker never takes the batch under way. Return how many records are refused for good: one or none.

        A batch of several is not settled by this: once taken back, each of its records goes alone.
        """
        taken = self._under_way[destination]
        if len(taken) > 1:
            for outgoing in taken:
                outgoing.alone = True
            return 0
        self._pop(destination)
        taken[0].write.refuse(taken[0].index)
        return 1

    def take_back(self) -> None:
        """Put every batch under way back to the head of its queue, in order."""
        for destination, taken in self._under_way.items():
            self._queues[destination].extendleft(reversed(taken))
            self._ready[destination] = None
        self._under_way.clear()

    def is_awaited(self) -> bool:
        """Whether somebody still waits for any of it: who was cancelled left his records to be delivered again."""
        unsettled = itertools.chain(*self._queues.values(), *self._under_way.values())
        return any(not outgoing.write.done.done() for outgoing in unsettled)

    def unsettled_writes(self) -> Iterable[Write]:
        """Return the calls that still wait."""
        self.take_back()
        return {outgoing.write for queue in self._queues.values() for outgoing in queue}

    def _pop(self, destination: TopicPartition) -> list[Outgoing]:
        taken = self._under_way.pop(destination)
        self.records -= len(taken)
        self.size_bytes -= sum(outgoing.size_bytes for outgoing in taken)
        if self._queues[destination]:
            self._ready[destination] = None
        return taken


def _may_join(outgoing: Outgoing, taken: Sequence[Outgoing]) -> bool:
    """Whether a record may join the batch as far as going alone is concerned."""
    return not taken or not (outgoing.alone or taken[-1].alone)
