"""The sink of stage one and of reconcile: records to Kafka in order, each confirmed, however often the broker fails.

Two rules carry it. A producer is used until its first failure of any kind and then thrown away: an idempotent one
that lost a batch has a hole in its sequence and never recovers. And what was not confirmed goes back to the head of
its queue, so that the next producer sends it again; a record may appear twice then, but never out of turn, and never
not at all.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Self

import structlog
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.structs import RecordMetadata, TopicPartition
from msgspec import Struct

from bridge.kafka.outbox import Outbox, Run, Write
from bridge.kafka.producer import Producer, dismiss_producer, start_producer
from bridge.kafka.refusals import remedy_of_refusal, trouble_text
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import partition_of, topic_name
from consumer.sink import OutgoingRecord, TopicName

log = structlog.get_logger(__name__)

QUEUE_BYTES: Final = 64 * 1024 * 1024
"""Accepted and not confirmed: above it `write` waits. Twice what one gateway account may have unconfirmed."""
CACHED_KEYS: Final = 65_536
"""murmur2 in Python takes microseconds, and devices repeat. About 10 MB when full."""
ROUND_S: Final = 0.003
"""Under load batches leave at most this often: many small requests cost the broker twice as much as the messages."""
SETTLE_S: Final = 2.0
"""After a failure: the time for the other batches under way to be answered, so that fewer records are sent twice."""
SILENT_AFTER_S: Final = 5.0
"""A batch that waits longer for its answer is told as a problem: aiokafka itself retries for ever and in silence."""
STOP_WITHIN_S: Final = 5.0
_FIRST_RETRY_S: Final = 0.1
_LAST_RETRY_S: Final = 5.0
_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)


class WriterStatistics(Struct, frozen=True, kw_only=True):
    """Counts are since the start."""

    connected: bool
    """A producer is there, and what it sends is confirmed."""
    problem: str | None
    """Why nothing was confirmed lately."""
    queued_records: int
    queued_bytes: int
    confirmed: int
    refused: int
    """Records the broker refused for good as too large."""
    batches: int
    producers: int
    """Made so far: the first, and one after each failure."""


class WriterStopped(Exception):
    """The writer was stopped before the broker confirmed these records: whoever wrote them must not acknowledge."""


class KafkaWriter:
    """Implements `consumer.sink.Sink`. One task sends; `async with` starts and stops it, without waiting for Kafka."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        queue_bytes: int = QUEUE_BYTES,
        start: Callable[[KafkaSettings], Awaitable[Producer]] = start_producer,
    ) -> None:
        self._settings = settings
        self._queue_bytes = queue_bytes
        self._start_producer = start
        self._partition_of: Callable[[bytes], int] = functools.lru_cache(CACHED_KEYS)(
            functools.partial(partition_of, partitions=settings.partitions)
        )
        self._destinations: dict[tuple[TopicName, int], TopicPartition] = {}
        self._outbox = Outbox()
        self._answers: dict[TopicPartition, tuple[asyncio.Future[RecordMetadata], float]] = {}
        self._turn = asyncio.Lock()
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._failure: BaseException | None = None
        self._producer: Producer | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._problem: str | None = None
        self._confirmed = self._refused = self._halved = self._batches = self._producers = 0

    async def __aenter__(self) -> Self:
        """Start."""
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    def start(self) -> None:
        """Begin to send. Kafka need not be there: it is tried for ever."""
        self._task = asyncio.create_task(self._send_for_ever(), name="kafka-writer")

    async def stop(self, *, within_s: float = STOP_WITHIN_S) -> None:
        """Send what somebody waits for, for at most this long; writes unconfirmed by then raise WriterStopped."""
        if self._task is None or self._stopped:
            return
        self._stopped = True
        self._room.set()
        try:
            async with asyncio.timeout(within_s if self._outbox.is_awaited() else 0):
                await self._empty.wait()
        except TimeoutError:
            log.warning(
                "writer_stopped_unconfirmed",
                records=self._outbox.records,
                reason=self._told_problem() or "nobody waits for them",
                remedy="none, what they were made from is delivered again, or asked for again, at the next start",
            )
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._dismiss(settle_s=0)
        for write in self._outbox.unsettled_writes():
            write.fail(WriterStopped("the writer stopped before Kafka confirmed the records"))

    def statistics(self) -> WriterStatistics:
        """Return what is queued and how it went."""
        problem = self._told_problem()
        return WriterStatistics(
            connected=self._producer is not None and problem is None,
            problem=problem,
            queued_records=self._outbox.records,
            queued_bytes=self._outbox.size_bytes,
            confirmed=self._confirmed,
            refused=self._refused,
            batches=self._batches,
            producers=self._producers,
        )

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        """Return when the broker confirmed every record; see `consumer.sink.Sink`. Raises WriterStopped."""
        if not records:
            return ()
        write = Write(len(records))
        runs = self._runs(records, write)
        # The lock keeps the calls in their order while one of them waits for room.
        async with self._turn:
            while self._outbox.size_bytes >= self._queue_bytes and not self._stopped:
                self._room.clear()
                await self._room.wait()
            if self._stopped:
                raise WriterStopped("the writer is stopped")
            for destination, run in runs.items():
                self._outbox.offer(destination, run)
        self._empty.clear()
        self._work.set()
        return await write.done

    def partitions(self, topic: TopicName) -> int:  # noqa: ARG002 - all topics have the configured number
        """Return how many partitions the topic has."""
        return self._settings.partitions

    def _runs(self, records: Sequence[OutgoingRecord], write: Write) -> dict[TopicPartition, Run]:
        indexes: dict[tuple[TopicName, int], list[int]] = {}
        for index, record in enumerate(records):
            partition = record.partition
            if partition is None:
                key = record.key
                if key is None:
                    raise ValueError("a record without a key needs a partition")
                partition = self._partition_of(key)
            place = record.topic, partition
            if place in indexes:
                indexes[place].append(index)
            else:
                indexes[place] = [index]
        return {
            self._destination(place): Run(write, [records[index] for index in of_place], of_place)
            for place, of_place in indexes.items()
        }

    def _destination(self, place: tuple[TopicName, int]) -> TopicPartition:
        destination = self._destinations.get(place)
        if destination is None:
            topic, partition = place
            destination = TopicPartition(topic_name(self._settings.prefix, topic), partition)
            self._destinations[place] = destination
        return destination

    async def _send_for_ever(self) -> None:
        retry_s = _FIRST_RETRY_S
        while True:
            progress = self._confirmed, self._refused, self._halved
            try:
                self._producer = await self._start_producer(self._settings)
                self._producers += 1
                self._failure = None
                await self._send_until_failure(self._producer)
            except Exception as error:  # noqa: BLE001 (whatever it is: a new producer and the same records again)
                problem = trouble_text(error)
                if problem != self._problem:
                    log.warning(
                        "kafka_write_failed",
                        reason=problem,
                        queued_records=self._outbox.records,
                        remedy=remedy_of_refusal(error)
                        or "none, the records are kept and sent again by itself",
                    )
                self._problem = problem
            await self._dismiss()
            if progress != (self._confirmed, self._refused, self._halved):
                retry_s = _FIRST_RETRY_S
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, _LAST_RETRY_S)

    async def _send_until_failure(self, producer: Producer) -> None:
        """Send from every partition that is ready, again and again; raise what the first failure was."""
        loop = asyncio.get_running_loop()
        next_round_at = loop.time()
        while True:
            self._work.clear()
            while self._failure is None and (destination := self._outbox.next_ready()) is not None:
                await self._send(producer, destination)
            if self._failure is not None:
                raise self._failure
            await self._work.wait()
            await asyncio.sleep(next_round_at - loop.time())
            next_round_at = loop.time() + ROUND_S

    async def _send(self, producer: Producer, destination: TopicPartition) -> None:
        batch = producer.create_batch()
        append = batch.append

        def fill(records: Sequence[OutgoingRecord]) -> int:
            for count, record in enumerate(records):
                if append(timestamp=record.timestamp_ms, key=record.key, value=record.value) is None:
                    return count
            return len(records)

        self._outbox.take(destination, fill)
        batch.close()
        answer = await producer.send_batch(batch, destination.topic, partition=destination.partition)
        self._batches += 1
        self._answers[destination] = answer, asyncio.get_running_loop().time()
        answer.add_done_callback(functools.partial(self._answered, destination))

    def _answered(self, destination: TopicPartition, answer: asyncio.Future[RecordMetadata]) -> None:
        error = KafkaError("the producer gave a batch up") if answer.cancelled() else answer.exception()
        current, _ = self._answers.get(destination, (None, 0.0))
        if current is not answer:
            return  # of a producer that was dismissed: these records were taken back
        del self._answers[destination]
        if error is None:
            # An offset of -1 is success as well: the broker had the batch already and no longer knows where.
            self._confirmed += self._outbox.confirmed(destination)
            self._problem = None
        else:
            if isinstance(error, _TOO_LARGE):
                self._too_large(destination)
            # Also after a refusal: the sequence number that the batch had is missing at the broker for ever.
            self._failure = self._failure or error
        self._work.set()
        if self._outbox.size_bytes < self._queue_bytes:
            self._room.set()
        if self._outbox.records == 0:
            self._empty.set()

    def _too_large(self, destination: TopicPartition) -> None:
        room = self._outbox.too_large(destination)
        if room is None:
            self._refused += 1
            return
        self._halved += 1
        log.warning(
            "kafka_batch_refused",
            topic=destination.topic,
            batches_hold_bytes=room,
            remedy="records go on in smaller batches until the next start; raise the topic's max.message.bytes to 1 MB",
        )

    async def _dismiss(self, *, settle_s: float = SETTLE_S) -> None:
        """Throw the producer away and take back what it did not get confirmed."""
        # Until it is dismissed it is known: a stop may cancel this, and dismisses it itself.
        if self._producer is not None:
            if self._answers:
                await asyncio.wait([answer for answer, _ in self._answers.values()], timeout=settle_s)
            await dismiss_producer(self._producer)
            self._producer = None
        self._answers.clear()
        self._outbox.take_back()

    def _told_problem(self) -> str | None:
        if self._problem is None and self._answers:
            waiting_s = asyncio.get_running_loop().time() - min(since for _, since in self._answers.values())
            if waiting_s > SILENT_AFTER_S:
                return f"Kafka has confirmed nothing for {waiting_s:.0f} s"
        return self._problem
