"""The simulated EnOS lets in what the contract lets in, and says no as the contract says no."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from deploy.sandbox.cloud.enos.account import EnosAccount
from deploy.sandbox.cloud.enos.door import sign
from deploy.sandbox.cloud.enos.rest import EnosRest
from deploy.sandbox.cloud.rest import Asked
from tests.unit.sandbox.simulation import Simulation

ACCOUNT = EnosAccount(
    name="enos-demo",
    cloud="enos",
    app_key="5acb82e7-a11e-4300-9164-c8b20b638e8b",
    app_secret="an-app-secret",
    org_id="o15475466766371",
    rate_per_s=50,
)
JSON = "application/json;charset=UTF-8"
FIRMWARES = "/connect-service/v2.1/ota-firmwares"
JOBS = "/connect-service/v2.1/ota-jobs"
TOKEN = "/apim-token-service/v2.0/token/get"


def digest(*parts: str | bytes) -> str:
    return hashlib.sha256(
        b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    ).hexdigest()


class Client:
    """Signs as the vendor's documentation says, with every part open to being wrong."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.rest = EnosRest([simulation.tenant], simulation.surroundings)
        self.token = ""
        self._ms = 0
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.rest.app), base_url="https://localhost"
        )

    def now_ms(self) -> int:
        self._ms = max(self._ms + 1, int(self.simulation.now_s * 1000))
        return self._ms

    async def login(self, path: str = TOKEN, **changes: Any) -> dict[str, Any]:
        timestamp = self.now_ms()
        body = {
            "appKey": ACCOUNT.app_key,
            "encryption": digest(ACCOUNT.app_key, str(timestamp), ACCOUNT.app_secret),
            "timestamp": timestamp,
        } | changes
        response = await self._http.post(path, json=body, headers={"content-type": JSON})
        answer: dict[str, Any] = response.json()
        if (told := answer.get("data")) is not None:
            self.token = told["accessToken"]
        return answer

    async def ask(
        self,
        path: str,
        query: Mapping[str, str],
        body: object = None,
        *,
        method: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        signed_query: Mapping[str, str] | None = None,
        signed_body: bytes | None = None,
        secret: str = ACCOUNT.app_secret,
        extra: str = "",
    ) -> httpx.Response:
        query = {"orgId": ACCOUNT.org_id, **query}
        content = b"" if body is None else json.dumps(body).encode()
        timestamp = str(self.now_ms())
        parameters = "".join(name + value for name, value in sorted((signed_query or query).items()))
        signature = digest(
            self.token, parameters, content if signed_body is None else signed_body, timestamp, secret
        )
        sent: dict[str, str | None] = {
            "apim-accesstoken": self.token,
            "apim-signature": signature,
            "apim-timestamp": timestamp,
            "content-type": JSON,
        } | dict(headers or {})
        target = path + "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        return await self._http.request(
            method or ("GET" if body is None else "POST"),
            target + extra,
            content=content,
            headers={name: value for name, value in sent.items() if value is not None},
        )

    async def told(self, path: str, query: Mapping[str, str], body: object = None, **how: Any) -> Any:
        answer = (await self.ask(path, query, body, **how)).json()
        assert answer["code"] == 0, answer
        assert (answer["msg"], len(answer["requestId"])) == ("OK", 32)
        return answer

    async def no(self, path: str, query: Mapping[str, str], body: object = None, **how: Any) -> int:
        answer = (await self.ask(path, query, body, **how)).json()
        code = answer.get("code", answer.get("status"))
        assert code != 0
        return int(code)

    def refused(self) -> dict[str, int]:
        refused: dict[str, int] = self.simulation.tenant.requests.report()["refused"]
        return refused


@pytest.fixture
def simulation() -> Simulation:
    simulation = Simulation(account=ACCOUNT)
    for _ in range(45):
        simulation.fleet.create()
    return simulation


@pytest.fixture
async def client(simulation: Simulation) -> Client:
    client = Client(simulation)
    await client.login()
    return client


DEVICES = (FIRMWARES, {"action": "searchDeviceUpgrade"})
TASKS = (JOBS, {"action": "searchTask"})
ANY: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        (
            "k3=v3&k1=v1&k2=v2",
            '{\n  "count": 20,\n  "page": 1,\n  "desc": "描述"\n}',
            "59828328f6c1f9771015dc74e4929ae30f518a35a3d2353972c2ea46556fc981",
        ),
        (
            "action=searchDeviceUpgrade&orgId=yourOrgId",
            """{"expression":"productKey='yourProductKey'","pagination":{"pageNo":1,"pageSize":5}}""",
            "77e221755e3e241cc8db5e120293830813d969a748f48181a75fcf21e8ea31c8",
        ),
        (
            "action=get&orgId=yourOrgId&jobId=j1",
            "",
            "a270b653b1cec50516579f1b92c651dc3eddfb8671fe5dea8514a3dca36c75f8",
        ),
    ],
)
def test_the_door_knows_the_published_signatures(query: str, body: str, expected: str) -> None:
    asked = Asked(
        method="POST",
        path="/",
        query=query,
        headers={"apim-accesstoken": "xxxxaaaxxxx", "apim-timestamp": "1572574909697"},
        body=body.encode(),
    )

    assert sign(asked, "xxxappSecretxxx") == expected


# Tokens.


async def test_a_token_that_lives_is_given_again_with_the_time_it_has_left(client: Client) -> None:
    first = client.token
    client.simulation.advance(100.0)

    again = (await client.login())["data"]

    assert (again["accessToken"], again["expire"]) == (first, 7100)


async def test_a_token_ends_and_another_is_given(client: Client) -> None:
    first = client.token
    client.simulation.advance(7200.0)
    assert await client.no(*DEVICES, ANY) == 1203

    await client.login()

    assert client.token != first
    await client.told(*DEVICES, ANY)
    assert client.refused()["token"] == 1


async def test_a_refreshed_token_takes_the_place_of_the_one_before(client: Client) -> None:
    first = client.token
    refreshed = await client.login("/apim-token-service/v2.0/token/refresh", accessToken=first)
    assert refreshed["data"]["accessToken"] != first
    await client.told(*DEVICES, ANY)

    refused = await client.login("/apim-token-service/v2.0/token/refresh", accessToken=first)
    assert refused == {"status": 1204, "msg": "refresh failed"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"appKey": "another"}, 1002),
        ({"encryption": "0" * 64}, 1003),
        ({"encryption": 7}, 1003),
        ({"timestamp": 1_700_000_000_001}, 1003),
        ({"timestamp": 1_700_000_000}, 1004),
        ({"timestamp": True}, 1004),
        ({"timestamp": "soon"}, 1004),
        ({"timestamp": None}, 1202),
        ({"encryption": ""}, 1202),
    ],
)
async def test_a_request_for_a_token_with_a_wrong_part_is_refused(
    simulation: Simulation, changes: dict[str, Any], code: int
) -> None:
    answer = await Client(simulation).login(**changes)

    assert answer.get("status") == code


async def test_each_time_is_accepted_once(client: Client) -> None:
    timestamp = client.now_ms()
    encryption = digest(ACCOUNT.app_key, str(timestamp), ACCOUNT.app_secret)

    answers = [await client.login(timestamp=how(timestamp), encryption=encryption) for how in (int, str, int)]

    assert [answer.get("status", answer.get("stauts")) for answer in answers] == [0, 1001, 1001]


async def test_only_a_token_that_a_fault_ended_is_no_mistake_of_the_clients(client: Client) -> None:
    client.simulation.faults.replace({"rest_token_expires": 1.0})
    assert await client.no(*DEVICES, ANY) == 1203
    assert client.refused()["token"] == 0

    client.token = "made-up"
    assert await client.no(*DEVICES, ANY) == 1203
    assert client.refused()["token"] == 1


# Signatures.


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"headers": {"apim-signature": "0" * 64}}, 1004),
        ({"headers": {"apim-signature": None}}, 1202),
        ({"headers": {"apim-accesstoken": None}}, 1202),
        ({"headers": {"apim-timestamp": None}}, 1202),
        ({"headers": {"apim-timestamp": "1700000000999"}}, 1004),
        ({"headers": {"apim-timestamp": "1700000000"}}, 1004),
        ({"secret": "another"}, 1004),
        ({"signed_query": {"action": "searchDeviceUpgrade"}}, 1004),
        ({"signed_body": b"{ }"}, 1004),
        ({"extra": "&more=1"}, 1004),
    ],
)
async def test_a_request_with_a_wrong_part_is_refused(client: Client, how: dict[str, Any], code: int) -> None:
    assert await client.no(*DEVICES, ANY, **how) == code
    assert client.refused()["signature"] == 1


async def test_an_organization_that_nobody_knows_is_refused(client: Client) -> None:
    assert await client.no(FIRMWARES, {"action": "searchDeviceUpgrade", "orgId": "other"}, ANY) == 400
    assert client.refused()["account"] == 1


async def test_a_parameter_given_twice_is_refused(client: Client) -> None:
    assert await client.no(*DEVICES, ANY, extra="&action=searchDeviceUpgrade") == 1004
    assert client.refused()["form"] == 1


async def test_a_body_of_another_kind_is_refused(client: Client) -> None:
    assert await client.no(*DEVICES, ANY, headers={"content-type": "text/plain"}) == 1004
    assert client.refused()["form"] == 1
    assert await client.no(*DEVICES, [1]) == 1004


async def test_a_request_above_the_rate_is_refused(client: Client) -> None:
    codes = [(await client.ask(*DEVICES, ANY)).status_code for _ in range(51)]

    assert set(codes[:49]) == {200}
    assert codes[-1] in (429, 503)
    assert client.refused()["rate"] > 0


# What is asked.


@pytest.mark.parametrize(
    "action", ["create", "start", "stop", "delete", "cancelTask", "retryTask", "searchtask", ""]
)
async def test_no_other_action_is_there(client: Client, action: str) -> None:
    assert await client.no(JOBS, {"action": action}, ANY) == 404


async def test_a_list_gives_ten_by_default_and_pages_from_one(client: Client) -> None:
    first = await client.told(*DEVICES, ANY)
    assert first["pagination"] == {"sortedBy": None, "pageNo": 1, "pageSize": 10, "totalSize": 45}
    last = await client.told(*DEVICES, {"pagination": {"pageNo": 5, "pageSize": 10}})
    beyond = await client.told(*DEVICES, {"pagination": {"pageNo": 6, "pageSize": 10}})

    assert (len(first["data"]), len(last["data"]), beyond["data"]) == (10, 5, [])
    assert len((await client.told(*DEVICES, {"pagination": {"pageSize": 200}}))["data"]) == 45


@pytest.mark.parametrize(
    "body",
    [
        {"pagination": {"pageNo": 0}},
        {"pagination": {"pageNo": "1"}},
        {"pagination": {"pageSize": 201}},
        {"pagination": {"pageSize": 0}},
        {"pagination": {"pageSize": True}},
        {"pagination": {"pageSize": 10, "sorters": []}},
        {"pagination": [1]},
        {"expression": 7},
        {"filter": "x"},
        {"expression": "productKey=x"},
        {"expression": "productKey like 'x'"},
        {"expression": "productKey='a' or productKey='b'"},
        {"expression": "productKey in 'a'"},
        {"expression": "productKey=('a')"},
        {"expression": "productKey in ()"},
        {"expression": "assetId='a'"},
        {"expression": "deviceKey='a'"},
        {"expression": "isUpgrading='true'"},
        {"expression": "isUpgrading in (true)"},
        {"expression": "productKey=true"},
        {"expression": "productKey='a\\'b'"},
    ],
)
async def test_a_body_that_the_contract_does_not_allow_is_refused(
    client: Client, body: dict[str, Any]
) -> None:
    response = await client.ask(*DEVICES, body)

    assert (response.status_code, response.json()["code"]) == (400, 400)


async def test_a_parameter_that_is_not_asked_for_is_refused(client: Client) -> None:
    assert await client.no(JOBS, {"action": "get", "jobId": "j1", "more": "x"}) == 400
    assert await client.no(JOBS, {"action": "get"}) == 400


async def test_devices_are_filtered_by_product_version_and_flag(client: Client) -> None:
    fleet = client.simulation.fleet
    product, version = fleet[0].product_id, fleet[0].channels[0].current_version
    same = {device.device_id for device in fleet if device.product_id == product}
    pages = {"pagination": {"pageSize": 200}}

    for expression in (
        f"productKey='{product}'",
        f'productKey in ("{product}","nothing")',
        f"productKey='{product}' and firmwareVersion='{version}' and isUpgrading=false",
    ):
        found = (await client.told(*DEVICES, {"expression": expression} | pages))["data"]
        assert {entry["assetId"] for entry in found} == same
    assert (await client.told(*DEVICES, {"expression": "isUpgrading=true"} | pages))["data"] == []
    assert set(found[0]) == {
        "orgId",
        "assetId",
        "productKey",
        "deviceKey",
        "firmwareVersion",
        "isUpgrading",
    }


async def test_a_task_is_found_by_its_devices_key_and_a_job_and_firmware_by_it(client: Client) -> None:
    client.simulation.all_of("stuck", 45)
    client.simulation.advance(40.0)
    device = client.simulation.fleet[3]

    (found,) = (await client.told(*TASKS, {"expression": f"deviceKey='{device.uuid}'"}))["data"]
    assert (found["assetId"], found["status"]) == (device.device_id, "upgrading")
    several = (await client.told(*TASKS, {"expression": f'jobId in ("{found["jobId"]}")'}))["data"]
    assert found in several
    job = (await client.told(JOBS, {"action": "get", "jobId": found["jobId"]}))["data"]
    jobs = await client.told(JOBS, {"action": "search"}, {"pagination": {"pageSize": 200}})
    assert job in jobs["data"]
    firmware = await client.told(FIRMWARES, {"action": "get", "firmwareId": job["firmwareId"]})
    assert firmware["data"]["version"] == found["toVersion"] == job["firmwareVersion"]


async def test_what_is_not_there_is_said_as_documented(client: Client) -> None:
    assert await client.no(JOBS, {"action": "get", "jobId": "j999"}) == 24404
    assert (await client.told(FIRMWARES, {"action": "get", "firmwareId": "f999"}))["data"] is None


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("succeeded", {("succeeded", "")}),
        (
            "failed",
            {("failed", "the device reported an error"), ("upgrading", "the device reported an error")},
        ),
        ("timed_out", {("failed", "upgrade timeout")}),
        ("cancelled", set()),
        ("removed", set()),
    ],
)
async def test_each_ending_is_told_as_the_contract_expects(
    client: Client, ending: str, words: set[tuple[str, str]]
) -> None:
    client.simulation.all_of(ending, 45)
    client.simulation.advance()

    await client.login()
    told = (await client.told(*TASKS, {"pagination": {"pageSize": 200}}))["data"]

    assert {(entry["status"], entry["desc"]) for entry in told} == words
    if ending == "failed":
        assert {entry["progress"] < 0 for entry in told} == {True}


async def test_an_answer_about_tasks_that_run_is_how_somebody_knows_of_them(client: Client) -> None:
    client.simulation.all_of("stuck", 45)
    client.simulation.advance(40.0)
    await client.told(*DEVICES, {"pagination": {"pageSize": 200}})
    assert not any(device.told for device in client.simulation.fleet)

    await client.told(*TASKS, {"pagination": {"pageSize": 200}})

    assert all(device.told for device in client.simulation.fleet)
