"""What is special about OceanConnect: one reading for many devices, few requests, one login, the newest operation."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from bridge.clouds import errors
from bridge.clouds.oceanconnect.api import OceanConnectCalls
from bridge.clouds.oceanconnect.cloud import OceanConnectCloud
from bridge.clouds.settings import secrets_of
from bridge.clouds.shape import Looked, Means
from bridge.clouds.wire import Answer, Request
from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.jobs import Task
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from schemas.vocabulary import Status
from tests.simulated_api import SimulatedApi


class Platform(SimulatedApi):
    """The simulated platform, with upgrades made by hand."""

    def __init__(self, **api: Any) -> None:
        super().__init__("oceanconnect", **api)
        assert isinstance(self.cloud, OceanConnectCloud)
        self.mine = self.cloud

    def devices(self, count: int) -> list[Device]:
        return [self.simulation.fleet.create() for _ in range(count)]

    def upgrade(
        self,
        device: Device,
        status: Status = "installing",
        *,
        channel: str = "firmware",
        campaign: str = "one",
    ) -> Task:
        """Add a device to the operation of a campaign. A campaign begins a second after the one before."""
        self.simulation.advance(2.0)
        task = self.simulation.fleet.jobs.open_task(
            campaign,
            device_id=device.device_id,
            product_id="product",
            channel=channel,
            from_version="1.0",
            target_version="2.0",
            now_s=self.simulation.now_s,
        )
        task.status, task.is_shown = status, True
        return task

    async def sweep(self) -> list[Looked]:
        return [looked async for page in self.cloud.sweep() for looked in page]

    def asked(self) -> Counter[str]:
        """The requests since this was last called, by API."""
        counted = Counter(request.api for request in self.requests)
        self.requests.clear()
        return counted


def told(looked: Looked) -> dict[str | None, str | None]:
    return {one.channel: one.status for one in looked.observations}


async def test_a_device_in_no_operation_is_at_rest_in_both_channels() -> None:
    platform = Platform()
    (device,) = platform.devices(1)

    looked = await platform.cloud.lookup(device.device_id)

    assert told(looked) == {"firmware": "idle", "software": "idle"}
    assert looked.api == "operations"
    assert platform.asked() == {"login": 1, "operations": 1}


async def test_the_newest_operation_of_each_channel_is_what_is_told() -> None:
    platform = Platform()
    (device,) = platform.devices(1)
    platform.upgrade(device, "failed", campaign="one")
    newest = platform.upgrade(device, "installing", campaign="two")
    platform.upgrade(device, "succeeded", campaign="three", channel="software")

    looked = await platform.cloud.lookup(device.device_id)

    assert told(looked) == {"firmware": "installing", "software": "succeeded"}
    assert looked.observations[0].task_id == f"{newest.number:024x}"


@pytest.mark.parametrize("by", ["lookup", "sweep"])
async def test_an_older_operation_that_still_runs_is_history(by: str) -> None:
    platform = Platform()
    (device,) = platform.devices(1)
    platform.upgrade(device, "pending", campaign="one")
    platform.upgrade(device, "succeeded", campaign="two")

    for _ in range(3):
        found = [await platform.cloud.lookup(device.device_id)] if by == "lookup" else await platform.sweep()
        assert {told(each)["firmware"] for each in found} <= {"succeeded"}


async def test_what_ended_for_good_is_not_read_again() -> None:
    platform = Platform()
    (device,) = platform.devices(1)
    platform.upgrade(device, "succeeded")
    first = await platform.cloud.lookup(device.device_id)
    platform.asked()

    platform.simulation.advance(60.0)
    second = await platform.cloud.lookup(device.device_id)

    assert platform.asked() == {"operations": 1}
    assert told(second) == told(first)
    assert second.asked_at_ms > first.asked_at_ms + 59_000


async def test_an_operation_that_goes_on_again_is_read_again() -> None:
    platform = Platform()
    one, other = platform.devices(2)
    task = platform.upgrade(one, "succeeded")
    platform.upgrade(other, "succeeded")
    await platform.cloud.lookup(one.device_id)

    task.status = "installing"

    assert told(await platform.cloud.lookup(one.device_id))["firmware"] == "installing"


async def test_one_reading_answers_everybody_whose_device_is_in_the_operation() -> None:
    platform = Platform()
    devices = platform.devices(30)
    for device in devices:
        platform.upgrade(device)
    await platform.sweep()
    platform.asked()

    looked = await platform.cloud.lookup(devices[7].device_id)

    assert platform.asked() == {"operations": 1, "sub-operations": 1}
    others = {other.device_id: told(other) for other in looked.others}
    assert set(others) == {device.device_id for device in devices} - {devices[7].device_id}
    assert all(each == {"firmware": "installing", "software": "idle"} for each in others.values())
    assert all(other.asked_at_ms >= looked.asked_at_ms for other in looked.others)


async def test_others_are_answered_only_once_every_operation_was_read() -> None:
    platform = Platform()
    one, other = platform.devices(2)
    platform.upgrade(one)
    platform.upgrade(other)

    assert (await platform.cloud.lookup(one.device_id)).others == ()


async def test_another_device_is_not_answered_while_its_other_channel_may_have_changed() -> None:
    platform = Platform()
    one, other = platform.devices(2)
    platform.upgrade(one)
    platform.upgrade(other)
    running = platform.upgrade(other, channel="software", campaign="two")
    await platform.sweep()

    assert (await platform.cloud.lookup(one.device_id)).others == ()
    running.status = "succeeded"
    await platform.sweep()
    (answered,) = (await platform.cloud.lookup(one.device_id)).others
    assert told(answered) == {"firmware": "installing", "software": "succeeded"}


async def test_a_sweep_reads_only_what_may_have_changed() -> None:
    platform = Platform()
    one, other = platform.devices(2)
    platform.upgrade(one, "succeeded", campaign="one")
    running = platform.upgrade(other, "installing", campaign="two")
    assert {looked.device_id for looked in await platform.sweep()} == {one.device_id, other.device_id}
    platform.asked()

    assert {looked.device_id for looked in await platform.sweep()} == {other.device_id}
    assert platform.asked() == {"operations": 1, "sub-operations": 1}
    running.status = "failed"
    await platform.sweep()
    platform.asked()
    assert await platform.sweep() == []
    assert platform.asked() == {"operations": 1}


async def test_a_finished_operation_is_not_read_again_because_a_newer_one_goes_on() -> None:
    platform = Platform()
    (device,) = platform.devices(1)
    platform.upgrade(device, "failed", campaign="one")
    platform.upgrade(device, "installing", campaign="two")
    await platform.sweep()
    platform.asked()

    await platform.sweep()

    assert platform.asked() == {"operations": 1, "sub-operations": 1}


async def test_a_sweep_that_was_broken_off_tells_the_rest_the_next_time() -> None:
    platform = Platform()
    one, other = platform.devices(2)
    platform.upgrade(one, "succeeded", campaign="one")
    platform.upgrade(other, "failed", campaign="two")
    platform.simulation.faults.replace({})
    sweep = platform.cloud.sweep()
    async for page in sweep:
        if page:
            break
    await sweep.aclose()

    assert {looked.device_id for looked in await platform.sweep()} == {one.device_id, other.device_id}


async def test_the_first_sweep_ends_with_every_device_in_both_channels_and_answers_who_waits() -> None:
    platform = Platform()
    one, other = platform.devices(2)
    platform.upgrade(one, "failed", campaign="one")
    platform.upgrade(one, channel="software", campaign="two")
    platform.upgrade(other, "succeeded", campaign="one")

    pages = [page async for page in platform.cloud.sweep() if page]

    assert platform.asked() == {"login": 1, "operations": 1, "sub-operations": 2}
    *read, added_up = pages
    assert [looked.is_whole for page in read for looked in page] == [False, False, False]
    assert all(looked.is_whole for looked in added_up)
    assert {looked.device_id: told(looked) for looked in added_up} == {
        one.device_id: {"firmware": "failed", "software": "installing"},
        other.device_id: {"firmware": "succeeded", "software": "idle"},
    }
    assert [[looked.is_whole for looked in page] async for page in platform.cloud.sweep() if page] == [[True]]


async def test_an_operation_of_several_pages_is_read_until_the_device_is_found_and_then_there() -> None:
    platform = Platform()
    devices = platform.devices(250)
    for device in devices:
        platform.upgrade(device)
    platform.simulation.advance(120.0)

    looked = await platform.cloud.lookup(devices[120].device_id)
    assert told(looked)["firmware"] == "installing"
    assert platform.asked() == {"login": 1, "operations": 1, "sub-operations": 2}
    await platform.cloud.lookup(devices[120].device_id)
    assert platform.asked() == {"operations": 1, "sub-operations": 1}
    assert len({looked.device_id for looked in await platform.sweep()}) == 250
    assert platform.asked() == {"operations": 1, "sub-operations": 3}


async def test_a_device_that_moved_to_another_page_is_found_there() -> None:
    platform = Platform()
    devices = platform.devices(150)
    for device in devices:
        platform.upgrade(device)
    await platform.cloud.lookup(devices[120].device_id)
    for device in devices[:60]:
        device.listed = False

    assert told(await platform.cloud.lookup(devices[120].device_id))["firmware"] == "installing"


async def test_discovery_asks_for_nothing_that_a_sweep_has_read() -> None:
    platform = Platform()
    one, other = platform.devices(2)
    platform.upgrade(one)
    platform.upgrade(other, channel="software", campaign="two")
    platform.upgrade(one, channel="software", campaign="two")
    await platform.sweep()
    platform.asked()

    found = [device.device_id async for page in platform.cloud.discover() for device in page]

    assert sorted(found) == sorted({one.device_id, other.device_id})
    assert platform.asked() == {}


async def test_discovery_before_the_first_sweep_takes_nothing_from_it() -> None:
    platform = Platform()
    (device,) = platform.devices(1)
    platform.upgrade(device, "succeeded")

    found = [each.device_id async for page in platform.cloud.discover() for each in page]

    assert found == [device.device_id]
    assert {looked.device_id for looked in await platform.sweep()} == {device.device_id}


async def test_discovery_and_sweep_at_the_same_time_read_once() -> None:
    platform = Platform()
    for device in platform.devices(5):
        platform.upgrade(device)

    async def discover() -> int:
        return sum([len(page) async for page in platform.cloud.discover()])

    swept, found = await asyncio.gather(platform.sweep(), discover())

    assert (len({looked.device_id for looked in swept}), found) == (5, 5)
    assert platform.asked()["sub-operations"] == 1


async def test_a_removed_device_is_not_discovered_any_more() -> None:
    platform = Platform()
    one, other = platform.devices(2)
    platform.upgrade(one)
    platform.upgrade(other)
    await platform.sweep()
    one.listed = False

    with pytest.raises(errors.DeviceNotFound):
        await platform.cloud.lookup(one.device_id)

    assert [each.device_id async for page in platform.cloud.discover() for each in page] == [other.device_id]


async def test_an_operation_that_was_deleted_leaves_its_devices_at_rest() -> None:
    platform = Platform()
    (device,) = platform.devices(1)
    task = platform.upgrade(device)
    await platform.sweep()
    task.is_shown = False
    await platform.sweep()

    assert told(await platform.cloud.lookup(device.device_id)) == {"firmware": "idle", "software": "idle"}


async def test_only_the_devices_that_did_not_end_are_cancelled_by_a_stopped_operation() -> None:
    platform = Platform()
    one, other = platform.devices(2)
    platform.upgrade(one, "cancelled")
    platform.upgrade(other, "cancelled")

    looked = await platform.cloud.lookup(one.device_id)

    assert told(looked)["firmware"] == "cancelled"
    assert looked.observations[0].reason is not None
    assert looked.observations[0].vendor_status == "stop"


async def test_progress_covers_download_and_installation_alike() -> None:
    platform = Platform()
    (device,) = platform.devices(1)
    platform.upgrade(device)

    firmware, software = (await platform.cloud.lookup(device.device_id)).observations

    assert (firmware.status, firmware.undivided) == ("installing", True)
    assert not software.undivided


async def test_a_package_is_named_where_the_operation_names_it() -> None:
    platform = Platform()
    (device,) = platform.devices(1)
    for number in range(1, 5):
        platform.upgrade(device, "failed", campaign=str(number))
        (firmware, _) = (await platform.cloud.lookup(device.device_id)).observations
        assert (firmware.package is None, firmware.target_version) == (
            (True, None) if number == 4 else (False, "2.0")
        )


async def test_packages_are_listed_by_what_they_are_for() -> None:
    platform = Platform()
    (device,) = platform.devices(1)
    platform.upgrade(device, channel="firmware")
    platform.upgrade(device, channel="software")

    found = [
        package
        async for page in platform.mine.calls.packages(
            {"fileType": "softwarePackage", "manufacturerName": "Sandbox"}
        )
        for package in page
    ]

    assert [(package.channel, package.version, package.state) for package in found] == [
        ("software", "2.0", "usable")
    ]
    with pytest.raises(errors.BadRequest):
        [page async for page in platform.mine.calls.packages({"manufactureName": "Sandbox"})]


class BrokenOperation(Platform):
    """Answers with another list than it should where it is asked for the devices of one operation."""

    broken: Task | None = None

    async def send(self, request: Request) -> Answer:
        answer = await super().send(request)
        if self.broken is None or f"{self.broken.job.number:024x}" not in request.target:
            return answer
        return Answer(status=200, headers={}, body=b'{"data":"none"}')


async def three_operations() -> tuple[BrokenOperation, list[str]]:
    """One device in each, the second to be broken; the oldest is of the other channel, the third of the same."""
    platform = BrokenOperation()
    software, old, strange, new = platform.devices(4)
    platform.upgrade(software, campaign="one", channel="software")
    platform.upgrade(old, campaign="two")
    platform.broken = platform.upgrade(strange, campaign="three")
    platform.upgrade(strange, "failed", campaign="two")
    platform.upgrade(new, campaign="four")
    return platform, [device.device_id for device in (software, old, strange, new)]


async def test_a_sweep_leaves_out_an_operation_that_is_not_understood_and_what_may_be_history_by_it() -> None:
    platform, (software, old, strange, new) = await three_operations()

    swept = await platform.sweep()

    assert {looked.device_id for looked in swept} == {software, new}
    assert not any(looked.is_whole for looked in swept), (
        "the other channel may be in the one that was not read"
    )
    platform.broken = None
    assert {software, old, strange, new} == {looked.device_id for looked in await platform.sweep()}


async def test_a_new_operation_that_is_not_understood_takes_back_that_all_is_known() -> None:
    platform = BrokenOperation()
    one, other, strange = platform.devices(3)
    platform.upgrade(one)
    platform.upgrade(other)
    await platform.sweep()
    assert (await platform.cloud.lookup(one.device_id)).others
    platform.broken = platform.upgrade(strange, campaign="two")

    await platform.sweep()

    assert not (await platform.cloud.lookup(one.device_id)).others, "the other may be in the one not read"


async def test_discovery_lists_what_the_other_operations_name() -> None:
    platform, (software, old, strange, new) = await three_operations()

    found = [device.device_id async for page in platform.cloud.discover() for device in page]

    assert set(found) == {software, old, strange, new}, "the strange one is in an older operation as well"


async def test_a_token_grown_old_is_renewed_and_one_that_was_refused_is_replaced_by_a_login() -> None:
    platform = Platform()
    (device,) = platform.devices(1)
    await platform.cloud.lookup(device.device_id)
    assert platform.asked()["login"] == 1

    platform.simulation.advance(2900.0)
    await platform.cloud.lookup(device.device_id)
    assert platform.asked() == {"refresh-token": 1, "operations": 1}
    rest = platform.system.serve([platform.simulation.tenant], platform.simulation.surroundings)
    platform._http.app = rest.app
    await platform.cloud.lookup(device.device_id)
    assert platform.asked() == {"login": 1, "operations": 2}
    platform._http.app = platform.system.serve(
        [platform.simulation.tenant], platform.simulation.surroundings
    ).app
    platform.simulation.advance(2900.0)
    await platform.cloud.lookup(device.device_id)
    assert platform.asked() == {"refresh-token": 1, "login": 1, "operations": 1}


class BrokenRefresh(Platform):
    """Answers the call that refreshes a token with these bytes, while everything else works."""

    answer: Answer | None = None

    async def send(self, request: Request) -> Answer:
        answer = await super().send(request)
        return self.answer if self.answer is not None and request.api == "refresh-token" else answer


@pytest.mark.parametrize(("status", "body"), [(404, b"<html>no such page</html>"), (502, b""), (200, b"{}")])
async def test_where_tokens_cannot_be_refreshed_a_login_replaces_them(status: int, body: bytes) -> None:
    platform = BrokenRefresh()
    (device,) = platform.devices(1)
    await platform.cloud.lookup(device.device_id)
    platform.answer = Answer(status=status, headers={}, body=body)
    platform.asked()

    for _ in range(2):
        platform.simulation.advance(2900.0)
        await platform.cloud.lookup(device.device_id)

        assert platform.asked() == {"refresh-token": 1, "login": 1, "operations": 1}


async def test_a_refresh_that_is_told_to_wait_is_no_reason_to_log_in() -> None:
    platform = BrokenRefresh()
    (device,) = platform.devices(1)
    await platform.cloud.lookup(device.device_id)
    platform.answer = Answer(status=429, headers={}, body=b"")
    platform.asked()
    platform.simulation.advance(3700.0)

    with pytest.raises(errors.Throttled):
        await platform.cloud.lookup(device.device_id)

    assert set(platform.asked()) == {"refresh-token"}


async def test_many_lookups_at_once_log_in_once() -> None:
    platform = Platform()
    devices = platform.devices(10)

    await asyncio.gather(*(platform.cloud.lookup(device.device_id) for device in devices))

    report = platform.simulation.tenant.requests.report()
    assert report["per_api"]["login"] == 1
    assert report["logins_at_once"] == 1
    assert report["refused"] == NOTHING_REFUSED


async def test_nothing_that_is_asked_changes_anything() -> None:
    platform = Platform()
    platform.simulation.campaign(20, rate_per_s=1000.0)
    platform.simulation.advance(20.0)
    await platform.sweep()
    for truth in platform.simulation.truths():
        await platform.cloud.lookup(truth["device_id"])
    await platform.cloud.package(f"{1:024x}")
    assert [page async for page in platform.cloud.discover()]

    changing = {request.target for request in platform.requests if request.method != "GET"}
    assert changing == {"/iocm/app/sec/v1.1.0/login"}


async def test_no_secret_is_in_errors_requests_and_observations() -> None:
    platform = Platform()
    (device,) = platform.devices(1)
    platform.upgrade(device, "failed")
    texts = [repr(await platform.cloud.lookup(device.device_id))]
    platform.simulation.advance(2900.0)
    texts.append(repr(await platform.cloud.lookup(device.device_id)))
    bodies = [request.body for request in platform.requests if request.body]
    tokens = {
        request.headers["authorization"].removeprefix("Bearer ")
        for request in platform.requests
        if "authorization" in request.headers
    }
    refresh = json.loads(bodies[-1])["refreshToken"]
    for knob in ("rest_5xx", "rest_html", "rest_throttle", "rest_error_in_200", "rest_token_expires"):
        platform.simulation.faults.replace({knob: 1.0})
        with pytest.raises(errors.CloudError) as caught:
            await platform.cloud.lookup(device.device_id)
        texts += [repr(caught.value), str(caught.value), caught.value.remedy]
    texts += [repr(request) for request in platform.requests]

    secrets = {secret.reveal() for secret in secrets_of(platform.account.credentials)} | tokens | {refresh}
    assert len(secrets) == 4
    assert not [secret for secret in secrets for text in texts if secret in text]


class Canned:
    """A platform that answers every list with the same words, whoever asks."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.asked = 0

    async def send(self, request: Request) -> Answer:
        self.asked += 1
        body: dict[str, Any] = self.answer
        if request.api == "login":
            body = {"accessToken": "t", "expiresIn": 3600}
        return Answer(status=200, headers={}, body=json.dumps(body).encode())


def calls_to(canned: Canned) -> OceanConnectCalls:
    platform = Platform()
    means = Means(transport=canned, pace=platform, now_ms=platform.now_ms, sleep=platform.sleep)
    account: Any = platform.account
    return OceanConnectCalls(account, means, platform.cloud.clock)


async def test_a_list_that_does_not_move_on_is_a_schema_mismatch() -> None:
    canned = Canned({"data": [{"operationId": "o1"}], "totalCount": 500})

    with pytest.raises(errors.SchemaMismatch, match="does not move on"):
        [page async for page in calls_to(canned).operations()]
    assert canned.asked == 3


async def test_a_list_without_a_total_ends_with_an_empty_page() -> None:
    canned = Canned({"data": []})

    assert [len(page.entries) async for page in calls_to(canned).operations()] == [0]


async def test_a_package_s_id_is_one_segment_of_the_path() -> None:
    platform = Platform()

    with pytest.raises(errors.BadRequest):
        await platform.cloud.package("../operations?x=1")
    assert platform.requests[-1].target.endswith("/category/..%2Foperations%3Fx%3D1")
