"""The sample answers of the contract's section 10.4, every code we know, and the tables of 7.3 value by value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.clouds import errors
from bridge.clouds.client import Call, Opened
from bridge.clouds.clock import VendorClock, VendorTime
from bridge.clouds.hedwig.answers import PACKAGE_FIELDS, package_of, page_of, task_of
from bridge.clouds.hedwig.dialect import HedwigDialect
from bridge.clouds.hedwig.errors import CODES, error_of, kind_of
from bridge.clouds.hedwig.names import named
from bridge.clouds.hedwig.settings import HedwigApi, HedwigCredentials
from bridge.clouds.hedwig.status import PACKAGE, TASK, task_state
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import FirmwarePackage
from bridge.clouds.wire import Answer
from consumer.secret import Secret

PACKAGE_SAMPLE = """{
"code": "",
"firmwareInfo": {
"destVersion": "1.1111",
"firmwareDesc": "",
"firmwareId": "134",
"firmwareName": "myFirmwareName",
"firmwareSign": "1111111111",
"firmwareSize": 1152925,
"firmwareUrl": "https://oss.example.com/ota/firmware/1591.gz?Expires=1732099448&OSSAccessKeyId=LTAI&Signature=AFe6",
"moduleName": "blei",
"productKey": "k1h9drZ****",
"productName": "bletest",
"signMethod": "MD5",
"status": 0,
"type": 0,
"udi": "",
"utcCreate": "2024-09-18T09:32:00.937Z",
"utcModified": "2024-09-18T09:32:00.937Z",
"verifyProgress": 0
},
"requestId": "11413537-433a-4d72-97e3-72c2211a163e",
"success": true
}"""
TASKS_SAMPLE = """{"code":"","currentPage":1,"data":[{"destVersion":"1.0.1","deviceName":"device2",
"firmwareId":"167","iotId":"ca460d9993c9d1eae0adba0000","jobId":"1836340779212660000","progress":"50",
"srcVersion":"1.0.0","taskDesc":"timeout","taskId":"1836340779212660001","taskStatus":"FAILED","timeout":"1440",
"utcCreate":"2024-11-11T11:11:11.000Z"}],"pageCount":1,"pageSize":10,"requestId":"r","success":true}"""

ACCOUNT = ApiAccount(
    name="hedwig-test",
    cloud="hedwig",
    credentials=HedwigCredentials(access_key_id="testid", access_key_secret=Secret("testsecret")),
    api=HedwigApi(url="https://localhost"),
)
WORDS = ACCOUNT.api.timeout_words


def opened(body: str, status: int = 200, **headers: str) -> Opened:
    dialect = HedwigDialect(ACCOUNT, VendorClock(lambda: 0))
    return dialect.open(Answer(status=status, headers=headers, body=body.encode()), Call(api="test"))


def refusal(body: str, status: int = 200) -> errors.CloudError:
    error = opened(body, status).error
    assert error is not None
    return error


def pascal(value: Any) -> Any:
    """The same JSON as the documentation's tables spell it: `FirmwareID`, `IotID`, `RequestID`."""
    if isinstance(value, dict):
        return {
            name[0].upper() + (name[1:-2] + "ID" if name.endswith("Id") else name[1:]): pascal(inner)
            for name, inner in value.items()
        }
    return [pascal(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture(params=["as the samples", "as the tables"])
def spelled(request: pytest.FixtureRequest) -> Any:
    """A sample in each of the two spellings that the vendor uses."""
    return (
        (lambda text: text)
        if "samples" in request.param
        else lambda text: json.dumps(pascal(json.loads(text)))
    )


def test_the_vendors_package_is_unverified(spelled: Any) -> None:
    answer = opened(spelled(PACKAGE_SAMPLE))

    package = package_of(answer.result, "134", api="test")

    assert package == FirmwarePackage(
        package_id="134",
        state="unverified",
        version="1.1111",
        name="myFirmwareName",
        product_id="k1h9drZ****",
        channel="blei",
        told=package.told,
    )
    assert package.told["firmwareSize"] == 1152925
    assert set(package.told) <= set(PACKAGE_FIELDS)


def test_the_signed_url_of_a_package_is_never_told() -> None:
    package = package_of(opened(PACKAGE_SAMPLE).result, "134", api="test")

    assert not {"firmwareUrl", "firmwareSign", "udi"} & set(package.told)
    assert "OSSAccessKeyId" not in repr(package)


def test_the_sample_task_timed_out_by_its_description_alone(spelled: Any) -> None:
    (entry,) = page_of(opened(spelled(TASKS_SAMPLE)).result, "data", api="test").entries
    task = task_of(entry)
    assert task is not None

    state = task_state(task.status, description=task.description, timeout_words=WORDS)

    assert state.status == "timed_out"
    assert state.reason is not None
    assert (state.reason.code, state.reason.text) == ("vendor_timeout", "timeout")
    assert task_state(task.status, description=task.description).status == "failed"
    assert (task.task_id, task.job_id) == ("1836340779212660001", "1836340779212660000")
    assert (task.device_id, task.device_name) == ("ca460d9993c9d1eae0adba0000", "device2")
    assert (task.target_version, task.progress, task.timeout_s) == ("1.0.1", 50, 1440 * 60)


def test_an_ids_digits_are_kept_where_it_comes_as_a_number() -> None:
    task = task_of(named({"taskId": 1836340779212660001, "iotId": "i"}))

    assert task is not None
    assert task.task_id == "1836340779212660001"


def test_a_list_may_be_wrapped_in_its_types_name_and_may_be_missing() -> None:
    assert page_of(named({"Data": {"SimpleOTATaskInfo": [{"TaskId": "t"}]}}), "data", api="x").entries == [
        {"taskId": "t"}
    ]
    assert page_of({}, "data", api="x").entries == []
    with pytest.raises(errors.SchemaMismatch):
        page_of({"data": "text"}, "data", api="x")


@pytest.mark.parametrize("entry", [{}, {"taskId": "t"}, {"iotId": "i"}, {"taskId": "", "iotId": "i"}])
def test_a_task_that_does_not_say_whose_it_is_is_left_out(entry: dict[str, Any]) -> None:
    assert task_of(entry) is None


def test_the_documentations_stray_space_does_not_change_the_order_of_times() -> None:
    with_space = task_of({"taskId": "t", "iotId": "i", "utcCreate": "2024-11-11 T11:11:11.000Z"})
    without = task_of({"taskId": "t", "iotId": "i", "utcCreate": "2024-11-11T11:11:11.000Z"})

    assert with_space is not None
    assert without is not None
    assert with_space.created == without.created


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("CONFIRM", "pending"),
        ("QUEUED", "pending"),
        ("NOTIFIED", "pending"),
        ("IN_PROGRESS", "installing"),
        ("SUCCEEDED", "succeeded"),
        ("FAILED", "failed"),
        ("CANCELED", "cancelled"),
        ("CANCELLED", "cancelled"),
        ("succeeded", "succeeded"),
        ("In_Progress", "installing"),
        ("PAUSED", None),
        ("", None),
    ],
)
def test_task_statuses_have_their_status(told: str, status: str | None) -> None:
    assert task_state(told).status == status


def test_the_table_of_tasks_is_complete() -> None:
    assert set(TASK) == {
        "CONFIRM",
        "QUEUED",
        "NOTIFIED",
        "IN_PROGRESS",
        "SUCCEEDED",
        "FAILED",
        "CANCELED",
        "CANCELLED",
    }


def test_only_a_task_to_be_confirmed_waits_for_somebody() -> None:
    assert task_state("CONFIRM").needs_confirmation is True
    assert [task_state(told).needs_confirmation for told in ("QUEUED", "IN_PROGRESS", "FAILED")] == [
        False
    ] * 3
    assert task_state("CONFIRM", job_status="CANCELED").needs_confirmation is False
    assert task_state("PAUSED").needs_confirmation is None


@pytest.mark.parametrize(
    ("progress", "reports_download", "status", "undivided"),
    [
        (50, False, "installing", True),
        (None, False, "installing", True),
        (0, True, "downloading", False),
        (99, True, "downloading", False),
        (100, True, "installing", False),
        (None, True, "installing", False),
        (-1, True, "installing", False),
    ],
)
def test_in_progress_is_a_download_only_where_the_devices_are_known_to_report_it(
    *, progress: int | None, reports_download: bool, status: str, undivided: bool
) -> None:
    state = task_state("IN_PROGRESS", progress=progress, reports_download=reports_download)

    assert (state.status, state.undivided) == (status, undivided)


@pytest.mark.parametrize(
    ("description", "status"),
    [
        ("Upgrade TIMEOUT after 60 min", "timed_out"),
        ("升级超时", "timed_out"),
        ("device timed out", "timed_out"),
        ("flash is full", "failed"),
        ("", "failed"),
        (None, "failed"),
    ],
)
def test_a_failure_is_a_timeout_by_the_words_of_its_description(description: str | None, status: str) -> None:
    assert task_state("FAILED", description=description, timeout_words=WORDS).status == status


def test_a_success_is_no_timeout_whatever_its_description_says() -> None:
    assert task_state("SUCCEEDED", description="no timeout", timeout_words=WORDS).status == "succeeded"


def test_reasons_say_what_the_task_says_and_no_more() -> None:
    assert task_state("FAILED").reason is None
    failed = task_state("FAILED", description="flash is full").reason
    assert failed is not None
    assert (failed.code, failed.vendor_code, failed.text) == ("unknown_error", "FAILED", "flash is full")
    cancelled = task_state("CANCELED").reason
    assert cancelled is not None
    assert cancelled.code == "cancelled_by_operator"


@pytest.mark.parametrize("job_status", ["CANCELED", "CANCELLED", "canceled"])
def test_a_cancelled_job_cancels_the_tasks_that_have_not_ended(job_status: str) -> None:
    for told in ("CONFIRM", "QUEUED", "NOTIFIED", "IN_PROGRESS"):
        assert task_state(told, job_status=job_status).status == "cancelled"
    assert task_state("SUCCEEDED", job_status=job_status).status == "succeeded"
    assert task_state("FAILED", job_status=job_status).status == "failed"


@pytest.mark.parametrize("job_status", ["PLANNED", "IN_PROGRESS", "COMPLETED", "SOMETHING", None])
def test_no_other_status_of_a_job_says_anything_of_a_task(job_status: str | None) -> None:
    for told, status in TASK.items():
        assert task_state(told, job_status=job_status).status == status


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (-1, "usable"),
        (0, "unverified"),
        (1, "usable"),
        (2, "checking"),
        (3, "rejected"),
        ("3", "rejected"),
        (4, "unknown"),
        (None, "unknown"),
    ],
)
def test_package_statuses_have_their_state(value: Any, state: str) -> None:
    package = package_of({"firmwareInfo": {"status": value}}, "1", api="test")

    assert package.state == state
    assert set(PACKAGE) == {-1, 0, 1, 2, 3}


def test_a_package_that_is_no_object_is_a_schema_error() -> None:
    with pytest.raises(errors.SchemaMismatch):
        package_of({"firmwareInfo": []}, "1", api="test")


CLASSES = {
    "auth_fatal": {
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidAccessKeyId.NotFound",
        "InvalidAccessKeyId.Inactive",
        "InvalidAccessKeySecret",
    },
    "retry": {"SignatureNonceUsed", "InternalError", "ServiceUnavailable", "iot.system.SystemException"},
    "clock_skew": {"InvalidTimeStamp.Expired"},
    "throttled": {"Throttling"},
    "forbidden": {"Forbidden", "NoPermission", "iot.system.BillIsOverDue"},
    "bad_request": {
        "InvalidTimeStamp.Format",
        "MissingParameter",
        "InvalidParameter",
        "UnsupportedParameter",
        "iot.system.IllegalRequest",
        "iot.common.InvalidPageParams",
        "iot.prod.NotExistedProduct",
    },
    "config_fatal": {
        "InvalidAction",
        "InvalidAction.NotFound",
        "InvalidApi.NotFound",
        "InvalidVersion",
        "NoSuchVersion",
        "UnsupportedOperation",
        "UnsupportedHTTPMethod",
        "InvalidSignatureMethod",
        "iot.system.InstanceNotFound",
        "iot.Sre.IotInstanceNotFound",
        "iot.system.UidNotFound",
        "iot.common.InvalidTenant",
    },
    "not_found": {"iot.device.NotExistedDevice"},
}


@pytest.mark.parametrize("word", CLASSES)
def test_each_code_has_its_class(word: str) -> None:
    assert {code for code, kind in CODES.items() if kind.error == word} == {
        code.lower() for code in CLASSES[word]
    }


def test_no_code_is_without_a_class_here() -> None:
    assert {kind.error for kind in CODES.values()} == set(CLASSES)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("Throttling.User", errors.Throttled),
        ("Throttling.Api", errors.Throttled),
        ("Forbidden.RAM", errors.Forbidden),
        ("InvalidAccessKeyId.Whatever", errors.AuthRefused),
        ("ServiceUnavailableTemporary", errors.Unanswered),
        ("MissingFirmwareId", errors.BadRequest),
        ("InvalidParameter.Format", errors.BadRequest),
        ("iot.device.DeviceNotFound", errors.DeviceNotFound),
        ("iot.ota.FirmwareNotExist", errors.DeviceNotFound),
        ("iot.device.InvalidIotId", errors.BadRequest),
        ("iot.common.NullPointer", errors.BadRequest),
        ("iot.prod.InvalidFormattedProductkey", errors.BadRequest),
        ("Something.Else", None),
    ],
)
def test_a_code_that_is_in_no_table_is_what_its_family_says(
    code: str, kind: type[errors.CloudError] | None
) -> None:
    assert kind_of(code) is kind


def test_an_unknown_code_is_no_reason_to_repeat_unless_the_server_failed() -> None:
    def of(status: int) -> type[errors.CloudError]:
        return type(error_of("Odd", "", api="test", request_id=None, http_status=status))

    assert (of(200), of(400), of(500)) == (errors.SchemaMismatch, errors.SchemaMismatch, errors.Unanswered)


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (
            '{"success":false,"code":"iot.system.SystemException","errorMessage":"busy"}',
            200,
            errors.Unanswered,
        ),
        ('{"Success":false,"Code":"Iot.system.SystemException","ErrorMessage":"x"}', 200, errors.Unanswered),
        ('{"Code":"SIGNATUREDOESNOTMATCH","Message":"x","RequestId":"r"}', 400, errors.AuthRefused),
        ('{"Code":"Throttling.User","Message":"x","RequestId":"r"}', 400, errors.Throttled),
        ('{"Code":"SomethingNew","Message":"x"}', 503, errors.Unanswered),
        ('{"success":true,"code":"Throttling"}', 400, errors.Throttled),
        ("{}", 200, errors.SchemaMismatch),
        ("{}", 502, errors.Unanswered),
        ('{"success":false,"code":""}', 200, errors.SchemaMismatch),
    ],
)
def test_refusals_of_the_platform_and_of_the_gateway_are_read_in_any_spelling(
    body: str, status: int, kind: type[errors.CloudError]
) -> None:
    assert type(refusal(body, status)) is kind


def test_the_vendors_words_are_kept_and_the_trace_with_them() -> None:
    error = refusal('{"Code":"Forbidden.RAM","Message":"not for you","RequestID":"r-1"}', 403)

    assert (error.text, error.code, error.trace_id) == ("not for you", "Forbidden.RAM", "r-1")
    assert "grant the access key" in error.remedy
    assert refusal('{"success":false,"code":"X","errorMessage":"a","message":"b"}').text == "a"


def test_the_text_that_should_have_been_signed_is_not_repeated() -> None:
    sent = "GET&%2F&AccessKeyId%3Dtestid%26SignatureNonce%3Dn"
    text = f"Specified signature is not matched with our calculation. server string to sign is:{sent}"

    error = refusal(json.dumps({"Code": "SignatureDoesNotMatch", "Message": text}), 400)

    assert error.text == "Specified signature is not matched with our calculation"
    assert "access_key_secret_file" in error.remedy


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            '<?xml version="1.0"?><QueryOTAFirmwareResponse><Success>true</Success></QueryOTAFirmwareResponse>',
            "http-200",
        ),
        ("<Error><Code>InvalidTimeStamp.Expired</Code></Error>", "InvalidTimeStamp.Expired"),
        ("\ufeff\n <a/>", "http-200"),
    ],
)
def test_an_answer_in_xml_is_a_clear_error(body: str, code: str) -> None:
    with pytest.raises(errors.SchemaMismatch, match="XML") as caught:
        opened(body)

    assert caught.value.code == code
    assert "Format=JSON" in caught.value.remedy


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("<html><body>502</body></html>", 200),
        ("<!DOCTYPE HTML><p>", 404),
        ("<Error/>", 503),
        ("", 200),
        ('{"success":tr', 200),
        ("[1]", 200),
        ('"text"', 200),
    ],
)
def test_what_came_from_something_in_between_is_tried_again(body: str, status: int) -> None:
    with pytest.raises(errors.Unanswered):
        opened(body, status)


def test_http_429_is_throttled_whatever_the_body_says() -> None:
    with pytest.raises(errors.Throttled):
        opened(PACKAGE_SAMPLE, 429)


def test_the_date_of_an_answer_is_the_vendors_clock() -> None:
    answer = opened("{}", date="Tue, 19 Nov 2024 09:47:43 GMT")

    assert answer.time == VendorTime(at_ms=1_732_009_663_000, resolution_ms=1000)


def test_success_may_be_a_text() -> None:
    assert opened('{"Success":"True"}').error is None
    assert opened('{"Success":"False","Code":"InternalError"}').error is not None


def test_of_two_spellings_of_one_name_the_first_counts() -> None:
    assert named({"jobId": "a", "JobID": "b", "Strange": 1}) == {"jobId": "a", "strange": 1}
