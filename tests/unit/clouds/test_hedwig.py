"""Hedwig's client: how it finds a device's last task without a call that tells it, and what it never asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from bridge.clouds import errors
from bridge.clouds.hedwig.answers import Job
from bridge.clouds.hedwig.cloud import HedwigCloud
from bridge.clouds.hedwig.rollouts import Group, JobMemory, newest_first
from bridge.clouds.hedwig.settings import HedwigApi, HedwigCredentials
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Looked, Means
from bridge.clouds.wire import Answer, Request
from consumer.secret import Secret
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from schemas import Observation
from tests.simulated_api import SimulatedApi

READING = {
    "QueryOTAFirmware",
    "ListOTAFirmware",
    "ListOTAJobByFirmware",
    "ListOTATaskByJob",
    "ListOTAUnfinishedTaskByDevice",
    "ListOTAModuleVersionsByDevice",
}


def parameters_of(request: Request) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.target).query, keep_blank_values=True))


def asked(api: SimulatedApi) -> Counter[str]:
    return Counter(parameters_of(request)["Action"] for request in api.requests)


def told(looked: Looked) -> dict[str | None, Observation]:
    return {one.channel: one for one in looked.observations}


async def swept(api: SimulatedApi) -> list[Observation]:
    return [one async for page in api.cloud.sweep() for looked in page for one in looked.observations]


def ended(api: SimulatedApi, ending: str, devices: int) -> None:
    api.simulation.all_of(ending, devices)
    api.simulation.advance()


class Played:
    """A vendor that is played by a function: an action's parameters in, its answer out."""

    def __init__(self, play: Callable[[dict[str, str]], dict[str, Any]], **api: Any) -> None:
        self._play = play
        self.asked: list[dict[str, str]] = []
        account = ApiAccount(
            name="hedwig-test",
            cloud="hedwig",
            credentials=HedwigCredentials(access_key_id="testid", access_key_secret=Secret("testsecret")),
            api=HedwigApi(url="https://localhost", **api),
        )
        means = Means(transport=self, pace=self, now_ms=lambda: 1_700_000_000_000, jitter=lambda: 1.0)
        self.cloud = HedwigCloud(account, means)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        yield

    async def send(self, request: Request) -> Answer:
        parameters = parameters_of(request)
        self.asked.append(parameters)
        body = msgspec.json.encode({"success": True, **self._play(parameters)})
        return Answer(status=200, headers={}, body=body)


MODULE = {"moduleName": "default", "moduleVersion": "1", "deviceName": "d", "iotId": "i", "productKey": "p"}
FIRMWARE = {"firmwareId": "1", "moduleName": "default", "productKey": "p"}


def task(number: int, status: str = "SUCCEEDED", **more: Any) -> dict[str, Any]:
    return {
        "taskId": f"t{number}",
        "iotId": "i",
        "deviceName": "d",
        "productKey": "p",
        "jobId": f"j{number}",
        "firmwareId": "1",
        "taskStatus": status,
        "destVersion": str(number),
        "utcCreate": f"2024-11-{number:02d}T00:00:00.000Z",
    } | more


def job(number: int, status: str = "COMPLETED", **more: Any) -> dict[str, Any]:
    created = f"2024-11-{number:02d}T00:00:00.000Z"
    return {"jobId": f"j{number}", "firmwareId": "1", "jobStatus": status, "utcCreate": created} | more


def playing(
    *,
    tasks: dict[str, list[dict[str, Any]]] | None = None,
    unfinished: list[dict[str, Any]] | None = None,
    jobs: list[dict[str, Any]] | None = None,
    modules: list[dict[str, Any]] | None = None,
    firmwares: list[dict[str, Any]] | None = None,
    package: dict[str, Any] | None = None,
) -> Callable[[dict[str, str]], dict[str, Any]]:
    def play(parameters: dict[str, str]) -> dict[str, Any]:
        match parameters["Action"]:
            case "ListOTAModuleVersionsByDevice":
                return {"data": [MODULE] if modules is None else modules}
            case "ListOTAUnfinishedTaskByDevice":
                return {"data": unfinished or []}
            case "ListOTAFirmware":
                return {"firmwareInfo": [FIRMWARE] if firmwares is None else firmwares}
            case "ListOTAJobByFirmware":
                return {"data": jobs or []}
            case "ListOTATaskByJob":
                return {"data": (tasks or {}).get(parameters["JobId"], [])}
            case _ if package is not None:
                return {"firmwareInfo": package}
        return {"success": False, "code": "iot.ota.FirmwareNotExist"}

    return play


async def test_an_answer_that_is_nested_deeper_than_its_names_can_be_read_is_as_good_as_none() -> None:
    nested: list[Any] = []
    for _ in range(700):
        nested = [nested]

    with pytest.raises(errors.Unanswered):
        await Played(lambda _parameters: {"data": nested}).cloud.lookup("i")


@pytest.mark.parametrize("told", [{"firmwareInfo": None}, {"success": False, "code": "NobodyKnows"}])
async def test_a_package_whose_answer_is_not_understood_ends_neither_sweeps_nor_lookups(
    told: dict[str, Any],
) -> None:
    jobs = [job(3)]
    play = playing(firmwares=[FIRMWARE, {"firmwareId": "2", "productKey": "p"}], jobs=jobs)
    api = Played(
        lambda parameters: (
            told
            if parameters["Action"] == "QueryOTAFirmware"
            else {"data": [task(3)]}
            if parameters["Action"] == "ListOTATaskByJob"
            else play(parameters)
        )
    )

    assert [looked.device_id async for page in api.cloud.sweep() for looked in page]
    assert (await api.cloud.lookup("i")).observations[0].status == "succeeded"


async def test_jobs_are_sorted_whatever_digits_their_ids_have() -> None:
    ids = ("9" * 5000, "2", "10")
    jobs = [Job(job_id=job_id, firmware_id="1", status="", created="") for job_id in ids]

    assert [one.job_id for one in newest_first(jobs)][:2] == ["10", "2"]


async def test_a_device_that_never_had_a_task_is_idle_on_each_module_with_its_version() -> None:
    api = SimulatedApi("hedwig")
    devices = [api.simulation.fleet.create() for _ in range(20)]

    for device in devices:
        looked = await api.cloud.lookup(device.device_id)
        assert {channel.name: channel.current_version for channel in device.channels} == {
            name: one.current_version for name, one in told(looked).items()
        }
        assert {one.status for one in looked.observations} == {"idle"}
        assert {one.product_id for one in looked.observations} == {device.product_id}
    assert {len(device.channels) for device in devices} == {1, 2}


async def test_a_running_task_is_told_with_all_that_it_has() -> None:
    play = playing(
        unfinished=[
            task(3, "CONFIRM", progress="0", timeout="60"),
        ],
        jobs=[job(3, "IN_PROGRESS")],
    )

    looked = await Played(play).cloud.lookup("i")

    (one,) = looked.observations
    assert (one.channel, one.status, one.vendor_status) == ("default", "pending", "CONFIRM")
    assert (one.current_version, one.target_version, one.task_id) == ("1", "3", "t3")
    assert one.package is not None
    assert (one.package.id, one.needs_confirmation, one.vendor_timeout_s) == ("1", True, 3600)
    assert one.evidence.name == "ListOTAUnfinishedTaskByDevice"
    assert isinstance(one.evidence.raw, dict)
    assert (one.evidence.raw["jobStatus"], one.evidence.raw["moduleVersion"]) == ("IN_PROGRESS", "1")


async def test_the_progress_of_a_running_task_is_told_and_that_of_an_ended_one_is_not() -> None:
    running = playing(unfinished=[task(3, "IN_PROGRESS", progress="42")], jobs=[job(3)])
    failed = playing(tasks={"j3": [task(3, "FAILED", progress="42")]}, jobs=[job(3)])

    (one,) = (await Played(running).cloud.lookup("i")).observations
    (other,) = (await Played(failed).cloud.lookup("i")).observations

    assert (one.status, one.progress, one.undivided) == ("installing", 42, True)
    assert (other.status, other.progress) == ("failed", None)


async def test_products_that_report_the_download_are_downloading_until_it_is_complete() -> None:
    play = playing(unfinished=[task(3, "IN_PROGRESS", progress="42")], jobs=[job(3)])

    (one,) = (await Played(play, download_products=("p",)).cloud.lookup("i")).observations

    assert (one.status, one.undivided) == ("downloading", False)


async def test_a_status_that_nobody_knows_is_passed_on_and_changes_nothing() -> None:
    play = playing(unfinished=[task(3, "PAUSED")], jobs=[job(3, "IN_PROGRESS")])

    (one,) = (await Played(play).cloud.lookup("i")).observations

    assert (one.kind, one.status, one.vendor_status) == ("versions", None, "PAUSED")
    assert one.current_version == "1"


@pytest.mark.parametrize("is_swept", [False, True])
async def test_of_all_campaigns_a_lookup_tells_the_last(*, is_swept: bool) -> None:
    api = SimulatedApi("hedwig", jobs_per_lookup=10 if is_swept else 100)
    for ending in ("failed", "timed_out", "succeeded", "cancelled", "failed", "succeeded"):
        ended(api, ending, 12)
    if is_swept:
        await swept(api)

    for truth in api.simulation.truths():
        found = told(await api.cloud.lookup(truth["device_id"]))
        for channel in truth["channels"]:
            assert found[channel["channel"]].status == channel["status"]


async def test_of_all_campaigns_a_sweep_tells_each_devices_last_and_no_history() -> None:
    api = SimulatedApi("hedwig")
    for ending in ("failed", "timed_out", "succeeded", "cancelled", "failed"):
        ended(api, ending, 30)

    found = await swept(api)

    truths = {
        (truth["device_id"], channel["channel"]): channel["status"]
        for truth in api.simulation.truths()
        for channel in truth["channels"]
        if channel["attempts"]
    }
    assert {(one.device_id, one.channel): one.status for one in found} == truths
    assert len(found) == len(truths), "each once"
    assert all(one.evidence.origin == "sweep" for one in found)


async def test_a_sweep_reads_every_page_of_a_job() -> None:
    api = SimulatedApi("hedwig")
    ended(api, "succeeded", 700)

    found = await swept(api)

    assert len({one.device_id for one in found}) == 700
    assert max(len(one.tasks) for one in api.simulation.fleet.jobs.jobs) > 100, "of two pages and more"


async def test_a_finished_job_is_read_once_and_a_new_one_is_read_again() -> None:
    api = SimulatedApi("hedwig")
    ended(api, "succeeded", 40)
    await swept(api)
    jobs = asked(api)["ListOTATaskByJob"]
    assert jobs == len(api.simulation.fleet.jobs.jobs)

    assert await swept(api) == []
    assert asked(api)["ListOTATaskByJob"] == jobs

    ended(api, "failed", 5)
    assert {one.status for one in await swept(api)} == {"failed"}


async def test_a_job_that_goes_on_is_read_each_time() -> None:
    api = SimulatedApi("hedwig")
    ended(api, "stuck", 10)

    first, second = await swept(api), await swept(api)

    assert len(first) == len(second) == 10


def memory(*, now_ms: Callable[[], int] = lambda: 0, devices_most: int = 100) -> JobMemory:
    return JobMemory(now_ms=now_ms, believed_ms=1000, devices_most=devices_most)


def a_job(number: int, status: str) -> Job:
    return Job(job_id=str(number), firmware_id="1", status=status, created="")


def test_a_finished_job_is_read_again_while_an_older_one_of_its_module_goes_on() -> None:
    newer, older, oldest = a_job(3, "COMPLETED"), a_job(2, "IN_PROGRESS"), a_job(1, "CANCELED")
    read = memory()
    group = Group(module="default", jobs=(newer, older, oldest))
    assert read.to_read(group) == (newer, older, oldest)
    for one in group.jobs:
        read.was_read(one)

    # Without the newer one's devices the older one's ended tasks would be told as if they were the last.
    assert read.to_read(group) == (newer, older)

    done = Group(module="default", jobs=(newer, a_job(2, "COMPLETED"), oldest))
    for one in read.to_read(done):
        read.was_read(one)
    assert read.to_read(done) == ()

    reopened = Group(module="default", jobs=(newer, a_job(2, "COMPLETED"), a_job(1, "IN_PROGRESS")))
    assert read.to_read(reopened) == reopened.jobs


def test_a_finished_job_is_read_again_after_a_while_because_one_reading_may_have_missed_a_task() -> None:
    now_ms = 0
    read = memory(now_ms=lambda: now_ms)
    group = Group(module="default", jobs=(a_job(1, "COMPLETED"),))
    read.was_read(group.jobs[0])
    now_ms = 999
    assert read.to_read(group) == ()

    now_ms = 1000

    assert read.to_read(group) == group.jobs


def test_jobs_that_are_gone_are_forgotten() -> None:
    read = memory()
    group = Group(module="default", jobs=(a_job(1, "COMPLETED"),))
    read.was_read(group.jobs[0])

    read.keep([])

    assert read.to_read(group) == group.jobs


def test_jobs_go_by_their_time_and_without_one_by_their_ids_as_numbers() -> None:
    jobs = [
        Job(job_id="9", firmware_id="1", status="", created="2024-01-01"),
        Job(job_id="1", firmware_id="1", status="", created="2024-01-02"),
    ]
    assert [one.job_id for one in newest_first(jobs)] == ["1", "9"]
    assert [one.job_id for one in newest_first([a_job(9, ""), a_job(10, "")])] == ["10", "9"]


async def test_a_sweep_that_breaks_off_reads_the_job_again() -> None:
    api = SimulatedApi("hedwig")
    ended(api, "succeeded", 40)
    sweep = api.cloud.sweep()
    while not await anext(sweep):
        pass
    await sweep.aclose()

    assert len({one.device_id for one in await swept(api)}) == 40


async def test_where_not_all_jobs_were_searched_a_device_is_not_called_idle() -> None:
    play = playing(jobs=[job(number) for number in range(1, 6)])

    (sure,) = (await Played(play, jobs_per_lookup=5).cloud.lookup("i")).observations
    (unsure,) = (await Played(play, jobs_per_lookup=4).cloud.lookup("i")).observations

    assert (sure.kind, sure.status) == ("status", "idle")
    assert (unsure.kind, unsure.status, unsure.current_version) == ("versions", None, "1")


async def test_what_a_sweep_has_read_a_lookup_need_not_search() -> None:
    jobs = [job(number) for number in range(1, 30)] + [job(30, "IN_PROGRESS")]
    played = Played(playing(jobs=jobs, tasks={"j3": [task(3, "FAILED")]}), jobs_per_lookup=1)
    (before,) = (await played.cloud.lookup("i")).observations
    assert before.status is None
    assert [page async for page in played.cloud.sweep()]
    played.asked.clear()

    (one,) = (await played.cloud.lookup("i")).observations

    searched = [each["JobId"] for each in played.asked if each["Action"] == "ListOTATaskByJob"]
    assert searched == ["j30", "j3"], "what goes on, and where it was seen"
    assert (one.status, one.task_id) == ("failed", "t3")


async def test_a_device_in_none_of_the_jobs_that_were_read_is_idle_without_a_search() -> None:
    played = Played(playing(jobs=[job(number) for number in range(1, 30)]))
    assert [page async for page in played.cloud.sweep() if page] == []
    played.asked.clear()

    (one,) = (await played.cloud.lookup("i")).observations

    assert one.status == "idle"
    assert "ListOTATaskByJob" not in {each["Action"] for each in played.asked}


def test_after_devices_had_to_be_forgotten_jobs_that_were_read_are_searched_again() -> None:
    kept = memory(devices_most=2)
    jobs = [a_job(number, "COMPLETED") for number in range(1, 6)]
    for one in jobs:
        kept.was_read(one)
    kept.saw("a", "default", "1")
    kept.saw("b", "default", "1")
    assert kept.to_search(jobs, "new", "default", most=3).jobs == ()

    kept.saw("c", "default", "2")

    assert [one.job_id for one in kept.to_search(jobs, "a", "default", most=3).jobs] == ["5", "4", "3"]
    assert [one.job_id for one in kept.to_search(jobs, "c", "default", most=3).jobs] == ["2"]
    assert kept.to_search(jobs, "a", "default", most=3).is_whole, "sweeps told of those who are in others"


async def test_jobs_are_searched_from_the_newest_and_finished_ones_no_further_than_to_the_task() -> None:
    jobs = [job(1), job(2, "IN_PROGRESS"), job(3), job(4), job(5)]
    played = Played(playing(jobs=jobs, tasks={"j4": [task(4, "FAILED")], "j1": [task(1)]}))

    (one,) = (await played.cloud.lookup("i")).observations

    searched = [each["JobId"] for each in played.asked if each["Action"] == "ListOTATaskByJob"]
    assert searched == ["j5", "j4", "j2"], "an older job that goes on may have made a newer task"
    assert (one.status, one.task_id) == ("failed", "t4")


async def test_a_newer_task_of_an_older_job_that_goes_on_is_the_state() -> None:
    jobs = [job(2, "IN_PROGRESS"), job(4)]
    late = task(9, "SUCCEEDED", jobId="j2")
    played = Played(playing(jobs=jobs, tasks={"j4": [task(4, "FAILED")], "j2": [late]}))

    (one,) = (await played.cloud.lookup("i")).observations

    assert (one.status, one.task_id) == ("succeeded", "t9")


async def test_a_server_that_ignores_the_devices_name_lets_nobody_be_called_idle() -> None:
    others = [task(3, "SUCCEEDED", iotId="another")]

    (one,) = (await Played(playing(jobs=[job(3)], tasks={"j3": others})).cloud.lookup("i")).observations

    assert (one.kind, one.status) == ("versions", None)


async def test_a_cancelled_job_cancels_what_is_unfinished_in_lookup_and_sweep_alike() -> None:
    play = playing(
        unfinished=[task(3, "QUEUED")],
        jobs=[job(3, "CANCELED")],
        tasks={"j3": [task(3, "QUEUED")]},
    )
    played = Played(play)

    (one,) = (await played.cloud.lookup("i")).observations
    found = [each async for page in played.cloud.sweep() for looked in page for each in looked.observations]

    assert [each.status for each in (one, *found)] == ["cancelled", "cancelled"]
    assert one.vendor_status == "QUEUED"


async def test_a_task_of_a_job_that_was_not_known_makes_the_jobs_be_read_again() -> None:
    jobs = [job(1)]
    running: list[dict[str, Any]] = []
    played = Played(playing(jobs=jobs, unfinished=running))
    await played.cloud.lookup("i")
    jobs.append(job(2, "CANCELED"))
    running.append(task(2, "QUEUED"))

    (one,) = (await played.cloud.lookup("i")).observations

    assert one.status == "cancelled"


async def test_packages_and_jobs_are_read_once_for_many_lookups() -> None:
    api = SimulatedApi("hedwig", sweep_period_s=1e6)
    ended(api, "succeeded", 30)
    for truth in api.simulation.truths():
        await api.cloud.lookup(truth["device_id"])

    count = asked(api)
    products = {device.product_id for device in api.simulation.fleet}
    assert count["ListOTAFirmware"] == len(products)
    assert count["ListOTAJobByFirmware"] == len(api.simulation.fleet.jobs.packages)
    assert count["QueryOTAFirmware"] == 0, "the list tells the modules"


async def test_lookups_after_a_sweep_read_neither_packages_nor_jobs() -> None:
    api = SimulatedApi("hedwig")
    ended(api, "succeeded", 30)
    await swept(api)
    api.requests.clear()

    for truth in api.simulation.truths():
        await api.cloud.lookup(truth["device_id"])

    assert set(asked(api)) == {
        "ListOTAModuleVersionsByDevice",
        "ListOTAUnfinishedTaskByDevice",
        "ListOTATaskByJob",
    }
    assert asked(api)["ListOTATaskByJob"] == 30, "one each: the job where it was seen"


async def test_a_list_of_packages_without_modules_asks_each_package_once() -> None:
    nameless = {"firmwareId": "1", "productKey": "p"}
    play = playing(firmwares=[nameless], package=FIRMWARE, jobs=[job(3)], tasks={"j3": [task(3, "FAILED")]})
    played = Played(play)

    for _ in range(3):
        (one,) = (await played.cloud.lookup("i")).observations
        assert (one.channel, one.status) == ("default", "failed")

    assert [each["Action"] for each in played.asked].count("QueryOTAFirmware") == 1


async def test_a_task_whose_package_is_gone_belongs_to_the_devices_only_module_if_it_has_one() -> None:
    running = [task(3, "QUEUED", firmwareId="gone")]
    two = [MODULE, MODULE | {"moduleName": "mcu"}]

    (one,) = (await Played(playing(unfinished=running)).cloud.lookup("i")).observations
    several = (await Played(playing(unfinished=running, modules=two)).cloud.lookup("i")).observations

    assert (one.channel, one.status) == ("default", "pending")
    assert [each.status for each in several if each.channel is None] == ["pending"]


async def test_a_device_that_told_no_version_is_told_by_its_tasks() -> None:
    play = playing(modules=[], unfinished=[task(3, "QUEUED")], package=FIRMWARE, jobs=[job(3)])

    (one,) = (await Played(play).cloud.lookup("i")).observations

    assert (one.channel, one.status, one.current_version) == ("default", "pending", None)
    assert (await Played(playing(modules=[])).cloud.lookup("i")).observations == ()


async def test_a_job_that_is_gone_is_no_missing_device() -> None:
    def play(parameters: dict[str, str]) -> dict[str, Any]:
        if parameters["Action"] == "ListOTATaskByJob":
            return {"success": False, "code": "iot.ota.JobNotExist"}
        return playing(jobs=[job(3)])(parameters)

    played = Played(play)

    (one,) = (await played.cloud.lookup("i")).observations
    assert one.status == "idle"
    assert [page async for page in played.cloud.sweep() if page] == []


async def test_a_device_that_is_gone_is_not_told_of_by_the_jobs_that_remember_it() -> None:
    api = SimulatedApi("hedwig")
    ended(api, "succeeded", 10)
    gone = api.simulation.fleet[3]
    gone.listed = False
    assert gone.device_id in {one.device_id for one in await swept(api)}

    with pytest.raises(errors.DeviceNotFound):
        await api.cloud.lookup(gone.device_id)

    ended(api, "failed", 10)
    gone.listed = False
    assert gone.device_id not in {one.device_id for one in await swept(api)}
    listed = {device.device_id async for page in api.cloud.discover() for device in page}
    assert len(listed) == 9


async def test_a_device_that_is_found_again_is_told_of_again() -> None:
    api = SimulatedApi("hedwig")
    ended(api, "stuck", 1)
    (device,) = api.simulation.fleet
    device.listed = False
    with pytest.raises(errors.DeviceNotFound):
        await api.cloud.lookup(device.device_id)
    assert await swept(api) == []
    device.listed = True

    await api.cloud.lookup(device.device_id)

    assert {one.device_id for one in await swept(api)} == {device.device_id}


async def test_each_request_of_a_sweep_counts_as_a_page_so_that_it_keeps_to_its_share() -> None:
    api = SimulatedApi("hedwig")
    ended(api, "succeeded", 40)
    for _ in range(2):
        api.requests.clear()
        pages = [page async for page in api.cloud.sweep()]
        lists_of_packages = asked(api)["ListOTAFirmware"]
        assert len(pages) == len(api.requests) - lists_of_packages


async def test_only_the_configured_packages_are_swept_and_listed_but_lookups_find_all() -> None:
    api = SimulatedApi("hedwig", firmware_ids=("131",))
    ended(api, "failed", 30)
    mine = {one.device_id for one in api.simulation.fleet.jobs.jobs[0].tasks}

    assert {one.device_id for one in await swept(api)} == mine
    assert {one.device_id async for page in api.cloud.discover() for one in page} == mine
    others = [truth for truth in api.simulation.truths() if truth["device_id"] not in mine]
    assert others
    for truth in others:
        statuses = {one.status for one in (await api.cloud.lookup(truth["device_id"])).observations}
        assert "failed" in statuses


async def test_devices_come_from_a_file_where_that_is_configured(tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("one\ntwo # a comment\n", encoding="utf-8")
    from_file = SimulatedApi("hedwig", discovery="file", discovery_file=str(tmp_path / "ids"))
    off = SimulatedApi("hedwig", discovery="off")

    assert [one.device_id async for page in from_file.cloud.discover() for one in page] == ["one", "two"]
    assert [page async for page in off.cloud.discover()] == []


@pytest.mark.parametrize(
    ("more", "pages"),
    [
        ({"pageCount": 2}, 2),
        ({"total": 150, "pageSize": 100}, 2),
        ({"Total": "250"}, 3),
        ({"pageCount": "1"}, 1),
    ],
)
async def test_a_list_is_read_as_far_as_it_says(more: dict[str, Any], pages: int) -> None:
    def play(parameters: dict[str, str]) -> dict[str, Any]:
        if parameters["Action"] != "ListOTATaskByJob":
            return playing(jobs=[job(3)])(parameters)
        page = int(parameters["CurrentPage"])
        return {"data": [task(3, taskId=f"{page}/{n}", iotId=f"{page}/{n}") for n in range(100)], **more}

    played = Played(play)
    assert len([page async for page in played.cloud.sweep() if page]) == pages


async def test_a_list_that_says_nothing_of_its_length_ends_with_a_short_page() -> None:
    def play(parameters: dict[str, str]) -> dict[str, Any]:
        if parameters["Action"] != "ListOTATaskByJob":
            return playing(jobs=[job(3)])(parameters)
        page = int(parameters["CurrentPage"])
        return {"data": [task(3, iotId=f"{page}/{number}") for number in range(100 if page < 3 else 7)]}

    found = [looked async for page in Played(play).cloud.sweep() for looked in page]
    assert len(found) == 207


async def test_a_list_that_does_not_move_on_is_a_schema_error() -> None:
    def play(parameters: dict[str, str]) -> dict[str, Any]:
        if parameters["Action"] != "ListOTATaskByJob":
            return playing(jobs=[job(3)])(parameters)
        return {"data": [task(3)], "pageCount": 5}

    with pytest.raises(errors.SchemaMismatch, match="does not move on"):
        async for _ in Played(play).cloud.sweep():
            pass


async def test_a_package_is_told_without_what_leads_to_it() -> None:
    api = SimulatedApi("hedwig")
    ended(api, "succeeded", 40)
    states = set()
    for package in api.simulation.fleet.jobs.packages:
        found = await api.cloud.package(str(130 + package.number))
        assert found is not None
        assert (found.version, found.channel, found.state) == (
            package.version,
            package.channel,
            package.state,
        )
        assert "OSSAccessKeyId" not in repr(found)
        states.add(found.state)
    assert states


async def test_nothing_is_ever_asked_that_changes_anything() -> None:
    api = SimulatedApi("hedwig")
    for ending in ("succeeded", "failed", "stuck"):
        ended(api, ending, 20)
    for truth in api.simulation.truths():
        await api.cloud.lookup(truth["device_id"])
    await swept(api)
    assert [page async for page in api.cloud.discover()]
    await api.cloud.package("131")

    assert set(asked(api)) == READING
    assert {request.method for request in api.requests} == {"GET"}
    assert api.simulation.tenant.requests.report()["refused"] == NOTHING_REFUSED


@pytest.mark.parametrize(
    "knob", ["rest_5xx", "rest_html", "rest_truncate", "rest_throttle", "rest_error_in_200"]
)
async def test_no_secret_is_in_an_error(knob: str) -> None:
    api = SimulatedApi("hedwig")
    ended(api, "stuck", 1)
    api.simulation.faults.replace({knob: 1.0})

    with pytest.raises(errors.CloudError) as caught:
        await api.cloud.lookup(api.simulation.fleet[0].device_id)

    error = caught.value
    shown = f"{error} {error!r} {error.text} {error.remedy} {error.code} {error.__cause__!r}"
    signatures = [parameters_of(request)["Signature"] for request in api.requests]
    secret = api.account.credentials.access_key_secret.reveal()  # type: ignore[attr-defined]
    assert not [each for each in (secret, *signatures) if each in shown]


async def test_a_wrong_secret_stops_the_account_and_is_not_repeated() -> None:
    api = SimulatedApi("hedwig")
    ended(api, "stuck", 1)
    account = msgspec.structs.replace(
        api.account,
        credentials=HedwigCredentials(
            access_key_id=api.account.credentials.access_key_id,  # type: ignore[attr-defined]
            access_key_secret=Secret("another-secret"),
        ),
    )
    means = Means(transport=api, pace=api, now_ms=api.now_ms, sleep=api.sleep)

    with pytest.raises(errors.AuthRefused) as caught:
        await HedwigCloud(account, means).lookup("any")  # type: ignore[arg-type]

    assert len(api.requests) == 1
    assert "AccessKeyId" not in caught.value.text, "the signed text that the gateway repeats is not kept"


async def test_an_answer_in_xml_is_a_clear_error_of_the_lookup() -> None:
    class Xml(Played):
        async def send(self, request: Request) -> Answer:
            assert request.api
            return Answer(status=200, headers={}, body=b"<Response><Success>true</Success></Response>")

    with pytest.raises(errors.SchemaMismatch, match="XML"):
        await Xml(playing()).cloud.lookup("i")
