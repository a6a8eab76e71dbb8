"""What is special about the lighting API: where parameters go, where versions come from, what its lists tell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from bridge.clouds import errors
from bridge.clouds.illume.actions import SYNC_API, UPGRADE_API
from bridge.clouds.illume.cloud import IllumeCloud
from bridge.clouds.illume.detail import DETAIL_API
from bridge.clouds.illume.lists import OFFERED, RECORDED, UPGRADING
from bridge.clouds.illume.parameters import NOT_SEEN, UNUSABLE_AFTER
from bridge.clouds.shape import Looked
from bridge.clouds.tuya.subscriptions import SUBSCRIPTION_MS
from bridge.clouds.wire import Answer, Request
from deploy.sandbox.cloud.illume.account import IllumeAccount
from tests.simulated_api import SimulatedApi


def parameters_of(request: Request) -> dict[str, Any]:
    """The parameters of a request, wherever they stand."""
    query = dict(parse_qsl(request.target.partition("?")[2]))
    return query | (json.loads(request.body) if request.body else {})


class LightingApi(SimulatedApi):
    """The simulated API, of which single answers may be replaced."""

    def __init__(self, *, takes: str = "query", seed: int = 1, **api: Any) -> None:
        super().__init__("illume", seed=seed, **api)
        self.instead: Callable[[Request], dict[str, Any] | Answer | None] = lambda _request: None
        account = self.simulation.tenant.account
        assert isinstance(account, IllumeAccount)
        self.simulation.tenant = msgspec.structs.replace(
            self.simulation.tenant, account=msgspec.structs.replace(account, takes=takes)
        )
        self.rest = self.system.serve([self.simulation.tenant], self.simulation.surroundings)
        self._http = type(self._http)(self.rest.app)

    @property
    def illume(self) -> IllumeCloud:
        assert isinstance(self.cloud, IllumeCloud)
        return self.cloud

    async def send(self, request: Request) -> Answer:
        instead = self.instead(request)
        if instead is None:
            return await super().send(request)
        self.requests.append(request)
        if isinstance(instead, Answer):
            return instead
        return Answer(status=200, headers={}, body=json.dumps(instead).encode())

    def asked(self) -> Counter[str]:
        return Counter(request.api for request in self.requests)

    def forget(self) -> None:
        self.requests.clear()


def refused(code: int) -> dict[str, Any]:
    return {"success": False, "code": code, "msg": "no"}


def answered(**result: Any) -> dict[str, Any]:
    return {"success": True, "result": result}


def only(api: str, answer: dict[str, Any] | Answer) -> Callable[[Request], dict[str, Any] | Answer | None]:
    return lambda request: answer if request.api == api else None


async def swept(api: LightingApi) -> list[Looked]:
    return [looked async for page in api.cloud.sweep() for looked in page]


async def read_into(told: list[str], api: LightingApi) -> None:
    async for page in api.cloud.sweep():
        told += [looked.device_id for looked in page]


def status_of(looked: Looked) -> tuple[str | None, str | None]:
    (one,) = looked.observations
    return one.status, one.target_version


# Parameters


@pytest.mark.parametrize("takes", ["query", "body"])
async def test_parameters_go_where_the_deployment_takes_them_and_that_is_remembered(takes: str) -> None:
    api = LightingApi(takes=takes)
    device_id = api.simulation.fleet.create().device_id

    await api.cloud.lookup(device_id)
    await api.cloud.lookup(device_id)

    details = [request for request in api.requests if request.api == DETAIL_API]
    assert len(details) == (2 if takes == "query" else 3), "the other place is tried once"
    assert bool(details[-1].body) == (takes == "body")
    assert ("?" in details[-1].target) == (takes == "query")
    assert [parameters_of(request) for request in details] == [{"device_id": device_id}] * len(details)


@pytest.mark.parametrize("answer", [*(refused(int(code)) for code in NOT_SEEN if code.isdecimal())])
async def test_every_code_of_refused_parameters_leads_to_the_body(answer: dict[str, Any]) -> None:
    api = LightingApi(takes="body")
    device_id = api.simulation.fleet.create().device_id
    api.instead = lambda request: answer if "device_id=" in request.target else None

    assert await api.cloud.lookup(device_id)


@pytest.mark.parametrize("body", [b"<html>bad request</html>", b'{"message":"no parameters"}'])
async def test_so_does_http_400_whoever_answers_it(body: bytes) -> None:
    api = LightingApi(takes="body")
    device_id = api.simulation.fleet.create().device_id
    bad = Answer(status=400, headers={}, body=body)
    api.instead = lambda request: bad if "device_id=" in request.target else None

    assert await api.cloud.lookup(device_id)
    assert api.asked()[DETAIL_API] == 2, "what is refused is not repeated"


@pytest.mark.parametrize("place", ["query", "body"])
async def test_a_configured_place_is_the_only_one(place: str) -> None:
    other = "body" if place == "query" else "query"
    api = LightingApi(takes=other, get_params=place)
    device_id = api.simulation.fleet.create().device_id

    with pytest.raises(errors.BadRequest):
        await api.cloud.lookup(device_id)

    assert api.asked()[DETAIL_API] == 1


async def test_a_deployment_that_changes_its_mind_is_followed() -> None:
    api = LightingApi(takes="body")
    device_id = api.simulation.fleet.create().device_id
    await api.cloud.lookup(device_id)
    api.instead = lambda request: (
        (refused(1100) if request.body else answered(upgrade_status=0)) if request.api == DETAIL_API else None
    )

    for _ in range(2):
        await api.cloud.lookup(device_id)
    api.forget()
    await api.cloud.lookup(device_id)

    assert [bool(request.body) for request in api.requests] == [False]


async def test_where_nothing_was_ever_accepted_the_deployment_is_unusable_but_not_by_one_device() -> None:
    api = LightingApi()
    api.instead = only(DETAIL_API, refused(1109))

    for _ in range(3 * UNUSABLE_AFTER):
        with pytest.raises(errors.BadRequest):
            await api.cloud.lookup("strange/id")
    for number in range(UNUSABLE_AFTER - 2):
        with pytest.raises(errors.BadRequest):
            await api.cloud.lookup(f"another{number}")
    with pytest.raises(errors.Misconfigured) as caught:
        await api.cloud.lookup("the last")

    assert "by query and by body" in caught.value.text
    assert "get_params" in caught.value.remedy


async def test_once_something_was_accepted_a_refused_device_never_stops_the_account() -> None:
    api = LightingApi()
    await api.cloud.lookup(api.simulation.fleet.create().device_id)
    api.instead = only(DETAIL_API, refused(1109))

    for _ in range(3 * UNUSABLE_AFTER):
        with pytest.raises(errors.BadRequest):
            await api.cloud.lookup("strange/id")


async def test_what_each_place_was_refused_with_is_told() -> None:
    api = LightingApi()
    api.instead = lambda request: (
        refused(1109 if request.body else 1100) if request.api == DETAIL_API else None
    )

    with pytest.raises(errors.BadRequest) as caught:
        await api.cloud.lookup("strange/id")

    assert caught.value.text == "by query: no (1100); by body: no (1109)"
    assert caught.value.code == "1100"


async def test_other_refusals_are_no_reason_to_look_elsewhere() -> None:
    api = LightingApi()
    api.instead = only(DETAIL_API, refused(1106))

    with pytest.raises(errors.DeviceForbidden):
        await api.cloud.lookup("d")

    assert api.asked()[DETAIL_API] == 1


# Lookup


async def test_a_device_at_rest_costs_one_request() -> None:
    api = LightingApi()
    device_id = api.simulation.fleet.create().device_id

    looked = await api.cloud.lookup(device_id)

    assert status_of(looked) == ("idle", None)
    assert api.asked() == {"token": 1, DETAIL_API: 1}


async def test_the_version_comes_from_the_entry_of_the_list_that_names_the_device() -> None:
    api = LightingApi()
    api.simulation.all_of("stuck", 30)
    api.simulation.advance()

    for truth in api.simulation.truths():
        (channel,) = truth["channels"]
        looked = await api.cloud.lookup(truth["device_id"])
        assert status_of(looked) == ("installing", channel["target_version"])
        (one,) = looked.observations
        assert one.undivided
        assert isinstance(one.evidence.raw, dict)
        assert one.evidence.raw["version"] == channel["target_version"]

    searched = [parameters_of(request) for request in api.requests if request.api == UPGRADING.api]
    assert searched
    for query in searched:
        assert set(query) == {"project_id", "page", "page_size", "room_id", "device_name"}


async def test_the_version_on_offer_comes_from_the_other_list() -> None:
    api = LightingApi()
    device = api.simulation.fleet.create()
    channel = device.channels[0]
    channel.shown = msgspec.structs.replace(channel.shown, status="available", target_version="9.9")

    assert status_of(await api.cloud.lookup(device.device_id)) == ("available", "9.9")
    assert api.asked()[UPGRADING.api] == 0


@pytest.mark.parametrize("place", [OFFERED, UPGRADING])
async def test_a_device_that_waits_may_be_in_either_list(place: Any) -> None:
    api = LightingApi()
    item = {"device_id": "d", "upgrade_status": 5, "version": "2"}

    def answer(request: Request) -> dict[str, Any] | None:
        if request.api == DETAIL_API:
            return answered(upgrade_status=5, device={"room_id": "r"})
        if request.api in (OFFERED.api, UPGRADING.api):
            return answered(list=[item] if request.api == place.api else [], total=0)
        return None

    api.instead = answer

    assert status_of(await api.cloud.lookup("d")) == ("pending", "2")


@pytest.mark.parametrize(
    "listed",
    [
        answered(list=[{"device_id": "d", "upgrade_status": 4, "version": "1.9"}], total=1),
        answered(list=[{"device_id": "another", "upgrade_status": 2, "version": "2"}], total=1),
        answered(list=[{"device_id": "d", "upgrade_status": 2}], total=1),
        answered(nothing=1),
        refused(1106),
        refused(28841101),
        Answer(status=502, headers={}, body=b"<html>"),
    ],
)
async def test_an_entry_that_disagrees_or_cannot_be_had_leaves_the_version_open(
    listed: dict[str, Any] | Answer,
) -> None:
    api = LightingApi()
    detail = answered(upgrade_status=2, current_version="1", device={"room_id": "r", "device_name": "n"})
    api.instead = lambda request: {DETAIL_API: detail, UPGRADING.api: listed}.get(request.api)

    looked = await api.cloud.lookup("d")

    assert status_of(looked) == ("installing", None)
    assert looked.observations[0].current_version == "1"


async def test_a_list_that_is_not_subscribed_is_left_alone_for_a_day() -> None:
    api = LightingApi()
    detail = answered(upgrade_status=2, device={"room_id": "r"})
    api.instead = lambda request: {DETAIL_API: detail, UPGRADING.api: refused(28841105)}.get(request.api)

    for _ in range(3):
        await api.cloud.lookup("d")
    assert api.asked()[UPGRADING.api] == 1
    api.simulation.advance(SUBSCRIPTION_MS / 1000)
    await api.cloud.lookup("d")

    assert api.asked()[UPGRADING.api] == 2


@pytest.mark.parametrize(("value", "vendor_status"), [(100, "100"), ("soon", "soon"), (None, None)])
async def test_a_value_without_a_status_becomes_versions(value: object, vendor_status: str | None) -> None:
    api = LightingApi()
    api.instead = only(DETAIL_API, answered(upgrade_status=value, current_version="1"))

    (one,) = (await api.cloud.lookup("d")).observations

    assert (one.kind, one.status, one.vendor_status, one.current_version) == (
        "versions",
        None,
        vendor_status,
        "1",
    )


async def test_the_status_is_of_the_channel_that_pushes_name() -> None:
    api = LightingApi(channel="3")

    (one,) = (await api.cloud.lookup(api.simulation.fleet.create().device_id)).observations

    assert one.channel == "3"


async def test_evidence_says_nothing_of_owners_places_and_addresses() -> None:
    api = LightingApi()
    device = api.simulation.fleet.create()

    text = msgspec.json.encode(await api.cloud.lookup(device.device_id)).decode()

    for private in (device.name, device.uuid, "owner-", "point-", "00005e", '"2347'):
        assert private not in text


# Lists


async def test_discovery_reads_each_list_of_each_project_to_its_end() -> None:
    api = LightingApi()
    for _ in range(430):
        channel = api.simulation.fleet.create().channels[0]
        channel.shown = msgspec.structs.replace(channel.shown, status="available", target_version="9.9")

    listed = [device.device_id async for page in api.cloud.discover() for device in page]

    assert sorted(listed) == sorted(device.device_id for device in api.simulation.fleet)
    pages = [parameters_of(request)["page"] for request in api.requests if request.api == OFFERED.api]
    assert pages == ["1", "2", "3"] * 2
    assert api.asked()[UPGRADING.api] == api.asked()[RECORDED.api] == 2


async def test_a_list_that_does_not_move_on_is_a_schema_error() -> None:
    api = LightingApi()
    page = [{"device_id": str(number)} for number in range(100)]
    api.instead = only(OFFERED.api, answered(list=page, total=1000))

    with pytest.raises(errors.SchemaMismatch):
        [page async for page in api.cloud.discover()]

    assert api.asked()[OFFERED.api] == 2


async def test_a_total_that_grows_with_every_page_is_not_followed_for_ever() -> None:
    api = LightingApi(project_ids=("p",))

    def answer(request: Request) -> dict[str, Any] | None:
        if request.api != OFFERED.api:
            return answered(list=[], total=0) if request.api.startswith("illume") else None
        number = int(parameters_of(request)["page"])
        page = [{"device_id": f"{number}-{each}"} for each in range(100)]
        return answered(list=page, total=number * 100 + 50)

    api.instead = answer
    [page async for page in api.cloud.discover()]

    assert api.asked()[OFFERED.api] == 3, "150 make two pages, and one more"


async def test_lists_that_are_not_subscribed_are_left_out_and_none_at_all_is_forbidden() -> None:
    api = LightingApi()
    api.simulation.all_of("stuck", 3)
    api.simulation.advance()
    api.instead = only(OFFERED.api, refused(28841101))
    listed = [device.device_id async for page in api.cloud.discover() for device in page]
    assert len(listed) == 3

    api.instead = lambda request: refused(28841101) if request.api.startswith("illume") else None
    for _ in range(2):
        with pytest.raises(errors.Forbidden):
            [page async for page in api.cloud.discover()]


# Sweep


async def test_the_first_sweep_looks_up_what_runs_and_learns_the_rest() -> None:
    api = LightingApi()
    api.simulation.all_of("succeeded", 20)
    api.simulation.advance()
    api.simulation.all_of("stuck", 8)
    api.simulation.advance()
    running = {
        truth["device_id"]
        for truth in api.simulation.truths()
        if truth["channels"][0]["status"] == "installing"
    }

    looked = await swept(api)

    assert {each.device_id for each in looked} == running
    assert all(each.is_whole and status_of(each)[0] == "installing" for each in looked)
    assert {each.observations[0].evidence.origin for each in looked} == {"sweep"}


@pytest.mark.parametrize("odd", [refused(2013), refused(1109), {"success": True, "result": []}])
async def test_a_sweep_goes_on_after_a_device_whose_answer_is_not_understood(odd: dict[str, Any]) -> None:
    api = LightingApi()
    api.simulation.all_of("stuck", 4)
    api.simulation.advance()
    strange, *others = (device.device_id for device in api.simulation.fleet)
    api.instead = lambda request: (
        odd if request.api == DETAIL_API and parameters_of(request)["device_id"] == strange else None
    )

    assert {looked.device_id for looked in await swept(api)} == set(others)
    assert await swept(api) == []
    api.instead = lambda _request: None
    assert [looked.device_id for looked in await swept(api)] == [strange]
    api.forget()
    assert await swept(api) == []
    assert not api.asked()[DETAIL_API]


@pytest.mark.parametrize(
    ("api_name", "answer", "kind"),
    [
        (DETAIL_API, refused(1004), errors.AuthRefused),
        (DETAIL_API, refused(28841105), errors.Forbidden),
        (DETAIL_API, Answer(status=502, headers={}, body=b""), errors.Unanswered),
        ("token", answered(nothing=True), errors.SchemaMismatch),
    ],
)
async def test_a_sweep_ends_where_not_only_a_device_is_the_matter(
    api_name: str, answer: dict[str, Any] | Answer, kind: type[errors.CloudError]
) -> None:
    api = LightingApi()
    api.simulation.all_of("stuck", 4)
    api.simulation.advance()

    def instead(request: Request) -> dict[str, Any] | Answer | None:
        if api_name == "token" and request.api == DETAIL_API:
            return refused(1010)
        # Not the first token, with which the lists are read.
        is_late = api_name != "token" or api.asked()[DETAIL_API] > 0
        return answer if request.api == api_name and is_late else None

    api.instead = instead
    with pytest.raises(kind):
        await swept(api)

    assert api.asked()[DETAIL_API] in (1, 3), "no other device is asked about"


async def test_a_sweep_in_which_nothing_changed_reads_the_lists_alone() -> None:
    api = LightingApi()
    api.simulation.campaign(30, endings={"failed": 0.5, "stuck": 0.5}, rate_per_s=1000.0)
    api.simulation.advance()
    await swept(api)
    api.forget()

    assert await swept(api) == []
    assert api.asked() == {OFFERED.api: 2, UPGRADING.api: 2, RECORDED.api: 2}


@pytest.mark.parametrize("ending", ["succeeded", "failed", "timed_out", "silent", "cancelled"])
async def test_a_sweep_finds_each_end_that_nobody_pushed(ending: str) -> None:
    api = LightingApi()
    await swept(api)
    api.simulation.all_of(ending, 5)
    seen: dict[str, Looked] = {}
    for _ in range(80):
        api.simulation.advance(1.0)
        seen |= {each.device_id: each for each in await swept(api)}

    for truth in api.simulation.truths():
        status, _target = status_of(seen[truth["device_id"]])
        if ending in ("succeeded", "silent"):
            # Some show the new version a moment later; the fold asks again for that.
            assert status in ("succeeded", "idle")
        elif ending == "cancelled":
            assert status in ("idle", "available")
        else:
            assert status == ending


async def test_a_device_that_is_listed_and_not_known_any_more_does_not_stop_the_sweep() -> None:
    api = LightingApi()
    api.simulation.all_of("stuck", 5)
    api.simulation.advance()
    gone = api.simulation.fleet[2].device_id
    api.instead = lambda request: (
        refused(2010) if request.api == DETAIL_API and gone in request.target else None
    )

    assert len(await swept(api)) == 4


async def test_a_sweep_that_broke_off_goes_on_with_what_it_did_not_tell() -> None:
    api = LightingApi()
    await swept(api)
    api.simulation.all_of("stuck", 5)
    api.simulation.advance()
    told: list[str] = []
    broken = 2

    def answer(request: Request) -> dict[str, Any] | None:
        return refused(500) if request.api == DETAIL_API and len(told) >= broken else None

    api.instead = answer
    with pytest.raises(errors.Unanswered):
        await read_into(told, api)
    api.instead = lambda _request: None
    rest = [looked.device_id for looked in await swept(api)]

    assert sorted(told + rest) == sorted(device.device_id for device in api.simulation.fleet)


@pytest.mark.parametrize("api", [{"sweep_lists": False}, {"project_ids": (), "discovery": "off"}])
def test_lists_are_swept_only_where_there_are_any_and_somebody_wants_it(api: dict[str, Any]) -> None:
    assert LightingApi().illume.has_sweep
    assert not LightingApi(**api).illume.has_sweep


async def test_nothing_that_a_stage_asks_changes_anything() -> None:
    api = LightingApi()
    api.simulation.campaign(20, endings={"failed": 0.3, "stuck": 0.3}, rate_per_s=1000.0)
    api.simulation.advance()

    [page async for page in api.cloud.discover()]
    await swept(api)
    for device in api.simulation.fleet:
        await api.cloud.lookup(device.device_id)
    await api.cloud.package("1")

    assert {request.method for request in api.requests} == {"GET"}
    assert not {UPGRADE_API, SYNC_API} & set(api.asked())
    assert not [request for request in api.requests if "roomid" in request.target]
