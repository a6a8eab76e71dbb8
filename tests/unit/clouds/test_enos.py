"""What is special about EnOS: finding a device in lists, the task that counts, two readings, what never leaves."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from bridge.clouds import errors
from bridge.clouds.enos.agreement import REMEMBERED_MOST, STALE_MS
from bridge.clouds.enos.cloud import READINGS_MOST
from bridge.clouds.enos.expression import one_of
from schemas import Observation, Package
from tests.enos_model import APP_SECRET, BEGIN_MS, TOKEN, EnosModel, json_answer, row, task

ENDED = {"status": "succeeded", "progress": 100, "updateTime": BEGIN_MS + 1}
RUNS = {"status": "upgrading", "progress": 30}


async def told(cloud: Any, device_id: str = "a1") -> Observation:
    (observation,) = (await cloud.lookup(device_id)).observations
    assert isinstance(observation, Observation)
    return observation


def model_of(*device_ids: str, **fields: Any) -> EnosModel:
    model = EnosModel()
    model.rows = [row(device_id, **fields) for device_id in device_ids]
    return model


async def test_a_task_tells_everything_of_the_upgrade() -> None:
    model = model_of("a1", isUpgrading=True)
    model.tasks = [task("a1", **RUNS)]
    model.jobs = {"j1": {"jobId": "j1", "firmwareId": "f1", "upgradeTimeout": 1800}}

    one = await told(model.cloud())

    assert (one.device_id, one.channel, one.product_id) == ("a1", "firmware", "pk")
    assert (one.kind, one.status, one.vendor_status) == ("status", "installing", "upgrading")
    assert (one.progress, one.undivided, one.task_id) == (30, True, "t1")
    assert (one.current_version, one.target_version) == ("1.0", "2.0")
    assert (one.package, one.vendor_timeout_s) == (Package(id="f1", state="untold"), 1800)
    assert not model.slept_s, "what runs is told at once"


async def test_a_device_without_a_task_is_idle_with_its_version() -> None:
    one = await told(model_of("a1").cloud())

    assert (one.status, one.current_version, one.target_version, one.task_id) == ("idle", "1.0", None, None)


async def test_an_unknown_status_is_passed_on_and_never_a_status() -> None:
    model = model_of("a1")
    model.tasks = [task("a1", status="paused")]

    one = await told(model.cloud())

    assert (one.kind, one.status, one.vendor_status) == ("versions", None, "paused")


# Which task counts.


def newest_of(*tasks: dict[str, Any]) -> EnosModel:
    model = model_of("a1")
    model.tasks = list(tasks)
    return model


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        # The latest news.
        ({"status": "succeeded", "updateTime": 1}, {"status": "failed", "updateTime": 2}, "second"),
        ({"status": "init", "updateTime": 1}, {"status": "succeeded", "updateTime": 2}, "second"),
        ({"status": "upgrading", "updateTime": 1}, {"status": "succeeded", "updateTime": 2}, "second"),
        ({"status": "succeeded", "updateTime": 1}, {"status": "published", "updateTime": 2}, "second"),
        # Except that what is worked on goes before what waits behind it.
        ({"status": "upgrading", "updateTime": 1}, {"status": "init", "updateTime": 2}, "first"),
        ({"status": "upgrading", "updateTime": 1}, {"status": "published", "updateTime": 2}, "first"),
        # A failure by its progress is worked on no more.
        (
            {"status": "upgrading", "progress": -1, "updateTime": 1},
            {"status": "init", "updateTime": 2},
            "second",
        ),
        # At the same time: the same one in every order of the list.
        ({"status": "failed", "updateTime": 1}, {"status": "failed", "updateTime": 1}, "second"),
    ],
)
async def test_the_task_that_counts(
    *, first: dict[str, Any], second: dict[str, Any], counts: str, turned: bool
) -> None:
    tasks = [task("a1", "first", **first), task("a1", "second", **second)]

    one = await told(newest_of(*(reversed(tasks) if turned else tasks)).cloud())

    assert one.task_id == counts


async def test_a_device_key_of_another_product_is_another_device() -> None:
    model = model_of("a1")
    model.tasks = [task("a2", "theirs", **RUNS) | {"deviceKey": "dk-a1", "productKey": "other"}]
    assert (await told(model.cloud())).status == "idle"

    del model.tasks[0]["assetId"]
    assert (await told(model.cloud())).status == "idle"

    model.tasks[0]["productKey"] = "pk"
    assert (await told(model.cloud())).status == "installing"


# Two readings that agree.


async def test_an_end_is_told_after_two_readings_two_seconds_apart() -> None:
    model = model_of("a1", firmwareVersion="2.0")
    model.tasks = [task("a1", **ENDED)]

    one = await told(model.cloud())

    assert (one.status, one.current_version) == ("succeeded", "2.0")
    assert len(model.slept_s) == 1
    assert model.slept_s[0] * 1000 >= STALE_MS
    assert (model.asked["search-task"], model.asked["search-device-upgrade"]) == (2, 2)
    assert one.asked_at_ms is not None
    assert one.asked_at_ms >= BEGIN_MS + STALE_MS, "the time is that of the reading that was believed"


async def test_an_end_that_a_second_reading_takes_back_is_not_told() -> None:
    model = model_of("a1")
    model.tasks = [task("a1", **ENDED)]

    def start_anew(api: str) -> None:
        if model.slept_s and api == "search-device-upgrade":
            model.tasks = [task("a1", **ENDED), task("a1", "t2", **RUNS) | {"updateTime": BEGIN_MS + 9}]

    model.script = start_anew
    one = await told(model.cloud())

    assert (one.status, one.task_id) == ("installing", "t2")


@pytest.mark.parametrize("late", ["version", "status"])
async def test_an_end_that_changes_between_the_readings_is_read_a_third_time(late: str) -> None:
    model = model_of("a1", isUpgrading=False)
    model.tasks = [task("a1", **ENDED) | ({"status": "failed"} if late == "status" else {})]

    def correct(_api: str) -> None:
        if model.slept_s:
            model.rows, model.tasks = [row("a1", firmwareVersion="2.0")], [task("a1", **ENDED)]

    model.script = correct
    one = await told(model.cloud())

    assert (one.status, one.current_version, len(model.slept_s)) == ("succeeded", "2.0", 2)


async def test_a_device_that_says_something_else_each_time_is_not_answered() -> None:
    model = model_of("a1")

    def move(_api: str) -> None:
        model.tasks = [task("a1", status="failed", updateTime=model.now_ms)]

    model.script = move
    with pytest.raises(errors.Unanswered):
        await told(model.cloud())

    assert model.asked["search-task"] == READINGS_MOST


async def test_an_end_that_was_read_before_needs_no_second_reading() -> None:
    model = model_of("a1")
    model.tasks = [task("a1", **ENDED)]
    cloud = model.cloud()
    await told(cloud)
    before = model.asked["search-task"]

    await told(cloud)

    assert (model.asked["search-task"] - before, len(model.slept_s)) == (1, 1)


async def test_an_end_seen_before_something_else_is_read_twice_again() -> None:
    model = model_of("a1")
    model.tasks = [task("a1", status="failed")]
    cloud = model.cloud()
    await told(cloud)
    model.tasks = [task("a1", **RUNS)]
    await told(cloud)
    model.tasks = [task("a1", status="failed")]

    await told(cloud)

    assert len(model.slept_s) == 2, "an old answer may have come late"


async def test_a_task_that_is_taken_back_leaves_the_device_at_rest() -> None:
    model = model_of("a1")
    model.tasks = [task("a1", "t1", status="succeeded"), task("a1", "t2", updateTime=BEGIN_MS + 5)]
    cloud = model.cloud()
    assert (await told(cloud)).task_id == "t2"
    del model.tasks[1]

    for _ in range(2):
        one = await told(cloud)
        assert (one.status, one.task_id) == ("idle", None), "the end of the task before is not this one's"
    assert len(model.slept_s) == 1, "the disappearance was read twice, and is known from then on"

    model.tasks.append(task("a1", "t3", status="failed", updateTime=BEGIN_MS + 9))
    assert (await told(cloud)).task_id == "t3"


async def test_an_end_later_than_the_task_that_is_gone_counts() -> None:
    model = model_of("a1")
    model.tasks = [task("a1", "t1")]
    cloud = model.cloud()
    await told(cloud)
    model.tasks = [task("a1", "t2", status="failed", updateTime=BEGIN_MS + 5)]

    assert (await told(cloud)).task_id == "t2"


async def test_a_disappearance_that_a_second_reading_does_not_see_is_not_told() -> None:
    model = model_of("a1")
    running = [task("a1", **RUNS)]
    model.tasks = list(running)
    cloud = model.cloud()
    await told(cloud)
    model.tasks = []

    def return_to(_api: str) -> None:
        model.tasks = list(running) if model.slept_s else []

    model.script = return_to

    assert (await told(cloud)).status == "installing"


async def test_what_is_remembered_of_devices_is_bounded() -> None:
    model = model_of("a1")
    cloud = model.cloud()
    await told(cloud)
    last = cloud._agreement._last
    some = next(iter(last.values()))
    last.update({f"x{number}": some for number in range(REMEMBERED_MOST)})

    await told(cloud)

    assert len(last) <= REMEMBERED_MOST + 1


# Finding a device.


def pages_asked(model: EnosModel) -> list[int]:
    return [
        msgspec.json.decode(request.body)["pagination"]["pageNo"]
        for request in model.requests
        if request.api == "search-device-upgrade"
    ]


async def test_a_device_is_found_on_whichever_page() -> None:
    model = model_of(*(f"a{number}" for number in range(25)))

    assert (await told(model.cloud(page_size=10), "a24")).device_id == "a24"
    assert pages_asked(model) == [1, 2, 3]


@pytest.mark.parametrize("tells_totals", [True, False])
async def test_a_device_on_no_page_is_not_found_after_one_round(*, tells_totals: bool) -> None:
    model = model_of(*(f"a{number}" for number in range(25)))
    model.tells_totals = tells_totals

    with pytest.raises(errors.DeviceNotFound):
        await told(model.cloud(page_size=10), "elsewhere")

    assert pages_asked(model) == [1, 2, 3]
    assert model.asked["search-task"] == 0


async def test_a_device_is_looked_for_first_where_it_was_seen_last() -> None:
    model = model_of(*(f"a{number}" for number in range(50)))
    cloud = model.cloud(page_size=10)
    await told(cloud, "a34")
    model.requests.clear()

    await told(cloud, "a15")

    assert pages_asked(model) == [2]


async def test_a_device_that_moved_to_another_page_is_found_there() -> None:
    model = model_of(*(f"a{number}" for number in range(30)))
    cloud = model.cloud(page_size=10)
    await told(cloud, "a25")
    del model.rows[:10]
    model.requests.clear()

    assert (await told(cloud, "a25")).device_id == "a25"
    assert len(pages_asked(model)) <= 3


async def test_those_who_look_for_devices_read_each_page_once_for_all() -> None:
    model = model_of(*(f"a{number}" for number in range(200)))
    cloud = model.cloud(page_size=10)

    await asyncio.gather(*(told(cloud, f"a{number}") for number in range(0, 200, 5)))

    # The first page once more, for those who came while it was being read.
    assert len(pages_asked(model)) == 21


async def test_a_page_asked_before_the_search_began_is_no_answer_to_it() -> None:
    model = model_of("a1")
    cloud = model.cloud()
    versions: list[str | None] = []

    async def late() -> None:
        versions.append((await told(cloud)).current_version)

    async with asyncio.TaskGroup() as tasks:
        original = model.page
        begun = False

        def page(request: Any, entries: list[dict[str, Any]]) -> dict[str, Any]:
            nonlocal begun
            answer = original(request, list(entries))
            if request.api == "search-device-upgrade" and not begun:
                begun = True
                tasks.create_task(late())
            return answer

        model.page = page  # type: ignore[method-assign]
        tasks.create_task(late())

    assert versions == ["1.0", "1.0"]
    assert model.asked["search-device-upgrade"] == 2


async def test_a_device_key_that_cannot_be_quoted_is_not_asked_for() -> None:
    model = model_of("a1", deviceKey="x' or isUpgrading=true or deviceKey='")
    cloud = model.cloud()

    with pytest.raises(errors.DeviceUnsupported):
        await told(cloud)

    model.rows.append(row("a2"))
    swept = [looked.device_id async for page in cloud.sweep() for looked in page]
    assert swept == ["a2"]
    assert not [request for request in model.requests if b" or " in request.body]


@pytest.mark.parametrize("value", ["", " ", "a'b", 'a"b', "a\\b", "a\nb"])
def test_an_expression_holds_nothing_that_would_need_escaping(value: str) -> None:
    with pytest.raises(ValueError, match="deviceKey"):
        one_of("deviceKey", [value])


def test_an_expression_names_one_value_or_a_list() -> None:
    assert one_of("productKey", ["yourProductKey"]) == "productKey='yourProductKey'"
    assert one_of("jobId", ["a", "b"]) == 'jobId in ("a","b")'


async def test_only_the_configured_products_are_asked_about() -> None:
    model = model_of("a1")

    await told(model.cloud(product_keys=("p1", "p2"), path_version="v2.3"))

    (asked,) = (request for request in model.requests if request.api == "search-device-upgrade")
    assert msgspec.json.decode(asked.body) == {
        "expression": 'productKey in ("p1","p2")',
        "pagination": {"pageNo": 1, "pageSize": 50},
    }
    url = urlsplit(asked.target)
    assert url.path == "/connect-service/v2.3/ota-firmwares"
    assert parse_qs(url.query) == {"action": ["searchDeviceUpgrade"], "orgId": ["o15475466766371"]}


async def test_a_list_that_gives_the_same_page_again_is_a_schema_error() -> None:
    model = model_of("a1", "a2")
    model.always = lambda request: (
        json_answer({"code": 0, "data": [row("a1")], "pagination": {"totalSize": 100}})
        if request.api == "search-device-upgrade"
        else None
    )
    cloud = model.cloud(page_size=1)

    with pytest.raises(errors.SchemaMismatch):
        [page async for page in cloud.discover()]


# Sweeps.


async def swept(cloud: Any) -> dict[str, Observation]:
    return {looked.device_id: looked.observations[0] async for page in cloud.sweep() for looked in page}


async def test_a_sweep_tells_of_every_device_and_answers_like_a_lookup() -> None:
    model = model_of(*(f"a{number}" for number in range(25)))
    model.tasks = [task("a3", **RUNS), task("a7", status="failed")]
    cloud = model.cloud(page_size=10)

    found = await swept(cloud)

    assert len(found) == 25
    statuses = {device_id: one.status for device_id, one in found.items() if one.status != "idle"}
    assert statuses == {"a3": "installing", "a7": "failed"}
    assert {one.evidence.origin for one in found.values()} == {"sweep"}
    assert len(model.slept_s) == 1, "only for the page with an end"


async def test_a_sweep_leaves_out_what_the_second_reading_contradicts() -> None:
    model = model_of("a1", "a2")
    model.tasks = [task("a1", status="failed"), task("a2", **RUNS)]

    def move(_api: str) -> None:
        if model.slept_s:
            model.tasks[0] = task("a1", status="failed", updateTime=model.now_ms)

    model.script = move
    found = await swept(model.cloud())

    assert set(found) == {"a2"}


def refusing(model: EnosModel, *device_ids: str) -> None:
    """No question about the tasks of these devices is answered with one of the documented codes."""
    keys = [f'"dk-{device_id}"' for device_id in device_ids] + [
        f"'dk-{device_id}'" for device_id in device_ids
    ]
    no = json_answer({"code": 24400, "msg": "bad expression"})
    model.always = lambda request: (
        no
        if request.api == "search-task"
        and any(key in msgspec.json.decode(request.body)["expression"] for key in keys)
        else None
    )


async def test_a_sweep_goes_on_after_a_device_whose_tasks_cannot_be_asked_for() -> None:
    model = model_of(*(f"a{number}" for number in range(25)))
    refusing(model, "a7", "a24")
    cloud = model.cloud(page_size=10)

    assert len(await swept(cloud)) == 23
    assert model.asked["search-task"] < 20
    with pytest.raises(errors.SchemaMismatch):
        await told(cloud, "a7")


@pytest.mark.parametrize("devices", [1, 25])
async def test_a_sweep_ends_soon_where_no_tasks_can_be_asked_for(devices: int) -> None:
    ids = [f"a{number}" for number in range(devices)]
    model = model_of(*ids)
    refusing(model, *ids)

    with pytest.raises(errors.SchemaMismatch):
        await swept(model.cloud(page_size=10))

    assert model.asked["search-task"] < 10


async def test_a_sweep_gives_way_after_each_request() -> None:
    model = model_of(*(f"a{number}" for number in range(25)))
    model.tasks = [task(f"a{number}", status="failed") for number in range(25)]

    pages = [page async for page in model.cloud(page_size=10).sweep()]

    assert len(pages) == sum(count for api, count in model.asked.items() if api not in ("token", "get-job"))


async def test_the_history_of_tasks_may_fill_pages_of_its_own() -> None:
    model = model_of("a1")
    model.tasks = [task("a1", f"t{number}", status="failed", updateTime=number) for number in range(25)]

    one = await told(model.cloud(page_size=10))

    assert one.task_id == "t24"


async def test_a_sweep_lists_the_jobs_so_that_none_is_asked_for() -> None:
    model = model_of("a1")
    model.tasks = [task("a1", **RUNS)]
    model.jobs = {"j1": {"jobId": "j1", "firmwareId": "f1"}}

    (one,) = (await swept(model.cloud())).values()

    assert one.package == Package(id="f1", state="untold")
    assert (model.asked["search-job"], model.asked["get-job"]) == (1, 0)


async def test_neither_lookup_nor_sweep_fails_by_the_jobs() -> None:
    model = model_of("a1")
    model.tasks = [task("a1", **RUNS)]
    model.always = lambda request: json_answer({"code": 24617, "msg": "no"}) if "job" in request.api else None
    cloud = model.cloud()

    assert (await told(cloud)).package is None
    assert set(await swept(cloud)) == {"a1"}
    assert model.asked["get-job"] == 1, "a job that could not be told is not asked for again at once"


async def test_a_job_is_asked_for_once_for_all_who_name_it() -> None:
    model = model_of(*(f"a{number}" for number in range(20)))
    model.tasks = [task(f"a{number}", **RUNS) for number in range(20)]
    model.jobs = {"j1": {"jobId": "j1", "firmwareId": "f1"}}
    cloud = model.cloud()

    await asyncio.gather(*(told(cloud, f"a{number}") for number in range(20)))

    assert model.asked["get-job"] == 1


async def test_discovery_tells_devices_with_their_products() -> None:
    model = model_of(*(f"a{number}" for number in range(25)))

    pages = [page async for page in model.cloud(page_size=10).discover()]

    assert [len(page) for page in pages] == [10, 10, 5]
    assert {device.product_id for page in pages for device in page} == {"pk"}


@pytest.mark.parametrize("found", [True, False])
async def test_a_package_is_usable_or_missing(*, found: bool) -> None:
    model = model_of("a1")
    model.firmwares = {"f1": {"firmwareId": "f1", "version": "2.0"}} if found else {}

    package = await model.cloud().package("f1")

    assert package is not None
    assert package.state == ("usable" if found else "missing")


async def test_a_package_that_is_refused_as_not_found_is_missing() -> None:
    model = model_of("a1")
    model.always = lambda request: (
        json_answer({"code": 24404, "msg": "not found"}) if request.api == "get-firmware" else None
    )

    package = await model.cloud().package("f1")

    assert package is not None
    assert package.state == "missing"


# Tokens, and what never leaves.


async def test_a_time_is_never_used_twice_for_a_token() -> None:
    model = model_of("a1")
    cloud = model.cloud()
    model.faults = [json_answer({"status": 1203}), json_answer({"status": 1203})]

    with pytest.raises(errors.TokenRejected):
        await told(cloud)

    times = [
        msgspec.json.decode(request.body)["timestamp"] for request in model.requests if request.api == "token"
    ]
    assert len(times) == len(set(times)) == 2
    assert times == sorted(times)


async def test_an_expired_token_is_fetched_anew_once() -> None:
    model = model_of("a1")
    cloud = model.cloud()
    model.faults = [json_answer({"status": 1203, "msg": "expired"})]

    assert (await told(cloud)).status == "idle"
    assert model.asked["token"] == 2


async def test_a_repeated_encryption_is_asked_again_with_a_later_time() -> None:
    model = model_of("a1")
    refusals = [json_answer({"status": 1001, "msg": "repeated requests with duplicated encryption"})]
    model.always = lambda request: refusals.pop() if request.api == "token" and refusals else None

    assert (await told(model.cloud())).status == "idle"


async def test_nothing_that_changes_anything_is_ever_asked() -> None:
    model = model_of("a1")
    model.tasks = [task("a1", status="failed")]
    cloud = model.cloud()

    await told(cloud)
    await swept(cloud)
    await cloud.package("f1")
    [page async for page in cloud.discover()]

    actions = {parse_qs(urlsplit(request.target).query).get("action", [""])[0] for request in model.requests}
    assert actions == {"", "searchDeviceUpgrade", "searchTask", "search", "get"}


async def test_neither_secret_nor_token_nor_owner_is_in_anything_that_is_told() -> None:
    model = model_of("a1", isUpgrading=True, mac="00:11", owner="somebody")
    model.tasks = [task("a1", **RUNS) | {"owner": "somebody", "url": "https://x/?sig=1"}]
    cloud = model.cloud()
    shown = msgspec.json.encode(await cloud.lookup("a1")).decode()
    assert "upgrading" in shown

    model.faults = [json_answer({"status": 1002, "msg": "no"})]
    with pytest.raises(errors.AuthRefused) as caught:
        await told(cloud)
    shown += f"{caught.value!r} {caught.value} {caught.value.remedy}"
    shown += "".join(repr(request) for request in model.requests)

    for secret in (APP_SECRET, TOKEN, "somebody", "sig=1", "o15475466766371", "dk-a1", "00:11"):
        assert secret not in shown
