"""From a decrypted body to one observation: fields, times, channels, and what becomes a hint."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import IdConflict, Rejected
from consumer.messages import Message, Unlisted, decode_body
from consumer.normalise import Push, observe
from consumer.push_status import PUSH_STATUS
from schemas import RAW_LIMIT_BYTES, STATUSES, Observation, Position, Reason
from tests.gateway_messages import PUBLISHED_AT_MS, PUSHED_AT_MS, RECEIVED_AT_MS, upgrade_status


def _push(body: bytes, **changes: Any) -> Push:
    position = Position(
        partition="event/3",
        ledger=7,
        entry=1,
        batch_index=-1,
        publish_time_at_ms=changes.pop("published", PUBLISHED_AT_MS),
    )
    fields: dict[str, Any] = {
        "account": "tuya-test",
        "cloud": "tuya-cloud",
        "pushed_at_ms": PUSHED_AT_MS,
        "position": position,
        "observed_at_ms": RECEIVED_AT_MS,
        "body_bytes": len(body),
        "keep_raw": True,
    }
    return Push(**fields | changes)


def _observe(body: dict[str, Any] | bytes, **changes: Any) -> Observation:
    plaintext = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = decode_body(plaintext, 20)
    assert isinstance(message, Message)
    return observe(message, _push(plaintext, **changes))


def _raw(observation: Observation) -> Any:
    return msgspec.to_builtins(observation.evidence.raw)


@pytest.mark.parametrize(
    ("value", "status", "claimed", "reason"),
    [
        (1, "pending", None, None),
        (2, "installing", None, None),
        (3, "verifying", "succeeded", None),
        (4, "verifying", "failed", None),
        (5, "pending", None, None),
        (6, "downloading", None, None),
        (7, "verifying", "timed_out", None),
        (10, "downloading", None, None),
        (11, "downloading", None, None),
        (12, "installing", None, None),
        (13, "pending", None, None),
        (40, "verifying", "failed", "unknown_error"),
        (41, "verifying", "failed", "low_battery"),
        (42, "verifying", "failed", "no_space"),
        (43, "verifying", "failed", "out_of_memory"),
        (44, "verifying", "failed", "download_timeout"),
        (45, "verifying", "failed", "signature_invalid"),
        (46, "verifying", "failed", "low_battery"),
        (47, "verifying", "failed", "out_of_memory"),
        (48, "verifying", "failed", "version_invalid"),
        (49, "verifying", "failed", "signature_invalid"),
    ],
)
def test_every_pushed_value_has_its_status(
    value: int, status: str, claimed: str | None, reason: str | None
) -> None:
    for written in (value, str(value)):
        seen = _observe(upgrade_status("d1", upgradeStatus=written))
        assert (seen.kind, seen.status, seen.claimed, seen.vendor_status) == (
            "status",
            status,
            claimed,
            str(value),
        )
        assert seen.reason == (None if reason is None else Reason(code=reason, vendor_code=str(value)))
        assert seen.undivided == (value == 2)


def test_the_table_uses_only_words_of_the_vocabulary_and_never_a_terminal_status() -> None:
    for known in PUSH_STATUS.values():
        assert known.status in STATUSES
        assert known.status not in ("succeeded", "failed", "timed_out", "cancelled")


@pytest.mark.parametrize("value", [0, "0", 100, 8, 14, 39, 50, -1, "x", "", 2.5, True, None, [], {}, 10**30])
def test_other_values_are_hints_that_keep_device_and_channel(value: object) -> None:
    seen = _observe(upgrade_status("d1", upgradeStatus=value))
    assert (seen.kind, seen.device_id, seen.channel, seen.status) == ("hint", "d1", "0", None)


def test_a_failure_is_told_with_its_text_but_text_decides_nothing() -> None:
    seen = _observe(upgrade_status("d1", "4", description="low battery"))
    assert seen.reason == Reason(code="unknown_error", vendor_code="4", text="low battery")
    assert _observe(upgrade_status("d1", "2", description="failed")).reason is None


@pytest.mark.parametrize(
    ("channel", "told"),
    [("9", "9"), (9, "9"), ("0", "0"), (None, None), ("main", None), (-1, None), ([], None)],
)
def test_channel_is_the_vendors_number_or_unknown(channel: object, told: str | None) -> None:
    assert _observe(upgrade_status("d1", moduleType=channel)).channel == told


@pytest.mark.parametrize("progress", [0, 40, "40", 100])
def test_progress_in_per_cent_is_progress(progress: object) -> None:
    seen = _observe(
        {"bizCode": "upgradeProcess", "bizData": {"progress": progress, "firmwareType": 9}, "devId": "d1"}
    )
    assert (seen.kind, seen.progress, seen.channel, seen.status) == (
        "progress",
        int(str(progress)),
        "9",
        None,
    )


@pytest.mark.parametrize("progress", [-1, 101, "x", None, 40.5, [40]])
def test_other_progress_is_a_hint(progress: object) -> None:
    seen = _observe({"bizCode": "upgradeProcess", "bizData": {"progress": progress}, "devId": "d1"})
    assert (seen.kind, seen.progress) == ("hint", None)


def test_the_newer_generations_upgrade_message_is_never_more_than_a_hint() -> None:
    data = {
        "devId": "d1",
        "productId": "p1",
        "moduleType": "9",
        "upgradeStatus": 3,
        "version": "2.0",
        "progress": 100,
    }
    seen = _observe({"bizCode": "deviceOtaProgress", "bizData": data, "ts": PUSHED_AT_MS})
    assert (seen.kind, seen.channel, seen.vendor_status) == ("hint", "9", "3")
    assert (seen.status, seen.claimed, seen.progress, seen.current_version) == (None, None, None, None)


@pytest.mark.parametrize(
    ("code", "lifecycle"),
    [
        ("online", "online"),
        ("deviceOnline", "online"),
        ("offline", "offline"),
        ("deviceOffline", "offline"),
        ("delete", "removed"),
    ],
)
def test_coming_going_and_leaving_for_good_are_lifecycle(code: str, lifecycle: str) -> None:
    for body in ({"bizCode": code, "devId": "d1"}, {"bizCode": code, "bizData": {"devId": "d1"}}):
        seen = _observe(body)
        assert (seen.kind, seen.lifecycle, seen.device_id) == ("lifecycle", lifecycle, "d1")


@pytest.mark.parametrize("code", ["nameUpdate", "deviceNameUpdate"])
def test_renaming_tells_the_name(code: str) -> None:
    seen = _observe({"bizCode": code, "bizData": {"devId": "d1", "name": "Lampe"}})
    assert (seen.kind, seen.lifecycle, seen.name) == ("lifecycle", "renamed", "Lampe")
    assert _observe({"bizCode": code, "bizData": {"devId": "d1"}}).kind == "hint"


@pytest.mark.parametrize(
    "code",
    ["bindUser", "deviceBindSpace", "deviceUnbindSpace", "deviceTransfer", "deviceFreeze", "deviceUnFreeze"],
)
def test_binding_moving_and_freezing_are_hints_and_no_removal(code: str) -> None:
    seen = _observe({"bizCode": code, "bizData": {"devId": "d1"}, "ts": PUSHED_AT_MS})
    assert (seen.kind, seen.lifecycle) == ("hint", None)


def test_evidence_keeps_only_what_is_on_the_allow_list() -> None:
    secret = {
        "token": "pair",
        "uid": "u",
        "ownerId": "o",
        "spaceId": "s",
        "localKey": "k",
        "ip": "10.0.0.1",
        "lat": "1",
    }
    for code in (
        "bindUser",
        "deviceBindSpace",
        "delete",
        "online",
        "nameUpdate",
        "upgradeStatus",
        "deviceOtaProgress",
    ):
        body = {"bizCode": code, "bizData": {"devId": "d1", "name": "x"} | secret, "devId": "d1", **secret}
        raw = _raw(_observe(body))
        assert raw["bizData"]["devId"] == "d1"
        assert not set(secret) & (set(raw) | set(raw["bizData"]))
        assert ("name" in raw["bizData"]) == (code == "nameUpdate")


def test_evidence_says_where_the_message_stood() -> None:
    seen = _observe(upgrade_status("d1"))
    assert (seen.evidence.origin, seen.evidence.name) == ("push", "upgradeStatus")
    assert seen.evidence.position == _push(b"").position
    assert _observe(upgrade_status("d1"), keep_raw=False).evidence.raw is None


def test_long_evidence_is_cut_and_described() -> None:
    seen = _observe(upgrade_status("d1", description="é" * RAW_LIMIT_BYTES))
    assert isinstance(seen.evidence.raw, str)
    assert len(seen.evidence.raw.encode()) <= RAW_LIMIT_BYTES
    assert seen.evidence.raw_bytes is not None
    assert seen.evidence.raw_bytes > RAW_LIMIT_BYTES
    assert seen.evidence.raw_sha256 is not None
    assert len(seen.evidence.raw_sha256) == 64


@pytest.mark.parametrize(
    ("body", "device_id"),
    [
        ({"bizData": {"devId": "inner"}, "devId": "inner"}, "inner"),
        ({"bizData": {"devId": "inner"}}, "inner"),
        ({"devId": "outer"}, "outer"),
        ({"bizData": {"devId": 5}, "devId": "outer"}, "outer"),
        ({"bizData": "nonsense", "devId": "outer"}, "outer"),
        ({"bizData": {"devId": ""}, "devId": "outer"}, "outer"),
    ],
)
def test_device_id_is_looked_for_inside_then_outside(body: dict[str, Any], device_id: str) -> None:
    assert _observe({"bizCode": "online", **body}).device_id == device_id


def test_two_device_ids_are_a_conflict() -> None:
    with pytest.raises(IdConflict) as conflict:
        _observe({"bizCode": "online", "bizData": {"devId": "d2"}, "devId": "d1"})
    assert conflict.value.device_ids == ("d2", "d1")


@pytest.mark.parametrize("device_id", [None, "", 5, [], "x" * 257])
def test_a_message_without_a_device_id_has_an_unknown_shape(device_id: object) -> None:
    with pytest.raises(Rejected, match="unknown_shape"):
        _observe({"bizCode": "online", "devId": device_id})


def test_product_id_is_looked_for_in_the_contracts_order() -> None:
    body = {"bizCode": "online", "devId": "d", "productKey": "2", "productId": "4"}
    assert _observe(body | {"bizData": {"productId": "1", "productKey": "3"}}).product_id == "1"
    assert _observe(body | {"bizData": {"productKey": "3"}}).product_id == "2"
    del body["productKey"]
    assert _observe(body | {"bizData": {"productKey": "3"}}).product_id == "3"
    assert _observe(body | {"bizData": {}}).product_id == "4"


_MS = 1_668_363_150_000


@pytest.mark.parametrize(
    ("time", "ts", "pushed", "told"),
    [
        (_MS // 1000, _MS + 1, _MS + 2, _MS),
        (_MS, _MS + 1, _MS + 2, _MS),
        (None, _MS + 1, _MS + 2, _MS + 1),
        (0, 0, _MS + 2, _MS + 2),
        (-5, -1, -1, PUBLISHED_AT_MS),
        (True, 1.5, _MS, _MS),
        ("1668363150", _MS + 1, _MS, _MS + 1),
        (123_456_789_012, _MS + 1, _MS, _MS + 1),
        (1_262_304_000, _MS + 1, _MS, _MS + 1),
        (PUBLISHED_AT_MS + 86_400_001, _MS + 1, _MS, _MS + 1),
        (PUBLISHED_AT_MS + 86_400_000, _MS + 1, _MS, PUBLISHED_AT_MS + 86_400_000),
        (10**30, 10**30, 10**30, PUBLISHED_AT_MS),
    ],
)
def test_event_time_is_the_first_valid_one(time: object, ts: object, pushed: int, told: int) -> None:
    body = {"bizCode": "online", "bizData": {"time": time}, "devId": "d", "ts": ts}
    assert _observe(body, pushed_at_ms=pushed).vendor_time_at_ms == told


def test_unlisted_messages_are_only_named() -> None:
    assert decode_body(b'{"bizCode":"homeCreate","bizData":{"x":1}}', 35) == Unlisted("homeCreate")
    assert decode_body(b'{"dataId":"x","devId":"d","status":[]}', 4) == Unlisted("status report")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "malformed_body"),
        (b"[]", "malformed_body"),
        (b"null", "malformed_body"),
        (b'{"bizCode":"online"', "malformed_body"),
        (b'{"bizCode":"online","devId":"\xff"}', "malformed_body"),
        (b'{"bizCode":"online","other":"\xff","devId":"d"}', "malformed_body"),
        (b'{"bizCode":"online","devId":"\\ud800x"}', "malformed_body"),
        (b'{"bizCode":"online","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed_body"),
        (b"{}", "unknown_shape"),
        (b'{"bizCode":5,"devId":"d"}', "unknown_shape"),
        (b'{"bizCode":null,"devId":"d"}', "unknown_shape"),
        (b'{"devId":"d"}', "unknown_shape"),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_bodies_that_nothing_can_be_made_of_are_refused(body: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as refused:
        decode_body(body, 20)
    assert refused.value.reason == reason


_json = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)
_members = st.sampled_from(
    [
        "devId",
        "productId",
        "time",
        "upgradeStatus",
        "moduleType",
        "progress",
        "firmwareType",
        "description",
        "name",
    ]
)


@given(
    st.sampled_from(
        ["upgradeStatus", "upgradeProcess", "deviceOtaProgress", "online", "delete", "nameUpdate"]
    ),
    st.one_of(st.dictionaries(_members, _json), _json),
    st.dictionaries(st.sampled_from(["productKey", "ts", "uuid", "token"]), _json),
)
def test_a_message_that_names_its_device_is_always_one_observation(
    code: str, data: Any, top: dict[str, Any]
) -> None:
    if isinstance(data, dict):
        data.pop("devId", None)
    seen = _observe({"bizCode": code, "bizData": data, "devId": "d1", **top})
    decoded = msgspec.json.decode(msgspec.json.encode(seen), type=Observation)
    assert decoded.device_id == "d1"
    assert decoded.kind in ("status", "progress", "lifecycle", "hint")
    assert decoded.vendor_time_at_ms is not None
