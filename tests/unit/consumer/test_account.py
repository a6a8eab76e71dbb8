"""One account around its gateway's thread, which is played here: what ends it, and what comes after its end."""

from __future__ import annotations

import asyncio
import time

import pytest
import structlog

from consumer.deliveries import WRITES
from consumer.errors import AccountStopped
from tests.unit.consumer.played_account import House, SlowSink, slices
from tests.virtual_time import in_virtual_time


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


@pytest.mark.parametrize(("hangs", "blamed"), [("gateway", "the gateway's client"), ("sink", "Kafka")])
def test_a_stop_that_is_out_of_time_blames_who_it_waited_for(
    monkeypatch: pytest.MonkeyPatch, hangs: str, blamed: str
) -> None:
    @in_virtual_time
    async def story() -> None:
        house = House(monkeypatch, SlowSink() if hangs == "sink" else None)
        await asyncio.sleep(0.1)
        if hangs == "gateway":
            monkeypatch.setattr(house.gateway, "stop_receiving", asyncio.Event().wait)
        house.gateway.deliver(slices(0))
        house.stop.set()
        await house.running

    with structlog.testing.capture_logs() as lines:
        story()
    (line,) = [line for line in lines if line["event"] == "stopped_unconfirmed"]
    assert blamed in line["reason"]
    assert line["remedy"] == "none, the gateway delivers again what is not confirmed"


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
