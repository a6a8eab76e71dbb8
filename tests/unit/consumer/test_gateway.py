"""When the gateway's thread delivers what it received: full batches that lead to little go together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import _pulsar
import pytest
import structlog

from consumer import gateway
from consumer.entries import Entries
from consumer.gateway import HELD_MOST, WORTH_A_WRITE, GatewayThread
from consumer.pulsar_client import BATCH_SHARE
from consumer.quiet import ABSENCE_S
from consumer.sink import OutgoingRecord
from consumer.slices import Slice
from consumer.statistics import Counters
from schemas import Position
from tests.gateway_messages import account

MOST = 100
"""Messages in a batch."""
MESSAGE_BYTES = 600
RECORD = OutgoingRecord("observations", b"key", b"value", 1)


class PlayedMessage(str):
    """A message by its name: `record` or `filtered`."""

    __slots__ = ()

    def length(self) -> int:
        return MESSAGE_BYTES


class PlayedConsumer:
    """Gives these batches, and then fails as a lost connection does."""

    def __init__(self, batches: Sequence[list[PlayedMessage]]) -> None:
        self._batches = iter(batches)

    def is_connected(self) -> bool:
        return True

    def batch_receive(self) -> list[PlayedMessage]:
        for batch in self._batches:
            return batch
        raise _pulsar.ConnectError

    def receive(self, _timeout_ms: int) -> PlayedMessage:
        raise _pulsar.Timeout

    def close(self) -> None:
        return


class PlayedSlicer:
    """Makes one slice of a batch; `record` among its messages leads to a record each."""

    def __init__(self) -> None:
        self.entries = Entries()

    def cut(self, messages: Sequence[PlayedMessage], received_at_ms: int) -> list[Slice]:
        return [
            Slice(
                partition="event/0",
                records=[RECORD] * messages.count("record"),
                sources=[],
                ended=[],
                last_position=Position(
                    partition="event/0", ledger=1, entry=1, batch_index=-1, publish_time_at_ms=1
                ),
                first_published_at_ms=1,
                last_published_at_ms=1,
                received_at_ms=received_at_ms,
                message_count=len(messages),
                size_bytes=1,
            )
        ]


def batch(records: int, messages: int = MOST) -> list[PlayedMessage]:
    return [PlayedMessage("record")] * records + [PlayedMessage("filtered")] * (messages - records)


async def deliveries(
    monkeypatch: pytest.MonkeyPatch,
    batches: Sequence[list[PlayedMessage]],
    caught_up: Callable[[int, Sequence[str]], None] = lambda *_: None,
    **settings: Any,
) -> list[list[int]]:
    """Return the deliveries, each as the numbers of its slices' records."""
    consumers = [PlayedConsumer(batches)]
    monkeypatch.setattr(gateway, "open_client", lambda _: None)
    monkeypatch.setattr(gateway, "close", lambda *_, **__: None)
    monkeypatch.setattr(GatewayThread, "_subscribe", lambda _: consumers.pop() if consumers else None)
    delivered: list[list[int]] = []

    def deliver(slices: list[Slice]) -> None:
        delivered.append([len(piece.records) for piece in slices])
        for piece in slices:
            thread.acknowledge(piece)

    thread = GatewayThread(
        account(receive_ahead_messages=MOST, **settings),
        PlayedSlicer(),  # type: ignore[arg-type]
        Counters(),
        deliver=deliver,
        caught_up=caught_up,
        partitions_known=lambda _: None,
    )
    thread.start()
    while sum(map(len, delivered)) < len(batches):
        await asyncio.sleep(0.01)
    await thread.close(within_s=5)
    return delivered


async def test_full_batches_that_lead_to_little_are_delivered_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = [batch(2)] * (2 * HELD_MOST)
    assert await deliveries(monkeypatch, batches) == [[2] * HELD_MOST] * 2


async def test_records_that_are_worth_a_write_wait_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "WORTH_A_WRITE", 80)
    assert WORTH_A_WRITE > 80
    batches = [batch(80), batch(40), batch(40), batch(90)]
    assert await deliveries(monkeypatch, batches) == [[80], [40, 40], [90]]


async def test_a_batch_that_is_not_full_is_delivered_at_once_behind_what_was_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = [batch(1, MOST // 2 - 1), batch(2), batch(3, 5), batch(4, 4)]
    assert await deliveries(monkeypatch, batches) == [[1], [2, 3], [4]]


async def test_what_is_held_is_delivered_when_the_pump_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [batch(1), batch(2), batch(3)]
    assert await deliveries(monkeypatch, batches, max_unconfirmed_messages=MOST) == [[1], [2], [3]]


async def test_what_is_held_is_delivered_when_the_connection_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await deliveries(monkeypatch, [batch(1), batch(2)]) == [[1, 2]]


class FastClock:
    """Three seconds pass whenever the thread looks: a few looks are no absence, many are. Or it jumps, once each."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.jumps_s: deque[float] = deque()

    def monotonic(self) -> float:
        self.now += self.jumps_s.popleft() if self.jumps_s else 3.0
        return self.now

    def time(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)


async def test_a_batch_that_was_cut_off_by_its_bytes_waits_for_company_and_is_not_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway, "time", FastClock())
    monkeypatch.setattr(GatewayThread, "_is_stuck", lambda *_: False)
    batches = [batch(1, 4)] * HELD_MOST
    told: list[int] = []

    def caught_up(at_ms: int, _unfinished: Sequence[str]) -> None:
        told.append(at_ms)

    cap = {"max_unconfirmed_bytes": BATCH_SHARE * 4 * MESSAGE_BYTES}
    assert await deliveries(monkeypatch, batches, caught_up, **cap) == [[1] * HELD_MOST]
    assert told == []
    assert await deliveries(monkeypatch, batches, caught_up) == [[1]] * HELD_MOST
    assert len(told) == HELD_MOST


class Flowing(PlayedConsumer):
    """One that stays connected when it has given all."""

    def batch_receive(self) -> list[PlayedMessage]:
        return next(self._batches, [])


class PausedThread:
    """One that received as much as may be unconfirmed, with one more batch to come from each subscription."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.subscribed: list[Flowing] = []
        self.clock = FastClock()
        monkeypatch.setattr(gateway, "time", self.clock)
        monkeypatch.setattr(gateway, "IDLE_WAIT_MS", 1)
        monkeypatch.setattr(gateway, "open_client", lambda _: None)
        monkeypatch.setattr(gateway, "close", lambda *_, **__: None)
        monkeypatch.setattr(GatewayThread, "_subscribe", lambda _: self._subscribe())
        monkeypatch.setattr(GatewayThread, "_is_stuck", lambda *_: False)
        self.delivered: list[Slice] = []
        self.thread = GatewayThread(
            account(receive_ahead_messages=MOST, max_unconfirmed_messages=MOST),
            PlayedSlicer(),  # type: ignore[arg-type]
            Counters(),
            deliver=self.delivered.extend,
            caught_up=lambda *_: None,
            partitions_known=lambda _: None,
        )

    def _subscribe(self) -> Flowing:
        self.subscribed.append(Flowing([batch(1), batch(1)]))
        return self.subscribed[-1]

    async def pause(self) -> None:
        """Return once it has paused for as long as an absence is, as its clock has it."""
        self.thread.start()
        while not self.delivered:
            await asyncio.sleep(0.01)
        await self.look_for(5 * ABSENCE_S)

    async def look_for(self, time_s: float) -> None:
        """Return once so much time has passed with what the thread does meanwhile."""
        since = self.clock.now
        while self.clock.now < since + time_s:
            await asyncio.sleep(0.01)

    async def go_on(self) -> None:
        """Confirm what it holds, and return once it has received again."""
        self.thread.acknowledge(self.delivered[0])
        while len(self.delivered) < 2:
            await asyncio.sleep(0.01)
        await self.thread.close(within_s=5)


async def test_a_long_pause_is_no_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    paused = PausedThread(monkeypatch)
    with structlog.testing.capture_logs() as logs:
        await paused.pause()
        await paused.go_on()

    assert [line for line in logs if line["event"] == "gateway_was_away"] == []
    assert len(paused.subscribed) == 1


async def test_an_absence_within_a_pause_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client says of its connection is from before then, whether or not something is asked for."""
    paused = PausedThread(monkeypatch)
    with structlog.testing.capture_logs() as logs:
        await paused.pause()
        paused.clock.jumps_s.append(10 * ABSENCE_S)
        await paused.look_for(15 * ABSENCE_S)
        await paused.go_on()

    (away,) = [line for line in logs if line["event"] == "gateway_was_away"]
    assert away["away_s"] >= 10 * ABSENCE_S
    assert len(paused.subscribed) == 2
