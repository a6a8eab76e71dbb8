"""One account's lookups from queue to records, asked through the strict Tuya model, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from bridge.clouds import errors
from bridge.clouds.shape import Discovered, Looked, Means
from bridge.clouds.tuya_cloud.cloud import TuyaCloud
from bridge.clouds.wire import Request
from bridge.reconcile.account import AccountLookups
from schemas import LookupRequest
from tests.tuya_model import TuyaModel, failure, tuya_account
from tests.unit.reconcile.memory_sink import MemorySink
from tests.virtual_time import in_virtual_time, now_ms, now_s


class Desk:
    """An account under test with all it touches."""

    def __init__(self, model: TuyaModel, cloud: type[TuyaCloud] = TuyaCloud, **api: Any) -> None:
        self.model = model
        self.sink = MemorySink()
        self.proven = True
        self.lookups = AccountLookups(
            tuya_account(**api),
            lambda account, pace: cloud(
                account, Means(transport=model, pace=pace, now_ms=now_ms, jitter=lambda: 1.0)
            ),
            self.sink,
            proven=lambda: self.proven,
            now_ms=now_ms,
            monotonic=now_s,
            jitter=lambda: 1.0,
        )
        self._number = 0

    def ask(
        self, device_id: str, cause: str = "hint", expires_in_s: float = 600, lookup_id: str | None = None
    ) -> str:
        self._number += 1
        lookup_id = lookup_id or f"lookup{self._number}"
        self.lookups.accept(
            LookupRequest(
                lookup_id=lookup_id,
                device_id=device_id,
                account="tuya-test",
                cause=cause,
                due_at_ms=now_ms(),
                expires_at_ms=now_ms() + round(expires_in_s * 1000),
            )
        )
        return lookup_id

    def asked_devices(self) -> list[str]:
        return [target.split("/")[4] for _, target in self.model.requests if target.endswith("/firmware")]


@asynccontextmanager
async def serving(model: TuyaModel | None = None, *, own: bool = True, **api: Any) -> AsyncIterator[Desk]:
    desk = Desk(model or TuyaModel(now_ms, latency_s=0.02), **({"rate_per_s": 20.0} | api))
    stop = asyncio.Event()
    if own:
        desk.lookups.own()
    task = asyncio.create_task(desk.lookups.run(stop))
    try:
        yield desk
    finally:
        stop.set()
        await task


def idle(*device_ids: str) -> dict[str, Any]:
    return {device_id: {"type": 0, "upgrade_status": 0, "current_version": "1"} for device_id in device_ids}


@in_virtual_time
async def test_a_lookup_ends_in_its_observations_and_one_answer() -> None:
    async with serving() as desk:
        desk.model.firmware |= idle("dev1")
        lookup_id = desk.ask("dev1", "claim")
        await asyncio.sleep(5)

    status, answer = desk.sink.observations
    assert (status.kind, status.status, status.lookup_id) == ("status", "idle", lookup_id)
    assert (answer.kind, answer.outcome, answer.error, answer.lookup_id) == ("answer", "ok", None, lookup_id)
    assert answer.asked_at_ms == status.asked_at_ms
    assert [record.key for record in desk.sink.records] == [b"dev1", b"dev1"]
    assert desk.sink.records[0].timestamp_ms == status.observed_at_ms
    assert desk.sink.records[0].topic == "observations"


@in_virtual_time
async def test_one_reading_answers_all_who_wait_for_the_device() -> None:
    async with serving(own=False) as desk:
        desk.model.firmware |= idle("dev1")
        ids = [desk.ask("dev1", cause) for cause in ("periodic", "claim", "operator")]
        desk.lookups.own()
        await asyncio.sleep(5)

    assert desk.asked_devices() == ["dev1"]
    assert set(desk.sink.answers) == set(ids)


@in_virtual_time
async def test_the_most_urgent_is_asked_first_also_when_it_came_last() -> None:
    async with serving(rate_per_s=2.0) as desk:
        for number in range(20):
            desk.ask(f"old{number}", "periodic")
        await asyncio.sleep(3)
        before = len(desk.asked_devices())
        desk.ask("new", "claim")
        await asyncio.sleep(3)

    assert desk.asked_devices().index("new") <= before + 2


@in_virtual_time
async def test_a_device_the_cloud_does_not_know_is_not_found() -> None:
    async with serving() as desk:
        desk.model.firmware |= idle("dev1")
        desk.ask("dev1")
        await asyncio.sleep(5)
        lookup_id = desk.ask("gone")
        await asyncio.sleep(5)

    answer = desk.sink.answers[lookup_id]
    assert (answer.outcome, answer.error) == ("not_found", "not_found")
    assert answer.evidence.raw == {"code": "2010", "msg": "device not exist", "tid": "trace"}


@in_virtual_time
async def test_without_raw_evidence_neither_answers_nor_errors_carry_the_clouds_own_words() -> None:
    async with serving(evidence_raw="none") as desk:
        desk.model.firmware |= idle("dev1")
        known, gone = desk.ask("dev1"), desk.ask("gone")
        await asyncio.sleep(5)

    assert set(desk.sink.answers) == {known, gone}
    assert {(one.evidence.origin, one.evidence.raw) for one in desk.sink.observations} == {("lookup", None)}
    assert b"device not exist" not in b"".join(record.value for record in desk.sink.records)
    assert {one.status for one in desk.sink.observations} == {"idle", None}


@in_virtual_time
async def test_a_cloud_that_knows_none_of_the_devices_is_no_step_towards_their_removal() -> None:
    async with serving() as desk:
        lookup_id = desk.ask("dev1")
        await asyncio.sleep(5)

    answer = desk.sink.answers[lookup_id]
    assert (answer.outcome, answer.error) == ("unavailable", "not_found")


@in_virtual_time
async def test_a_forbidden_device_is_unavailable_and_never_not_found() -> None:
    async with serving() as desk:
        desk.model.always = lambda _request: failure(1106, "permission deny")
        lookup_id = desk.ask("dev1")
        await asyncio.sleep(5)

    answer = desk.sink.answers[lookup_id]
    assert (answer.outcome, answer.error) == ("unavailable", "forbidden")
    assert desk.lookups.statistics().circuit == "closed"


@in_virtual_time
async def test_an_expired_lookup_is_not_asked() -> None:
    async with serving(own=False) as desk:
        desk.ask("dev1", expires_in_s=5)
        await asyncio.sleep(6)
        desk.lookups.own()
        await asyncio.sleep(5)

    assert desk.model.requests == []
    assert desk.sink.records == []
    assert desk.lookups.statistics().queue.expired == 1


@in_virtual_time
async def test_a_lookup_whose_time_runs_out_while_it_is_asked_ends_unavailable() -> None:
    async with serving(TuyaModel(now_ms, latency_s=8.0)) as desk:
        lookup_id = desk.ask("dev1", expires_in_s=5)
        await asyncio.sleep(10)

    assert (desk.sink.answers[lookup_id].outcome, desk.sink.answers[lookup_id].error) == (
        "unavailable",
        "retry",
    )


@in_virtual_time
async def test_nothing_is_asked_before_the_account_is_owned_nor_in_its_first_second() -> None:
    async with serving(own=False) as desk:
        desk.ask("dev1")
        await asyncio.sleep(100)
        assert desk.model.requests == []

        desk.lookups.own()
        owned_at = now_s()
        await asyncio.sleep(10)

    assert desk.model.arrivals[0] >= owned_at + 1.0


@in_virtual_time
async def test_without_fresh_proof_nothing_is_sent_and_lookups_wait() -> None:
    async with serving() as desk:
        desk.model.firmware |= idle("dev1")
        desk.proven = False
        lookup_id = desk.ask("dev1")
        await asyncio.sleep(100)
        assert desk.model.requests == []

        desk.proven = True
        await asyncio.sleep(5)

    assert desk.sink.answers[lookup_id].outcome == "ok"


@in_virtual_time
async def test_ownership_lost_between_two_requests_sends_no_second_and_answers_nothing() -> None:
    async with serving(TuyaModel(now_ms, latency_s=1.0)) as desk:
        desk.ask("dev1")
        await asyncio.sleep(1.5)
        assert desk.model.asked == {"token": 1}
        desk.lookups.lose()
        await asyncio.sleep(20)
        # Whoever owned the account meanwhile was asked by the fold, if it still wants to know.
        desk.lookups.own()
        await asyncio.sleep(20)

    assert desk.model.asked == {"token": 1}
    assert desk.sink.records == []


@in_virtual_time
async def test_suspended_lookups_go_on_when_the_account_comes_back() -> None:
    async with serving(TuyaModel(now_ms, latency_s=1.0)) as desk:
        desk.model.firmware |= idle("dev1", "dev2")
        ids = {desk.ask("dev1"), desk.ask("dev2")}
        await asyncio.sleep(1.5)
        desk.lookups.suspend()
        await asyncio.sleep(20)
        desk.lookups.own()
        await asyncio.sleep(20)

    assert {lookup_id for lookup_id, answer in desk.sink.answers.items() if answer.outcome == "ok"} == ids


@in_virtual_time
async def test_a_wrong_key_stops_the_account_with_one_clear_message() -> None:
    model = TuyaModel(now_ms)
    model.access_key = "another"
    with structlog.testing.capture_logs() as logs:
        async with serving(model) as desk:
            ids = [desk.ask(f"dev{number}") for number in range(30)]
            await asyncio.sleep(60)
            statistics = desk.lookups.statistics()

    (told,) = [entry for entry in logs if entry["log_level"] in ("error", "warning")]
    assert told["event"] == "api_stopped"
    assert (told["account"], told["url"], told["error"]) == ("tuya-test", "https://localhost:1", "auth_fatal")
    assert "access_key_file" in told["remedy"]
    assert "start the bridge again" in told["remedy"]
    assert told["text"] == "sign invalid"
    assert statistics.circuit == "stopped"
    assert statistics.cause is not None
    assert statistics.cause.code == "1004"
    assert {desk.sink.answers[lookup_id].error for lookup_id in ids} == {"auth_fatal"}
    assert model.asked["token"] <= 20  # those under way when the first refusal came


@in_virtual_time
async def test_the_remedy_that_is_told_is_the_one_of_what_happened() -> None:
    def untrusted(request: Request) -> None:
        raise errors.Unanswered("its certificate is not trusted", api=request.api, remedy="set api.ca_file")

    model = TuyaModel(now_ms)
    model.always = untrusted
    with structlog.testing.capture_logs() as logs:
        async with serving(model, discovery="api") as desk:
            for number in range(10):
                desk.ask(f"dev{number}")
            await asyncio.sleep(60)
            statistics = desk.lookups.statistics()

    told = [entry for entry in logs if entry["event"] in ("api_paused", "background_failed")]
    assert {entry["event"] for entry in told} == {"api_paused", "background_failed"}
    assert {entry["remedy"] for entry in told} == {"set api.ca_file"}
    assert statistics.cause is not None
    assert statistics.cause.remedy == "set api.ca_file"


@in_virtual_time
async def test_a_stopped_account_answers_slowly() -> None:
    model = TuyaModel(now_ms)
    model.access_key = "another"
    async with serving(model) as desk:
        desk.ask("dev")
        await asyncio.sleep(5)
        before = len(desk.sink.records)
        for number in range(500):
            desk.ask(f"dev{number}")
        await asyncio.sleep(10)

        assert 45 <= len(desk.sink.records) - before <= 51


@in_virtual_time
async def test_a_configuration_that_cannot_work_stops_only_its_account() -> None:
    def broken(_account: Any, _pace: Any) -> TuyaCloud:
        raise errors.Misconfigured("no such cloud", api="configuration")

    sink = MemorySink()
    lookups = AccountLookups(
        tuya_account(),
        broken,
        sink,
        proven=lambda: True,
        now_ms=now_ms,
        monotonic=now_s,
        jitter=lambda: 1.0,
    )

    assert lookups.statistics().circuit == "stopped"
    assert lookups.statistics().cause is not None


@in_virtual_time
async def test_out_of_quota_the_account_is_left_alone_and_recovers_by_itself() -> None:
    async with serving(circuit_open_s=300.0) as desk:
        desk.model.firmware |= idle(*(f"dev{number}" for number in range(50)))
        desk.model.always = lambda _request: failure(28841004, "quota")
        for number in range(50):
            desk.ask(f"dev{number}")
        await asyncio.sleep(290)
        asked = desk.model.asked["thing-firmware"]
        assert asked <= 20
        assert desk.lookups.statistics().circuit == "open"

        desk.model.always = lambda _request: None
        await asyncio.sleep(60)

    assert sum(answer.outcome == "ok" for answer in desk.sink.answers.values()) == 50 - asked
    assert desk.lookups.statistics().circuit == "closed"


@in_virtual_time
async def test_what_expires_before_the_circuit_closes_is_answered_unavailable() -> None:
    async with serving(circuit_open_s=1800.0) as desk:
        desk.model.always = lambda _request: failure(28841002, "expired plan")
        first = desk.ask("dev0")
        await asyncio.sleep(5)
        second = desk.ask("dev1", expires_in_s=600)
        await asyncio.sleep(5)

    assert desk.model.asked["thing-firmware"] == 1
    assert desk.sink.answers[first].error == desk.sink.answers[second].error == "forbidden"
    assert desk.sink.answers[second].evidence.raw["msg"].startswith("not asked")


@in_virtual_time
async def test_a_cloud_that_is_down_is_tried_by_one_lookup_at_a_time_and_recovers() -> None:
    async with serving() as desk:
        names = [f"dev{number}" for number in range(100)]
        desk.model.firmware |= idle(*names)
        desk.model.always = lambda _request: failure(500)
        for name in names:
            desk.ask(name)
        await asyncio.sleep(60)
        in_a_minute = desk.model.asked["thing-firmware"]
        desk.model.always = lambda _request: None
        await asyncio.sleep(90)

    assert in_a_minute < 100
    served = [answer.outcome for answer in desk.sink.answers.values()]
    assert len(served) == 100
    assert served.count("ok") > 60


@in_virtual_time
async def test_five_hundreds_to_every_fifth_request_lose_almost_nothing() -> None:
    model = TuyaModel(now_ms, latency_s=0.01)
    count = 0

    def fifth(_request: Request) -> dict[str, Any] | None:
        nonlocal count
        count += 1
        return failure(500) if count % 5 == 0 else None

    async with serving(model, rate_per_s=200.0) as desk:
        names = [f"dev{number}" for number in range(500)]
        model.firmware |= idle(*names)
        model.always = fifth
        for name in names:
            desk.ask(name, "claim", expires_in_s=10)
        await asyncio.sleep(10)

    assert sum(answer.outcome == "ok" for answer in desk.sink.answers.values()) >= 495


@in_virtual_time
async def test_an_unsupported_device_is_not_asked_again_for_a_day_but_by_an_operator() -> None:
    async with serving() as desk:
        desk.model.always = lambda _request: failure(2009)
        for _ in range(3):
            last = desk.ask("dev1", "periodic")
            await asyncio.sleep(60)
        assert len(desk.asked_devices()) == 1
        assert desk.sink.answers[last].error == "unsupported"

        desk.ask("dev1", "operator")
        await asyncio.sleep(60)
        assert len(desk.asked_devices()) == 2

        await asyncio.sleep(86400)
        desk.ask("dev1", "periodic")
        await asyncio.sleep(60)
        assert len(desk.asked_devices()) == 3


@in_virtual_time
async def test_ten_thousand_lookups_take_no_longer_than_their_requests_at_the_rate() -> None:
    model = TuyaModel(now_ms, latency_s=0.03)
    async with serving(model, rate_per_s=200.0) as desk:
        names = [f"dev{number}" for number in range(10_000)]
        for name in names:
            model.firmware[name] = {"type": 0, "upgrade_status": 2}
            model.progress[name, "0"] = {"upgrade_status": 2, "progress": 1}
            desk.ask(name, "gap", expires_in_s=3600)
        began = now_s()
        while len(desk.sink.answers) < len(names) and now_s() - began < 200:
            await asyncio.sleep(2)

        assert now_s() - began <= 1.2 * 2 * len(names) / 200
        times = model.arrivals
        assert all(later - earlier > 1.0 for earlier, later in zip(times, times[200:], strict=False))


@in_virtual_time
async def test_a_surprise_in_reading_an_answer_costs_that_lookup_only() -> None:
    async with serving() as desk:
        desk.model.firmware |= idle("dev2")
        desk.model.faults.append(RuntimeError("bug"))
        with structlog.testing.capture_logs() as logs:
            first = desk.ask("dev1")
            await asyncio.sleep(3)
        second = desk.ask("dev2")
        await asyncio.sleep(3)

    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["lookup_broke"]
    assert (desk.sink.answers[first].outcome, desk.sink.answers[first].error) == (
        "unavailable",
        "schema_error",
    )
    assert desk.sink.answers[second].outcome == "ok"


@in_virtual_time
async def test_while_kafka_is_down_only_as_many_are_asked_as_may_be_under_way() -> None:
    async with serving(rate_per_s=4.0) as desk:
        names = [f"dev{number}" for number in range(50)]
        desk.model.firmware |= idle(*names)
        desk.sink.closed.clear()
        for name in names:
            desk.ask(name)
        await asyncio.sleep(60)
        assert len(desk.asked_devices()) == 4
        desk.sink.closed.set()
        await asyncio.sleep(60)

    assert len(desk.sink.answers) == 50


@in_virtual_time
async def test_a_stop_lets_lookups_under_way_finish_and_starts_no_more() -> None:
    model = TuyaModel(now_ms, latency_s=1.0)
    async with serving(model, rate_per_s=1.0) as desk:
        names = [f"dev{number}" for number in range(10)]
        model.firmware |= idle(*names)
        for name in names:
            desk.ask(name)
        while not model.asked["thing-firmware"]:
            await asyncio.sleep(0.1)
        under_way = desk.lookups.statistics().in_flight
        assert not desk.sink.records

    assert 1 <= under_way < len(names)
    assert [answer.outcome for answer in desk.sink.answers.values()] == ["ok"] * under_way


@in_virtual_time
async def test_a_stop_cuts_off_what_takes_too_long() -> None:
    model = TuyaModel(now_ms)
    async with serving(model) as desk:
        model.latency_s = 1000.0
        desk.ask("dev1", expires_in_s=5000)
        await asyncio.sleep(2)
        began = now_s()

    assert now_s() - began <= 5.1


@in_virtual_time
async def test_discovery_announces_each_device_once_as_a_hint_and_again_after_a_restart() -> None:
    model = TuyaModel(now_ms)
    model.devices = [{"id": f"dev{number}", "productId": "p1"} for number in range(45)]
    for _ in range(2):
        async with serving(model, discovery="api", discovery_period_s=100.0) as desk:
            await asyncio.sleep(350)
            statistics = desk.lookups.statistics().discovery

        hints = desk.sink.observations
        assert sorted(one.device_id for one in hints) == sorted(device["id"] for device in model.devices)
        assert {(one.kind, one.evidence.origin, one.product_id) for one in hints} == {("hint", "sweep", "p1")}
        assert (statistics.listed, statistics.announced, statistics.failure) == (45, 45, None)


@in_virtual_time
async def test_a_device_that_appears_later_is_announced_by_the_next_listing() -> None:
    model = TuyaModel(now_ms)
    async with serving(model, discovery="api", discovery_period_s=100.0) as desk:
        await asyncio.sleep(50)
        model.devices.append({"id": "late"})
        await asyncio.sleep(100)

    assert [one.device_id for one in desk.sink.observations] == ["late"]


@in_virtual_time
async def test_a_list_as_long_as_before_is_no_news() -> None:
    model = TuyaModel(now_ms)
    model.devices = [{"id": "dev1"}]
    with structlog.testing.capture_logs() as logs:
        async with serving(model, discovery="api", discovery_period_s=100.0):
            await asyncio.sleep(250)
            model.devices = [{"id": "dev1"}, {"id": "dev2"}]
            await asyncio.sleep(200)

    told = [(entry["log_level"], entry["devices"]) for entry in logs if entry["event"] == "devices_listed"]
    assert told == [("info", 1), ("debug", 1), ("debug", 1), ("info", 2), ("debug", 2)]


@in_virtual_time
async def test_a_device_that_was_gone_is_announced_again_when_it_returns() -> None:
    model = TuyaModel(now_ms)
    model.devices = [{"id": "dev1"}, {"id": "dev2"}]
    async with serving(model, discovery="api", discovery_period_s=100.0) as desk:
        await asyncio.sleep(50)
        gone = model.devices.pop()
        await asyncio.sleep(100)
        model.devices.append(gone)
        await asyncio.sleep(100)

    assert [one.device_id for one in desk.sink.observations] == ["dev1", "dev2", "dev2"]


@in_virtual_time
async def test_a_cloud_without_pushes_is_swept_at_the_start_and_every_period() -> None:
    class Swept(TuyaCloud):
        has_sweep = True

        async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
            for name in ("dev1", "dev2"):
                yield [await self.lookup(name)]

    model = TuyaModel(now_ms)
    model.firmware |= idle("dev1", "dev2")
    async with serving(model, cloud=Swept, sweep_period_s=100.0) as desk:
        await asyncio.sleep(250)

    assert model.asked["thing-firmware"] == 3 * 2
    # What did not change since the sweep before is not told again.
    assert [one.device_id for one in desk.sink.observations] == ["dev1", "dev2"]


class Swept(TuyaCloud):
    """A cloud that is read by sweeps, as those without pushes are."""

    has_sweep = True

    async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
        yield [await self.lookup("dev1")]


@in_virtual_time
async def test_after_refused_credentials_a_sweep_finds_out_that_they_count_again() -> None:
    model = TuyaModel(now_ms)
    model.firmware |= idle("dev1")
    right, model.access_key = model.access_key, "another"
    with structlog.testing.capture_logs() as logs:
        async with serving(model, cloud=Swept, sweep_period_s=100.0) as desk:
            await asyncio.sleep(3600)
            asked_in_an_hour = model.asked["token"]
            assert desk.lookups.statistics().cause is not None

            model.access_key = right
            await asyncio.sleep(3600)

            assert desk.lookups.statistics().circuit == "closed"
            assert desk.lookups.statistics().cause is None
    assert asked_in_an_hour < 10
    assert [one.device_id for one in desk.sink.observations] == ["dev1"]
    told = [entry["event"] for entry in logs if entry["event"].startswith("api_")]
    assert (told[0], told[-1]) == ("api_stopped", "api_answers_again")


@in_virtual_time
async def test_a_sweep_that_is_allowed_says_nothing_about_lookups_that_are_not() -> None:
    model = TuyaModel(now_ms)
    model.devices = [{"id": "dev1"}]

    class Listed(TuyaCloud):
        has_sweep = True

        async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
            async for _ in self.discover():
                yield []

    model.always = lambda request: failure(28841002) if request.api == "thing-firmware" else None
    with structlog.testing.capture_logs() as logs:
        async with serving(
            model, cloud=Listed, sweep_period_s=100.0, circuit_open_s=600.0, discovery="api"
        ) as desk:
            desk.ask("dev1")
            await asyncio.sleep(7200)
            assert desk.lookups.statistics().circuit == "half_open"
    assert "api_answers_again" not in {entry["event"] for entry in logs}


@in_virtual_time
async def test_a_lookup_that_waits_for_the_circuit_is_asked_when_it_opens() -> None:
    async with serving(circuit_open_s=300.0) as desk:
        desk.model.firmware |= idle("dev1", "dev2")
        desk.model.always = lambda _request: failure(28841004, "quota")
        desk.ask("dev1")
        await asyncio.sleep(10)
        waiting = desk.ask("dev2", expires_in_s=600)
        desk.model.always = lambda _request: None
        await asyncio.sleep(400)
    assert desk.sink.answers[waiting].outcome == "ok"


@in_virtual_time
async def test_a_listing_that_is_refused_concerns_no_lookup_and_is_tried_again() -> None:
    model = TuyaModel(now_ms)
    model.firmware |= idle("dev1")
    model.always = lambda request: failure(28841101) if request.api == "thing-devices" else None
    async with serving(model, discovery="api") as desk:
        await asyncio.sleep(5)
        lookup_id = desk.ask("dev1")
        await asyncio.sleep(5)
        assert desk.lookups.statistics().circuit == "closed"
        assert desk.sink.answers[lookup_id].outcome == "ok"
        assert "28841101" in (desk.lookups.statistics().discovery.failure or "")

        model.always = lambda _request: None
        model.devices = [{"id": "dev2"}]
        await asyncio.sleep(120)

    assert "dev2" in {one.device_id for one in desk.sink.observations}


@in_virtual_time
async def test_listing_gives_way_to_urgent_lookups_but_does_not_starve() -> None:
    model = TuyaModel(now_ms)
    model.devices = [{"id": f"dev{number}"} for number in range(400)]
    async with serving(model, rate_per_s=4.0, discovery="api") as desk:
        stop_at = now_s() + 80
        number = 0
        while now_s() < stop_at:
            number += 1
            desk.ask(f"busy{number}", "claim")
            await asyncio.sleep(0.2)

    pages = model.asked["thing-devices"]
    assert 8 <= pages <= 80 * 4 / 3
    assert model.asked["thing-firmware"] >= 2 * pages


@in_virtual_time
async def test_listing_waits_while_more_is_queued_than_a_minutes_work() -> None:
    model = TuyaModel(now_ms)
    model.devices = [{"id": f"dev{number}"} for number in range(2000)]
    async with serving(model, rate_per_s=1.0, discovery="api") as desk:
        model.always = lambda request: failure(2010) if request.api == "thing-firmware" else None
        known = 0
        for _ in range(300):
            await asyncio.sleep(1)
            found = [one.device_id for one in desk.sink.observations if one.kind == "hint"]
            for device_id in found[known:]:
                desk.ask(device_id, expires_in_s=3600)
            known = len(found)

        assert desk.lookups.statistics().queue.waiting <= 60 + 2 * 20


def listed(model: TuyaModel) -> int:
    return model.asked["thing-devices"]


@in_virtual_time
async def test_a_lookup_without_a_device_lists_all_and_is_answered_after_the_hints() -> None:
    async with serving(discovery="api", discovery_period_s=86400.0) as desk:
        await asyncio.sleep(5)
        before = listed(desk.model)
        desk.model.devices = [{"id": "new1"}, {"id": "new2"}]
        ids = [desk.ask("", "operator") for _ in range(2)]
        await asyncio.sleep(5)

    assert listed(desk.model) == before + 1, (
        "one listing serves all who want one, long before its period is over"
    )
    *hints, first, second = desk.sink.observations
    assert {hint.device_id for hint in hints if hint.kind == "hint"} == {"new1", "new2"}
    for answer in (first, second):
        assert (answer.kind, answer.device_id, answer.outcome, answer.error) == ("answer", "", "ok", None)
    assert {first.lookup_id, second.lookup_id} == set(ids)
    assert desk.sink.records[-1].key == b"tuya-test"


@in_virtual_time
async def test_a_listing_that_fails_is_answered_with_its_error() -> None:
    async with serving(discovery="api") as desk:
        await asyncio.sleep(5)
        desk.model.always = lambda request: failure(1109) if "/cloud/thing/device" in request.target else None
        lookup_id = desk.ask("", "operator")
        await asyncio.sleep(5)

    answer = desk.sink.answers[lookup_id]
    assert (answer.device_id, answer.outcome, answer.error) == ("", "unavailable", "bad_request")


@in_virtual_time
async def test_a_listing_that_another_process_has_to_make_is_not_answered_here() -> None:
    async with serving(discovery="api", own=False) as desk:
        lookup_id = desk.ask("", "operator")
        desk.lookups.lose()
        desk.lookups.own()
        await asyncio.sleep(5)

    assert lookup_id not in desk.sink.answers


@in_virtual_time
async def test_after_refused_credentials_a_listing_finds_out_where_nothing_else_asks() -> None:
    model = TuyaModel(now_ms)
    model.devices = [{"id": "dev1", "productId": "p1"}]
    right, model.access_key = model.access_key, "another"
    async with serving(model, discovery="api", discovery_period_s=3600.0) as desk:
        await asyncio.sleep(3600)
        asked_in_an_hour = model.asked["token"]
        assert desk.lookups.statistics().cause is not None

        model.access_key = right
        await asyncio.sleep(3600)

        assert desk.lookups.statistics().circuit == "closed"
        assert [one.device_id for one in desk.sink.observations] == ["dev1"]
    assert asked_in_an_hour < 10


@in_virtual_time
async def test_who_wants_a_listing_is_told_at_once_that_the_account_is_refused_for_long() -> None:
    model = TuyaModel(now_ms)
    model.access_key = "another"
    async with serving(model, discovery="api") as desk:
        await asyncio.sleep(10)
        assert desk.lookups.statistics().circuit == "stopped"
        listing = desk.ask("", "operator")
        await asyncio.sleep(1)

    (answer,) = (one for one in desk.sink.observations if one.lookup_id == listing)
    assert (answer.kind, answer.outcome, answer.error) == ("answer", "unavailable", "auth_fatal")


@in_virtual_time
async def test_a_listing_goes_on_where_it_was_after_a_short_loss_of_proof() -> None:
    model = TuyaModel(now_ms)
    model.devices = [{"id": f"dev{number}", "productId": "p1"} for number in range(20 * 400)]
    async with serving(model, discovery="api", discovery_period_s=86400.0, rate_per_s=4.0) as desk:
        for _ in range(5):
            await asyncio.sleep(30)
            desk.proven = False
            await asyncio.sleep(2)
            desk.proven = True

        assert desk.lookups.statistics().discovery.finished_at_ms is not None
    assert model.asked["thing-devices"] <= 401


@in_virtual_time
async def test_what_another_process_may_have_told_is_told_again_when_the_account_comes_back() -> None:
    model = TuyaModel(now_ms)
    model.firmware |= idle("dev1")
    async with serving(model, cloud=Swept, sweep_period_s=10.0) as desk:
        await asyncio.sleep(60)
        desk.lookups.suspend()
        desk.lookups.lose()
        desk.lookups.own()
        await asyncio.sleep(60)

    assert [one.status for one in desk.sink.observations] == ["idle", "idle"]


@in_virtual_time
async def test_a_new_owner_waits_until_the_former_ones_last_requests_count_no_more() -> None:
    async with serving(own=False, rate_per_s=10.0) as desk:
        desk.model.firmware |= idle("dev1")
        desk.ask("dev1")
        desk.lookups.own()
        await asyncio.sleep(1.1)  # a second; but a request sent just before may have travelled since
        assert not desk.model.asked
        await asyncio.sleep(1)
        assert desk.model.asked


def unreachable(request: Request) -> None:
    raise errors.Unanswered("its host could not be asked", api=request.api, remedy="correct api.url")


@in_virtual_time
async def test_a_cloud_that_answers_no_listing_is_told_as_one_that_answers_no_lookup_and_when_it_is_back() -> (
    None
):
    model = TuyaModel(now_ms)
    model.devices = [{"id": "dev1"}]
    model.always = unreachable
    with structlog.testing.capture_logs() as logs:
        async with serving(model, discovery="api") as desk:
            await asyncio.sleep(30)
            assert desk.lookups.statistics().circuit == "closed"
            await asyncio.sleep(60)
            statistics = desk.lookups.statistics()
            assert statistics.circuit == "half_open"
            assert statistics.cause is not None
            assert statistics.cause.remedy == "correct api.url"

            model.always = lambda _request: None
            await asyncio.sleep(120)
            assert desk.lookups.statistics().circuit == "closed"

    told = [entry["event"] for entry in logs if entry["event"].startswith("api_")]
    assert told == ["api_paused", "api_answers_again"]
    assert [one.device_id for one in desk.sink.observations] == ["dev1"]


@in_virtual_time
async def test_a_cloud_that_is_away_for_a_day_is_asked_for_lists_no_more_often_than_they_are_repeated() -> (
    None
):
    model = TuyaModel(now_ms)
    model.always = unreachable
    asked: list[float] = []

    class Counted(Swept):
        async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
            asked.append(now_s())
            async for page in super().sweep():
                yield page

    async with serving(model, cloud=Counted, sweep_period_s=86400.0) as desk:
        await asyncio.sleep(86400)
        assert desk.lookups.statistics().circuit == "half_open"

    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(asked)]
    assert pauses[:6] == [60, 120, 240, 480, 960, 1920]
    assert set(pauses[6:]) == {3600}


@in_virtual_time
async def test_one_list_that_is_never_answered_leaves_lookups_and_the_other_list_alone() -> None:
    class Broken(TuyaCloud):
        has_sweep = True

        async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
            raise errors.Unanswered("an odd page", api="jobs", asked_at_ms=now_ms())
            yield []

    model = TuyaModel(now_ms)
    model.firmware |= idle("dev1")
    model.devices = [{"id": "dev1"}]
    async with serving(
        model, cloud=Broken, sweep_period_s=100.0, discovery="api", discovery_period_s=100.0
    ) as desk:
        await asyncio.sleep(1000)
        listed_before = listed(model)
        assert listed_before >= 9
        began = now_s()
        lookup_id = desk.ask("dev1", "claim", expires_in_s=120)
        while lookup_id not in desk.sink.answers and now_s() - began < 120:
            await asyncio.sleep(0.1)
        assert now_s() - began < 5
        assert desk.sink.answers[lookup_id].outcome == "ok"
        await asyncio.sleep(10)
        assert desk.lookups.statistics().circuit == "closed"


@in_virtual_time
async def test_a_listing_goes_on_where_it_was_after_a_moment_in_which_nothing_was_answered() -> None:
    model = TuyaModel(now_ms)
    model.devices = [{"id": f"dev{number}"} for number in range(20 * 400)]
    async with serving(model, discovery="api", discovery_period_s=86400.0, rate_per_s=4.0) as desk:
        await asyncio.sleep(20)
        model.always = lambda request: failure(500) if request.api == "thing-firmware" else None
        for number in range(10):
            desk.ask(f"dev{number}")
        await asyncio.sleep(10)
        assert desk.lookups.statistics().circuit != "closed"
        model.always = lambda _request: None
        await asyncio.sleep(600)

        assert desk.lookups.statistics().circuit == "closed"
        assert desk.lookups.statistics().discovery.finished_at_ms is not None
    assert model.asked["thing-devices"] <= 401


@in_virtual_time
async def test_a_list_that_comes_from_elsewhere_says_nothing_of_the_cloud() -> None:
    class FromFile(Swept):
        async def discover(self) -> AsyncGenerator[Sequence[Discovered], None]:
            yield [Discovered(device_id="dev1")]

    model = TuyaModel(now_ms)
    model.always = unreachable
    async with serving(
        model, cloud=FromFile, sweep_period_s=60.0, discovery="api", discovery_period_s=10.0
    ) as desk:
        await asyncio.sleep(300)
        assert desk.lookups.statistics().circuit != "closed"
