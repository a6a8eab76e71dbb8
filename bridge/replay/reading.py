"""What a replay reads of Kafka: whole stretches of one partition after another, only what was committed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from msgspec import Struct

from bridge.fold.store import Store
from bridge.kafka.clients import consumer_arguments
from bridge.kafka.hardening import harden
from bridge.kafka.settings import KafkaSettings

_FETCH_BYTES: Final = 8 * 1024 * 1024
_RECORDS: Final = 4000
"""Handed out at a time: a tenth of a second of folding."""
_POLL_MS: Final = 200
_FETCH_WAIT_MS: Final = 10
"""Everything that is read is there already. The library sends no fetch for the next stretch while the broker holds
back its answer to one behind the end of the last: each change would cost the default of 500 ms."""


class ObservationsExpired(Exception):
    """Kafka deleted observations while they were waiting to be read: run the replay again, it will begin later."""

    def __init__(self, partition: int) -> None:
        super().__init__(
            f"Kafka deleted the oldest observations of partition {partition} while they were being replayed. Run it"
            " again, or raise retention.ms of the observations topic for the time."
        )


class Published(Struct, frozen=True):
    """The states of one partition as they stood at one moment, and what the fold had done by then."""

    store: Store
    input_end: int
    """The fold had folded exactly the observations before this offset. What came behind it and is in no state, it had
    not folded, or it changed nothing."""
    written_at_ms: int
    """When the latest state was written, on the fold's clock; 0 where there is none."""


class Reader:
    """Reads as a consumer that belongs to no group; it only asks how far the fold's group has committed.

    `uncommitted` is another one, which is asked where a partition ends with what is not committed yet.
    """

    def __init__(self, consumer: AIOKafkaConsumer, uncommitted: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._uncommitted = uncommitted

    async def bounds(self, place: TopicPartition) -> tuple[int, int]:
        """Return the first offset that is there, and the offset behind the last one that was committed."""
        start = (await self._consumer.beginning_offsets([place]))[place]
        return start, (await self._consumer.end_offsets([place]))[place]

    async def read(
        self, place: TopicPartition, start: int, end: int
    ) -> AsyncGenerator[Sequence[ConsumerRecord], None]:
        """Yield the records from `start` up to `end`."""
        consumer = self._consumer
        consumer.assign([place])
        consumer.seek(place, start)
        # The position passes markers and aborted batches, which no record would.
        while await consumer.position(place) < end:
            fetched = await consumer.getmany(place, timeout_ms=_POLL_MS, max_records=_RECORDS)
            records = fetched.get(place, ())
            if records and records[-1].offset >= end:
                records = [record for record in records if record.offset < end]
            if records:
                yield records

    async def observations(
        self, place: TopicPartition, start: int, end: int
    ) -> AsyncIterator[Sequence[ConsumerRecord]]:
        """Yield the same, of the observations topic. Raises ObservationsExpired where the log's start overtook it."""
        expected = start
        async for records in self.read(place, start, end):
            if records[0].offset > expected and (await self.bounds(place))[0] > expected:
                raise ObservationsExpired(place.partition)
            expected = records[-1].offset + 1
            yield records

    async def one(self, place: TopicPartition, offset: int) -> ConsumerRecord | None:
        """Return the record at this offset, or behind it where there is none; None at the end."""
        _, end = await self.bounds(place)
        async with contextlib.aclosing(self.read(place, offset, end)) as fetched:
            async for records in fetched:
                return records[0]
        return None

    async def published(self, states: TopicPartition, observations: TopicPartition) -> Published:
        """Read the states of a partition."""
        # Asked before: the states hold at least what was committed by then. Their own offsets say what came since.
        committed = await self._consumer.committed(observations) or 0
        start, end = await self._settled_bounds(states)
        store, written_at_ms = Store(states.partition), 0
        async for records in self.read(states, start, end):
            for record in records:
                store.take(record)
                written_at_ms = max(written_at_ms, record.timestamp)
        while store.compact(_RECORDS):
            pass
        # Offsets of a topic that was made anew since may lie behind its end.
        _, input_end = await self.bounds(observations)
        input_end = min(max(committed, store.highest_input_offset + 1), input_end)
        return Published(store, input_end, written_at_ms)

    async def _settled_bounds(self, place: TopicPartition) -> tuple[int, int]:
        """Return the bounds once everything that is written there now is committed or given up.

        The end of a transaction reaches its partitions one after the other: its offset may be committed, and its states
        not yet. The end that is returned lies between two transactions.
        """
        written = (await self._uncommitted.end_offsets([place]))[place]
        while True:
            start, end = await self.bounds(place)
            if end >= written:
                return start, end
            await asyncio.sleep(_POLL_MS / 1000)


@contextlib.asynccontextmanager
async def open_reader(settings: KafkaSettings) -> AsyncIterator[Reader]:
    """Yield a reader. Raises KafkaError."""
    consumer = AIOKafkaConsumer(
        **consumer_arguments(settings, group="fold")
        | {"max_partition_fetch_bytes": _FETCH_BYTES, "fetch_max_wait_ms": _FETCH_WAIT_MS}
    )
    uncommitted = AIOKafkaConsumer(**consumer_arguments(settings) | {"isolation_level": "read_uncommitted"})
    try:
        for each in (consumer, uncommitted):
            harden(each._client)  # noqa: SLF001 (what all its requests pass)
            await each.start()
        yield Reader(consumer, uncommitted)
    finally:
        await consumer.stop()
        await uncommitted.stop()
