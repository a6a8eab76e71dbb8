"""What the simulated OceanConnect refuses: each part of a request wrong in turn, in the platform's own words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import pytest_asyncio

from deploy.sandbox.cloud.oceanconnect.account import OceanConnectAccount
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from deploy.sandbox.cloud.systems import SYSTEMS, new_account
from tests.unit.sandbox.simulation import Simulation

BASE = "/iodm/northbound/v1.5.0"
LOGIN = "/iocm/app/sec/v1.1.0/login"
REFRESH = "/iocm/app/sec/v1.1.0/refreshToken"


class Client:
    """A client made from the documents, which can do each thing wrong."""

    def __init__(self) -> None:
        account = new_account("oceanconnect-test", "oceanconnect")
        assert isinstance(account, OceanConnectAccount)
        self.account = account
        self.simulation = Simulation(account=account)
        rest = SYSTEMS["oceanconnect"].serve([self.simulation.tenant], self.simulation.surroundings)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(rest.app), base_url="https://localhost")
        self.token = ""

    @property
    def fields(self) -> dict[str, str]:
        return {"appId": self.account.app_id, "secret": self.account.secret}

    @property
    def headers(self) -> dict[str, str]:
        return {
            "app_key": self.account.app_id,
            "authorization": f"Bearer {self.token}",
            "content-type": "application/json",
        }

    async def log_in(self, fields: dict[str, str] | None = None, kind: str | None = None) -> httpx.Response:
        self.simulation.advance(1.0)
        answer = await self.http.post(
            LOGIN,
            content=urlencode(self.fields if fields is None else fields),
            headers={"content-type": kind or "application/x-www-form-urlencoded"},
        )
        if answer.status_code == 200:
            self.token = answer.json()["accessToken"]
        return answer

    async def refresh(self, **fields: str) -> httpx.Response:
        self.simulation.advance(1.0)
        return await self.http.post(
            REFRESH, content=json.dumps(self.fields | fields), headers={"content-type": "application/json"}
        )

    async def get(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> httpx.Response:
        self.simulation.advance(1.0)
        return await self.http.get(
            BASE + path, params=query, headers=self.headers if headers is None else headers
        )

    @property
    def refused(self) -> dict[str, int]:
        return self.simulation.tenant.requests.report()["refused"]  # type: ignore[no-any-return]


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    client = Client()
    client.simulation.campaign(25, rate_per_s=1000.0)
    client.simulation.advance()
    async with client.http:
        await client.log_in()
        yield client


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]


async def test_a_login_is_a_form_with_id_and_secret(client: Client) -> None:
    assert code(await client.log_in(client.fields | {"secret": "wrong"})) == (401, "100208")
    assert client.refused["signature"] == 1
    assert code(await client.log_in({"appId": client.account.app_id})) == (400, "102202")
    assert code(await client.log_in({"secret": "s"})) == (400, "102202")
    assert client.refused["form"] == 2
    assert code(await client.log_in(client.fields | {"appId": "nobody"})) == (401, "100208")
    assert client.refused["account"] == 1
    assert code(await client.log_in(kind="application/json")) == (400, "120015")
    assert client.refused["form"] == 3


async def test_only_the_last_token_is_valid(client: Client) -> None:
    first = client.token
    await client.log_in()
    second, client.token = client.token, first

    assert code(await client.get("/operations")) == (403, "1010005")
    assert client.refused["token"] == 1
    client.token = second
    assert (await client.get("/operations")).status_code == 200


async def test_a_token_lives_an_hour(client: Client) -> None:
    client.simulation.advance(3600.0)

    assert code(await client.get("/operations")) == (403, "1010005")


async def test_a_refresh_token_works_once_and_ends_the_token_before(client: Client) -> None:
    given = (await client.log_in()).json()

    renewed = await client.refresh(refreshToken=given["refreshToken"])

    assert renewed.status_code == 200
    assert code(await client.get("/operations")) == (403, "1010005")
    assert code(await client.refresh(refreshToken=given["refreshToken"])) == (403, "1010005")
    assert code(await client.refresh()) == (400, "102202")
    assert code(await client.refresh(refreshToken="x", secret="wrong")) == (401, "100208")


async def test_the_lifetime_comes_as_a_number_and_as_a_text(client: Client) -> None:
    told = [(await client.log_in()).json()["expiresIn"] for _ in range(2)]

    assert sorted(map(str, told)) == ["3600", "3600"]
    assert {type(each) for each in told} == {int, str}


@pytest.mark.parametrize(
    ("header", "value", "refusal", "kind"),
    [
        ("app_key", None, (403, "1010005"), "account"),
        ("app_key", "nobody", (403, "1010005"), "account"),
        ("authorization", None, (403, "1010005"), "token"),
        ("authorization", "Bearer wrong", (403, "1010005"), "token"),
        ("authorization", "Basic {token}", (403, "1010005"), "token"),
        ("content-type", None, (400, "120015"), "form"),
        ("content-type", "text/plain", (400, "120015"), "form"),
    ],
)
async def test_a_header_that_is_wrong_is_refused_and_counted(
    client: Client, header: str, value: str | None, refusal: tuple[int, str], kind: str
) -> None:
    headers = {name: told for name, told in client.headers.items() if name != header}
    if value is not None:
        headers[header] = value.format(token=client.token)

    assert code(await client.get("/operations", headers)) == refusal
    assert client.refused == NOTHING_REFUSED | {kind: 1}


async def test_the_scheme_s_case_does_not_matter(client: Client) -> None:
    answer = await client.get("/operations", client.headers | {"authorization": f"bearer {client.token}"})

    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/operations", "/operations/{operation}/subOperations", "/category"])
@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ({"pageSize": 0}, "123029"),
        ({"pageSize": 101}, "123029"),
        ({"pageSize": "ten"}, "123029"),
        ({"pageNo": -1}, "123029"),
        ({"pageNo": ""}, "120015"),
        ({"manufactureName": "Sandbox"}, "120015"),
    ],
)
async def test_a_page_or_a_parameter_that_does_not_exist_is_refused(
    client: Client, path: str, query: dict[str, Any], refusal: str
) -> None:
    path = path.format(operation=f"{1:024x}")

    assert code(await client.get(path, **query)) == (400, refusal)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/operations", "operationType"),
        ("/operations", "operationStatus"),
        ("/operations/{operation}/subOperations", "subOperationStatus"),
        ("/category", "fileType"),
    ],
)
async def test_a_word_that_does_not_exist_is_refused(client: Client, path: str, name: str) -> None:
    path = path.format(operation=f"{1:024x}")

    assert code(await client.get(path, **{name: "nonsense"})) == (400, "120015")


@pytest.mark.parametrize(
    "path", ["/category/999999", "/operations/999999", "/operations/999999/subOperations"]
)
async def test_what_is_not_there_is_not_found(client: Client, path: str) -> None:
    assert code(await client.get(path)) == (404, "123002")
    assert code(await client.get("/operations", deviceId="nobody")) == (404, "123002")


async def test_what_changes_something_is_not_there(client: Client) -> None:
    for method, path in (("DELETE", "/category/1"), ("POST", "/operations/firmwareUpgrade")):
        answer = await client.http.request(method, BASE + path, headers=client.headers)
        assert answer.status_code == 404


async def test_pages_count_from_0_and_tell_the_total(client: Client) -> None:
    whole = (await client.get("/operations", pageSize=100)).json()
    pages = [(await client.get("/operations", pageNo=number, pageSize=2)).json() for number in range(20)]

    assert whole["totalCount"] == len(whole["data"]) > 2
    assert [entry for page in pages for entry in page["data"]] == whole["data"]
    assert all(page["totalCount"] == whole["totalCount"] for page in pages)
    assert (whole["pageNo"], whole["pageSize"]) == (0, 100)


async def test_operations_are_counted_by_what_became_of_their_devices(client: Client) -> None:
    for entry in (await client.get("/operations", pageSize=100)).json()["data"]:
        path = f"/operations/{entry['operationId']}"
        subs = (await client.get(f"{path}/subOperations", pageSize=100)).json()["data"]
        words = [sub["status"] for sub in subs]
        for word, count in entry["staResult"].items():
            assert count == (len(words) if word == "total" else words.count(word))
        assert (await client.get(path)).json() == entry
        for word in set(words):
            chosen = (await client.get(f"{path}/subOperations", pageSize=100, subOperationStatus=word)).json()
            assert chosen["totalCount"] == words.count(word)


async def test_operations_are_found_by_a_device_and_by_their_words(client: Client) -> None:
    whole = (await client.get("/operations", pageSize=100)).json()["data"]
    device_id = whole[0]["targets"]["devices"][0]

    mine = (await client.get("/operations", pageSize=100, deviceId=device_id)).json()["data"]
    failed = (await client.get("/operations", pageSize=100, operationStatus="failed")).json()["data"]
    software = (await client.get("/operations", pageSize=100, operationType="software_upgrade")).json()[
        "data"
    ]

    assert mine == [entry for entry in whole if device_id in entry["targets"]["devices"]]
    assert failed == [entry for entry in whole if entry["status"] == "failed"]
    assert software == [entry for entry in whole if entry["operateType"] == "software_upgrade"]


async def test_the_hundred_and_first_request_of_a_minute_is_refused(client: Client) -> None:
    async def ask() -> httpx.Response:
        return await client.http.get(f"{BASE}/operations", headers=client.headers)

    answers = [await ask() for _ in range(101)]

    assert code(answers[-1]) == (403, "1010009")
    assert client.refused["rate"] >= 1
    client.simulation.advance(61.0)
    assert (await ask()).status_code == 200
