"""One account around its gateway's thread, which is played here: what ends it, and what comes after its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from consumer import account as account_module
from consumer.account import AccountIngest
from consumer.backlog import Backlog, BacklogQuestion, BacklogUnknown
from consumer.deliveries import WRITES
from consumer.errors import AccountStopped
from consumer.sink import OutgoingRecord, SinkClosed
from consumer.slices import Slice, Slicer
from consumer.statistics import Counters
from consumer.translation import Translator
from schemas import IngestProgress
from tests.gateway_messages import Received, account, cut, sealed, upgrade_status
from tests.unit.consumer.played_gateway import PlayedGateway
from tests.virtual_time import in_virtual_time


class Sink:
    """Confirms at once, or fails."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.most: int | None = None
        self.written: list[OutgoingRecord] = []
        self.progress: list[int] = []
        """Times up to which everything is said to be done."""

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        if self.most is not None and len(self.written) + len(records) > self.most:
            raise SinkClosed(confirmed=self.most - len(self.written))
        self.written += [record for record in records if record.topic == "observations"]
        told = [record.value for record in records if record.topic == "ingest-progress"]
        self.progress += [msgspec.json.decode(value, type=IngestProgress).alive_at_ms for value in told]
        return ()


def slices(*numbers: int, partition: int = 3, conflict_at: int | None = None) -> list[Slice]:
    slicer = Slicer(Translator(account(), Counters()), Counters())
    messages = [
        Received(
            sealed(upgrade_status(f"d{number}") | ({"devId": "other"} if number == conflict_at else {})),
            at=(7, number, -1),
            topic=f"persistent://accessIdtesttesttest/out/event-partition-{partition}",
        )
        for number in numbers
    ]
    return cut(slicer, messages)


class House:
    """A running account with its played surroundings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, sink: Sink | None = None) -> None:
        self.gateways: list[PlayedGateway] = []

        def build(*arguments: object, **others: Any) -> PlayedGateway:
            self.gateways.append(PlayedGateway(*arguments, **others))
            return self.gateways[-1]

        async def ask(_question: BacklogQuestion) -> list[Backlog]:
            if not self.tells_backlog:
                raise BacklogUnknown("refused")
            return [Backlog("event/3", (7, 9), (7, 8))]

        monkeypatch.setattr(account_module, "GatewayThread", build)
        monkeypatch.setattr(BacklogQuestion, "ask", ask)
        self.tells_backlog = True
        self.sink = Sink() if sink is None else sink
        self.stop = asyncio.Event()
        self.ingest = AccountIngest(account(), self.sink, past=None, close_deadline_s=10.0)
        self.running = asyncio.create_task(self.ingest.run(self.stop))

    @property
    def gateway(self) -> PlayedGateway:
        return self.gateways[0]


@pytest.mark.parametrize("tells_backlog", [True, False])
def test_the_clients_guess_that_it_has_all_counts_only_where_the_gateway_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, *, tells_backlog: bool
) -> None:
    @in_virtual_time
    async def story() -> None:
        house = House(monkeypatch)
        house.tells_backlog = tells_backlog
        await asyncio.sleep(0.1)
        house.gateway.partitions_known(["event/3"])
        await asyncio.sleep(30)
        caught_up_at_ms = time.time_ns() // 1_000_000
        house.gateway.caught_up(caught_up_at_ms, [])
        await asyncio.sleep(30)
        house.stop.set()
        await house.running

        assert house.sink.progress == ([] if tells_backlog else [caught_up_at_ms])
        assert house.ingest.statistics().backlog_unknown == (None if tells_backlog else "refused")

    story()


def test_what_was_confirmed_is_acknowledged_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    @in_virtual_time
    async def story() -> None:
        house = House(monkeypatch)
        await asyncio.sleep(0.1)
        for number in range(3):
            house.gateway.deliver(slices(number))
        house.stop.set()
        await house.running
        assert [done.last_position.entry for done in house.gateway.acknowledged] == [0, 1, 2]
        assert len(house.sink.written) == 3

    story()


@pytest.mark.parametrize(
    "failure", [ValueError("a defect"), AccountStopped("tuya-test", "refused for good", None)]
)
def test_what_is_delivered_while_the_account_ends_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    @in_virtual_time
    async def story() -> None:
        house = House(monkeypatch)
        await asyncio.sleep(0.1)
        house.gateway.ended.set_exception(failure)
        for number in range(20):
            house.gateway.deliver(slices(number, partition=number))
            await asyncio.sleep(0)
        with pytest.raises(BaseException) as ended:  # noqa: PT011 - which one, is asked below
            await house.running
        died_of = ended.value.exceptions[0] if isinstance(ended.value, ExceptionGroup) else ended.value
        assert type(died_of) is type(failure)
        house.gateway.deliver(slices(99))

    story()


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


class SlowSink(Sink):
    """Confirms a call when the test says so; may refuse a record as too large."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[list[str], asyncio.Future[Sequence[int]]]] = []

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        answer: asyncio.Future[Sequence[int]] = asyncio.get_running_loop().create_future()
        self.calls.append(([record.topic for record in records], answer))
        return await answer


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


def test_a_cancelled_account_begins_no_other_write(monkeypatch: pytest.MonkeyPatch) -> None:
    @in_virtual_time
    async def story() -> None:
        house = House(monkeypatch, sink := SlowSink())
        await asyncio.sleep(0.1)
        for number in range(WRITES + 3):
            house.gateway.deliver(slices(number, partition=number))
        await asyncio.sleep(0.1)
        house.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await house.running
        assert len(sink.calls) == WRITES
        assert house.gateway.acknowledged == []

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
