"""What is delivered is acknowledged once it is confirmed, in each source partition's order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from consumer.deliveries import WRITES, Deliveries
from consumer.progress import ProgressBook
from consumer.sink import OutgoingRecord, SinkClosed
from consumer.slices import Slice, Slicer
from consumer.statistics import Counters
from consumer.translation import Translator
from schemas import DeadLetter
from tests.gateway_messages import Received, account, cut, sealed, upgrade_status
from tests.unit.consumer.played_account import House, Sink, SlowSink, slices
from tests.virtual_time import in_virtual_time


@pytest.mark.parametrize(
    ("most", "acknowledged"),
    [
        (0, [[]]),
        (1, [[0]]),
        # A whole slice, and the first message of the next.
        (3, [[0, 1], [2]]),
        # Three records of one message: a dead letter and two hints; it is done with the last of them.
        (5, [[0, 1], [2, 3]]),
        (6, [[0, 1], [2, 3]]),
        (7, [[0, 1], [2, 3, 4]]),
    ],
)
def test_a_sink_that_closes_has_what_it_confirmed_acknowledged_and_nothing_more(
    monkeypatch: pytest.MonkeyPatch, most: int, acknowledged: list[list[int]]
) -> None:
    @in_virtual_time
    async def story() -> None:
        house = House(monkeypatch)
        house.sink.most = most
        await asyncio.sleep(0.1)
        house.gateway.deliver([*slices(0, 1), *slices(2, 3, 4, 5, conflict_at=4)])
        with pytest.raises(ExceptionGroup) as ended:
            await house.running
        assert ended.group_contains(SinkClosed)
        done = house.gateway.acknowledged
        assert [[entry_id.entry_id() for entry_id in piece.ended] for piece in done] == acknowledged
        assert [piece.message_count for piece in done] == [len(entries) for entries in acknowledged]

    story()


def test_an_entry_of_which_a_message_was_not_confirmed_is_not_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @in_virtual_time
    async def story() -> None:
        house = House(monkeypatch)
        house.sink.most = 5
        await asyncio.sleep(0.1)
        messages = [
            Received(sealed(upgrade_status("d")), at=(7, entry, index), batch_size=3)
            for entry in (0, 1)
            for index in range(3)
        ]
        house.gateway.deliver(cut(Slicer(Translator(account(), Counters()), Counters()), messages))
        with pytest.raises(ExceptionGroup):
            await house.running
        (done,) = house.gateway.acknowledged
        assert ([entry_id.entry_id() for entry_id in done.ended], done.message_count) == ([0], 3)

    story()


def test_writes_may_end_in_any_order_and_acknowledgements_keep_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @in_virtual_time
    async def story() -> None:
        house = House(monkeypatch, sink := SlowSink())
        await asyncio.sleep(0.1)
        for number in range(4):
            house.gateway.deliver(slices(number))
            await asyncio.sleep(0)
        house.gateway.deliver([*slices(4), *slices(0, partition=5)])
        house.gateway.deliver(slices(5))
        await asyncio.sleep(0.1)

        assert [topics for topics, _ in sink.calls] == [["observations"]] * WRITES
        for _, answer in reversed(sink.calls[1:]):
            answer.set_result(())
            await asyncio.sleep(0.1)
        # What waited meanwhile went together as soon as there was room for it.
        assert sink.calls[WRITES][0] == ["observations"] * 3
        assert house.gateway.acknowledged == []
        sink.calls[WRITES][1].set_result(())
        await asyncio.sleep(0.1)
        assert [(done.partition, done.last_position.entry) for done in house.gateway.acknowledged] == [
            ("event/5", 0)
        ]
        sink.calls[0][1].set_result(())
        await asyncio.sleep(0.1)
        acknowledged = [
            done.last_position.entry for done in house.gateway.acknowledged if done.partition == "event/3"
        ]
        assert acknowledged == [0, 1, 2, 3, 4, 5]
        house.stop.set()
        await house.running

    story()


def test_only_the_source_partition_of_a_refused_record_waits_for_its_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @in_virtual_time
    async def story() -> None:
        house = House(monkeypatch, sink := SlowSink())
        await asyncio.sleep(0.1)
        house.gateway.deliver([*slices(0, 1), *slices(0, partition=5)])
        await asyncio.sleep(0.1)
        sink.calls[0][1].set_result([1])
        await asyncio.sleep(0.1)

        assert [done.partition for done in house.gateway.acknowledged] == ["event/5"]
        assert sink.calls[1][0] == ["dead-letters"]
        sink.calls[1][1].set_result(())
        await asyncio.sleep(0.1)
        assert [done.partition for done in house.gateway.acknowledged] == ["event/5", "event/3"]
        house.stop.set()
        await house.running

    story()


def test_a_closed_sink_has_nothing_acknowledged_before_which_something_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @in_virtual_time
    async def story() -> None:
        house = House(monkeypatch, sink := SlowSink())
        await asyncio.sleep(0.1)
        slicer = Slicer(Translator(account(), Counters()), Counters())
        messages = [
            Received(sealed(upgrade_status("d")), at=(7, entry, index), batch_size=2)
            for entry in (0, 1)
            for index in range(2)
        ]
        cut(slicer, messages[:2])
        # An entry cut over two slices, each in a write of its own.
        house.gateway.deliver(slicer.cut(messages[2:3], 1))
        house.gateway.deliver(slicer.cut(messages[3:], 1))
        await asyncio.sleep(0.1)
        assert len(sink.calls) == 2
        sink.calls[0][1].set_exception(SinkClosed(confirmed=0))
        sink.calls[1][1].set_exception(SinkClosed(confirmed=1))
        with pytest.raises(ExceptionGroup):
            await house.running
        assert [done.ended for done in house.gateway.acknowledged if done.ended] == []

    story()


def test_writes_that_wait_for_a_dead_letter_leave_their_places_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @in_virtual_time
    async def story() -> None:
        house = House(monkeypatch, sink := SlowSink())
        await asyncio.sleep(0.1)
        for partition in range(WRITES + 2):
            house.gateway.deliver(slices(0, partition=partition))
        await asyncio.sleep(0.1)
        for _, answer in sink.calls[:WRITES]:
            answer.set_result([0])
        await asyncio.sleep(0.1)
        observed = [
            answer for topics, answer in sink.calls if topics[0] == "observations" and not answer.done()
        ]
        for answer in observed:
            answer.set_result(())
        await asyncio.sleep(0.1)
        assert {done.partition for done in house.gateway.acknowledged} == {
            f"event/{partition}" for partition in range(WRITES, WRITES + 2)
        }
        house.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await house.running

    story()


class RefusingSink(Sink):
    """Refuses, call by call, the records that it is told."""

    def __init__(self, *refused: Sequence[int]) -> None:
        super().__init__()
        self.calls: list[Sequence[OutgoingRecord]] = []
        self._refused = refused

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        self.calls.append(records)
        return self._refused[len(self.calls) - 1] if len(self.calls) <= len(self._refused) else ()


class Acknowledged:
    def __init__(self) -> None:
        self.count = 0

    def acknowledge(self, done: Slice) -> None:
        self.count += done.message_count


async def acknowledged(pieces: Sequence[Slice], sink: Sink, counters: Counters) -> int:
    """Deliver slices, and return how many messages are acknowledged in the end."""
    gateway, progress = Acknowledged(), ProgressBook("tuya-test", account().gateway)
    deliveries = Deliveries("tuya-test", sink, progress, counters)
    async with asyncio.TaskGroup() as group:
        deliveries.open(group, gateway)
        deliveries.take(pieces)
        await deliveries.all_done()
    return gateway.count


def letters(records: Sequence[OutgoingRecord]) -> list[DeadLetter]:
    return [msgspec.json.decode(record.value, type=DeadLetter) for record in records]


async def test_every_letter_that_kafka_takes_is_counted_whichever_of_its_rounds_that_was() -> None:
    counters, sink = Counters(), RefusingSink([0, 1, 2], [1])

    assert await acknowledged(slices(0, 1, 2), sink, counters) == 3
    assert [len(records) for records in sink.calls] == [3, 3, 1]
    assert counters.dead_letters == {"too_large": 3}


async def test_a_dead_letter_that_kafka_refuses_keeps_its_reason_and_gives_up_its_payload() -> None:
    counters = Counters()
    payload = sealed(upgrade_status("d1")).replace(b'"sign":"', b'"sign":"0')
    delivered = cut(Slicer(Translator(account(), counters), counters), [Received(payload)])
    sink = RefusingSink([0])

    assert await acknowledged(delivered, sink, counters) == 1
    (first,), (second,) = sink.calls
    (refused,), (taken,) = letters([first]), letters([second])
    assert (taken.reason, taken.detail, taken.payload) == ("bad_signature", refused.detail, b"")
    assert (taken.payload_bytes, taken.payload_sha256) == (len(payload), refused.payload_sha256)
    assert (second.topic, second.key) == ("dead-letters", first.key)
    assert counters.dead_letters == {"bad_signature": 1}
