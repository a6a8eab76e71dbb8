"""The simulated lighting API lets in what the contract lets in, and says no as the contract says no."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.illume.account import IllumeAccount, new_illume_account
from deploy.sandbox.cloud.illume.rest import IllumeRest
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from deploy.sandbox.cloud.rest import Asked
from deploy.sandbox.cloud.tuya.door import sign
from tests.unit.sandbox.simulation import Simulation

ROOT = "/v1.0/cloud/illume/devices"
DETAIL = f"{ROOT}/device/ota/open/detail"
UPGRADE = f"{ROOT}/ota/open/upgrade"
OFFERED = f"{ROOT}/ota/open/tobeupgraded"
UPGRADING = f"{ROOT}/ota/open/upgrading"
RECORD = f"{ROOT}/ota/open/upgrade/record"
SYNC = f"{ROOT}/ota/tobeupgraded/roomid"
LISTS = (OFFERED, UPGRADING, RECORD)


class Client:
    """Signs as the vendor's documentation says, and puts parameters wherever a test wants them."""

    def __init__(self, takes: str = "body", devices: int = 30) -> None:
        account = msgspec.structs.replace(new_illume_account("illume-demo"), takes=takes, rate_per_s=1000)
        assert isinstance(account, IllumeAccount)
        self.account = account
        self.takes = takes
        self.simulation = Simulation(account=account)
        for _ in range(devices):
            self.simulation.fleet.create()
        self.rest = IllumeRest([self.simulation.tenant], self.simulation.surroundings)
        self.token = ""
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.rest.app), base_url="https://localhost"
        )

    async def send(
        self,
        path: str,
        query: str = "",
        *,
        method: str = "GET",
        body: bytes = b"",
        signed_body: bytes | None = None,
        content_type: str = "application/json",
        key: str | None = None,
        t: str | None = None,
        signed_query: str | None = None,
    ) -> Any:
        t = t or str(int(self.simulation.now_s * 1000))
        nonce = uuid.uuid4().hex
        token = "" if "/v1.0/token" in path else self.token
        signed_query = query if signed_query is None else signed_query
        target = f"{path}?{signed_query}" if signed_query else path
        content_hash = hashlib.sha256(body if signed_body is None else signed_body).hexdigest()
        text = f"{self.account.access_id}{token}{t}{nonce}{method}\n{content_hash}\n\n{target}"
        digest = hmac.new((key or self.account.access_key).encode(), text.encode(), "sha256")
        headers = {
            "client_id": self.account.access_id,
            "t": t,
            "sign": digest.hexdigest().upper(),
            "sign_method": "HMAC-SHA256",
            "nonce": nonce,
        }
        headers |= {"access_token": token} if token else {}
        headers |= {"content-type": content_type} if body else {}
        url = f"{path}?{query}" if query else path
        response = await self._http.request(method, url, content=body or None, headers=headers)
        assert response.status_code == 200
        return response.json()

    async def login(self) -> None:
        answer = await self.send("/v1.0/token", "grant_type=1")
        self.token = answer["result"]["access_token"]

    async def ask(self, path: str, *, place: str | None = None, method: str = "GET", **values: Any) -> Any:
        if (place or self.takes) == "body":
            return await self.send(path, method=method, body=json.dumps(values).encode())
        pairs = sorted((name, str(value)) for name, value in values.items())
        return await self.send(
            path,
            "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs),
            signed_query="&".join(f"{name}={value}" for name, value in pairs),
            method=method,
        )

    async def result(self, path: str, **values: Any) -> Any:
        answer = await self.ask(path, **values)
        assert answer["success"], answer
        return answer["result"]

    async def code(self, path: str, **values: Any) -> int:
        answer = await self.ask(path, **values)
        assert answer["success"] is False, answer
        return int(answer["code"])

    def of_list(self, **more: Any) -> dict[str, Any]:
        return {"page": 1, "page_size": 100, "project_id": self.account.project_ids[0], **more}

    async def listed(self, path: str, **more: Any) -> dict[str, dict[str, Any]]:
        """The entries of a list in both projects."""
        pages = [await self.result(path, **self.of_list(project_id=each, **more)) for each in self.projects]
        return {entry["device_id"]: entry for page in pages for entry in page["list"]}

    @property
    def projects(self) -> tuple[str, str]:
        return self.account.project_ids

    @property
    def refused(self) -> dict[str, int]:
        refused: dict[str, int] = self.simulation.tenant.requests.report()["refused"]
        return refused


@pytest.fixture(params=["query", "body"])
async def client(request: pytest.FixtureRequest) -> Client:
    client = Client(request.param)
    await client.login()
    return client


@pytest.fixture
async def by_body() -> Client:
    client = Client("body")
    await client.login()
    return client


@pytest.fixture
async def by_query() -> Client:
    client = Client("query")
    await client.login()
    return client


@pytest.mark.parametrize(
    ("path", "query", "body", "expected"),
    [
        pytest.param(
            OFFERED,
            "page=1&page_size=10&project_id=1451224591564378112",
            b"",
            "CFEEEFFD558CC664CA4A95D5AEF0C6D67DE42E06255A4A59F6965613DA9FAF52",
            id="T11",
        ),
        pytest.param(
            SYNC,
            "",
            b'{"project_id":"1451224591564378112","room_id":"234761634"}',
            "ED1DAADA895DE85962A14A8F33D4CD1EED80F733B6E20753B554CEABBC87167E",
            id="T12",
        ),
        pytest.param(
            DETAIL,
            "device_id=vdev1243432xxx",
            b"",
            "E226F6ED3CCE01BCBCEFB9FA95F4FC00A5B71595D8EFC5E9D7A918467F8DBF33",
            id="T13",
        ),
    ],
)
def test_the_expected_signature_is_the_documented_one(
    path: str, query: str, body: bytes, expected: str
) -> None:
    headers = {"t": "1588925778000", "access_token": "3f4eda2bdec17232f67c0b188af3eec1"}
    asked = Asked(method="GET", path=path, query=query, headers=headers, body=body)

    assert sign(asked, "1KAD46OrT9HafiKdsXeg", "4OHBOnWOqaEC1mWXOpVL3yV50s0qGSRC") == expected


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"key": "x" * 32}, 1004),
        ({"signed_query": "page=2"}, 1004),
        ({"body": b'{"a":1}', "signed_body": b"{}"}, 1004),
        ({"body": b'{"a":1}', "signed_body": b""}, 1004),
        ({"t": "1588925778000"}, 1013),
        ({"t": "1700000000"}, 1013),
    ],
)
async def test_a_request_that_is_signed_wrongly_is_refused_and_counted(
    client: Client, how: dict[str, Any], code: int
) -> None:
    answer = await client.send(DETAIL, **how)

    assert (answer["success"], answer["code"]) == (False, code)
    assert client.refused == NOTHING_REFUSED | {"signature": 1}


@pytest.mark.parametrize(("token", "code"), [("", 1002), ("another", 1010)])
async def test_business_calls_need_a_living_token(client: Client, token: str, code: int) -> None:
    client.token = token

    assert await client.code(DETAIL, device_id=client.simulation.fleet[0].device_id) == code
    assert client.refused["token"] == 1


@pytest.mark.parametrize("takes", ["query", "body"])
async def test_parameters_in_the_other_place_are_not_seen(takes: str) -> None:
    client = Client(takes)
    await client.login()
    other = "body" if takes == "query" else "query"

    assert await client.code(DETAIL, place=other, device_id=client.simulation.fleet[0].device_id) == 1100
    assert await client.result(DETAIL, device_id=client.simulation.fleet[0].device_id)


async def test_a_body_is_a_json_object_and_says_so(by_body: Client) -> None:
    body = json.dumps({"device_id": by_body.simulation.fleet[0].device_id}).encode()

    assert (await by_body.send(DETAIL, body=body, content_type="text/plain"))["code"] == 1006
    assert (await by_body.send(DETAIL, body=b"[1]"))["code"] == 1109
    assert (await by_body.send(DETAIL, body=b"{"))["code"] == 1109
    assert (await by_body.send(DETAIL, body=body))["success"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"page": 0}, 1101),
        ({"page": -1}, (1101, 1104)),
        ({"page": "first"}, 1104),
        ({"page_size": 0}, 1101),
        ({"page_size": 101}, 1101),
        ({"project_id": ""}, 1100),
        ({"project_id": "1451224591564378112"}, 1106),
        ({"online": "yes"}, 1104),
        ({"something": "else"}, 1109),
    ],
)
async def test_each_parameter_of_a_list_is_checked(
    client: Client, path: str, changes: dict[str, Any], code: int | tuple[int, int]
) -> None:
    codes = code if isinstance(code, tuple) else (code,)
    assert await client.code(path, **client.of_list(**changes)) in codes


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("missing", ["page", "page_size", "project_id"])
async def test_each_required_parameter_of_a_list_is_missed(client: Client, path: str, missing: str) -> None:
    values = client.of_list()
    del values[missing]

    assert await client.code(path, **values) == 1100


@pytest.mark.parametrize("changes", [{"page": "1"}, {"page_size": "10"}, {"project_id": 7}, {"page": True}])
async def test_a_body_has_jsons_types(by_body: Client, changes: dict[str, Any]) -> None:
    assert await by_body.code(OFFERED, **by_body.of_list(**changes)) == 1104


@pytest.mark.parametrize("name", ["device_status", "device_types", "top_categories", "upgrade_status"])
async def test_filters_that_are_lists_exist_in_a_body_only(
    by_query: Client, by_body: Client, name: str
) -> None:
    value: Any = ["Online"] if name == "device_status" else [0]
    value = ["zm"] if name == "top_categories" else value

    assert await by_query.code(OFFERED, **by_query.of_list(**{name: value[0]})) == 1109
    assert await by_body.result(OFFERED, **by_body.of_list(**{name: value}))
    assert await by_body.code(OFFERED, **by_body.of_list(**{name: ["another"]})) == 1101
    assert await by_body.code(OFFERED, **by_body.of_list(**{name: value[0]})) == 1109


def offer(device: Device, version: str = "9.9") -> None:
    channel = device.channels[0]
    channel.shown = msgspec.structs.replace(channel.shown, status="available", target_version=version)


async def test_filters_leave_what_they_say(by_body: Client) -> None:
    for device in by_body.simulation.fleet:
        offer(device)
    by_body.simulation.fleet[3].online = False
    first = by_body.simulation.fleet[0]
    room = by_body.account.room_of(first)

    everything = await by_body.listed(OFFERED)
    by_room = await by_body.listed(OFFERED, room_id=room)
    by_name = await by_body.listed(OFFERED, room_id=room, device_name=first.name)
    offline = await by_body.listed(OFFERED, online=False)
    failed = await by_body.listed(OFFERED, upgrade_status=[4])

    assert len(everything) == 30
    assert set(by_room) == {
        device.device_id for device in by_body.simulation.fleet if by_body.account.room_of(device) == room
    }
    assert first.device_id in by_name
    assert set(offline) == {by_body.simulation.fleet[3].device_id}
    assert failed == {}


async def test_pages_follow_each_other_and_tell_the_total(client: Client) -> None:
    for device in client.simulation.fleet:
        offer(device)
    pages = [
        await client.result(OFFERED, **client.of_list(page=number, page_size=7)) for number in (1, 2, 3, 4)
    ]

    assert [len(page["list"]) for page in pages] == [7, 7, 1, 0]
    assert {int(page["total"]) for page in pages} == {15}
    ids = [entry["device_id"] for page in pages for entry in page["list"]]
    assert ids == [device.device_id for device in client.simulation.fleet if device.number % 2 == 0]


async def test_a_detail_tells_everything_but_a_target_version(client: Client) -> None:
    device = client.simulation.fleet[0]

    result = await client.result(DETAIL, device_id=device.device_id)

    assert result["device_id"] == result["device"]["device_id"] == device.device_id
    assert result["current_version"] == device.channels[0].current_version
    assert int(result["upgrade_status"]) == 0
    assert result["device"]["room_id"] == client.account.room_of(device)
    assert "version" not in result
    assert set(result) == {
        "current_version",
        "device",
        "device_ext",
        "device_id",
        "device_saas_id",
        "upgrade_status",
    }
    assert len(result["device"]) == 20
    assert len(result["device_ext"]) == 5


async def test_a_device_moves_through_the_lists_and_stays_where_it_failed(by_body: Client) -> None:
    by_body.simulation.all_of("failed", 30)
    seen: set[tuple[bool, bool, bool]] = set()
    for _ in range(90):
        by_body.simulation.advance(0.5)
        lists = [await by_body.listed(path) for path in LISTS]
        for device in by_body.simulation.fleet:
            seen.add(tuple(device.device_id in entries for entries in lists))  # type: ignore[arg-type]

    assert seen == {(True, False, False), (False, True, False), (False, True, True)}
    statuses = {int(entry["upgrade_status"]) for entry in (await by_body.listed(UPGRADING)).values()}
    assert statuses == {4}


async def test_the_record_tells_how_the_last_update_ended_whatever_runs_now(by_body: Client) -> None:
    by_body.simulation.all_of("failed", 30)
    by_body.simulation.advance()
    by_body.simulation.all_of("stuck", 30)
    by_body.simulation.advance()

    running, record = await by_body.listed(UPGRADING), await by_body.listed(RECORD)

    assert {int(entry["upgrade_status"]) for entry in running.values()} == {2}
    assert {int(entry["upgrade_status"]) for entry in record.values()} == {4}
    assert set(running) == set(record)


async def test_only_a_detail_makes_a_running_upgrade_known(client: Client) -> None:
    client.simulation.all_of("stuck", 1)
    client.simulation.advance()
    device = client.simulation.fleet[0]
    device.told = False

    assert device.device_id in await client.listed(UPGRADING)
    assert not device.told
    await client.result(DETAIL, device_id=device.device_id)
    assert device.told


async def test_what_is_not_there_gets_its_code(client: Client) -> None:
    gone = client.simulation.fleet[5]
    gone.listed = False
    offer(gone)

    assert await client.code(DETAIL) == 1100
    assert await client.code(DETAIL, device_id="nobody") == 2010
    assert await client.code(DETAIL, device_id=gone.device_id) == 2010
    assert await client.code(f"{ROOT}/ota/upgrading/del") == 1108
    assert gone.device_id not in await client.listed(OFFERED)


async def test_an_upgrade_is_accepted_as_in_the_vendors_sample_and_noted(client: Client) -> None:
    mine = [device.device_id for device in client.simulation.fleet if device.number % 2 == 0]
    other = client.simulation.fleet[1].device_id
    order = {"place": "body", "method": "POST", "project_id": client.projects[0]}

    answer = await client.ask(UPGRADE, device_ids=mine[:3], **order)

    assert answer == {"success": True, "t": int(client.simulation.now_s), "result": False}
    assert client.rest.upgrades == [tuple(mine[:3])]
    assert await client.code(UPGRADE, device_ids=[], **order) == 1100
    assert await client.code(UPGRADE, **order) == 1100
    assert await client.code(UPGRADE, device_ids=mine[0], **order) == 1104
    assert await client.code(UPGRADE, device_ids=["nobody"], **order) == 2010
    assert await client.code(UPGRADE, device_ids=[other], **order) == 1106
    assert await client.code(UPGRADE, device_ids=mine[:1], **order | {"method": "GET"}) == 1108
    assert client.rest.upgrades == [tuple(mine[:3])]


async def test_a_space_is_synced_without_a_result(client: Client) -> None:
    room = client.account.room_of(client.simulation.fleet[0])

    answer = await client.ask(SYNC, project_id=client.projects[0], room_id=room)

    assert answer == {"success": True, "t": int(client.simulation.now_s)}
    assert client.rest.synced == [room]
    assert await client.code(SYNC, project_id=client.projects[0]) == 1100
    assert await client.code(SYNC, room_id=room) == 1100
    assert await client.code(SYNC, project_id=client.projects[0], room_id="elsewhere") == 1109
    assert client.rest.synced == [room]


async def test_a_lying_answer_repeats_what_was_true_before_the_attempt(client: Client) -> None:
    client.simulation.all_of("stuck", 30)
    client.simulation.advance()
    device = client.simulation.fleet[0]
    assert int((await client.result(DETAIL, device_id=device.device_id))["upgrade_status"]) == 2
    client.simulation.faults.replace({"rest_lie": 1.0})

    assert int((await client.result(DETAIL, device_id=device.device_id))["upgrade_status"]) in (0, 1)
    assert await client.listed(UPGRADING) == {}


def test_describe_tells_what_a_client_needs() -> None:
    account = new_illume_account("illume-demo")

    assert account.describe()["project_ids"] == list(account.project_ids)
    assert account.describe()["access_id"] == account.access_id
