"""One transactional producer, used for one transaction after the other, and thrown away at the first doubt.

aiokafka speaks the transaction protocol of before KIP-890: it retries EndTxn by itself, and the epoch stays the same
from one transaction to the next, so a retry that arrives late could commit half of the next transaction. Whoever sees
`is_doubtful` starts a new producer under the same transactional id: its higher epoch fences every late request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.transaction import EndTxnRequest
from aiokafka.structs import RecordMetadata
from msgspec import Struct

from bridge.kafka.producer import dismiss_producer, start_producer
from bridge.kafka.settings import KafkaSettings

log = structlog.get_logger(__name__)

DOUBTFUL_AFTER_S: Final = 5.0
"""A transaction that took longer met trouble on its way, even where no error reached us."""

Headers = list[tuple[str, bytes]]


class TransactionRecord(Struct, frozen=True, gc=False):
    """One record of a transaction. `topic` is the full name; `value` None is a tombstone."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers = []


class Draft:
    """Records of a transaction to come, in the form in which they are sent.

    What a record was made of is free again as soon as it is added: of thousands nothing else is kept.
    """

    def __init__(self, create_batch: Callable[[], BatchBuilder]) -> None:
        self._create_batch = create_batch
        self._open: dict[tuple[str, int], BatchBuilder] = {}
        self._full: list[tuple[tuple[str, int], BatchBuilder]] = []

    def add(self, record: TransactionRecord) -> None:
        """Put the record behind those of its topic and partition."""
        place = (record.topic, record.partition)
        batch = self._open.get(place)
        if batch is None:
            batch = self._open[place] = self._create_batch()
        if _append(batch, record):
            return

        self._full.append((place, batch))
        batch = self._open[place] = self._create_batch()
        if not _append(batch, record):
            raise AssertionError("an empty batch takes any record")

    def clear(self) -> None:
        """Forget what was added."""
        self._open.clear()
        self._full.clear()

    def batches(self) -> Sequence[tuple[tuple[str, int], BatchBuilder]]:
        """Return the batches by topic and partition, in the order in which they are to be sent."""
        return [*self._full, *self._open.items()]


def _append(batch: BatchBuilder, record: TransactionRecord) -> bool:
    metadata = batch.append(
        timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=record.headers
    )
    return metadata is not None


class TransactionalProducer:
    """A started producer of one transactional id. Use `start`, then `commit` once per batch, then `close`."""

    def __init__(self, producer: AIOKafkaProducer, *, commit_within_s: float) -> None:
        self._producer = producer
        self._commit_within_s = commit_within_s
        self._end_requests = 0
        self.is_doubtful = False
        """Whether the last transaction met anything that leaves a late request possible: start a new producer."""
        self._watch_requests()

    @classmethod
    async def start(cls, settings: KafkaSettings, transactional_id: str) -> TransactionalProducer:
        """Start it, which fences every older producer of this id and settles the transaction it left open.

        Raises KafkaError, OSError or TimeoutError where the brokers cannot be reached.
        """
        producer = await start_producer(settings, transactional_id=transactional_id)
        return cls(producer, commit_within_s=settings.transaction_timeout_s)

    def draft(self) -> Draft:
        """Return an empty draft, to be committed by this producer."""
        return Draft(self._producer.create_batch)

    async def commit(
        self, draft: Draft, offsets: Mapping[TopicPartition, int], group: str
    ) -> dict[tuple[str, int], int]:
        """Produce the records of `draft` and the group's next `offsets` in one transaction.

        Returns, per topic and partition written, the offset after its last record (absent where the broker did not
        tell). Raises KafkaError when the transaction was not, or perhaps not, committed: close the producer then.
        TimeoutError likewise, after the time at which the broker gives the transaction up: without its broker the
        library would try again for ever, two hundred times a second.
        """
        async with asyncio.timeout(self._commit_within_s):
            return await self._commit(draft, offsets, group)

    async def close(self) -> None:
        """Close the connections; an open transaction is left to the next producer of this id."""
        await dismiss_producer(self._producer)

    async def _commit(
        self, draft: Draft, offsets: Mapping[TopicPartition, int], group: str
    ) -> dict[tuple[str, int], int]:
        begun = time.monotonic()
        self._end_requests = 0
        await self._producer.begin_transaction()
        sent = await self._send(draft)
        if offsets:
            await self._producer.send_offsets_to_transaction(dict(offsets), group)
        written: dict[tuple[str, int], int] = {}
        # The library commits a transaction some of whose batches failed: each one is checked before.
        for future, count in sent:
            metadata = await future
            if metadata.offset >= 0:
                written[metadata.topic, metadata.partition] = metadata.offset + count
        await self._producer.commit_transaction()
        took_s = time.monotonic() - begun
        if took_s > DOUBTFUL_AFTER_S:
            self.is_doubtful = True
            log.warning(
                "slow_transaction",
                seconds=round(took_s, 1),
                remedy="check the brokers' load and that every partition has min.insync.replicas in sync",
            )

        return written

    async def _send(self, draft: Draft) -> list[tuple[asyncio.Future[RecordMetadata], int]]:
        sent: list[tuple[asyncio.Future[RecordMetadata], int]] = []
        for (topic, partition), batch in draft.batches():
            batch.close()
            future = await self._producer.send_batch(batch, topic, partition=partition)
            # Where something else fails first nobody asks this one any more.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            sent.append((future, batch.record_count()))

        return sent

    def _watch_requests(self) -> None:
        """Notice what the library hides: requests that failed and were sent again."""
        client = self._producer.client
        send_request = client.send

        async def send(node_id: Any, request: Any, **options: Any) -> Any:
            if isinstance(request, EndTxnRequest):
                self._end_requests += 1
                if self._end_requests > 1:
                    self.is_doubtful = True
            try:
                return await send_request(node_id, request, **options)
            except KafkaError:
                self.is_doubtful = True
                raise

        client.send = send
