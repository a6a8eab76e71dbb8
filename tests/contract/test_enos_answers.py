"""The answers of EnOS as published, every code of its table, and every value of its statuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bridge.clouds import errors
from bridge.clouds.client import Call, Opened
from bridge.clouds.clock import VendorClock
from bridge.clouds.enos.answers import package_of, page_of, row_of, task_of
from bridge.clouds.enos.dialect import EnosDialect
from bridge.clouds.enos.errors import GATEWAY_CODES, SERVICE_CODES
from bridge.clouds.enos.reading import Reading, read
from bridge.clouds.enos.status import TASKS, task_status
from bridge.clouds.enos.token import token_of
from bridge.clouds.wire import Answer
from schemas import Reason
from tests.enos_model import enos_account, row, task

WORDS = ("timeout", "timed out", "time out", "超时")

VENDORS_PAGE = """
{"code":0,"msg":"OK","requestId":"7bd0040b-63c6-4173-b764-d2e8d6642dd3","data":[
 {"orgId":"o15475466766371","assetId":"rFFJ6j53","productKey":"8UhOTwV5","deviceKey":"WnszKfi8NU","firmwareVersion":"7777","isUpgrading":false},
 {"orgId":"o15475466766371","assetId":"qOE2FZb5","productKey":"BXwU4kMk","deviceKey":"ota-device2","firmwareVersion":"2.0","isUpgrading":true},
 {"orgId":"o15475466766371","assetId":"kYK5nVJv","productKey":"8UhOTwV5","deviceKey":"bCUsvJvEBT","firmwareVersion":"2020.01","isUpgrading":false},
 {"orgId":"o15475466766371","assetId":"VeHlM7wW","productKey":"8UhOTwV5","deviceKey":"1HshYDJ3wf","firmwareVersion":"2020.01","isUpgrading":false},
 {"orgId":"o15475466766371","assetId":"TGEIuAWG","productKey":"8UhOTwV5","deviceKey":"bfb1EcjaKG","firmwareVersion":"7.7","isUpgrading":false}
],"pagination":{"sortedBy":null,"pageNo":1,"pageSize":5,"totalSize":9}}
"""

TASK_PAGE = """
{"code":0,"msg":"OK","requestId":"q","data":[{"taskId":"t1","orgId":"o1","assetId":"a1","productKey":"pk","deviceKey":"dk",
"jobId":"j1","fromVersion":"1.0","toVersion":"2.0","progress":-2,"desc":"","status":"failed","updateTime":1572574909697}],
"pagination":{"sortedBy":null,"pageNo":1,"pageSize":10,"totalSize":1}}
"""


def opened(body: str | bytes, status: int = 200, **headers: str) -> Opened:
    dialect = EnosDialect(enos_account(), VendorClock(lambda: 0))
    body = body.encode() if isinstance(body, str) else body
    return dialect.open(Answer(status=status, headers=headers, body=body), Call(api="search-task"))


def refused(body: dict[str, Any], status: int = 200) -> errors.CloudError:
    error = opened(msgspec.json.encode(body), status).error
    assert error is not None
    return error


def reading(*tasks: dict[str, Any], **fields: Any) -> Reading:
    device, known = row_of(row("a1", **fields)), [task_of(one) for one in tasks]
    assert device is not None
    return read(device, [one for one in known if one is not None], timed_out=WORDS, asked_at_ms=1)


def test_the_vendors_page_of_devices_is_read_and_has_a_second_page() -> None:
    page = page_of(opened(VENDORS_PAGE).result, api="x")
    rows = [row_of(entry) for entry in page.entries]

    assert page.total == 9
    assert [(one.asset_id, one.version) for one in rows if one is not None] == [
        ("rFFJ6j53", "7777"),
        ("qOE2FZb5", "2.0"),
        ("kYK5nVJv", "2020.01"),
        ("VeHlM7wW", "2020.01"),
        ("TGEIuAWG", "7.7"),
    ]
    statuses = [read(one, [], timed_out=WORDS, asked_at_ms=1).status for one in rows if one is not None]
    assert statuses == ["idle", "installing", "idle", "idle", "idle"]


def test_the_published_task_is_a_failure() -> None:
    page = page_of(opened(TASK_PAGE).result, api="x")
    (one,) = (task_of(entry) for entry in page.entries)
    device = row_of(row("a1"))
    assert one is not None
    assert device is not None

    told = read(device, [one], timed_out=WORDS, asked_at_ms=1)

    assert (told.status, told.vendor_status, told.progress) == ("failed", "failed", None)
    assert told.reason == Reason(code="unknown_error", vendor_code="-2")


def test_a_token_that_expired_is_known_by_its_status() -> None:
    assert isinstance(refused({"status": 1203, "msg": "..."}), errors.TokenRejected)


@pytest.mark.parametrize("field", ["status", "stauts"])
def test_the_published_token_is_read_also_where_its_status_is_misspelt(field: str) -> None:
    body = {
        field: 0,
        "msg": "SUCCESS",
        "business": "apim-token-service",
        "data": {"accessToken": "a", "expire": 7200},
    }

    result = opened(msgspec.json.encode(body)).result
    token = token_of(result, api="token", issued_at_ms=1000)

    assert (token.value, token.expires_at_ms) == ("a", 7_201_000)
    assert "a" not in repr(token).split()


@pytest.mark.parametrize(("left_s", "renew_after_s"), [(7200, 7140), (100, 50), (0, 0)])
def test_a_token_is_renewed_by_the_time_that_it_has_left(left_s: int, renew_after_s: int) -> None:
    token = token_of({"data": {"accessToken": "a", "expire": left_s}}, api="token", issued_at_ms=0)

    assert token.renew_at_ms == renew_after_s * 1000


@pytest.mark.parametrize(
    "body", [None, {}, {"data": None}, {"data": {"expire": 1}}, {"data": {"accessToken": "a", "expire": "x"}}]
)
def test_a_token_that_cannot_be_read_is_a_schema_error(body: Any) -> None:
    with pytest.raises(errors.SchemaMismatch):
        token_of(body, api="token", issued_at_ms=0)


CODES = {
    ("status", 1001): errors.Unanswered,
    ("status", 1002): errors.AuthRefused,
    ("status", 1003): errors.AuthRefused,
    ("status", 1004): errors.BadRequest,
    ("status", 1005): errors.Unanswered,
    ("status", 1202): errors.BadRequest,
    ("status", 1203): errors.TokenRejected,
    ("status", 1204): errors.TokenRejected,
    ("code", 24404): errors.DeviceNotFound,
    ("code", 24500): errors.Unanswered,
    ("code", 24617): errors.BadRequest,
    ("code", 24620): errors.BadRequest,
    ("code", 24621): errors.BadRequest,
}


@pytest.mark.parametrize(("field", "code"), CODES)
def test_each_code_is_the_error_of_its_class(field: str, code: int) -> None:
    error = refused({field: code, "msg": "the vendor's words", "requestId": "r1"})

    assert type(error) is CODES[field, code]
    assert (error.code, error.text, error.trace_id) == (str(code), "the vendor's words", "r1")
    assert type(refused({field: str(code)})) is CODES[field, code]


def test_the_table_has_no_other_codes() -> None:
    assert {code for _, code in CODES} == set(GATEWAY_CODES) | set(SERVICE_CODES)


def test_the_families_of_codes_are_kept_apart() -> None:
    assert isinstance(refused({"code": 1203}), errors.SchemaMismatch)
    assert isinstance(refused({"status": 24500}), errors.SchemaMismatch)


@pytest.mark.parametrize(
    "body", [{"code": 4711, "msg": "new"}, {"status": 9}, {"msg": "?"}, {"code": None}, {}]
)
def test_what_nobody_knows_is_a_schema_error(body: dict[str, Any]) -> None:
    assert isinstance(refused(body), errors.SchemaMismatch)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"code":0}', b'{"code":24500}'])
def test_too_many_requests_are_known_by_the_http_status_alone(status: int, body: bytes) -> None:
    with pytest.raises(errors.Throttled):
        opened(body, status)


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b'{"code":0,"da', b"[]", b'"text"', b"\xff"])
@pytest.mark.parametrize("status", [200, 404, 500])
def test_what_is_no_json_object_is_no_answer(status: int, body: bytes) -> None:
    with pytest.raises(errors.Unanswered):
        opened(body, status)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, {"status": 500, "error": "Internal Server Error"}, errors.Unanswered),
        (502, {}, errors.Unanswered),
        (500, {"code": 24404}, errors.DeviceNotFound),
        (401, {"msg": "no"}, errors.Forbidden),
        (403, {"code": 99403}, errors.Forbidden),
        (403, {"status": 1203}, errors.TokenRejected),
        (404, {"status": 404}, errors.SchemaMismatch),
    ],
)
def test_an_http_status_counts_where_the_code_says_nothing(
    status: int, body: dict[str, Any], kind: type
) -> None:
    assert type(refused(body, status)) is kind


def test_who_lacks_the_permission_is_told_which() -> None:
    assert "Firmware" in refused({"code": 99403, "msg": "denied"}, 403).remedy


def test_the_vendors_clock_is_learned_from_the_date_header() -> None:
    told = opened('{"code":0}', date="Tue, 14 Nov 2023 22:13:20 GMT").time

    assert told is not None
    assert (told.at_ms, told.resolution_ms) == (1_700_000_000_000, 1000)


VALUES = {
    "init": ("pending", False),
    "published": ("pending", False),
    "upgrading": ("installing", True),
    "succeeded": ("succeeded", False),
    "failed": ("failed", False),
}


@pytest.mark.parametrize("value", VALUES)
def test_each_status_of_a_task_is_ours(value: str) -> None:
    told = reading(task("a1", status=value, progress=40))

    assert (told.status, told.undivided) == VALUES[value]
    assert (told.vendor_status, told.progress) == (value, 40)
    assert set(VALUES) == set(TASKS)


@pytest.mark.parametrize("value", ["cancelled", "canceled", "", None, 7, "stopped"])
def test_a_status_that_nobody_knows_is_none_of_ours(value: Any) -> None:
    told = reading(task("a1", status=value))

    assert (told.status, told.undivided, told.phase) == (None, False, "unknown")
    assert told.vendor_status == (str(value) if value not in ("", None) else None)


@pytest.mark.parametrize("value", [*VALUES, "cancelled"])
@pytest.mark.parametrize("progress", [-1, -2, -99, "-3"])
def test_a_negative_progress_is_a_failure_whatever_the_status_says(value: str, progress: Any) -> None:
    told = reading(task("a1", status=value, progress=progress))

    assert (told.status, told.vendor_status, told.progress, told.undivided) == ("failed", value, None, False)
    assert told.reason == Reason(code="unknown_error", vendor_code=str(progress))


@pytest.mark.parametrize(
    ("description", "status"),
    [
        ("upgrade Timeout", "timed_out"),
        ("设备升级超时", "timed_out"),
        ("the device timed out", "timed_out"),
        ("no space", "failed"),
        ("", "failed"),
    ],
)
def test_a_failure_timed_out_where_its_description_says_so(description: str, status: str) -> None:
    told = reading(task("a1", status="failed", desc=description))

    assert told.status == status
    assert told.reason is not None
    assert told.reason.code == ("vendor_timeout" if status == "timed_out" else "unknown_error")
    assert told.reason.text == (description or None)


def test_a_description_alone_is_no_end() -> None:
    assert task_status("upgrading", 10, "timeout in 30 minutes", WORDS) == "installing"


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (True, ("installing", "true", True)),
        (False, ("idle", "false", False)),
        ("true", ("installing", "true", True)),
        ("FALSE", ("idle", "false", False)),
        (None, (None, None, False)),
        (1, (None, None, False)),
    ],
)
def test_without_a_task_the_flag_counts(flag: Any, expected: tuple[Any, ...]) -> None:
    told = reading(isUpgrading=flag)

    assert (told.status, told.vendor_status, told.undivided) == expected


@pytest.mark.parametrize("data", [{}, "x", 7])
def test_data_that_is_no_list_is_a_schema_error(data: Any) -> None:
    with pytest.raises(errors.SchemaMismatch):
        page_of({"code": 0, "data": data}, api="x")


@pytest.mark.parametrize("body", [{"code": 0}, {"code": 0, "data": None, "pagination": None}])
def test_no_data_is_an_empty_page(body: Any) -> None:
    page = page_of(body, api="x")

    assert (page.entries, page.total) == ([], None)


def test_numbers_may_be_texts_and_ids_numbers() -> None:
    one = task_of(task("a1", taskId=9007199254740993, jobId=5, progress="30", updateTime="1572574909697"))

    assert one is not None
    assert (one.task_id, one.job_id, one.progress, one.updated_at_ms) == (
        "9007199254740993",
        "5",
        30,
        1572574909697,
    )


@pytest.mark.parametrize("progress", [101, 10**9, "much", None, True])
def test_a_progress_that_is_no_per_cent_is_none(progress: Any) -> None:
    assert reading(task("a1", status="upgrading", progress=progress)).progress is None


def test_an_entry_without_an_id_is_passed_over() -> None:
    assert row_of({"productKey": "pk"}) is None
    assert task_of({"assetId": "a1"}) is None


def test_a_package_never_leads_to_its_file() -> None:
    told = package_of(
        "f1",
        {
            "firmwareId": "f1",
            "version": "2.0",
            "productKey": "pk",
            "name": {"defaultValue": "Pump", "i18nValue": {}},
            "fileUrl": "https://files/x?token=1",
            "sign": "abc",
            "fileSize": 12,
        },
    )

    assert (told.state, told.version, told.name, told.channel) == ("usable", "2.0", "Pump", "firmware")
    assert told.told == {"firmwareId": "f1", "version": "2.0", "productKey": "pk", "fileSize": 12}


@pytest.mark.parametrize("entry", [None, {}, [], "x"])
def test_a_package_that_is_not_told_is_missing(entry: Any) -> None:
    assert package_of("f1", entry).state == "missing"
