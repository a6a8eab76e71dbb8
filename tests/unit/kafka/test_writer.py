"""The writer against a scripted producer: order, confirmation, refusal, recovery, bounded memory, a clean stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
)
from aiokafka.structs import RecordMetadata, TopicPartition

from bridge.kafka.producer import Producer
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import partition_of
from bridge.kafka.writer import KafkaWriter, WriterStopped
from consumer.sink import OutgoingRecord, TopicName
from tests.virtual_time import in_virtual_time

_SETTINGS = KafkaSettings(bootstrap_servers="nowhere:9092", partitions=4)


class Batch:
    """Holds what was appended, up to `room` records."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.records: list[tuple[bytes | None, bytes, int]] = []

    def append(
        self, *, timestamp: int, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]] = ()
    ) -> object | None:
        assert not headers
        if len(self.records) >= self.room:
            return None
        self.records.append((key, value, timestamp))
        return object()

    def close(self) -> None:
        return


class Kafka:
    """A broker: keeps what it confirmed, and answers as the test says."""

    def __init__(self, *, room: int = 1000) -> None:
        self.room = room
        self.log: dict[TopicPartition, list[bytes]] = {}
        self.batches: list[int] = []
        self.failures: list[Exception] = []
        """Answers of the next batches."""
        self.too_large: set[bytes] = set()
        self.limit_bytes = 1_000_000
        """Of a batch's values."""
        self.silent = False
        self.starts = 0
        self.start_failures: list[Exception] = []
        self.offset = 0

    async def start(self, _settings: KafkaSettings) -> Producer:
        self.starts += 1
        if self.start_failures:
            raise self.start_failures.pop(0)
        return ScriptedProducer(self)  # type: ignore[return-value]

    def values(self) -> list[bytes]:
        return [value for log in self.log.values() for value in log]


class ScriptedProducer:
    """Dead after its first failure, as a real idempotent producer is."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._dead: Exception | None = None

    def create_batch(self) -> Batch:
        return Batch(self._kafka.room)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[RecordMetadata]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[RecordMetadata] = loop.create_future()
        destination = TopicPartition(topic, partition)
        loop.call_later(0.001, self._answer, batch, destination, answer)
        return answer

    def _answer(
        self, batch: Batch, destination: TopicPartition, answer: asyncio.Future[RecordMetadata]
    ) -> None:
        kafka = self._kafka
        if kafka.silent or answer.done():
            return
        values = [value for _, value, _ in batch.records]
        failure = self._dead or (kafka.failures.pop(0) if kafka.failures else None)
        if failure is None and (kafka.too_large & set(values) or sum(map(len, values)) > kafka.limit_bytes):
            failure = MessageSizeTooLargeError()
        if failure is not None:
            self._dead = OutOfOrderSequenceNumber()
            answer.set_exception(failure)
            return
        kafka.batches.append(len(values))
        kafka.log.setdefault(destination, []).extend(values)
        answer.set_result(
            RecordMetadata(destination.topic, destination.partition, destination, kafka.offset, None, 0, None)
        )

    async def stop(self) -> None:
        return


def _records(
    count: int, *, key: bytes = b"device", topic: TopicName = "observations"
) -> list[OutgoingRecord]:
    return [
        OutgoingRecord(topic=topic, key=key, value=f"{key.decode()}-{number}".encode(), timestamp_ms=number)
        for number in range(count)
    ]


def _writer(kafka: Kafka, **options: int) -> KafkaWriter:
    return KafkaWriter(_SETTINGS, start=kafka.start, **options)


@in_virtual_time
async def test_a_write_returns_after_the_broker_confirmed_every_record() -> None:
    kafka = Kafka()
    async with _writer(kafka) as writer:
        records = _records(10)
        writing = asyncio.create_task(writer.write(records))
        await asyncio.sleep(0)
        assert not writing.done()
        assert await writing == []
        assert kafka.values() == [record.value for record in records]
        assert writer.statistics().confirmed == 10
        assert (writer.statistics().queued_records, writer.statistics().queued_bytes) == (0, 0)


@in_virtual_time
async def test_keys_go_where_kafkas_own_clients_put_them_and_a_given_partition_wins() -> None:
    kafka = Kafka()
    async with _writer(kafka) as writer:
        records = [record for number in range(50) for record in _records(1, key=f"device-{number}".encode())]
        gap = OutgoingRecord(topic="observations", key=None, value=b"gap", timestamp_ms=1, partition=3)
        await writer.write([*records, gap])
    for record in records:
        assert record.key is not None
        where = TopicPartition("ota.observations.v1", partition_of(record.key, 4))
        assert record.value in kafka.log[where]
    assert b"gap" in kafka.log[TopicPartition("ota.observations.v1", 3)]


@in_virtual_time
async def test_calls_keep_their_order_and_one_record_waits_for_no_company() -> None:
    kafka = Kafka(room=7)
    async with _writer(kafka) as writer:
        writes = [asyncio.create_task(writer.write(_records(5, key=f"k{n}".encode()))) for n in range(20)]
        await asyncio.gather(*writes)
    for n in range(20):
        mine = [value for value in kafka.values() if value.startswith(f"k{n}-".encode())]
        assert mine == [f"k{n}-{number}".encode() for number in range(5)]


@in_virtual_time
async def test_what_comes_while_a_batch_is_under_way_travels_together() -> None:
    kafka = Kafka()
    async with _writer(kafka) as writer:
        first = asyncio.create_task(writer.write(_records(1)))
        await asyncio.sleep(0.0005)
        await asyncio.gather(first, *(writer.write(_records(1)) for _ in range(30)))
    assert kafka.batches == [1, 30]


@pytest.mark.parametrize(
    "failure",
    [OutOfOrderSequenceNumber(), KafkaConnectionError("gone"), KafkaError("fenced"), AssertionError("?")],
)
def test_after_any_failure_a_new_producer_sends_the_same_records_in_order(failure: Exception) -> None:
    @in_virtual_time
    async def story() -> None:
        kafka = Kafka(room=3)
        kafka.failures = [failure]
        async with _writer(kafka) as writer:
            records = _records(10)
            assert await writer.write(records) == []
            assert kafka.values() == [record.value for record in records]
            statistics = writer.statistics()
        assert (kafka.starts, statistics.producers, statistics.problem) == (2, 2, None)

    story()


@in_virtual_time
async def test_nothing_of_a_partition_overtakes_what_failed() -> None:
    kafka = Kafka(room=2)
    async with _writer(kafka) as writer:
        writes = [asyncio.create_task(writer.write(_records(3, key=f"k{n}".encode()))) for n in range(12)]
        await asyncio.sleep(0.0005)
        kafka.failures = [KafkaError("once"), KafkaError("twice")]
        await asyncio.gather(*writes)
    for n in range(12):
        mine = [value for value in kafka.values() if value.startswith(f"k{n}-".encode())]
        assert mine == [f"k{n}-{number}".encode() for number in range(3)]


@in_virtual_time
async def test_an_offset_of_minus_one_is_success() -> None:
    kafka = Kafka()
    kafka.offset = -1
    async with _writer(kafka) as writer:
        assert await writer.write(_records(3)) == []
    assert kafka.starts == 1


@in_virtual_time
async def test_a_record_too_large_is_named_and_the_others_go_on() -> None:
    kafka = Kafka()
    kafka.too_large = {b"device-2", b"device-5"}
    async with _writer(kafka) as writer:
        assert await writer.write(_records(8)) == [2, 5]
        assert kafka.values() == [f"device-{number}".encode() for number in (0, 1, 3, 4, 6, 7)]
        assert await writer.write(_records(1)) == []
        assert (writer.statistics().refused, writer.statistics().confirmed) == (2, 7)


@in_virtual_time
async def test_a_topic_of_small_batches_is_learned_once_and_keeps_batches_of_at_least_half_its_size() -> None:
    kafka = Kafka()
    kafka.limit_bytes = 200
    records = _records(500)
    values = [record.value for record in records]
    async with _writer(kafka) as writer:
        assert await writer.write(records) == []
        assert kafka.values() == values
        # From 8 KB of keys and values: 3,945, 1,969, 977, 482, 235 bytes, of which 150 are values.
        assert (kafka.starts, writer.statistics().refused) == (1 + 5, 0)
        assert len(kafka.batches) <= sum(map(len, values)) / 50

        assert await writer.write(records) == []
        assert kafka.values() == values * 2
        assert kafka.starts == 1 + 5


@in_virtual_time
async def test_one_record_too_large_leaves_the_others_their_batches() -> None:
    kafka = Kafka()
    kafka.limit_bytes = 1000
    records = _records(300)
    records[150] = msgspec.structs.replace(records[150], value=b"x" * 1100)
    async with _writer(kafka) as writer:
        assert await writer.write(records) == [150]
        assert await writer.write(_records(100)) == []
    assert sum(kafka.batches) == 399
    assert len(kafka.batches) <= 20


@in_virtual_time
async def test_kafka_may_come_after_us_and_until_then_the_problem_is_told() -> None:
    kafka = Kafka()
    kafka.start_failures = [KafkaConnectionError("nobody there")] * 20
    async with _writer(kafka) as writer:
        writing = asyncio.create_task(writer.write(_records(3)))
        await asyncio.sleep(30)
        assert not writing.done()
        assert not writer.statistics().connected
        assert "nobody there" in (writer.statistics().problem or "")
        assert await writing == []
        assert writer.statistics().connected
        assert writer.statistics().problem is None


@in_virtual_time
async def test_a_broker_that_stays_silent_is_told() -> None:
    kafka = Kafka()
    kafka.silent = True
    async with _writer(kafka) as writer:
        writing = asyncio.create_task(writer.write(_records(1)))
        await asyncio.sleep(10)
        assert "nothing for 10 s" in (writer.statistics().problem or "")
        assert not writer.statistics().connected
        await writer.stop()
        with pytest.raises(WriterStopped):
            await writing


@in_virtual_time
async def test_memory_is_bounded_and_the_waiting_calls_keep_their_order() -> None:
    kafka = Kafka(room=5)
    size_bytes = sum(len(record.value) + len(record.key or b"") for record in _records(10))
    async with _writer(kafka, queue_bytes=2 * size_bytes) as writer:
        kafka.silent = True
        writes = [asyncio.create_task(writer.write(_records(10, key=b"device"))) for _ in range(20)]
        await asyncio.sleep(0.01)
        assert writer.statistics().queued_bytes == 2 * size_bytes
        kafka.silent = False
        # The silent batch never gets its answer: only its failure starts a new producer.
        answer, _ = next(iter(writer._answers.values()))
        answer.set_exception(KafkaError("connection lost"))
        await asyncio.gather(*writes)
    assert kafka.values() == [record.value for record in _records(10)] * 20


@in_virtual_time
async def test_stop_sends_what_was_written() -> None:
    kafka = Kafka(room=2)
    writer = _writer(kafka)
    writer.start()
    writing = asyncio.create_task(writer.write(_records(9)))
    await asyncio.sleep(0)
    await writer.stop()
    assert await writing == []
    assert len(kafka.values()) == 9
    with pytest.raises(WriterStopped):
        await writer.write(_records(1))


@in_virtual_time
async def test_stop_ends_in_time_though_kafka_is_away() -> None:
    kafka = Kafka()
    kafka.start_failures = [KafkaConnectionError("nobody there")] * 1000
    writer = _writer(kafka, queue_bytes=50)
    writer.start()
    writes = [asyncio.create_task(writer.write(_records(4))) for _ in range(5)]
    await asyncio.sleep(1)
    await writer.stop(within_s=3.0)
    for outcome in await asyncio.gather(*writes, return_exceptions=True):
        assert isinstance(outcome, WriterStopped)


@in_virtual_time
async def test_stop_does_not_wait_for_what_nobody_waits_for() -> None:
    kafka = Kafka()
    kafka.silent = True
    writer = _writer(kafka)
    writer.start()
    writing = asyncio.create_task(writer.write(_records(4)))
    await asyncio.sleep(1)
    writing.cancel()
    await asyncio.wait([writing])

    stopped_from = asyncio.get_running_loop().time()
    await writer.stop(within_s=3600.0)

    # The clock is virtual: what was not waited for took no time.
    assert asyncio.get_running_loop().time() - stopped_from < 3600.0


@in_virtual_time
async def test_a_cancelled_call_disturbs_no_other() -> None:
    kafka = Kafka()
    async with _writer(kafka) as writer:
        cancelled = asyncio.create_task(writer.write(_records(5, key=b"a")))
        other = asyncio.create_task(writer.write(_records(5, key=b"b")))
        await asyncio.sleep(0.0005)
        cancelled.cancel()
        assert await other == []
        assert await writer.write(_records(1, key=b"a")) == []


@in_virtual_time
async def test_a_record_without_key_and_partition_is_a_mistake_of_the_caller() -> None:
    async with _writer(Kafka()) as writer:
        with pytest.raises(ValueError, match="needs a partition"):
            await writer.write([OutgoingRecord(topic="observations", key=None, value=b"x", timestamp_ms=1)])
        assert await writer.write(_records(1)) == []
        assert list(await writer.write([])) == []
