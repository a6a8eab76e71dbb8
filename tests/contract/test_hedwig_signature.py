"""The signature vectors of the RPC calls: published by the vendor, by the community, or computed from the rules."""

from __future__ import annotations

import pytest

from bridge.clouds.client import Call
from bridge.clouds.clock import VendorClock
from bridge.clouds.hedwig.dialect import HedwigDialect
from bridge.clouds.hedwig.settings import HedwigApi, HedwigCredentials
from bridge.clouds.hedwig.sign import canonical_query, sign, string_to_sign, target_of, timestamp
from bridge.clouds.settings import ApiAccount
from bridge.clouds.wire import Request
from consumer.secret import Secret

ID = "testid"
SECRET = "testsecret"
SIGNED = {"AccessKeyId": ID, "SignatureMethod": "HMAC-SHA1"}
NONCE = "9e6189124f5a4716ad2de849467b0000"
AT_MS = 1_732_009_663_000
COMMON = SIGNED | {
    "Format": "JSON",
    "Version": "2018-01-20",
    "SignatureVersion": "1.0",
    "SignatureNonce": NONCE,
    "Timestamp": "2024-11-19T09:47:43Z",
}
A1 = SIGNED | {
    "Action": "DescribeRegions",
    "Format": "XML",
    "Version": "2014-05-26",
    "SignatureVersion": "1.0",
    "SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf",
    "Timestamp": "2016-02-23T12:46:24Z",
}
A5 = COMMON | {
    "Action": "ListOTATaskByJob",
    "JobId": "1836340779212660000",
    "CurrentPage": "1",
    "PageSize": "100",
    "DeviceNames.1": "dev one",
    "DeviceNames.2": "灯*~",
}
VECTORS = {
    "A1": ("GET", A1, "OLeaidS1JvxuMvnyHOwuJ+uX5qY="),
    "A1p": ("POST", A1, "MxbnVAM4w6sft9xjVpe/GCKueuk="),
    "A2": (
        "GET",
        SIGNED
        | {
            "Action": "Pub",
            "MessageContent": "aGVsbG93b3JsZA=",
            "Timestamp": "2017-10-02T09:39:41Z",
            "SignatureVersion": "1.0",
            "ServiceCode": "iot",
            "Format": "XML",
            "Qos": "0",
            "SignatureNonce": "0715a395-aedf-4a41-bab7-746b43d38d88",
            "Version": "2017-04-20",
            "RegionId": "cn-shanghai",
            "ProductKey": "12345abcdeZ",
            "TopicFullName": "/productKey/testdevice/get",
        },
        "Y9eWn4nF8QPh3c4zAFkM/k/u7eA=",
    ),
    "A3": (
        "GET",
        COMMON | {"Action": "QueryOTAFirmware", "FirmwareId": "167"},
        "RNLom3+5W94Q2p/wthHN4YNiiGc=",
    ),
    "A4": (
        "GET",
        SIGNED
        | {
            "Action": "QueryOTAFirmware",
            "FirmwareId": "167",
            "SignatureNonce": NONCE,
            "Timestamp": "2024-11-19T09:47:43Z",
        },
        "opkqp9z/L+vv3Uo8etn8QpPF1ic=",
    ),
    "A5": ("GET", A5, "IbSqJBBOnBxYWmXVaio1w72wVp8="),
}


def request_of(call: Call, **api: object) -> Request:
    """What the client sends of a call, at the vectors' time and with their nonce."""
    account = ApiAccount(
        name="hedwig-test",
        cloud="hedwig",
        credentials=HedwigCredentials(access_key_id=ID, access_key_secret=Secret(SECRET)),
        api=HedwigApi(url="https://localhost:8686", **api),  # type: ignore[arg-type]
    )
    dialect = HedwigDialect(account, VendorClock(lambda: AT_MS), new_nonce=lambda: NONCE)
    return dialect.sign(call, None)


@pytest.mark.parametrize("name", VECTORS)
def test_the_vector_is_reproduced(name: str) -> None:
    method, parameters, expected = VECTORS[name]

    assert sign(SECRET, method, parameters) == expected


def test_the_order_in_which_parameters_are_given_does_not_matter() -> None:
    _, parameters, expected = VECTORS["A5"]

    assert sign(SECRET, "GET", dict(reversed(parameters.items()))) == expected


def test_the_string_to_sign_of_a1_is_as_published() -> None:
    assert string_to_sign("GET", A1) == (
        "GET&%2F&AccessKeyId%3Dtestid%26Action%3DDescribeRegions%26Format%3DXML%26SignatureMethod%3DHMAC-SHA1"
        "%26SignatureNonce%3D3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf%26SignatureVersion%3D1.0"
        "%26Timestamp%3D2016-02-23T12%253A46%253A24Z%26Version%3D2014-05-26"
    )


def test_the_canonical_query_of_a5_shows_how_space_other_scripts_star_and_tilde_are_encoded() -> None:
    assert canonical_query(A5) == (
        "AccessKeyId=testid&Action=ListOTATaskByJob&CurrentPage=1&DeviceNames.1=dev%20one"
        "&DeviceNames.2=%E7%81%AF%2A~&Format=JSON&JobId=1836340779212660000&PageSize=100"
        "&SignatureMethod=HMAC-SHA1&SignatureNonce=9e6189124f5a4716ad2de849467b0000&SignatureVersion=1.0"
        "&Timestamp=2024-11-19T09%3A47%3A43Z&Version=2018-01-20"
    )


@pytest.mark.parametrize(("mode", "name"), [("full", "A3"), ("minimal", "A4")])
def test_the_client_sends_what_was_signed_and_the_signature_behind_it(mode: str, name: str) -> None:
    _, parameters, signature = VECTORS[name]

    request = request_of(Call(api="QueryOTAFirmware", query={"FirmwareId": "167"}), common_params=mode)

    assert request.method == "GET"
    assert request.target == target_of(parameters, signature)
    assert (
        f"&Signature={signature.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}"
        in request.target
    )
    assert request.body == b""


def test_each_request_has_a_nonce_of_its_own() -> None:
    account = ApiAccount(
        name="a",
        cloud="hedwig",
        credentials=HedwigCredentials(access_key_id=ID, access_key_secret=Secret(SECRET)),
        api=HedwigApi(url="https://localhost"),
    )
    dialect = HedwigDialect(account, VendorClock(lambda: AT_MS))

    targets = {dialect.sign(Call(api="QueryOTAFirmware"), None).target for _ in range(20)}

    assert len(targets) == 20


def test_the_configured_version_is_asked_for() -> None:
    assert "&Version=2022-01-01&" in request_of(Call(api="X"), api_version="2022-01-01").target


def test_time_is_utc_to_the_second() -> None:
    assert timestamp(AT_MS + 999) == "2024-11-19T09:47:43Z"


def test_neither_the_secret_nor_the_signature_is_in_what_may_be_logged() -> None:
    request = request_of(Call(api="QueryOTAFirmware", query={"FirmwareId": "167"}))

    assert SECRET not in repr(request) + request.target
    assert "RNLom3" not in repr(request)
    assert NONCE not in repr(request)
