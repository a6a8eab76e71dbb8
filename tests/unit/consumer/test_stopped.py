"""A stopped account beside others that go on: when the gateway is asked again, what it goes on with, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest
import structlog

from consumer import account as account_module
from consumer.backlog import BacklogQuestion, BacklogUnknown
from consumer.errors import AccountStopped, NoAccountLeft
from consumer.ingest import Ingest
from consumer.probe import Outcome, ProbeResult
from consumer.settings import GatewayAccount
from consumer.sink import OutgoingRecord
from consumer.statistics import AccountStatistics
from tests.gateway_messages import account
from tests.unit.consumer.played_gateway import PlayedGateway
from tests.virtual_time import in_virtual_time, now_s

MINUTE_S: Final = 60.0


class Sink:
    async def write(self, _records: Sequence[OutgoingRecord]) -> Sequence[int]:
        return ()


class House:
    """The stage with two accounts, whose gateways are played."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gateways: dict[str, list[PlayedGateway]] = {"one": [], "two": []}
        self.outcome: Outcome = "wrong_key"
        self.asked: list[tuple[str, float]] = []

        def build(account: GatewayAccount, *arguments: object, **others: Any) -> PlayedGateway:
            gateway = PlayedGateway(account, *arguments, **others)
            self.gateways[account.name].append(gateway)
            return gateway

        async def unknown(_question: BacklogQuestion) -> Any:
            raise BacklogUnknown("played")

        monkeypatch.setattr(account_module, "GatewayThread", build)
        monkeypatch.setattr(BacklogQuestion, "ask", unknown)
        self.began_s = now_s()
        self.stop = asyncio.Event()
        accounts = [msgspec.structs.replace(account(), name=name) for name in self.gateways]
        self.stage = Ingest(accounts, Sink(), ask=self._ask)
        self.running = asyncio.create_task(self.stage.run(self.stop))

    async def _ask(self, asked: GatewayAccount) -> ProbeResult:
        self.asked.append((asked.name, now_s() - self.began_s))
        return ProbeResult(outcome=self.outcome, what=f"told: {self.outcome}")

    async def refuse(self, name: str) -> None:
        """The gateway says no for good; time enough for the account to end."""
        gateway = self.gateways[name][-1]
        gateway.ended.set_exception(AccountStopped(name, "told: wrong_key", "mend it"))
        await asyncio.sleep(1)

    def told(self, name: str) -> AccountStatistics:
        return self.stage.statistics().accounts[name]


def story(told: Any) -> Any:
    """Tell it in virtual time."""

    def run(monkeypatch: pytest.MonkeyPatch) -> None:
        @in_virtual_time
        async def play() -> None:
            house = House(monkeypatch)
            await asyncio.sleep(1)
            await told(house)
            house.stop.set()
            await asyncio.gather(house.running, return_exceptions=True)

        play()

    return run


@story
async def test_the_gateway_is_asked_again_after_ten_minutes_then_less_and_less_often(house: House) -> None:
    await house.refuse("one")
    assert (house.told("one").state, house.told("one").message) == ("stopped", "told: wrong_key: mend it")
    assert house.told("one").asked_again_in_s == pytest.approx(10 * MINUTE_S, abs=2)
    assert house.told("two").asked_again_in_s is None

    await asyncio.sleep(300 * MINUTE_S)

    names, times = zip(*house.asked, strict=True)
    assert set(names) == {"one"}
    assert [round(at_s / MINUTE_S) for at_s in times] == [10, 30, 70, 130, 190, 250]
    assert house.told("two").state == "running"
    assert len(house.gateways["one"]) == 1


@story
async def test_an_account_that_is_taken_again_runs_and_counts_on(house: House) -> None:
    house.gateways["one"][0].counters.received = 7
    await house.refuse("one")
    house.outcome = "accepted"

    await asyncio.sleep(11 * MINUTE_S)

    assert len(house.gateways["one"]) == 2
    told = house.told("one")
    assert (told.state, told.message, told.asked_again_in_s, told.received) == ("running", None, None, 7)
    house.stop.set()
    await house.running


@pytest.mark.parametrize(("was_connected", "next_pause"), [(True, 10), (False, 20)])
def test_only_an_account_that_was_connected_is_asked_about_soon_again(
    monkeypatch: pytest.MonkeyPatch, *, was_connected: bool, next_pause: int
) -> None:
    @story
    async def told(house: House) -> None:
        await house.refuse("one")
        house.outcome = "accepted"
        await asyncio.sleep(11 * MINUTE_S)
        house.gateways["one"][-1].counters.subscriptions += was_connected

        await house.refuse("one")

        assert house.told("one").asked_again_in_s == pytest.approx(next_pause * MINUTE_S, abs=2)

    told(monkeypatch)


@story
async def test_with_the_last_account_the_stage_ends_also_while_others_wait_to_be_asked_about(
    house: House,
) -> None:
    with structlog.testing.capture_logs() as logs:
        await house.refuse("one")
        await house.refuse("two")

    with pytest.raises(NoAccountLeft, match="refused: one, two"):
        await house.running
    stopped = [entry for entry in logs if entry["event"] == "account_stopped"]
    assert [(entry["account"], entry.get("asked_again_in_s")) for entry in stopped] == [
        ("one", 600.0),
        ("two", None),
    ]
    assert house.asked == []


def test_where_there_is_other_work_refused_accounts_are_asked_again_to_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @story
    async def told(house: House) -> None:
        house.stage._is_all = False
        await house.refuse("one")
        await house.refuse("two")
        assert not house.running.done()
        assert house.told("two").asked_again_in_s is not None
        house.outcome = "accepted"

        await asyncio.sleep(11 * MINUTE_S)

        assert house.told("two").state == "running"
        house.stop.set()
        await house.running

    told(monkeypatch)


@story
async def test_an_account_that_was_taken_again_counts_as_one_that_is_left(house: House) -> None:
    await house.refuse("one")
    house.outcome = "accepted"
    await asyncio.sleep(11 * MINUTE_S)

    await house.refuse("two")

    assert not house.running.done()
    assert house.told("one").state == "running"


@story
async def test_a_stop_ends_the_waiting_at_once(house: House) -> None:
    await house.refuse("one")
    began_s = now_s()

    house.stop.set()
    await house.running

    assert now_s() - began_s < 1


def test_a_stop_ends_the_asking_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> ProbeResult:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(House, "_ask", never)

    @story
    async def told(house: House) -> None:
        await house.refuse("one")
        await asyncio.sleep(11 * MINUTE_S)
        house.stop.set()
        async with asyncio.timeout(1):
            await house.running

    told(monkeypatch)
