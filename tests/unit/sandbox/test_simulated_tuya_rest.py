"""The simulated OpenAPI lets in what the contract lets in, and says no as the contract says no."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import httpx
import pytest

from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED, RequestLog
from deploy.sandbox.cloud.rest import Asked
from deploy.sandbox.cloud.tuya.account import TuyaAccount
from deploy.sandbox.cloud.tuya.door import sign
from deploy.sandbox.cloud.tuya_cloud.rest import TuyaCloudRest
from tests.unit.sandbox.simulation import ACCOUNT, Simulation

OTHER = TuyaAccount(
    name="tuya-other", cloud="tuya-cloud", access_id="otherIdtesttesttest1", access_key="o" * 32
)


class Client:
    """Signs as the vendor's documentation says, with every part open to being wrong."""

    def __init__(self, simulation: Simulation, rest: TuyaCloudRest | None = None) -> None:
        self.simulation = simulation
        self.rest = rest or TuyaCloudRest([simulation.tenant], simulation.surroundings)
        self.token = ""
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.rest.app), base_url="https://localhost"
        )

    async def ask(
        self,
        target: str,
        *,
        method: str = "GET",
        body: bytes = b"",
        t: str | None = None,
        nonce: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        key: str = ACCOUNT.access_key,
        access_id: str = ACCOUNT.access_id,
        sign_target: str | None = None,
    ) -> httpx.Response:
        t = t or str(int(self.simulation.now_s * 1000))
        nonce = uuid.uuid4().hex if nonce is None else nonce
        token = "" if "/v1.0/token" in target else self.token
        text = "\n".join([method, hashlib.sha256(body).hexdigest(), "", sign_target or target])
        digest = hmac.new(key.encode(), f"{access_id}{token}{t}{nonce}{text}".encode(), "sha256")
        sent: dict[str, str | None] = {
            "client_id": access_id,
            "t": t,
            "sign": digest.hexdigest().upper(),
            "sign_method": "HMAC-SHA256",
            "nonce": nonce or None,
            "access_token": token or None,
        } | dict(headers or {})
        present = {name: value for name, value in sent.items() if value is not None}
        return await self._http.request(method, target, content=body or None, headers=present)

    async def result(self, target: str, **how: Any) -> Any:
        answer = (await self.ask(target, **how)).json()
        assert answer["success"], answer
        return answer["result"]

    async def code(self, target: str, **how: Any) -> int:
        response = await self.ask(target, **how)
        assert response.status_code == 200
        answer = response.json()
        assert answer["success"] is False
        return int(answer["code"])

    async def login(self) -> dict[str, Any]:
        issued: dict[str, Any] = await self.result("/v1.0/token?grant_type=1")
        self.token = issued["access_token"]
        return issued

    def refused(self) -> dict[str, int]:
        refused: dict[str, int] = self.simulation.tenant.requests.report()["refused"]
        return refused


@pytest.fixture
def simulation() -> Simulation:
    simulation = Simulation()
    for _ in range(45):
        simulation.fleet.create()
    return simulation


@pytest.fixture
async def client(simulation: Simulation) -> Client:
    client = Client(simulation)
    await client.login()
    return client


def firmware_of(device: Device) -> str:
    return f"/v2.0/cloud/thing/{device.device_id}/firmware"


T = "1588925778000"
NONCE = "5138cc3a9033d69856923fd07b491173"
SIGNED = {
    "signature-headers": "area_id:call_id",
    "area_id": "29a33e8796834b1efa6",
    "call_id": "8afdb70ab2ed11eb85290242ac130003",
}


@pytest.mark.parametrize(
    ("path", "query", "headers", "expected"),
    [
        (
            "/v1.0/token",
            "grant_type=1",
            {"nonce": NONCE} | SIGNED,
            "9E48A3E93B302EEECC803C7241985D0A34EB944F40FB573C7B5C2A82158AF13E",
        ),
        (
            "/v2.0/apps/schema/users",
            "page_size=50&page_no=1",
            {"nonce": NONCE} | SIGNED,
            "AE4481C692AA80B25F3A7E12C3A5FD9BBF6251539DD78E565A1A72A508A88784",
        ),
        (
            "/v2.0/cloud/thing/vdev1243432xxx/firmware",
            "",
            {},
            "2FA21C35EC4B8E559CBD2127C967A2663D72A8ADF7CC171A228EE6BCF1CCF791",
        ),
        (
            "/v1.0/token/abcdef0123456789abcdef0123456789",
            "",
            {},
            "9120DBFB3B9FB432F0E60326625AA8CCB887305569ADA5DDA795868DC0C7D29A",
        ),
    ],
)
def test_the_expected_signature_is_the_documented_one(
    path: str, query: str, headers: dict[str, str], expected: str
) -> None:
    given = {"t": T, "access_token": "3f4eda2bdec17232f67c0b188af3eec1"} | headers
    asked = Asked(method="GET", path=path, query=query, headers=given, body=b"")
    assert sign(asked, "1KAD46OrT9HafiKdsXeg", "4OHBOnWOqaEC1mWXOpVL3yV50s0qGSRC") == expected


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"key": "x" * 32}, 1004),
        ({"sign_target": "/v2.0/cloud/thing/another/firmware"}, 1004),
        ({"headers": {"nonce": "another"}}, 1004),
        ({"headers": {"nonce": None}}, 1004),
        ({"headers": {"access_token": "another"}}, 1004),
        ({"headers": {"sign_method": "MD5"}}, 1004),
        ({"headers": {"sign": None}}, 1105),
        ({"headers": {"t": None}}, 1105),
        ({"t": "1588925778000"}, 1013),
        ({"t": "1700000000"}, 1013),
        ({"t": "+170000000000"}, 1013),
    ],
)
async def test_a_request_that_is_signed_wrongly_is_refused_and_counted(
    client: Client, how: dict[str, Any], code: int
) -> None:
    assert await client.code(firmware_of(client.simulation.fleet[0]), **how) == code
    assert client.refused() == NOTHING_REFUSED | {"signature": 1}


async def test_a_lower_case_signature_is_wrong(client: Client) -> None:
    target = firmware_of(client.simulation.fleet[0])
    right = (await client.ask(target, nonce="")).request.headers["sign"]
    assert await client.code(target, nonce="", headers={"sign": right.lower()}) == 1004


async def test_a_body_that_was_changed_on_the_way_is_refused(client: Client) -> None:
    target = firmware_of(client.simulation.fleet[0])
    assert await client.code(target, body=b"{}", headers={"sign": "0" * 64}) == 1004
    assert await client.result(target, body=b"{}")


async def test_a_nonce_works_once(client: Client) -> None:
    target = firmware_of(client.simulation.fleet[0])
    await client.result(target, nonce="once")
    assert await client.code(target, nonce="once") == 1004


async def test_an_unknown_client_is_told_so(client: Client) -> None:
    assert await client.code("/v1.0/token?grant_type=1", access_id="nobody") == 1005
    assert client.refused() == NOTHING_REFUSED | {"account": 1}


async def test_a_parameter_given_twice_is_refused_and_counted(client: Client) -> None:
    assert await client.code("/v1.0/token?grant_type=1&grant_type=1") == 1109
    assert client.refused() == NOTHING_REFUSED | {"form": 1}


async def test_query_values_are_signed_decoded_and_sent_encoded(client: Client) -> None:
    how = {"sign_target": "/v2.0/cloud/thing/device?last_id=a b&page_size=20"}
    target = "/v2.0/cloud/thing/device?page_size=20&last_id=a%20b"
    assert await client.code(target, **how) == 1109
    assert client.refused()["signature"] == 0


async def test_business_calls_need_a_living_token(client: Client) -> None:
    target = firmware_of(client.simulation.fleet[0])
    client.token = ""
    assert await client.code(target) == 1002
    client.token = "0" * 32
    assert await client.code(target) == 1010
    await client.login()
    client.simulation.now_s += 7201
    assert await client.code(target) == 1010
    assert client.refused()["token"] == 3


async def test_a_second_login_repeats_the_token_with_the_time_it_has_left(client: Client) -> None:
    first = await client.login()
    client.simulation.now_s += 1000
    again = await client.login()
    assert again["access_token"] == first["access_token"]
    assert again["expire_time"] == 6200
    client.simulation.now_s += 6150
    renewed = await client.login()
    assert renewed["access_token"] != first["access_token"]
    assert renewed["expire_time"] == 7200
    client.token = first["access_token"]
    assert await client.result(firmware_of(client.simulation.fleet[0]))


async def test_a_refresh_token_works_once_and_ends_the_old_access_token(client: Client) -> None:
    issued = await client.login()
    refreshed = await client.result(f"/v1.0/token/{issued['refresh_token']}")
    target = firmware_of(client.simulation.fleet[0])
    assert await client.code(target) == 1010
    client.token = refreshed["access_token"]
    assert await client.result(target)
    assert await client.code(f"/v1.0/token/{issued['refresh_token']}") == 1010


async def test_only_the_simple_grant_is_given(client: Client) -> None:
    assert await client.code("/v1.0/token?grant_type=2") == 1003


async def test_the_rate_limit_is_exact_in_every_second(client: Client) -> None:
    simulation = client.simulation
    simulation.now_s += 10
    target = firmware_of(simulation.fleet[0])
    codes = []
    for _ in range(ACCOUNT.rate_per_s + 5):
        simulation.now_s += 0.01
        answer = (await client.ask(target)).json()
        codes.append(answer.get("code"))
    assert codes[: ACCOUNT.rate_per_s] == [None] * ACCOUNT.rate_per_s
    assert set(codes[ACCOUNT.rate_per_s :]) <= {1110, 1199}
    assert client.refused()["rate"] == 5
    simulation.now_s += 0.5
    assert await client.result(target)
    assert simulation.tenant.requests.report()["max_per_s"] > ACCOUNT.rate_per_s


def test_the_rate_limit_is_exact_in_whatever_order_requests_come() -> None:
    for order in permutations((550, 600, 900, 1000, 1400, 1500)):
        log = RequestLog(2.0)

        served = [at_ms for at_ms in order if log.admit(at_ms)]

        assert max(sum(end - 1000 < at_ms <= end for at_ms in served) for end in served) == 2
        assert log.report()["max_per_s"] == 6


def test_a_request_from_the_future_does_not_wipe_out_what_was_counted() -> None:
    log = RequestLog(2.0)

    verdicts = [log.admit(at_ms) for at_ms in (1000, 1100, 300_000, 1200)]

    assert verdicts == [True, True, True, False]


async def test_a_client_at_exactly_the_rate_is_never_refused(client: Client) -> None:
    simulation = client.simulation
    simulation.now_s += 10
    target = firmware_of(simulation.fleet[0])
    for number in range(3 * ACCOUNT.rate_per_s):
        simulation.now_s = 1_700_000_010 + number / ACCOUNT.rate_per_s
        await client.ask(target)
    assert client.refused()["rate"] == 0
    assert simulation.tenant.requests.report()["max_per_s"] == ACCOUNT.rate_per_s


async def test_firmware_comes_in_every_documented_shape(client: Client) -> None:
    for device in client.simulation.fleet:
        client.simulation.now_s += 1
        result = await client.result(firmware_of(device))
        if device.answer_shape == "object":
            assert result["channel"] in (0, "0")
        elif device.answer_shape == "nested":
            assert result["success"] is True
            assert [int(item["type"]) for item in result["result"]] == [int(c.name) for c in device.channels]
        else:
            assert [int(item["type"]) for item in result] == [int(c.name) for c in device.channels]
        items = result if isinstance(result, list) else result.get("result", [result])
        assert {type(item["upgrade_status"]) for item in items} == {str if device.numbers_as_text else int}


async def test_an_upgrade_is_seen_from_offer_to_success(simulation: Simulation, client: Client) -> None:
    device = next(d for d in simulation.fleet if d.answer_shape == "list" and len(d.channels) == 1)
    simulation.all_of("silent", len(simulation.fleet))
    channel, seen = device.channels[0], []
    old = channel.current_version
    while len(simulation.timeline):
        simulation.advance(0.25)
        item = (await client.result(firmware_of(device)))[0]
        assert item["version"] == channel.target_version
        seen.append((int(item["upgrade_status"]), item["current_version"]))
        progress = await client.result(f"{firmware_of(device)}/0/progress")
        assert progress["upgrade_status"] == int(item["upgrade_status"])
        if simulation.now_s > 1_700_000_040:
            break
    states = list(dict.fromkeys(seen))
    assert states[0] == (1, old)
    assert (2, old) in states
    assert states[-1] == (3, channel.target_version)


async def test_the_older_form_is_a_list_with_its_own_names(client: Client) -> None:
    device = client.simulation.fleet[0]
    for prefix in ("/v1.0/iot-03/devices", "/v1.0/devices"):
        infos = await client.result(f"{prefix}/{device.device_id}/upgrade-infos")
        assert [info["module_type"] for info in infos] == [int(c.name) for c in device.channels]


async def test_the_device_list_is_paged_by_the_last_id(client: Client) -> None:
    seen: list[str] = []
    sizes = []
    while True:
        after = f"last_id={seen[-1]}&" if seen else ""
        page = await client.result(f"/v2.0/cloud/thing/device?{after}page_size=20")
        if not page:
            break
        sizes.append(len(page))
        seen += [device["id"] for device in page]
    assert sizes == [20, 20, 5]
    assert seen == [device.device_id for device in client.simulation.fleet]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/v2.0/cloud/thing/device", 1100),
        ("/v2.0/cloud/thing/device?page_size=21", 1101),
        ("/v2.0/cloud/thing/device?page_size=0", 1101),
        ("/v2.0/cloud/thing/nobody/firmware", 2010),
        ("/v3.0/nothing", 1108),
    ],
)
async def test_requests_for_what_is_not_there_get_their_codes(client: Client, target: str, code: int) -> None:
    assert await client.code(target) == code
    assert client.refused() == NOTHING_REFUSED


async def test_a_removed_device_does_not_exist_any_more(simulation: Simulation, client: Client) -> None:
    simulation.fleet[3].told = True
    simulation.all_of("removed", len(simulation.fleet))
    simulation.advance()
    assert await client.code(firmware_of(simulation.fleet[3])) == 2010
    assert await client.result("/v2.0/cloud/thing/device?page_size=20") == []


async def test_another_accounts_device_is_forbidden() -> None:
    simulation, other = Simulation(), Simulation(account=OTHER)
    rest = TuyaCloudRest([simulation.tenant, other.tenant], simulation.surroundings)
    client = Client(simulation, rest)
    await client.login()
    assert await client.code(firmware_of(other.fleet.create())) == 1106


async def test_an_answer_that_shows_a_running_upgrade_makes_it_known(
    simulation: Simulation, client: Client
) -> None:
    simulation.reader.absent = True
    simulation.all_of("stuck", len(simulation.fleet))
    simulation.advance()
    device = simulation.fleet[0]
    simulation.faults.replace({"rest_truncate": 1.0})
    await client.ask(firmware_of(device))
    assert not device.told
    simulation.faults.replace({})
    await client.result(firmware_of(device))
    assert device.told


async def test_a_fifth_of_the_requests_gets_a_5xx(simulation: Simulation, client: Client) -> None:
    simulation.faults.replace({"rest_5xx": 0.2})
    statuses = []
    for device in simulation.fleet:
        for _ in range(4):
            simulation.now_s += 0.05
            statuses.append((await client.ask(firmware_of(device))).status_code)
    failed = [status for status in statuses if status >= 500]
    assert 0.1 < len(failed) / len(statuses) < 0.3
    assert client.refused() == NOTHING_REFUSED


async def test_throttled_requests_are_told_in_both_ways_and_not_counted_as_refused(
    simulation: Simulation, client: Client
) -> None:
    simulation.faults.replace({"rest_throttle": 1.0})
    seen = set()
    for device in simulation.fleet:
        simulation.now_s += 1
        response = await client.ask(firmware_of(device))
        seen.add(response.status_code if response.status_code != 200 else response.json()["code"])
    assert seen == {429, 1110, 1199}
    assert client.refused()["rate"] == 0


@pytest.mark.parametrize(
    ("knob", "codes"),
    [("rest_error_in_200", {500, 1110, 1111, 1199}), ("rest_quota", {28841004})],
)
async def test_errors_in_a_200_carry_their_codes(
    simulation: Simulation, client: Client, knob: str, codes: set[int]
) -> None:
    simulation.faults.replace({knob: 1.0})
    seen = set()
    for device in simulation.fleet:
        simulation.now_s += 1
        seen.add(await client.code(firmware_of(device)))
    assert seen == codes


@pytest.mark.parametrize("knob", ["rest_html", "rest_truncate"])
async def test_answers_that_are_no_json(simulation: Simulation, client: Client, knob: str) -> None:
    simulation.faults.replace({knob: 1.0})
    response = await client.ask(firmware_of(simulation.fleet[0]))
    with pytest.raises(json.JSONDecodeError):
        response.json()


async def test_a_token_that_a_knob_ends_is_not_the_clients_fault(
    simulation: Simulation, client: Client
) -> None:
    simulation.faults.replace({"rest_token_expires": 1.0})
    assert await client.code(firmware_of(simulation.fleet[0])) == 1010
    simulation.faults.replace({})
    assert await client.code(firmware_of(simulation.fleet[0])) == 1010
    await client.login()
    assert await client.result(firmware_of(simulation.fleet[0]))
    assert client.refused()["token"] == 0


async def test_a_skewed_clock_is_told_and_a_client_that_follows_it_is_let_in(
    simulation: Simulation, client: Client
) -> None:
    simulation.faults.replace({"rest_clock_skew_s": 600.0})
    target = firmware_of(simulation.fleet[0])
    answer = (await client.ask(target)).json()
    assert answer["code"] == 1013
    assert answer["t"] == int((simulation.now_s + 600) * 1000)
    assert await client.result(target, t=str(answer["t"]))
    assert client.refused()["signature"] == 0


async def test_a_lying_answer_repeats_what_was_true_before_the_attempt(
    simulation: Simulation, client: Client
) -> None:
    simulation.all_of("stuck", len(simulation.fleet))
    simulation.advance()
    device = next(d for d in simulation.fleet if d.answer_shape == "list" and len(d.channels) == 1)
    assert int((await client.result(firmware_of(device)))[0]["upgrade_status"]) == 2
    simulation.faults.replace({"rest_lie": 1.0})
    assert int((await client.result(firmware_of(device)))[0]["upgrade_status"]) == 0


async def test_requests_are_counted_by_api(client: Client) -> None:
    device = client.simulation.fleet[0]
    await client.ask(firmware_of(device))
    await client.ask(firmware_of(device))
    await client.ask(f"{firmware_of(device)}/0/progress")
    await client.ask("/v2.0/cloud/thing/device?page_size=20")
    report = client.simulation.tenant.requests.report()
    assert report["per_api"] == {"token": 1, "firmware": 2, "firmware_progress": 1, "devices": 1}
    assert report["logins_at_once"] == 1
