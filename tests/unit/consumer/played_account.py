"""An account that runs around a played gateway's thread, and the sinks that a test plays."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from consumer import account as account_module
from consumer.account import AccountIngest
from consumer.backlog import Backlog, BacklogQuestion, BacklogUnknown
from consumer.sink import OutgoingRecord, SinkClosed
from consumer.slices import Slice, Slicer
from consumer.statistics import Counters
from consumer.translation import Translator
from schemas import IngestProgress
from tests.gateway_messages import Received, account, cut, sealed, upgrade_status
from tests.unit.consumer.played_gateway import PlayedGateway


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


class SlowSink(Sink):
    """Confirms a call when the test says so; may refuse a record as too large."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[list[str], asyncio.Future[Sequence[int]]]] = []

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        answer: asyncio.Future[Sequence[int]] = asyncio.get_running_loop().create_future()
        self.calls.append(([record.topic for record in records], answer))
        return await answer


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
