"""What every cloud's client owes, tried against its simulated cloud: the same tests for all, by the registries."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.clouds import errors
from bridge.clouds.registry import CLOUDS
from bridge.clouds.settings import secrets_of
from bridge.clouds.shape import UNTOLD, Looked
from bridge.clouds.wire import Answer, Request
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from deploy.sandbox.cloud.systems import SYSTEMS
from tests.simulated_api import SimulatedApi

DEVICES = 24
MORE_THAN_A_PAGE = 205
"""The largest page of any list holds 200."""

EVERY = sorted(SYSTEMS)
ENDINGS = [(cloud, ending) for cloud in EVERY for ending in sorted(SYSTEMS[cloud].endings)]


def test_each_cloud_of_the_bridge_is_simulated_and_the_other_way_round() -> None:
    assert set(CLOUDS) == set(SYSTEMS)


def told(looked: Looked) -> dict[str | None, tuple[Any, Any]]:
    return {
        one.channel: (one.status, one.current_version) for one in looked.observations if one.kind == "status"
    }


def refused(api: SimulatedApi) -> dict[str, int]:
    counts: dict[str, int] = api.simulation.tenant.requests.report()["refused"]
    return counts


@pytest.mark.parametrize("cloud", EVERY)
def test_client_and_simulation_count_requests_over_the_same_time(cloud: str) -> None:
    api = SimulatedApi(cloud)

    assert CLOUDS[cloud].rate_window_s == api.simulation.tenant.account.rate_window_s
    assert api.account.api.rate_per_s <= api.simulation.tenant.account.rate_per_s


def agrees(status: str | None, truth: dict[str, Any]) -> bool:
    """A rest status after a success, and after a cancel, is what many clouds go on with."""
    rests = status in ("idle", "available") and truth["status"] in (
        "succeeded",
        "cancelled",
        "idle",
        "available",
    )
    return status == truth["status"] or rests


@pytest.mark.parametrize(("cloud", "ending"), ENDINGS)
async def test_a_lookup_tells_how_an_upgrade_ended(cloud: str, ending: str) -> None:
    api = SimulatedApi(cloud)
    api.simulation.all_of(ending, DEVICES)
    api.simulation.advance()

    for truth in api.simulation.truths():
        if truth["removed"]:
            with pytest.raises(errors.DeviceNotFound):
                await api.cloud.lookup(truth["device_id"])
            continue
        looked = await api.cloud.lookup(truth["device_id"])
        shown = told(looked)
        assert looked.device_id == truth["device_id"]
        for channel in truth["channels"]:
            status, version = shown[channel["channel"]]
            assert agrees(status, channel), (status, channel)
            assert version in (None, channel["current_version"])
            if ending not in ("succeeded", "silent", "offline", "cancelled"):
                assert status == channel["status"]


@pytest.mark.parametrize("cloud", EVERY)
async def test_a_lookup_tells_of_an_upgrade_that_runs(cloud: str) -> None:
    api = SimulatedApi(cloud)
    api.simulation.all_of("stuck", DEVICES)
    api.simulation.advance()

    for truth in api.simulation.truths():
        statuses = {status for status, _version in told(await api.cloud.lookup(truth["device_id"])).values()}
        assert "installing" in statuses


@pytest.mark.parametrize("cloud", EVERY)
async def test_an_observation_says_who_when_and_by_which_api(cloud: str) -> None:
    api = SimulatedApi(cloud)
    api.simulation.all_of("succeeded", 1)
    api.simulation.advance()
    (truth,) = api.simulation.truths()

    looked = await api.cloud.lookup(truth["device_id"])

    assert looked.observations
    for one in looked.observations:
        assert (one.device_id, one.account, one.cloud) == (truth["device_id"], api.account.name, cloud)
        assert one.asked_at_ms == looked.asked_at_ms
        assert (one.evidence.origin, one.lookup_id) == ("lookup", None)
        assert one.evidence.name


@pytest.mark.parametrize("cloud", EVERY)
async def test_discovery_lists_every_device_that_has_something_to_tell(cloud: str) -> None:
    api = SimulatedApi(cloud)
    api.simulation.all_of("succeeded", MORE_THAN_A_PAGE)
    api.simulation.advance()

    listed = [device.device_id async for page in api.cloud.discover() for device in page]

    assert set(listed) == {truth["device_id"] for truth in api.simulation.truths()}


@pytest.mark.parametrize("cloud", [cloud for cloud in EVERY if not CLOUDS[cloud].has_gateway])
async def test_a_cloud_that_pushes_nothing_is_swept_for_what_runs_and_what_ended(cloud: str) -> None:
    api = SimulatedApi(cloud)
    api.simulation.campaign(MORE_THAN_A_PAGE, endings={"failed": 0.5, "stuck": 0.5}, rate_per_s=1000.0)
    api.simulation.advance()

    assert api.cloud.has_sweep
    swept = [looked async for page in api.cloud.sweep() for looked in page]
    told_of = [one for looked in swept for one in looked.observations]
    found = {one.device_id for one in told_of if one.status in ("failed", "installing")}

    assert found == {truth["device_id"] for truth in api.simulation.truths()}
    assert {one.evidence.origin for one in told_of} == {"sweep"}
    for looked in swept:
        if looked.is_whole:
            # It answers whoever waits for the device: then it tells all that a lookup would.
            alone = await api.cloud.lookup(looked.device_id)
            assert told(looked) == told(alone)


@pytest.mark.parametrize("cloud", EVERY)
async def test_devices_are_found_by_a_file_or_not_at_all_where_the_configuration_says_so(
    cloud: str, tmp_path: Path
) -> None:
    named = tmp_path / "devices.txt"
    named.write_text("one\n# none\ntwo  # the second\n", encoding="utf-8")

    by_file = SimulatedApi(cloud, discovery="file", discovery_file=str(named))
    off = SimulatedApi(cloud, discovery="off")
    for api in (by_file, off):
        api.simulation.all_of("succeeded", 3)
        api.simulation.advance()

    assert [one.device_id async for page in by_file.cloud.discover() for one in page] == ["one", "two"]
    assert [one.device_id async for page in off.cloud.discover() for one in page] == []
    assert not by_file.requests + off.requests


@pytest.mark.parametrize("cloud", [cloud for cloud in EVERY if SYSTEMS[cloud].manner.keeps_tasks])
async def test_a_cloud_of_tasks_names_task_and_package_of_an_upgrade(cloud: str) -> None:
    api = SimulatedApi(cloud)
    api.simulation.all_of("failed", 3)
    api.simulation.advance()

    for truth in api.simulation.truths():
        failed = [
            one for one in (await api.cloud.lookup(truth["device_id"])).observations if one.status == "failed"
        ]
        assert failed
        assert all(one.task_id and one.package for one in failed)


@pytest.mark.parametrize("cloud", EVERY)
async def test_no_address_goes_out_as_evidence(cloud: str) -> None:
    api = SimulatedApi(cloud)
    api.simulation.all_of("stuck", 3)
    api.simulation.advance()

    for truth in api.simulation.truths():
        for one in (await api.cloud.lookup(truth["device_id"])).observations:
            assert b"http" not in msgspec.json.encode(one.evidence)


@pytest.mark.parametrize("cloud", EVERY)
async def test_a_package_that_a_lookup_names_can_be_asked_for(cloud: str) -> None:
    api = SimulatedApi(cloud)
    api.simulation.all_of("stuck", DEVICES)
    api.simulation.advance()
    states: set[str] = set()

    for truth in api.simulation.truths():
        looked = await api.cloud.lookup(truth["device_id"])
        for one in looked.observations:
            if one.package is None:
                continue
            assert one.package.state == UNTOLD
            told = await api.cloud.package(one.package.id)
            assert told is not None
            assert told.package_id == one.package.id
            assert one.target_version in (None, told.version)
            states.add(told.state)

    known = {package.state for package in api.simulation.fleet.jobs.packages}
    assert states <= known | {"usable"}, (
        "a cloud that has no states of packages says of those it knows: usable"
    )


@pytest.mark.parametrize("cloud", EVERY)
async def test_a_package_that_nobody_knows_is_missing_where_the_cloud_tells_of_packages(cloud: str) -> None:
    told = await SimulatedApi(cloud).cloud.package("999999")

    assert told is None or told.state == "missing"


@pytest.mark.parametrize("cloud", EVERY)
async def test_an_unknown_device_is_not_found(cloud: str) -> None:
    api = SimulatedApi(cloud)
    api.simulation.fleet.create()

    with pytest.raises(errors.DeviceNotFound):
        await api.cloud.lookup(api.system.manner.device_id("f" * 40))


@pytest.mark.parametrize("cloud", EVERY)
@pytest.mark.parametrize(
    ("knob", "kinds"),
    [
        ("rest_5xx", (errors.Unanswered,)),
        ("rest_html", (errors.Unanswered,)),
        ("rest_truncate", (errors.Unanswered,)),
        ("rest_throttle", (errors.Throttled,)),
        ("rest_error_in_200", (errors.Transient,)),
        ("rest_token_expires", (errors.TokenRejected,)),
        ("rest_quota", (errors.QuotaExhausted,)),
    ],
)
async def test_a_fault_is_an_error_of_its_class(cloud: str, knob: str, kinds: tuple[type, ...]) -> None:
    api = SimulatedApi(cloud)
    api.simulation.all_of("stuck", 1)
    api.simulation.advance()
    (truth,) = api.simulation.truths()
    await api.cloud.lookup(truth["device_id"])
    api.simulation.faults.replace({knob: 1.0})

    (outcome,) = await asyncio.gather(api.cloud.lookup(truth["device_id"]), return_exceptions=True)

    unmoved = isinstance(outcome, Looked) and knob in ("rest_quota", "rest_token_expires")
    assert unmoved or isinstance(outcome, kinds), "only a cloud without quotas, or without tokens, is unmoved"
    assert refused(api) == NOTHING_REFUSED


class OddApi(SimulatedApi):
    """Its answers are replaced once there is an odd one."""

    odd: Answer | None = None

    async def send(self, request: Request) -> Answer:
        return await super().send(request) if self.odd is None else self.odd


@pytest.mark.parametrize("cloud", EVERY)
@pytest.mark.parametrize("begins", [b"", b'{"success":true,"code":0,"data":'])
async def test_an_answer_that_is_nested_too_deep_is_as_good_as_none(cloud: str, begins: bytes) -> None:
    api = OddApi(cloud)
    device = api.simulation.fleet.create()
    await api.cloud.lookup(device.device_id)
    api.odd = Answer(status=200, headers={}, body=begins + b"[" * 3000)

    with pytest.raises(errors.Unanswered):
        await api.cloud.lookup(device.device_id)


class StrangeToken(SimulatedApi):
    """Gives out access tokens with something in them that no header can carry."""

    inside = ""

    async def send(self, request: Request) -> Answer:
        answer = await super().send(request)
        body = re.sub(r'("access_?[tT]oken":")', lambda found: found[1] + self.inside, answer.body.decode())
        return msgspec.structs.replace(answer, body=body.encode())


@pytest.mark.parametrize("cloud", sorted(set(EVERY) - {"hedwig"}))
@pytest.mark.parametrize("inside", ["SECRET\\u0000", "SECRET\\n", "SECRET\u00e9"])
async def test_a_token_that_no_header_can_carry_is_misunderstood_and_not_shown(
    cloud: str, inside: str
) -> None:
    api = StrangeToken(cloud)
    api.inside = inside
    device = api.simulation.fleet.create()

    with pytest.raises(errors.SchemaMismatch, match="cannot be sent") as caught:
        await api.cloud.lookup(device.device_id)

    assert "SECRET" not in f"{caught.value!r} {caught.value}"
    assert len(api.requests) == 1


@pytest.mark.parametrize("cloud", EVERY)
async def test_a_wrong_clock_is_mended_or_told(cloud: str) -> None:
    api = SimulatedApi(cloud)
    api.simulation.all_of("stuck", 1)
    api.simulation.advance()
    (truth,) = api.simulation.truths()
    api.simulation.faults.replace({"rest_clock_skew_s": 4000.0})

    looked = await api.cloud.lookup(truth["device_id"])

    assert abs(looked.asked_at_ms - (api.now_ms() + 4_000_000)) < 3000
    # Who was misled about the time made no mistake.
    assert refused(api) == NOTHING_REFUSED


@pytest.mark.parametrize("cloud", EVERY)
async def test_no_secret_is_in_what_a_cloud_tells(cloud: str) -> None:
    api = SimulatedApi(cloud)
    api.simulation.all_of("failed", 3)
    api.simulation.advance()
    secrets = {
        secret.reveal()
        for table in (api.account.credentials, api.account.api)
        for secret in secrets_of(table)
    }
    assert secrets

    for truth in api.simulation.truths():
        text = msgspec.json.encode(await api.cloud.lookup(truth["device_id"])).decode()
        assert not [secret for secret in secrets if secret in text]
    shown = "".join(repr(request) for request in api.requests)
    assert not [secret for secret in secrets if secret in shown]
