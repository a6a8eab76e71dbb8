"""The sample answers of the contract's section 10.4, and its status table of section 7.2 value by value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.clouds import errors
from bridge.clouds.clock import VendorTime
from bridge.clouds.tuya.envelope import Envelope, open_envelope, result_of
from bridge.clouds.tuya.errors import CODES, error_of
from bridge.clouds.tuya.status import INFORMATION, PROGRESS, information_status
from bridge.clouds.tuya.token import token_of
from bridge.clouds.tuya_cloud.firmware import FirmwareItem, firmware_items, progress_of
from bridge.clouds.wire import Answer

DOCUMENTED = """{"result":{"channel":0,"current_version":"1.0.0","version":"2.0.0","upgrade_type":1,"timeout":60,
"upgrade_status":1,"type_desc":"Bluetooth","desc":"Firmware update","control_type":0},"success":true}"""
LISTED = """{"result":[{"type":0,"current_version":"1.1.5","upgrade_status":0,"last_upgrade_time":0,
"type_desc":"Wi-Fi"},{"type":9,"current_version":"1.0.0","version":"1.0.2","upgrade_status":2}],"success":true,
"t":1580399517143,"tid":"x"}"""
LEGACY = r"""{"result":[{"current_version":"1.0","last_upgrade_time":0,
"module_desc":"${v1,{\"code\":\"FIRMWARE_UPGRADE_TYPE_DESC_4\"}}","module_type":4,"upgrade_status":0}],"success":true,
"t":1580399517143}"""


def opened(text: str, status: int = 200) -> Envelope:
    return open_envelope(Answer(status=status, headers={}, body=text.encode()), api="test")


def items(text: str) -> dict[str, FirmwareItem]:
    return {item.channel: item for item in firmware_items(result_of(opened(text), api="test"), api="test")}


def refusal(text: str, status: int = 200) -> errors.CloudError:
    with pytest.raises(errors.CloudError) as caught:
        result_of(opened(text, status), api="test")
    return caught.value


def test_the_documented_object_is_one_available_channel() -> None:
    (item,) = items(DOCUMENTED).values()

    assert (item.channel, item.status, item.current_version, item.target_version) == (
        "0",
        "available",
        "1.0.0",
        "2.0.0",
    )
    assert item.timeout_s == 60
    assert item.vendor_status == "1"


def test_the_list_is_one_item_per_channel() -> None:
    found = items(LISTED)

    assert found["0"].status == "idle"
    assert (found["9"].status, found["9"].undivided, found["9"].target_version) == (
        "installing",
        True,
        "1.0.2",
    )


def test_the_legacy_list_is_read_by_its_own_field_names() -> None:
    found = items(LEGACY)

    assert found["4"].status == "idle"
    assert found["4"].current_version == "1.0"


@pytest.mark.parametrize(
    "result",
    [
        {"list": [{"type": 3, "upgrade_status": 0}]},
        {"success": True, "result": [{"type": "3", "upgrade_status": "0"}]},
        {"success": True, "result": {"module_type": 3, "upgrade_status": 0}},
    ],
)
def test_every_documented_wrapping_is_accepted(result: Any) -> None:
    found = items(json.dumps({"success": True, "result": result}))

    assert found["3"].status == "idle"


def test_a_failure_inside_the_nested_result_is_the_answers_failure() -> None:
    nested = {"success": False, "error_code": "2010", "error_msg": "device not exist"}

    error = refusal(json.dumps({"success": True, "result": nested | {"result": None}}))

    assert isinstance(error, errors.DeviceNotFound)


@pytest.mark.parametrize("result", [7, "text", True])
def test_a_result_that_is_neither_list_nor_object_is_a_schema_error(result: Any) -> None:
    with pytest.raises(errors.SchemaMismatch):
        firmware_items(result, api="test")


def test_no_result_is_no_channel() -> None:
    assert firmware_items(None, api="test") == []
    assert firmware_items([], api="test") == []


def test_a_repeated_channel_keeps_its_first_item() -> None:
    found = firmware_items([{"type": 0, "upgrade_status": 2}, {"type": 0, "upgrade_status": 3}], api="test")

    assert [item.status for item in found] == ["installing"]


def test_progress_is_told_while_the_upgrade_runs() -> None:
    assert progress_of({"upgrade_status": 2, "progress": 30}) == 30
    assert progress_of({"upgrade_status": "2", "progress": "100"}) == 100


def test_the_samples_of_progress_and_confirm_are_read() -> None:
    progress = opened('{"result":{"upgrade_status":2,"progress":30},"success":true}')
    confirmed = opened('{"result":true,"success":true}')

    assert progress_of(result_of(progress, api="test")) == 30
    assert result_of(confirmed, api="test") is True


@pytest.mark.parametrize(
    "result",
    [
        {"upgrade_status": 3, "progress": 100},
        {"upgrade_status": 2, "progress": 101},
        {"upgrade_status": 2},
        {"upgrade_status": 0, "progress": 3},
        None,
        [],
    ],
)
def test_progress_is_not_told_of_anything_else(result: Any) -> None:
    assert progress_of(result) is None


def test_the_token_sample_is_read() -> None:
    text = """{"success":true,"result":{"uid":"ay******","access_token":"******","expire_time":7200,
    "refresh_token":"******"}}"""

    token = token_of(result_of(opened(text), api="token"), api="token", issued_at_ms=1_000_000)

    assert (token.value, token.expires_at_ms) == ("******", 1_000_000 + 7_200_000)


def test_the_lifetimes_other_name_is_read() -> None:
    assert (
        token_of({"access_token": "a", "expire": "60"}, api="token", issued_at_ms=0).expires_at_ms == 60_000
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"code":1010,"msg":"token invalid","success":false,"t":1664314067553}', errors.TokenRejected),
        ('{"code":1004,"msg":"sign invalid","success":false,"t":1664314067553}', errors.AuthRefused),
        (
            '{"code":28841101,"msg":"No permissions. This API is not subscribed.","success":false}',
            errors.Forbidden,
        ),
    ],
)
def test_the_error_samples_are_classified(text: str, kind: type[errors.CloudError]) -> None:
    assert type(refusal(text)) is kind


def test_codes_may_be_strings_of_another_name() -> None:
    assert isinstance(refusal('{"success":false,"error_code":"1111","error_msg":"busy"}'), errors.Throttled)


@pytest.mark.parametrize("body", ["<html>502</html>", "", '{"success":tr', "[1]", '"text"', "\ufeff{}"])
def test_what_is_not_a_json_object_came_from_something_in_between(body: str) -> None:
    with pytest.raises(errors.Unanswered):
        opened(body)


def test_http_statuses_count_where_the_body_does_not_say_more() -> None:
    assert isinstance(refusal("{}", 503), errors.Unanswered)
    assert isinstance(refusal('{"success":false,"code":1010}', 503), errors.TokenRejected)
    assert isinstance(refusal('{"message":"forbidden"}', 403), errors.SchemaMismatch)
    assert isinstance(refusal('{"message":"no body"}', 400), errors.BadRequest)
    assert isinstance(refusal('{"success":false,"code":1010}', 400), errors.TokenRejected)
    with pytest.raises(errors.BadRequest):
        opened("<html>400</html>", 400)
    with pytest.raises(errors.Throttled):
        opened('{"success":true,"result":1}', 429)


def test_ten_digits_of_time_are_seconds() -> None:
    assert opened('{"t":1573441137}').time == VendorTime(at_ms=1573441137000, resolution_ms=1000)
    assert opened('{"t":"1580399517143"}').time == VendorTime(at_ms=1580399517143)
    assert opened('{"t":true}').time is None


CLASSES = {
    "retry": {500, 1103, 1112},
    "not_found": {1000, 2005, 2006, 2010},
    "auth_fatal": {1001, 1004, 1005, 1007, 1008},
    "token": {1002, 1010, 1011, 1012, 1400},
    "config_fatal": {1003, 1006, 2406},
    "clock_skew": {1013},
    "bad_request": {1100, 1101, 1102, 1104, 1105, 1107, 1108, 1109},
    "forbidden": {1106},
    "throttled": {1110, 1111, 1113, 1199},
    "device_offline": {2001},
    "unsupported": {2003, 2008, 2009},
    "quota": {28841004},
}


@pytest.mark.parametrize("word", CLASSES)
def test_each_documented_code_has_its_class(word: str) -> None:
    assert {code for code, kind in CODES.items() if kind.error == word} == CLASSES[word]


def test_the_subscription_family_is_forbidden_and_unknown_codes_are_no_reason_to_repeat() -> None:
    for code in (*range(28841001, 28841004), *range(28841101, 28841107)):
        assert type(error_of(code, "", api="test", trace_id=None)) is errors.Forbidden
    assert type(error_of(987654, "?", api="test", trace_id=None)) is errors.SchemaMismatch


def test_the_text_of_a_conflict_is_shown_because_its_meaning_differs_between_the_vendors_tables() -> None:
    error = refusal('{"success":false,"code":1113,"msg":"please upgrade to the commercial version"}')

    assert isinstance(error, errors.Throttled)
    assert error.text == "please upgrade to the commercial version"


def test_1106_is_about_the_device_only() -> None:
    error = error_of(1106, "permission deny", api="test", trace_id=None)

    assert isinstance(error, errors.DeviceRefused)
    assert not isinstance(error, errors.AccountRefused)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (0, "idle"),
        (1, "available"),
        (2, "installing"),
        (3, "succeeded"),
        (4, "failed"),
        (5, "pending"),
        (6, "downloading"),
        (7, "timed_out"),
        (13, "pending"),
        (8, None),
        (100, None),
        (-1, None),
        (None, None),
    ],
)
def test_information_values_have_their_status(value: int | None, status: str | None) -> None:
    assert information_status(value, current="1", target="2") == status


@pytest.mark.parametrize("target", [None, "1"])
def test_device_ready_without_another_version_has_no_status(target: str | None) -> None:
    assert information_status(1, current="1", target=target) is None


def test_the_progress_table_is_complete() -> None:
    assert PROGRESS == {
        1: "pending",
        2: "installing",
        3: "succeeded",
        4: "failed",
        5: "pending",
        6: "downloading",
        7: "timed_out",
        13: "pending",
    }
    assert set(INFORMATION) | {1} == set(PROGRESS) | {0}
