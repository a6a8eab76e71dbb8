"""Gaps are told before progress: on every partition, confirmed, and again after whatever went wrong between."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from consumer.progress import ProgressBook
from consumer.progress_writer import ProgressWriter
from consumer.settings import GatewayAccount
from consumer.sink import OutgoingRecord, TopicName
from consumer.slices import Slice
from schemas import IngestProgress, Observation, Position
from tests.gateway_messages import account
from tests.virtual_time import in_virtual_time, now_ms

LIMIT_MS = 6600_000
AHEAD_MS = 3 * 3600_000


class Kafka:
    """What a run finds and leaves: progress records and observations. Confirms while `is_there`."""

    def __init__(self) -> None:
        self.is_there = asyncio.Event()
        self.is_there.set()
        self.order: list[str] = []
        self.progress: dict[str, IngestProgress] = {}
        self.gaps: list[tuple[int | None, Observation]] = []
        self.reads = 0

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        await asyncio.sleep(0.01)
        await self.is_there.wait()
        for record in records:
            self.order.append(record.topic)
            if record.topic == "ingest-progress":
                told = msgspec.json.decode(record.value, type=IngestProgress)
                self.progress[told.source_partition] = told
            else:
                assert record.key is None
                self.gaps.append((record.partition, msgspec.json.decode(record.value, type=Observation)))
        return ()

    def partitions(self, topic: TopicName) -> int:
        assert topic == "observations"
        return 12

    async def read_progress(self, account: str) -> Mapping[str, IngestProgress]:
        assert account == "tuya-test"
        await self.is_there.wait()
        self.reads += 1
        return dict(self.progress)

    def remember(self, *names: str, alive_at_ms: int) -> None:
        for name in names:
            self.progress[name] = IngestProgress(
                account="tuya-test", source_partition=name, alive_at_ms=alive_at_ms
            )


def come(partition: str, *, published_at_ms: int, received_at_ms: int) -> Slice:
    """A message came, and is not acknowledged yet."""
    return Slice(
        partition=partition,
        records=[],
        sources=[],
        ended=[],
        last_position=Position(
            partition=partition, ledger=1, entry=1, batch_index=-1, publish_time_at_ms=published_at_ms
        ),
        first_published_at_ms=published_at_ms,
        last_published_at_ms=published_at_ms,
        received_at_ms=received_at_ms,
        message_count=1,
        size_bytes=1,
    )


class Run:
    """One copy's book and writer on that Kafka, connected to two source partitions, on a clock that may be ahead."""

    def __init__(self, kafka: Kafka, given: GatewayAccount | None = None) -> None:
        settings = given or account()
        self.book = ProgressBook("tuya-test", settings.gateway)
        self.ahead_ms = 0
        self.writer = ProgressWriter(settings, self.book, kafka, kafka, now_ms=self.now_ms)
        self._task = asyncio.create_task(self.writer.run())

    def now_ms(self) -> int:
        return now_ms() + self.ahead_ms

    def connect(self) -> None:
        self.book.know(["event/0", "event/1"], self.now_ms())
        self.book.caught_up(self.now_ms(), [])

    async def stay_quiet(self, seconds: int) -> None:
        for _ in range(seconds):
            await asyncio.sleep(1)
            self.book.caught_up(self.now_ms(), [])

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@in_virtual_time
async def test_a_gap_is_on_every_partition_before_any_progress_is_written() -> None:
    kafka = Kafka()
    kafka.remember("event/0", "event/1", alive_at_ms=now_ms() - LIMIT_MS - 5000)
    run = Run(kafka)
    run.connect()
    await asyncio.sleep(60)

    assert [partition for partition, _ in kafka.gaps] == list(range(12))
    gap = kafka.gaps[0][1]
    assert (gap.kind, gap.device_id, gap.account, gap.evidence.origin) == ("gap", "", "tuya-test", "bridge")
    assert kafka.order[:12] == ["observations"] * 12
    assert set(kafka.order[12:]) == {"ingest-progress"}
    assert run.writer.gaps == 1
    assert all(now_ms() - told.alive_at_ms <= 60_000 for told in kafka.progress.values())
    await run.stop()


@in_virtual_time
async def test_a_process_that_dies_before_its_gap_is_confirmed_leaves_it_to_the_next() -> None:
    kafka = Kafka()
    kafka.remember("event/0", alive_at_ms=now_ms() - LIMIT_MS - 5000)
    first = Run(kafka)
    first.connect()
    await asyncio.sleep(0.005)
    kafka.is_there.clear()
    await asyncio.sleep(30)
    await first.writer.write()
    await first.stop()
    assert kafka.order == []

    kafka.is_there.set()
    second = Run(kafka)
    second.connect()
    await asyncio.sleep(1)

    assert len(kafka.gaps) == 12
    await second.stop()


@in_virtual_time
async def test_the_first_start_ever_asks_once_and_tells_no_gap() -> None:
    kafka = Kafka()
    run = Run(kafka)
    run.connect()
    for _ in range(600):
        await asyncio.sleep(60)
        run.book.caught_up(now_ms(), [])

    assert kafka.gaps == []
    assert kafka.reads == 1
    await run.stop()


@in_virtual_time
async def test_a_restart_within_the_retention_is_no_gap() -> None:
    kafka = Kafka()
    kafka.remember("event/0", "event/1", alive_at_ms=now_ms() - LIMIT_MS + 5000)
    run = Run(kafka)
    run.connect()
    await asyncio.sleep(60)

    assert kafka.gaps == []
    assert set(kafka.order) == {"ingest-progress"}
    await run.stop()


@in_virtual_time
async def test_no_progress_is_written_before_what_earlier_runs_told_was_read() -> None:
    kafka = Kafka()
    kafka.remember("event/0", alive_at_ms=now_ms() - 1000)
    kafka.is_there.clear()
    run = Run(kafka)
    run.connect()
    await asyncio.sleep(30)
    run.book.caught_up(now_ms(), [])

    await run.writer.write()

    assert kafka.order == []
    await run.stop()


@in_virtual_time
async def test_two_copies_that_find_the_same_gap_each_tell_it_once() -> None:
    kafka = Kafka()
    kafka.remember("event/0", "event/1", alive_at_ms=now_ms() - LIMIT_MS - 5000)
    copies = [Run(kafka), Run(kafka)]
    for copy in copies:
        copy.connect()
    for _ in range(10):
        await asyncio.sleep(60)
        for copy in copies:
            copy.book.caught_up(now_ms(), [])

    assert len(kafka.gaps) == 24
    assert [copy.writer.gaps for copy in copies] == [1, 1]
    for copy in copies:
        await copy.stop()


@in_virtual_time
async def test_a_connection_away_for_too_long_is_a_gap_also_without_a_restart() -> None:
    kafka = Kafka()
    run = Run(kafka)
    run.connect()
    await asyncio.sleep(60)
    assert kafka.progress

    await asyncio.sleep(LIMIT_MS / 1000 + 60)
    run.connect()
    await asyncio.sleep(60)

    assert len(kafka.gaps) == 12
    assert run.writer.gaps == 1
    await run.stop()


@in_virtual_time
async def test_a_topic_that_is_new_to_the_account_is_no_gap() -> None:
    kafka = Kafka()
    kafka.remember("event/0", "event/1", alive_at_ms=now_ms() - 1000)
    run = Run(kafka)
    run.connect()
    await asyncio.sleep(3 * LIMIT_MS / 1000)
    run.connect()
    await asyncio.sleep(30)
    told = len(kafka.gaps)

    run.book.know(["notice"], now_ms())
    run.book.caught_up(now_ms(), [])
    await asyncio.sleep(30)

    assert told == len(kafka.gaps) == 12
    assert "notice" in kafka.progress
    await run.stop()


@in_virtual_time
async def test_a_clock_that_is_set_back_while_kafka_is_away_at_the_start_makes_no_gap() -> None:
    kafka = Kafka()
    kafka.remember("event/0", "event/1", alive_at_ms=now_ms() - 300_000)
    kafka.is_there.clear()
    run = Run(kafka)
    run.ahead_ms = AHEAD_MS
    run.connect()
    await run.stay_quiet(20)
    run.ahead_ms = 0
    await run.stay_quiet(20)
    kafka.is_there.set()
    await run.stay_quiet(60)

    assert kafka.gaps == []
    assert all(0 <= now_ms() - told.alive_at_ms <= 20_000 for told in kafka.progress.values())
    await run.stop()


@in_virtual_time
async def test_a_clock_that_is_wrong_for_seconds_makes_no_gap() -> None:
    kafka = Kafka()
    run = Run(kafka)
    run.connect()
    await run.stay_quiet(61)
    run.ahead_ms = AHEAD_MS
    await run.stay_quiet(4)
    run.ahead_ms = 0
    await run.stay_quiet(60)

    assert kafka.gaps == []
    assert all(0 <= now_ms() - told.alive_at_ms <= 20_000 for told in kafka.progress.values())
    await run.stop()


@in_virtual_time
async def test_what_a_clock_ahead_takes_for_lost_is_told_once_though_it_is_set_back() -> None:
    """A message that comes while it is ahead proves the loss by itself: no other copy's record settles that."""
    kafka = Kafka()
    run = Run(kafka)
    run.connect()
    await run.stay_quiet(61)
    run.ahead_ms = LIMIT_MS + 60_000
    run.book.received(come("event/0", published_at_ms=now_ms(), received_at_ms=run.now_ms()))
    run.ahead_ms = 0
    await run.stay_quiet(60)

    assert len(kafka.gaps) == 12
    assert run.writer.gaps == 1
    assert all(0 <= now_ms() - told.alive_at_ms <= 20_000 for told in kafka.progress.values())
    await run.stop()


@in_virtual_time
async def test_gaps_are_never_told_without_a_pause_between_them() -> None:
    """A clock that goes back with each gap dates another loss far ahead, again and again."""
    kafka = Kafka()
    run = Run(kafka)
    run.connect()
    await run.stay_quiet(61)
    confirm = kafka.write

    async def confirm_late(records: Sequence[OutgoingRecord]) -> Sequence[int]:
        run.book.received(
            come("event/0", published_at_ms=now_ms() + LIMIT_MS, received_at_ms=now_ms() + 2 * LIMIT_MS + 1)
        )
        return await confirm(records)

    kafka.write = confirm_late  # type: ignore[method-assign]
    await asyncio.sleep(60)

    assert 1 <= run.writer.gaps <= 7
    await run.stop()
