"""The lighting API's sample answers (firmware APIs, 3 and 10.4), and its status table value by value (7.2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.clouds import errors
from bridge.clouds.clock import VendorTime
from bridge.clouds.illume.detail import DETAIL_API, DETAIL_PATH, EVIDENCE_FIELDS, detail_of, told_of
from bridge.clouds.illume.lists import (
    LISTS,
    OFFERED,
    PAGE_SIZE,
    RECORDED,
    UPGRADING,
    DeviceList,
    is_last,
    page_of,
    pages_at_most,
)
from bridge.clouds.illume.status import STATUSES
from bridge.clouds.tuya.envelope import open_envelope, result_of
from bridge.clouds.wire import Answer
from schemas import Reason

LISTED = """{"result":{"list":[{"custom_capability":"Zigbee","device_id":"vdev1","device_name":"lamp",
"device_saas_id":"s1","group_type":[2],"online":true,"room_name":"r","top_category":"zm",
"top_category_name":"Lighting","upgrade_status":5,"version":"2.0.0"}],"total":1},"success":true,"t":1745492675295,
"tid":"e7f1849b20fb11f0942fe62c0c16c951"}"""
UPGRADE_ACCEPTED = '{"success":true,"t":1573441137,"result":false}'
SYNC_ACCEPTED = '{"success":true,"t":1573441137}'

DETAIL: dict[str, Any] = {
    "current_version": "1.0.3",
    "device": {
        "active_time": 1659422574000,
        "category": "dj",
        "category_code": "dj_zm",
        "current_brightness": 80,
        "device_id": "vdev1",
        "device_mac": "secret-mac",
        "device_name": "secret-name",
        "device_power": 7.5,
        "device_saas_id": "s1",
        "device_status": "Exception",
        "device_type": "0",
        "device_type_value": 0,
        "install_time": 1659422574000,
        "online": "true",
        "owner_id": "secret-owner",
        "point_id": "secret-point",
        "product_id": "p1",
        "room_id": "secret-room",
        "top_category": "zm",
        "uuid": "secret-uuid",
    },
    "device_ext": {
        "device_mac": "secret-mac",
        "firmware_version": "1.0.3",
        "gateway_id": "secret-gateway",
        "gateway_name": "secret-gateway-name",
        "mcu_version": "2.1",
    },
    "device_id": "vdev1",
    "device_saas_id": "s1",
    "upgrade_status": "2",
}
"""The vendor's template, every field of it, with values."""


def result(text: str) -> Any:
    return result_of(open_envelope(Answer(status=200, headers={}, body=text.encode()), api="t"), api="t")


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
        (12, None),
        (100, None),
        (-1, None),
    ],
)
def test_each_value_has_its_status_as_a_number_and_as_a_text(value: int, status: str | None) -> None:
    assert told_of(value).status == told_of(str(value)).status == status
    assert told_of(value).vendor_status == told_of(str(value)).vendor_status == str(value)
    assert told_of(value).undivided == (value == 2)


def test_the_status_table_has_no_other_values() -> None:
    assert set(STATUSES) == {0, 1, 2, 3, 4, 5, 6, 7, 13}


@pytest.mark.parametrize(
    ("value", "vendor_status"),
    [(None, None), ("soon", "soon"), (True, None), (2.5, None), ({}, None), ("x" * 99, "x" * 64)],
)
def test_what_is_no_number_has_no_status_and_never_raises(value: object, vendor_status: str | None) -> None:
    assert (told_of(value).status, told_of(value).vendor_status) == (None, vendor_status)


def test_only_a_timeout_says_its_reason() -> None:
    assert told_of(7).reason == Reason(code="vendor_timeout", vendor_code="7")
    assert told_of(4).reason is None


def test_the_list_sample_is_a_device_that_waits_for_a_version() -> None:
    page = page_of(result(LISTED), UPGRADING)

    (item,) = page.items
    assert (item.device_id, item.told.status, item.version) == ("vdev1", "pending", "2.0.0")
    assert (page.entries, page.total) == (1, 1)


@pytest.mark.parametrize(
    ("device_list", "status"), [(OFFERED, "available"), (UPGRADING, None), (RECORDED, None)]
)
def test_an_item_without_a_status_is_what_its_list_can_say(
    device_list: DeviceList, status: str | None
) -> None:
    (item,) = page_of({"list": [{"device_id": "d", "version": "2"}], "total": 1}, device_list).items

    assert (item.told.status, item.told.vendor_status) == (status, None)


@pytest.mark.parametrize("device_list", LISTS)
def test_an_item_says_by_its_own_status_what_it_is_in_whichever_list(device_list: DeviceList) -> None:
    (item,) = page_of({"list": [{"device_id": "d", "upgrade_status": "4"}], "total": 1}, device_list).items

    assert item.told.status == "failed", "a failed device stays in the list of those being updated"


def test_an_unknown_status_is_not_what_its_list_would_say() -> None:
    (item,) = page_of({"list": [{"device_id": "d", "upgrade_status": 100}], "total": 1}, OFFERED).items

    assert (item.told.status, item.told.vendor_status) == (None, "100")


def test_a_device_counts_once_on_a_page_and_what_is_none_is_left_out() -> None:
    entries = [{"device_id": "d", "version": "1"}, {"device_id": "d", "version": "2"}, {"version": "3"}, 7]

    page = page_of({"list": entries, "total": "4"}, OFFERED)

    assert [item.version for item in page.items] == ["1"]
    assert (page.entries, page.total) == (4, 4)


@pytest.mark.parametrize("answer", [{"total": 0}, {"list": None, "total": "0"}, {"list": []}])
def test_an_empty_list_may_be_left_out(answer: dict[str, Any]) -> None:
    assert page_of(answer, OFFERED).entries == 0


@pytest.mark.parametrize("answer", [None, [], "text", {}, {"total": 3}, {"list": {}}])
def test_what_is_no_list_is_a_schema_error(answer: Any) -> None:
    with pytest.raises(errors.SchemaMismatch):
        page_of(answer, OFFERED)


def of(entries: int, total: object) -> dict[str, Any]:
    return {"list": [{"device_id": str(number)} for number in range(entries)], "total": total}


@pytest.mark.parametrize(
    ("entries", "total", "number", "last"),
    [
        (PAGE_SIZE, 2 * PAGE_SIZE, 1, False),
        (PAGE_SIZE, 2 * PAGE_SIZE, 2, True),
        (PAGE_SIZE, str(2 * PAGE_SIZE + 1), 2, False),
        (1, 2 * PAGE_SIZE + 1, 3, True),
        (0, 5 * PAGE_SIZE, 2, True),
        (PAGE_SIZE, None, 1, False),
        (PAGE_SIZE - 1, None, 1, True),
    ],
)
def test_pages_end_with_the_total_or_an_empty_page(
    entries: int, total: object, number: int, *, last: bool
) -> None:
    assert is_last(page_of(of(entries, total), OFFERED), number) is last


@pytest.mark.parametrize(("total", "most"), [(0, 1), (1, 2), (100, 2), (101, 3), (None, None)])
def test_never_more_pages_than_one_beyond_the_total(total: int | None, most: int | None) -> None:
    assert pages_at_most(page_of(of(1, total), OFFERED)) == most


def test_every_field_of_the_details_template_is_read_or_left_for_a_reason() -> None:
    detail = detail_of(DETAIL, "vdev1")

    assert (detail.told.status, detail.current_version, detail.product_id) == ("installing", "1.0.3", "p1")
    assert (detail.room_id, detail.name) == ("secret-room", "secret-name")
    fields = set(DETAIL) | set(DETAIL["device"]) | set(DETAIL["device_ext"]) | {"version"}
    assert fields >= EVIDENCE_FIELDS
    assert not [field for field in EVIDENCE_FIELDS if "secret" in str(detail.raw.get(field))]


@pytest.mark.parametrize("health", ["Expiring", "Exception", "Online", "Offline"])
def test_a_devices_health_is_no_status(health: str) -> None:
    detail = detail_of({"device": {"device_status": health}, "upgrade_status": 0}, "d")

    assert detail.told.status == "idle"


def test_a_detail_may_lack_everything() -> None:
    detail = detail_of({}, "d")

    assert (detail.told.status, detail.told.vendor_status, detail.current_version) == (None, None, None)


def test_a_room_may_be_a_number() -> None:
    assert detail_of({"device": {"room_id": 234761634}}, "d").room_id == "234761634"


@pytest.mark.parametrize("answer", [None, [], "text", 1])
def test_a_detail_that_is_no_object_is_a_schema_error(answer: Any) -> None:
    with pytest.raises(errors.SchemaMismatch):
        detail_of(answer, "d")


@pytest.mark.parametrize("answer", [{"device_id": "another"}, {"device": {"device_id": "another"}}])
def test_a_detail_of_another_device_is_a_schema_error(answer: dict[str, Any]) -> None:
    with pytest.raises(errors.SchemaMismatch):
        detail_of(answer, "d")


def test_the_samples_of_the_calls_that_act_are_acceptances_with_seconds() -> None:
    assert result(UPGRADE_ACCEPTED) is False
    assert result(SYNC_ACCEPTED) is None
    for text in (UPGRADE_ACCEPTED, SYNC_ACCEPTED):
        envelope = open_envelope(Answer(status=200, headers={}, body=text.encode()), api="t")
        assert envelope.time == VendorTime(at_ms=1573441137000, resolution_ms=1000)


def test_the_vendors_page_names_these_paths() -> None:
    root = "/v1.0/cloud/illume/devices"
    assert f"{root}/device/ota/open/detail" == DETAIL_PATH
    assert [each.path for each in LISTS] == [
        f"{root}/ota/open/tobeupgraded",
        f"{root}/ota/open/upgrading",
        f"{root}/ota/open/upgrade/record",
    ]
    assert len({DETAIL_API, *(each.api for each in LISTS)}) == 4


def test_the_page_names_the_one_error_code_that_means_try_again() -> None:
    with pytest.raises(errors.Unanswered):
        result(json.dumps({"success": False, "code": 500, "msg": "system error", "t": 1745492684891}))
