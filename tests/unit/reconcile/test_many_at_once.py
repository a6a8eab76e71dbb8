"""Readings that tell of many devices: sweeps, and lookups that tell of others; and the packages that they name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog

from bridge.clouds import errors
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import FirmwarePackage, Pace
from bridge.reconcile.account import AccountLookups
from schemas import LookupRequest, Observation, Package
from tests.tuya_model import tuya_account
from tests.unit.reconcile.memory_sink import MemorySink
from tests.unit.reconcile.toy import ToyCloud
from tests.virtual_time import in_virtual_time, now_ms, now_s

USABLE = FirmwarePackage(package_id="p1", state="usable", version="2.0")


class Desk:
    def __init__(self, *, rate_per_s: float, sweep_period_s: float, **cloud: Any) -> None:
        self.sink = MemorySink()
        self.cloud: ToyCloud
        self._more = cloud
        self._number = 0
        self.lookups = AccountLookups(
            tuya_account(rate_per_s=rate_per_s, sweep_period_s=sweep_period_s),
            self._open,
            self.sink,
            proven=lambda: True,
            now_ms=now_ms,
            monotonic=now_s,
            jitter=lambda: 1.0,
        )

    def _open(self, _account: AnyAccount, pace: Pace) -> ToyCloud:
        self.cloud = ToyCloud(pace, **self._more)
        return self.cloud

    def ask(self, device_id: str, *, due_in_s: float = 0.0, cause: str = "hint") -> str:
        self._number += 1
        lookup_id = f"lookup{self._number}"
        self.lookups.accept(
            LookupRequest(
                lookup_id=lookup_id,
                device_id=device_id,
                account="tuya-test",
                cause=cause,
                due_at_ms=now_ms() + round(due_in_s * 1000),
                expires_at_ms=now_ms() + 600_000,
            )
        )
        return lookup_id

    def told(self) -> list[Observation]:
        return [one for one in self.sink.observations if one.kind == "status"]


@asynccontextmanager
async def serving(
    *, rate_per_s: float = 20.0, sweep_period_s: float = 100.0, **cloud: Any
) -> AsyncIterator[Desk]:
    desk = Desk(rate_per_s=rate_per_s, sweep_period_s=sweep_period_s, **cloud)
    stop = asyncio.Event()
    desk.cloud.packages["p1"] = USABLE
    task = asyncio.create_task(desk.lookups.run(stop))
    try:
        yield desk
    finally:
        stop.set()
        await task


@in_virtual_time
async def test_one_reading_answers_all_who_wait_for_any_of_its_devices() -> None:
    async with serving() as desk:
        desk.cloud.has_sweep = False
        desk.cloud.tells_others = True
        names = [f"dev{number}" for number in range(100)]
        desk.cloud.devices = dict.fromkeys(names, "installing")
        ids = [desk.ask(name) for name in names]
        desk.lookups.own()
        await asyncio.sleep(20)
        statistics = desk.lookups.statistics()

    assert set(desk.sink.answers) == set(ids)
    assert all(answer.outcome == "ok" for answer in desk.sink.answers.values())
    # As many as started before the first was answered.
    assert desk.cloud.asked["lookup"] <= 20
    assert statistics.answered_by_others == 100 - desk.cloud.asked["lookup"]
    # Who asks nothing is told nothing: it would only be written again and again.
    assert len(desk.told()) == 100


def busy(desk: Desk) -> None:
    """Half a minute's urgent lookups, behind which the less urgent wait; sweeps have their share all the same."""
    for number in range(30):
        desk.ask(f"other{number}", cause="claim")


@in_virtual_time
async def test_a_sweep_answers_who_waits_and_tells_of_the_others() -> None:
    async with serving(rate_per_s=1.0) as desk:
        desk.cloud.devices = {"dev1": "installing", "dev2": "failed", "dev3": "pending"}
        busy(desk)
        lookup_id = desk.ask("dev2", cause="periodic")
        desk.lookups.own()
        await asyncio.sleep(60)
        sweep = desk.lookups.statistics().sweep

    assert desk.cloud.asked["dev2"] == 0
    assert desk.sink.answers[lookup_id].outcome == "ok"
    assert [(one.device_id, one.status, one.lookup_id) for one in desk.told()] == [
        ("dev2", "failed", lookup_id),
        ("dev1", "installing", None),
        ("dev3", "pending", None),
    ]
    assert sweep is not None
    assert (sweep.finished, sweep.devices, sweep.answered, sweep.failure) == (1, 3, 1, None)


@in_virtual_time
async def test_a_reading_from_before_a_lookup_was_due_does_not_answer_it() -> None:
    async with serving() as desk:
        desk.cloud.has_sweep = False
        desk.cloud.tells_others = True
        desk.cloud.devices = {"dev1": "installing", "dev2": "installing"}
        later = desk.ask("dev2", due_in_s=60.0, cause="periodic")
        first = desk.ask("dev1", cause="claim")
        desk.lookups.own()
        await asyncio.sleep(5)

    # Both were asked for: what told of dev1 did not answer who wants to know how dev2 is in a minute.
    assert desk.cloud.asked["lookup"] == 2
    assert {one.lookup_id for one in desk.told()} == {first, later}


@in_virtual_time
async def test_a_sweep_that_tells_less_than_a_lookup_answers_nobody() -> None:
    async with serving(rate_per_s=1.0) as desk:
        desk.cloud.sweeps_whole = False
        desk.cloud.devices = {"dev1": "installing"}
        busy(desk)
        lookup_id = desk.ask("dev1", cause="periodic")
        desk.lookups.own()
        await asyncio.sleep(60)

    assert desk.cloud.asked["dev1"] == 1
    assert [(one.evidence.origin, one.lookup_id) for one in desk.told()] == [
        ("sweep", None),
        ("lookup", lookup_id),
    ]


@in_virtual_time
async def test_a_sweep_tells_what_the_one_before_did_not() -> None:
    async with serving(sweep_period_s=10.0) as desk:
        desk.cloud.devices = {"dev1": "succeeded", "dev2": "installing"}
        desk.lookups.own()
        await asyncio.sleep(35)
        desk.cloud.devices["dev2"] = "failed"
        await asyncio.sleep(10)
        desk.cloud.devices["dev2"] = "installing"
        await asyncio.sleep(35)

    assert [(one.device_id, one.status) for one in desk.told()] == [
        ("dev1", "succeeded"),
        ("dev2", "installing"),
        ("dev2", "failed"),
        ("dev2", "installing"),
    ]


@in_virtual_time
async def test_a_package_that_changes_is_news_of_its_tasks() -> None:
    async with serving(sweep_period_s=10.0) as desk:
        desk.cloud.devices = {"dev1": "pending"}
        desk.cloud.packages["p1"] = FirmwarePackage(package_id="p1", state="checking")
        desk.lookups.own()
        await asyncio.sleep(25)
        desk.cloud.packages["p1"] = FirmwarePackage(package_id="p1", state="rejected")
        await asyncio.sleep(310)

    assert [one.package.state for one in desk.told() if one.package] == ["checking", "rejected"]


@in_virtual_time
async def test_sweeps_come_less_often_where_the_rate_allows_no_more() -> None:
    async with serving(rate_per_s=1.0, sweep_period_s=10.0, page=1) as desk:
        desk.cloud.devices = {f"dev{number}": "installing" for number in range(50)}
        desk.lookups.own()
        await asyncio.sleep(420)
        sweep = desk.lookups.statistics().sweep

    assert sweep is not None
    assert sweep.period_s == 100.0
    # Half of the rate, for what is told once a sweep: 50 requests in each 100 s.
    assert 200 <= desk.cloud.asked["sweep"] <= 251


@in_virtual_time
async def test_a_failed_sweep_is_told_and_tried_again() -> None:
    async with serving(sweep_period_s=10.0) as desk:
        desk.cloud.devices = {"dev1": "installing"}
        desk.cloud.sweep_error = errors.Unanswered("gone", api="toy")
        desk.lookups.own()
        await asyncio.sleep(5)
        failed = desk.lookups.statistics().sweep
        desk.cloud.sweep_error = None
        await asyncio.sleep(15)
        mended = desk.lookups.statistics().sweep

    assert failed is not None
    assert mended is not None
    assert (failed.finished, failed.failure) == (0, "toy: gone")
    assert (mended.finished >= 1, mended.failure) == (True, None)


@in_virtual_time
async def test_a_package_is_asked_once_for_all_devices_and_fills_state_and_target() -> None:
    async with serving() as desk:
        desk.cloud.has_sweep = False
        desk.cloud.devices = {f"dev{number}": "pending" for number in range(30)}
        for name in desk.cloud.devices:
            desk.ask(name)
        desk.lookups.own()
        await asyncio.sleep(20)
        packages = desk.lookups.statistics().packages

    assert desk.cloud.asked["package"] == 1
    assert {one.package for one in desk.told()} == {Package(id="p1", state="usable")}
    assert {one.target_version for one in desk.told()} == {"2.0"}
    assert {one.status for one in desk.told()} == {"pending"}
    assert (packages.asked, packages.by_state) == (1, {"usable": 1})


@in_virtual_time
async def test_a_package_is_asked_again_when_its_state_may_have_changed() -> None:
    async with serving() as desk:
        desk.cloud.has_sweep = False
        desk.cloud.devices = {"dev1": "pending"}
        desk.cloud.packages["p1"] = FirmwarePackage(package_id="p1", state="checking")
        desk.lookups.own()
        states = []
        for _ in range(4):
            desk.ask("dev1")
            await asyncio.sleep(200)
            desk.cloud.packages["p1"] = FirmwarePackage(package_id="p1", state="rejected")
            states.append(desk.told()[-1].package)

    assert [None if package is None else package.state for package in states] == [
        "checking",
        "checking",
        "rejected",
        "rejected",
    ]


@in_virtual_time
async def test_a_package_in_trouble_is_told_once_and_is_no_status() -> None:
    with structlog.testing.capture_logs() as logs:
        async with serving() as desk:
            desk.cloud.has_sweep = False
            desk.cloud.devices = {"dev1": "installing"}
            desk.cloud.packages["p1"] = FirmwarePackage(package_id="p1", state="missing")
            desk.lookups.own()
            for _ in range(3):
                desk.ask("dev1")
                await asyncio.sleep(400)

    assert [one.status for one in desk.told()] == ["installing"] * 3
    assert [log["state"] for log in logs if log["event"] == "package_in_trouble"] == ["missing"]


@in_virtual_time
async def test_a_lookup_survives_its_package_and_names_no_state_that_nobody_told() -> None:
    async with serving() as desk:
        desk.cloud.has_sweep = False
        desk.cloud.devices = {"dev1": "installing", "dev2": "installing"}
        desk.cloud.packages["p1"] = errors.Forbidden("not for you", api="toy-package")
        ids = [desk.ask("dev1"), desk.ask("dev2")]
        desk.lookups.own()
        await asyncio.sleep(5)
        statistics = desk.lookups.statistics()

    assert {desk.sink.answers[lookup_id].outcome for lookup_id in ids} == {"ok"}
    assert [(one.package, one.status) for one in desk.told()] == [(None, "installing")] * 2
    # The lookups are allowed; one failure keeps us from asking for the package again with every device.
    assert statistics.circuit == "closed"
    assert (desk.cloud.asked["package"], statistics.packages.failures) == (1, 1)


@in_virtual_time
async def test_a_version_on_offer_is_not_taken_from_a_package() -> None:
    async with serving() as desk:
        desk.cloud.has_sweep = False
        desk.cloud.devices = {"dev1": "idle"}
        desk.ask("dev1")
        desk.lookups.own()
        await asyncio.sleep(5)

    assert [(one.status, one.target_version) for one in desk.told()] == [("idle", None)]
