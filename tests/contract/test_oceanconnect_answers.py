"""OceanConnect's sample answers (contract 10.4), its vendor page, and its tables of codes and words, value by value."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bridge.clouds import errors
from bridge.clouds.client import Call
from bridge.clouds.clock import VendorClock
from bridge.clouds.oceanconnect.answers import (
    Operation,
    Page,
    operations_of,
    package_of,
    page_of,
    sub_operations_of,
)
from bridge.clouds.oceanconnect.dialect import OceanConnectDialect, code_of
from bridge.clouds.oceanconnect.errors import CODES, error_of
from bridge.clouds.oceanconnect.settings import OceanConnectCredentials
from bridge.clouds.oceanconnect.status import (
    FINAL,
    FIRMWARE_STEPS,
    RESULTS,
    SOFTWARE_STEPS,
    SUB_OPERATION,
    device_status,
    notice_status,
    reason_of,
    word_of,
)
from bridge.clouds.oceanconnect.token import Login, tokens_of
from bridge.clouds.wire import Answer
from consumer.secret import Secret

NOW_MS = 1_700_000_010_000  # 30 s past a full minute

LOGIN = '{"scope":"default","tokenType":"bearer","expiresIn":3600,"accessToken":"a","refreshToken":"r"}'
THROTTLED = '{"error_code":"1010009","error_desc":"app throttle exceed."}'
SUB_OPERATIONS = """{"data":[{"subOperationId":"s1","createTime":"20151212T121212Z","startTime":"20151212T121212Z",
"stopTime":"20151212T121312Z","operateType":"firmware_upgrade","deviceId":"d1","status":"fail","detailInfo":"",
"extendInfo":{}}],"pageNo":0,"pageSize":10,"totalCount":1}"""
NOTICE = """{"notifyType":"fwUpgradeStateChangeNotify","deviceId":"d1","appId":"a","operationId":"o",
"subOperationId":"s1","step":"1","stepDesc":"downloading"}"""
PACKAGE = """{"fileId": "**********", "name": "******", "version": "V1.1.10", "fileType": "softwarePackage",
"deviceType": "******", "model": "******", "manufacturerName": "***", "protocolType": "CoAP",
"description": "Test software package made by WYH", "date": "2015-2-2 ", "uploadTime": "20151212T121212Z"}"""
OPERATION: dict[str, Any] = {
    "operationId": "o1",
    "createTime": "20151212T121212Z",
    "startTime": "20151212T121212Z",
    "operateType": "firmware_upgrade",
    "targets": {"devices": ["d1"]},
    "policy": {"executeType": "now"},
    "status": "processing",
    "staResult": {"total": 2, "wait": 0, "processing": 1, "success": 1, "fail": 0, "stop": 0, "timeout": 0},
    "extendPara": {},
}


def dialect() -> OceanConnectDialect:
    credentials = OceanConnectCredentials(app_id="app", secret=Secret("very-secret"))
    clock = VendorClock(lambda: NOW_MS)
    return OceanConnectDialect("app", Login(credentials, clock), clock)


def opened(text: str, status: int = 200, *, needs_token: bool = True) -> Any:
    answer = Answer(status=status, headers={}, body=text.encode())
    return dialect().open(answer, Call(api="test", needs_token=needs_token))


def paged(*entries: dict[str, Any], **further: Any) -> Page:
    return page_of({"data": list(entries), **further}, api="test", number_asked=0, asked_at_ms=NOW_MS)


def operation(**changes: Any) -> Operation:
    (found,) = operations_of(paged(OPERATION | changes), api="test")
    return found


def test_the_published_login_gives_a_token_that_is_renewed_at_four_fifths_of_its_life() -> None:
    token, refresh = tokens_of(opened(LOGIN).result, api="login", issued_at_ms=NOW_MS)

    assert (token.value, refresh and refresh.reveal()) == ("a", "r")
    assert token.renew_at_ms - NOW_MS == 2_880_000
    assert token.expires_at_ms - NOW_MS == 3_600_000


def test_a_lifetime_may_come_as_a_text() -> None:
    token, refresh = tokens_of({"accessToken": "a", "expiresIn": "100"}, api="login", issued_at_ms=0)

    assert (token.renew_at_ms, token.expires_at_ms, refresh) == (80_000, 100_000, None)


@pytest.mark.parametrize("answer", [{}, [], None, {"accessToken": "", "expiresIn": 1}, {"accessToken": "a"}])
def test_a_login_without_token_or_lifetime_is_a_schema_mismatch(answer: Any) -> None:
    with pytest.raises(errors.SchemaMismatch):
        tokens_of(answer, api="login", issued_at_ms=0)


def test_the_published_throttling_waits_for_the_next_minute() -> None:
    error = opened(THROTTLED, 403).error

    assert isinstance(error, errors.Throttled)
    assert (error.code, error.text) == ("1010009", "app throttle exceed.")
    assert error.pause_s == pytest.approx(30.5)


def test_the_published_sub_operation_is_a_failed_device() -> None:
    page = page_of(opened(SUB_OPERATIONS).result, api="test", number_asked=0, asked_at_ms=NOW_MS)
    (sub,) = sub_operations_of(page, api="test").values()

    assert (sub.device_id, sub.sub_operation_id, sub.status) == ("d1", "s1", "fail")
    assert sub.status_in(operation()) == "failed"
    assert page.total == 1


def test_the_published_state_notice_is_a_download() -> None:
    assert notice_status(json.loads(NOTICE)) == "downloading"


def test_the_vendor_page_s_package_is_usable_and_its_free_date_is_not_parsed() -> None:
    package = package_of(opened(PACKAGE).result, api="test")

    assert (package.package_id, package.state, package.version) == ("**********", "usable", "V1.1.10")
    assert package.channel == "software"
    assert package.told["date"] == "2015-2-2 "


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "120015", errors.BadRequest),
        (400, "123029", errors.BadRequest),
        (400, "100247", errors.Forbidden),
        (400, "102202", errors.BadRequest),
        (401, "100208", errors.AuthRefused),
        (403, "1010005", errors.TokenRejected),
        (403, "1010009", errors.Throttled),
        (404, "123002", errors.DeviceNotFound),
        (200, "100203", errors.Misconfigured),
        (500, "100203", errors.Misconfigured),
        (200, "100217", errors.Forbidden),
        (500, "50252", errors.Unanswered),
        (500, "100023", errors.Unanswered),
        (500, "100220", errors.Unanswered),
        (400, "999999", errors.SchemaMismatch),
    ],
)
def test_each_code_is_an_error_of_its_class(status: int, code: str, kind: type[errors.CloudError]) -> None:
    told: tuple[Any, ...] = (code, int(code))
    for value in told:
        error = opened(
            msgspec.json.encode({"error_code": value, "error_desc": "words"}).decode(), status
        ).error
        assert type(error) is kind
        assert (error.code, error.text) == (code, "words")


def test_the_table_of_codes_is_the_contract_s() -> None:
    assert set(CODES) == {
        *("50252", "100023", "100203", "100208", "100217", "100220", "100247"),
        *("102202", "120015", "123002", "123029", "1010005", "1010009"),
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.SchemaMismatch),
        (401, errors.TokenRejected),
        (403, errors.SchemaMismatch),
        (404, errors.SchemaMismatch),
        (500, errors.Unanswered),
        (503, errors.Unanswered),
    ],
)
def test_a_status_without_a_code_is_judged_by_itself(status: int, kind: type[errors.CloudError]) -> None:
    assert type(opened("{}", status).error) is kind


def test_a_login_that_is_refused_without_a_code_is_refused_for_good() -> None:
    assert type(opened("{}", 401, needs_token=False).error) is errors.AuthRefused


@pytest.mark.parametrize("body", ["", "<html>", "[]", '"text"', '{"data":'])
def test_what_is_no_json_object_is_no_answer(body: str) -> None:
    with pytest.raises(errors.Unanswered):
        opened(body)


def test_http_429_is_throttling_without_a_time() -> None:
    with pytest.raises(errors.Throttled) as caught:
        opened("too many requests", 429)
    assert caught.value.pause_s is None


@pytest.mark.parametrize("body", [{}, {"error_code": None}, {"error_code": ""}, {"error_code": True}])
def test_a_body_without_a_code_is_a_success(body: dict[str, Any]) -> None:
    assert code_of(body) is None


def test_an_error_holds_the_vendor_s_words_cut_short() -> None:
    assert len(error_of("120015", "x" * 500, api="test", now_ms=0).text) == 200


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("wait", "pending"),
        ("processing", "installing"),
        ("success", "succeeded"),
        ("fail", "failed"),
        ("failed", "failed"),
        ("stop", "cancelled"),
        ("timeout", "timed_out"),
        ("upgrading", None),
        ("", None),
    ],
)
def test_each_word_of_a_sub_operation_is_a_status_in_whichever_case(word: str, status: str | None) -> None:
    for told in (word, word.upper(), f" {word} "):
        assert device_status(word_of(told), operation="processing") == status


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("wait", "cancelled"),
        ("processing", "cancelled"),
        ("stop", "cancelled"),
        ("success", "succeeded"),
        ("fail", "failed"),
        ("timeout", "timed_out"),
        ("upgrading", None),
    ],
)
def test_a_stopped_operation_cancels_what_had_not_ended(word: str, status: str | None) -> None:
    assert device_status(word, operation="stop") == status


@pytest.mark.parametrize("word", ["wait", "processing", "success", "failed", "fail", "an unknown word"])
def test_an_operation_s_own_word_is_no_device_s_status(word: str) -> None:
    assert device_status("processing", operation=word) == "installing"


def test_an_operation_is_over_by_either_spelling() -> None:
    assert {"success", "failed", "fail", "stop"} == FINAL
    assert operation(status="Failed").is_final
    assert not operation(status="processing").is_final
    assert not operation(status="wait").is_final


@pytest.mark.parametrize(
    ("kind", "field", "table"),
    [
        ("fwUpgradeStateChangeNotify", "step", FIRMWARE_STEPS),
        ("swUpgradeStateChangeNotify", "stepDesc", SOFTWARE_STEPS),
        ("fwUpgradeResultNotify", "status", RESULTS),
        ("fwUpgradeResultNotify", "Status", RESULTS),
        ("swUpgradeResultNotify", "swUpgradeResult", RESULTS),
    ],
)
def test_each_word_of_a_notice_is_a_status(kind: str, field: str, table: dict[str, str]) -> None:
    for word, status in table.items():
        assert notice_status({"notifyType": kind, field: word.upper()}) == status
    assert notice_status({"notifyType": kind, field: "4"}) is None
    assert notice_status({"notifyType": "another", field: "1"}) is None


def test_the_words_of_the_notices_are_the_contract_s() -> None:
    assert FIRMWARE_STEPS == {"0": "idle", "1": "downloading", "2": "downloading", "3": "installing"}
    assert SOFTWARE_STEPS == {
        "otacreated": "pending",
        "requestdownload": "pending",
        "downloading": "downloading",
        "downloaded": "downloading",
        "updating": "installing",
        "idle": "idle",
    }
    assert RESULTS == {"success": "succeeded", "fail": "failed"}
    assert set(SUB_OPERATION) == {"wait", "processing", "success", "fail", "failed", "stop", "timeout"}


def test_a_reason_is_what_the_words_tell_and_no_more() -> None:
    assert reason_of("failed", "fail", None) is None
    failed, timed_out = reason_of("failed", "fail", "flash full"), reason_of("timed_out", "timeout", None)
    assert failed is not None
    assert (failed.code, failed.vendor_code, failed.text) == ("unknown_error", "fail", "flash full")
    assert timed_out is not None
    assert timed_out.code == "vendor_timeout"


def test_an_operation_is_read_with_its_channel_time_and_counts() -> None:
    found = operation()

    assert (found.operation_id, found.channel, found.status) == ("o1", "firmware", "processing")
    assert found.created_at_ms == 1_449_922_332_000
    assert ("processing", 1) in found.counts
    assert (found.package_id, found.version) == (None, None)


def test_a_package_is_taken_from_an_operation_that_names_it() -> None:
    told = operation(extendPara={"fileId": "f1", "fileVersion": "V2"})

    assert (told.package_id, told.version) == ("f1", "V2")
    assert operation(fileId="f2").package_id == "f2"


@pytest.mark.parametrize("kind", ["firmware_upgrade", "firmwareUpgrade", "FIRMWARE_UPGRADE"])
def test_the_kind_of_an_operation_is_its_channel(kind: str) -> None:
    assert operation(operateType=kind).channel == "firmware"
    assert (
        operation(operateType=kind.replace("firmware", "software").replace("FIRM", "SOFT")).channel
        == "software"
    )


def test_operations_of_other_kinds_and_without_an_id_are_left_out() -> None:
    page = paged(OPERATION | {"operateType": "reboot"}, OPERATION | {"operationId": ""}, OPERATION)

    assert [each.operation_id for each in operations_of(page, api="test")] == ["o1"]


def test_a_time_that_cannot_be_read_is_the_oldest() -> None:
    assert operation(createTime="2015-2-2 ").created_at_ms == 0
    assert operation(createTime=None).order < operation().order


def test_a_device_s_free_text_is_cut_short() -> None:
    page = paged({"deviceId": "d1", "status": "fail", "detailInfo": "x" * 500})

    assert len(sub_operations_of(page, api="test")["d1"].detail or "") == 200


def test_of_two_entries_for_a_device_the_later_one_counts() -> None:
    early = {"deviceId": "d1", "status": "fail", "createTime": "20151212T121212Z"}
    late = {"deviceId": "d1", "status": "processing", "createTime": "20161212T121212Z"}

    for page in (paged(early, late), paged(late, early)):
        assert sub_operations_of(page, api="test")["d1"].status == "processing"


@pytest.mark.parametrize("answer", [{}, {"data": None}, {"data": {}}, [], None, "text"])
def test_a_list_without_data_is_a_schema_mismatch(answer: Any) -> None:
    with pytest.raises(errors.SchemaMismatch):
        page_of(answer, api="test", number_asked=0, asked_at_ms=0)


def test_a_total_that_is_no_number_is_not_told() -> None:
    assert paged(totalCount="7").total == 7
    assert paged(totalCount="many").total is None
    assert paged().total is None
