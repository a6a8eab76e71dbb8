"""The gateway is asked now and then what waits, and a starved subscription is renewed although others flow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from consumer.backlog import Backlog, BacklogUnknown
from consumer.backlog_watch import BacklogWatch
from consumer.progress import ProgressBook
from tests.gateway_messages import account
from tests.virtual_time import in_virtual_time, now_ms

_SILENCE_S = 900.0
_PERIOD_S = 60.0


class Gateway:
    """Two source partitions: one flows, the other as the test says."""

    def __init__(self) -> None:
        self.is_there = True
        self.connected = True
        self.paused = False
        self.asked = 0
        self.renewed: list[int] = []
        self.last, self.done = (7, 20), (7, 20)
        self.unfinished: set[str] = set()
        settings = account()
        self.book = ProgressBook("tuya-test", settings.gateway)
        self.book.recall({}, now_ms())
        self.watch = BacklogWatch(
            settings, self.book, unfinished=lambda: self.unfinished, ask=self.ask, now_ms=now_ms
        )
        self.task = asyncio.create_task(self.watch.run(self))

    async def ask(self) -> Sequence[Backlog]:
        self.asked += 1
        await asyncio.sleep(0.1)
        if not self.is_there:
            raise BacklogUnknown("refused")
        flows = (7, self.asked)
        return [Backlog("event/1", flows, flows), Backlog("event/2", self.last, self.done)]

    def is_connected(self) -> bool:
        return self.connected

    def is_paused(self) -> bool:
        return self.paused

    def resubscribe(self) -> None:
        self.renewed.append(now_ms())

    def behind(self) -> tuple[str | None, float]:
        """Which source partition is furthest behind, and by how many seconds."""
        name, at_ms = self.book.furthest_behind or (None, now_ms())
        return name, (now_ms() - at_ms) / 1000

    def written(self) -> set[str]:
        records = self.book.records(now_ms())
        return {msgspec.json.decode(record.value)["source_partition"] for record in records}

    def end(self) -> None:
        self.task.cancel()


@in_virtual_time
async def test_a_source_partition_that_is_starved_grows_old_and_is_subscribed_to_anew_beside_one_that_flows() -> (
    None
):
    gateway = Gateway()
    await asyncio.sleep(2 * _PERIOD_S)
    assert gateway.behind()[1] < 2 * _PERIOD_S
    gateway.last = (7, 21)

    await asyncio.sleep(_SILENCE_S - _PERIOD_S)
    assert gateway.behind()[0] == "event/2"
    assert gateway.behind()[1] > _SILENCE_S - 3 * _PERIOD_S
    assert gateway.renewed == []
    await asyncio.sleep(3 * _PERIOD_S)
    assert len(gateway.renewed) == 1

    gateway.done = gateway.last
    await asyncio.sleep(2 * _SILENCE_S)
    assert len(gateway.renewed) == 1
    assert gateway.behind()[1] < 2 * _PERIOD_S
    gateway.end()


@in_virtual_time
async def test_one_that_stays_starved_is_subscribed_to_once_in_the_silence_timeout() -> None:
    gateway = Gateway()
    gateway.last = (7, 21)

    await asyncio.sleep(4.5 * _SILENCE_S)

    assert 3 <= len(gateway.renewed) <= 4
    gateway.end()


@in_virtual_time
async def test_what_waits_on_kafka_is_not_starved() -> None:
    gateway = Gateway()
    gateway.last = (7, 21)
    gateway.unfinished = {"event/2"}
    await asyncio.sleep(2 * _SILENCE_S)
    gateway.unfinished, gateway.paused = set(), True
    await asyncio.sleep(2 * _SILENCE_S)

    assert gateway.renewed == []
    gateway.end()


@in_virtual_time
async def test_who_is_away_asks_nothing() -> None:
    gateway = Gateway()
    gateway.connected = False
    await asyncio.sleep(_SILENCE_S)
    assert gateway.asked == 0

    gateway.connected = True
    await asyncio.sleep(5)
    # Twice at once: one that rests shows only in the second answer.
    assert gateway.asked == 2
    assert gateway.written() == {"event/2"}
    gateway.end()


@in_virtual_time
async def test_a_gateway_that_cannot_be_asked_is_told_once_and_asked_on() -> None:
    gateway = Gateway()
    await asyncio.sleep(5)
    gateway.is_there = False
    await asyncio.sleep(_PERIOD_S)
    assert gateway.watch.problem is None
    await asyncio.sleep(_PERIOD_S)
    assert gateway.watch.problem == "refused"
    asked = gateway.asked

    gateway.is_there = True
    await asyncio.sleep(_PERIOD_S)
    assert gateway.watch.problem is None
    assert gateway.asked > asked
    gateway.end()
