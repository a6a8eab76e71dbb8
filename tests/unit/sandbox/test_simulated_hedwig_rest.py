"""The simulated Hedwig lets in what the contract lets in, and says no as the contract says no."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from deploy.sandbox.cloud.hedwig.account import HedwigAccount
from deploy.sandbox.cloud.hedwig.door import signature_of, string_to_sign
from deploy.sandbox.cloud.hedwig.rest import HedwigRest
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from deploy.sandbox.cloud.rest import Asked
from tests.unit.sandbox.simulation import Simulation

ACCOUNT = HedwigAccount(
    name="hedwig-demo",
    cloud="hedwig",
    access_key_id="keyidtesttesttesttesttes",
    access_key_secret="secretsecretsecretsecretsecret",
    rate_per_s=50,
)
UNFINISHED = {
    f"TaskStatusList.{n}": s for n, s in enumerate(("CONFIRM", "QUEUED", "NOTIFIED", "IN_PROGRESS"), 1)
}


def lower(value: Any) -> Any:
    if isinstance(value, dict):
        return {name.lower(): lower(inner) for name, inner in value.items()}
    return [lower(inner) for inner in value] if isinstance(value, list) else value


class Client:
    """Signs as the vendor's documentation says, with every part open to being wrong."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        rest = HedwigRest([simulation.tenant], simulation.surroundings)
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(rest.app), base_url="https://localhost")

    async def ask(
        self,
        action: str,
        own: dict[str, str] | None = None,
        *,
        common: dict[str, str | None] | None = None,
        secret: str = ACCOUNT.access_key_secret,
        method: str = "GET",
        signed: dict[str, str] | None = None,
    ) -> httpx.Response:
        at = datetime.fromtimestamp(self.simulation.now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        given: dict[str, str | None] = {
            "Action": action,
            "AccessKeyId": ACCOUNT.access_key_id,
            "Format": "JSON",
            "Version": "2018-01-20",
            "SignatureMethod": "HMAC-SHA1",
            "SignatureVersion": "1.0",
            "SignatureNonce": uuid.uuid4().hex,
            "Timestamp": at,
        } | (common or {})
        sent = {name: value for name, value in given.items() if value is not None} | (own or {})
        pairs = "&".join(
            f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
            for name, value in sorted((sent if signed is None else sent | signed).items())
        )
        text = f"{method}&%2F&{quote(pairs, safe='-_.~')}"
        digest = hmac.new(f"{secret}&".encode(), text.encode(), hashlib.sha1).digest()
        query = {"Signature": base64.b64encode(digest).decode()} | sent
        return await self._http.get("/?" + "&".join(f"{n}={quote(v, safe='')}" for n, v in query.items()))

    async def result(self, action: str, own: dict[str, str] | None = None, **how: Any) -> Any:
        response = await self.ask(action, own, **how)
        answer = lower(response.json())
        assert response.status_code == 200, answer
        assert answer["success"] is True, answer
        return answer

    async def code(self, action: str, own: dict[str, str] | None = None, **how: Any) -> str:
        answer = lower((await self.ask(action, own, **how)).json())
        assert answer.get("success") is not True
        return str(answer["code"])

    def refused(self) -> dict[str, int]:
        refused: dict[str, int] = self.simulation.tenant.requests.report()["refused"]
        return refused


@pytest.fixture
def client() -> Client:
    simulation = Simulation(account=ACCOUNT)
    simulation.all_of("stuck", 40)
    simulation.advance()
    return Client(simulation)


def largest_job(client: Client) -> tuple[str, int]:
    job = max(client.simulation.fleet.jobs.jobs, key=lambda job: len(job.tasks))
    return str(1_836_340_779_212_660_000 + job.number), len(job.tasks)


A1_QUERY = (
    "Timestamp=2016-02-23T12%3A46%3A24Z&Format=XML&AccessKeyId=testid&Action=DescribeRegions"
    "&SignatureMethod=HMAC-SHA1&SignatureNonce=3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf&Version=2014-05-26"
    "&SignatureVersion=1.0&Signature=OLeaidS1JvxuMvnyHOwuJ%2BuX5qY%3D"
)


@pytest.mark.parametrize(
    ("method", "expected"),
    [("GET", "OLeaidS1JvxuMvnyHOwuJ+uX5qY="), ("POST", "MxbnVAM4w6sft9xjVpe/GCKueuk=")],
)
def test_the_expected_signature_is_the_published_one(method: str, expected: str) -> None:
    asked = Asked(method=method, path="/", query=A1_QUERY, headers={}, body=b"")

    assert signature_of(asked, "testsecret") == expected


def test_spaces_stars_and_other_scripts_are_signed_percent_encoded() -> None:
    asked = Asked(method="GET", path="/", query="b=dev%20one&a=%E7%81%AF%2A~", headers={}, body=b"")

    assert string_to_sign(asked) == "GET&%2F&a%3D%25E7%2581%25AF%252A~%26b%3Ddev%2520one"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"secret": "x" * 30}, "SignatureDoesNotMatch"),
        ({"method": "POST"}, "SignatureDoesNotMatch"),
        ({"signed": {"CurrentPage": "2"}}, "SignatureDoesNotMatch"),
        ({"common": {"SignatureMethod": "HMAC-SHA256"}}, "InvalidSignatureMethod"),
        ({"common": {"SignatureVersion": "2.0"}}, "InvalidSignatureMethod"),
        ({"common": {"SignatureNonce": None}}, "MissingSignatureNonce"),
        ({"common": {"SignatureVersion": None}}, "MissingSignatureVersion"),
        ({"common": {"SignatureMethod": None}}, "MissingSignatureMethod"),
        ({"common": {"Timestamp": None}}, "MissingTimestamp"),
        ({"common": {"Version": None}}, "MissingVersion"),
        ({"common": {"Timestamp": "2023-11-14 22:13:20"}}, "InvalidTimeStamp.Format"),
        ({"common": {"Timestamp": "2023-13-14T22:13:20Z"}}, "InvalidTimeStamp.Format"),
        ({"common": {"Timestamp": "2020-01-01T00:00:00Z"}}, "InvalidTimeStamp.Expired"),
        ({"common": {"SignatureNonce": "n" * 65}}, "SignatureNonceUsed"),
    ],
)
async def test_a_request_that_is_signed_wrongly_is_refused_and_counted(
    client: Client, how: dict[str, Any], code: str
) -> None:
    own = {"CurrentPage": "1", "PageSize": "10"}
    assert await client.code("ListOTAFirmware", own, **how) == code
    assert client.refused() == NOTHING_REFUSED | {"signature": 1}


@pytest.mark.parametrize(
    ("common", "code"),
    [({"Version": "2014-05-26"}, "InvalidVersion"), ({"Format": "YAML"}, "InvalidParameter.Format")],
)
async def test_another_version_or_format_is_refused(
    client: Client, common: dict[str, str | None], code: str
) -> None:
    assert await client.code("ListOTAFirmware", {"CurrentPage": "1", "PageSize": "10"}, common=common) == code
    assert client.refused() == NOTHING_REFUSED | {"form": 1}


async def test_a_nonce_works_once(client: Client) -> None:
    own = {"CurrentPage": "1", "PageSize": "10"}
    await client.result("ListOTAFirmware", own, common={"SignatureNonce": "once"})

    assert (
        await client.code("ListOTAFirmware", own, common={"SignatureNonce": "once"}) == "SignatureNonceUsed"
    )


async def test_a_quarter_of_an_hour_is_the_most_that_clocks_may_differ(client: Client) -> None:
    own = {"CurrentPage": "1", "PageSize": "10"}
    for seconds, fits in ((890, True), (-890, True), (910, False), (-910, False)):
        at = datetime.fromtimestamp(client.simulation.now_s + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        response = await client.ask("ListOTAFirmware", own, common={"Timestamp": at})
        assert (response.status_code == 200) is fits


async def test_a_clock_that_a_knob_set_is_no_fault_of_the_clients(client: Client) -> None:
    client.simulation.faults.replace({"rest_clock_skew_s": 4000.0})

    own = {"CurrentPage": "1", "PageSize": "10"}
    response = await client.ask("ListOTAFirmware", own)

    assert response.json()["Code"] == "InvalidTimeStamp.Expired"
    assert parsedate_to_datetime(response.headers["date"]).timestamp() == int(client.simulation.now_s + 4000)
    assert client.refused()["signature"] == 0


async def test_an_unknown_key_and_an_unknown_action_are_told_so(client: Client) -> None:
    assert await client.code("ListOTAFirmware", common={"AccessKeyId": "no"}) == "InvalidAccessKeyId.NotFound"
    assert client.refused() == NOTHING_REFUSED | {"account": 1}
    assert await client.code("CancelOTATaskByJob", {"JobId": "1"}) == "InvalidAction.NotFound"


@pytest.mark.parametrize(
    ("action", "own"),
    [
        ("QueryOTAFirmware", {"FirmwareID": "131"}),
        ("ListOTAJobByFirmware", {"FirmwareId": "131", "CurrentPage": "1", "PageSize": "10", "Sort": "x"}),
        ("ListOTATaskByJob", {"JobID": "1"}),
        ("ListOTATaskByJob", {"JobId": "1", "DeviceNames": "d"}),
        ("ListOTATaskByJob", {"JobId": "1", "DeviceNames.0": "d"}),
        ("ListOTAUnfinishedTaskByDevice", {"IotID": "d", "TaskStatus": "QUEUED"}),
        ("ListOTAModuleVersionsByDevice", {"IotID": "d", "CurrentPage": "1", "PageSize": "10"}),
    ],
)
async def test_a_parameter_in_another_spelling_is_none(
    client: Client, action: str, own: dict[str, str]
) -> None:
    assert await client.code(action, own) == "UnsupportedParameter"


@pytest.mark.parametrize(
    ("action", "own", "code"),
    [
        ("QueryOTAFirmware", {}, "MissingFirmwareId"),
        ("QueryOTAFirmware", {"FirmwareId": "999"}, "iot.ota.FirmwareNotExist"),
        ("ListOTAFirmware", {"PageSize": "10"}, "MissingCurrentPage"),
        ("ListOTAFirmware", {"CurrentPage": "1"}, "MissingPageSize"),
        ("ListOTAJobByFirmware", {"CurrentPage": "1", "PageSize": "10"}, "MissingFirmwareId"),
        ("ListOTATaskByJob", {}, "MissingJobId"),
        ("ListOTATaskByJob", {"JobId": "1"}, "iot.ota.JobNotExist"),
        ("ListOTAUnfinishedTaskByDevice", {"IotId": "d"}, "MissingTaskStatus"),
        ("ListOTAUnfinishedTaskByDevice", {"IotId": "d", "TaskStatus": "FAILED"}, "InvalidParameter"),
        ("ListOTAUnfinishedTaskByDevice", {"IotId": "d", "TaskStatus": "QUEUED"}, "iot.device.NotExistedDevice"),
        ("ListOTAUnfinishedTaskByDevice", {"DeviceName": "d", "TaskStatus": "QUEUED"}, "MissingProductKey"),
        ("ListOTAModuleVersionsByDevice", {"IotId": "d", "PageSize": "10", "CurrentPage": "1"},
         "iot.device.NotExistedDevice"),
        ("ListOTAModuleVersionsByDevice", {"ProductKey": "p"}, "MissingDeviceName"),
    ],
)  # fmt: skip
async def test_what_is_missing_or_does_not_exist_is_told(
    client: Client, action: str, own: dict[str, str], code: str
) -> None:
    assert await client.code(action, own) == code


@pytest.mark.parametrize(
    ("action", "own", "most"),
    [
        ("ListOTAFirmware", {}, 100),
        ("ListOTAJobByFirmware", {"FirmwareId": "131"}, 200),
        ("ListOTATaskByJob", {"JobId": "1836340779212660001"}, 100),
        ("ListOTAModuleVersionsByDevice", {}, 200),
    ],
)
async def test_pages_have_their_limits(client: Client, action: str, own: dict[str, str], most: int) -> None:
    if action == "ListOTAModuleVersionsByDevice":
        own = {"IotId": client.simulation.fleet[0].device_id}
    await client.result(action, own | {"CurrentPage": "1", "PageSize": str(most)})
    for page, size in (
        ("1", str(most + 1)),
        ("1", "0"),
        ("0", "10"),
        ("-1", "10"),
        ("x", "10"),
        ("100001", "1"),
    ):
        code = await client.code(action, own | {"CurrentPage": page, "PageSize": size})
        assert code == "iot.common.InvalidPageParams", (page, size)


async def test_pages_follow_each_other_without_a_gap(client: Client) -> None:
    job_id, count = largest_job(client)
    assert count > 3
    found: list[str] = []
    number = 1
    while True:
        own = {"JobId": job_id, "CurrentPage": str(number), "PageSize": "3"}
        page = await client.result("ListOTATaskByJob", own)
        assert (page["currentpage"], page["total"], page["pagecount"]) == (number, count, -(-count // 3))
        found += [task["taskid"] for task in page["data"]]
        if number >= page["pagecount"]:
            break
        number += 1
    assert len(set(found)) == len(found) == count


async def test_tasks_are_filtered_by_names_and_by_status(client: Client) -> None:
    job_id, count = largest_job(client)
    everything = (await client.result("ListOTATaskByJob", {"JobId": job_id, "PageSize": "100"}))["data"]
    names = [task["devicename"] for task in everything[:2]]
    assert " " in names[0]

    two = {f"DeviceNames.{number}": name for number, name in enumerate(names, 1)}
    found = await client.result("ListOTATaskByJob", {"JobId": job_id, **two})
    failed = await client.result("ListOTATaskByJob", {"JobId": job_id, "TaskStatus": "FAILED"})

    assert [task["devicename"] for task in found["data"]] == names
    assert failed["data"] == []
    assert len(everything) == count


async def test_a_task_that_is_shown_as_running_makes_its_device_known(client: Client) -> None:
    device = client.simulation.fleet[0]
    assert not device.told

    answer = await client.result("ListOTAUnfinishedTaskByDevice", {"IotId": device.device_id} | UNFINISHED)

    (task,) = answer["data"]
    assert (task["iotid"], task["taskstatus"]) == (device.device_id, "IN_PROGRESS")
    assert isinstance(task["progress"], str)
    assert isinstance(task["timeout"], str)
    assert device.told


async def test_a_whole_job_is_read_for_ids_as_well_and_makes_no_device_known(client: Client) -> None:
    job_id, _ = largest_job(client)

    answer = await client.result("ListOTATaskByJob", {"JobId": job_id, "PageSize": "100"})
    assert not any(device.told for device in client.simulation.fleet)

    name = answer["data"][0]["devicename"]
    await client.result("ListOTATaskByJob", {"JobId": job_id, "DeviceNames.1": name})
    assert [device.name for device in client.simulation.fleet if device.told] == [name]


async def test_a_device_is_found_by_product_and_name_as_well(client: Client) -> None:
    device = client.simulation.fleet[0]
    own = {"ProductKey": device.product_id, "DeviceName": device.name, "CurrentPage": "1", "PageSize": "10"}

    answer = await client.result("ListOTAModuleVersionsByDevice", own)

    assert [module["modulename"] for module in answer["data"]] == [each.name for each in device.channels]


async def test_a_device_that_is_gone_stays_in_its_jobs_list(client: Client) -> None:
    job_id, count = largest_job(client)
    task = max(client.simulation.fleet.jobs.jobs, key=lambda job: len(job.tasks)).tasks[0]
    device = client.simulation.fleet.find(task.device_id)
    assert device is not None
    device.listed = False

    own = {"IotId": device.device_id, "CurrentPage": "1", "PageSize": "10"}
    assert await client.code("ListOTAModuleVersionsByDevice", own) == "iot.device.NotExistedDevice"
    assert (await client.result("ListOTATaskByJob", {"JobId": job_id, "PageSize": "100"}))["total"] == count


async def test_both_spellings_are_answered(client: Client) -> None:
    first_names = set()
    for _ in range(20):
        answer = (await client.ask("ListOTAFirmware", {"CurrentPage": "1", "PageSize": "1"})).json()
        first_names |= set(answer)
    assert {"success", "Success", "firmwareInfo", "FirmwareInfo", "requestId", "RequestID"} <= first_names


@pytest.mark.parametrize("given", [None, "XML"])
async def test_who_does_not_ask_for_json_gets_xml(client: Client, given: str | None) -> None:
    own = {"CurrentPage": "1", "PageSize": "1"}
    response = await client.ask("ListOTAFirmware", own, common={"Format": given})

    assert response.text.startswith('<?xml version="1.0"')
    assert response.headers["content-type"] == "application/xml"


async def test_more_than_the_rate_is_throttled_and_counted(client: Client) -> None:
    own = {"CurrentPage": "1", "PageSize": "1"}
    codes = [(await client.ask("ListOTAFirmware", own)).json() for _ in range(52)]

    refused = [lower(answer).get("code", "") for answer in codes[50:]]
    assert all(code.startswith("Throttling") for code in refused)
    assert client.refused()["rate"] == 2


async def test_the_ids_exceed_what_a_double_holds(client: Client) -> None:
    own = {"FirmwareId": "131", "CurrentPage": "1", "PageSize": "1"}
    (job,) = (await client.result("ListOTAJobByFirmware", own))["data"]

    assert isinstance(job["jobid"], str)
    assert int(float(job["jobid"])) != int(job["jobid"])


async def test_a_lie_shows_what_was_before(client: Client) -> None:
    device = client.simulation.fleet[0]
    client.simulation.faults.replace({"rest_lie": 1.0})
    job_id, _ = largest_job(client)

    answer = await client.result("ListOTAUnfinishedTaskByDevice", {"IotId": device.device_id} | UNFINISHED)
    listed = await client.result("ListOTATaskByJob", {"JobId": job_id})

    assert answer["data"] == []
    assert listed["data"] == []
