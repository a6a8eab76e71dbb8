"""One message through steps 2 to 6: what it leads to, what is counted, and that nothing a stranger sends raises."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from consumer import translation
from consumer.decryption import AccountKey
from consumer.errors import Rejected
from consumer.secret import Secret
from consumer.settings import RawEvidence
from consumer.sink import OutgoingRecord
from consumer.source import position_of
from consumer.statistics import Counters
from consumer.translation import Translator
from schemas import RAW_LIMIT_BYTES, DeadLetter, Observation, ObservedEvidence
from tests.gateway_messages import (
    ACCESS_KEY,
    PREVIOUS_KEY,
    RECEIVED_AT_MS,
    Received,
    account,
    compact,
    envelope,
    sealed,
    translated,
    upgrade_status,
)


class Bench:
    """A translator with its counters."""

    def __init__(self, *, evidence_raw: RawEvidence = "redacted", **gateway: Any) -> None:
        self.counters = Counters()
        settings = replace(account(previous=True, **gateway), evidence_raw=evidence_raw)
        self.translator = Translator(settings, self.counters)

    def records(self, payload: bytes, **message: Any) -> tuple[OutgoingRecord, ...]:
        return translated(self.translator, Received(payload, **message))

    def observation(self, payload: bytes, **message: Any) -> Observation:
        (record,) = self.records(payload, **message)
        assert record.topic == "observations"
        return msgspec.json.decode(record.value, type=Observation)

    def letter(self, payload: bytes, **message: Any) -> DeadLetter:
        (record,) = self.records(payload, **message)
        assert record.topic == "dead-letters"
        return msgspec.json.decode(record.value, type=DeadLetter)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_the_cloud_pushed_is_kept_only_where_that_is_wanted(bench: Bench) -> None:
    message = sealed(upgrade_status("d1"))

    kept = bench.observation(message)
    without = Bench(evidence_raw="none").observation(message)

    assert kept.evidence.raw is not None
    assert without.evidence == ObservedEvidence(
        origin="push", name=kept.evidence.name, position=kept.evidence.position
    )
    assert without.status == kept.status


def test_an_observation_is_keyed_by_its_device_and_stamped_with_our_time(bench: Bench) -> None:
    (record,) = bench.records(sealed(upgrade_status("d1")))
    assert (record.key, record.timestamp_ms, record.partition) == (b"d1", RECEIVED_AT_MS, None)
    seen = msgspec.json.decode(record.value, type=Observation)
    assert (seen.account, seen.cloud, seen.observed_at_ms) == ("tuya-test", "tuya-cloud", RECEIVED_AT_MS)


def test_filtered_protocols_cost_no_cryptography(bench: Bench) -> None:
    spoilt = compact(envelope({"a": 1}, protocol=4) | {"sign": "wrong", "data": "not base64"})
    assert bench.records(spoilt) == ()
    assert bench.records(sealed({"a": 1}, protocol=1000)) == ()
    assert bench.counters.filtered == {4: 1, 1000: 1}
    assert not bench.counters.dead_letters


def test_what_is_not_ours_is_counted_by_name(bench: Bench) -> None:
    assert bench.records(sealed({"bizCode": "homeCreate", "bizData": {}}, protocol=35)) == ()
    assert bench.counters.unlisted == {"homeCreate": 1}


def test_names_from_outside_cannot_fill_the_memory(bench: Bench) -> None:
    for number in range(300):
        bench.records(sealed({"bizCode": f"{number}" + "x" * 100}))
    assert len(bench.counters.unlisted) <= 101
    assert max(map(len, bench.counters.unlisted)) <= 64
    assert sum(bench.counters.unlisted.values()) == 300


def test_matching_key_and_rule_are_counted(bench: Bench) -> None:
    bench.records(sealed(upgrade_status("d1")))
    bench.records(sealed(upgrade_status("d1"), key=PREVIOUS_KEY))
    bench.records(compact(envelope(upgrade_status("d1")) | {"encryptVersion": "v2"}))
    assert bench.counters.keys == {"current": 2, "previous": 1}
    assert bench.counters.signatures == {"all_fields": 2, "core_fields": 1}


def test_both_encryptions_are_read_message_by_message(bench: Bench) -> None:
    for em in ("aes_gcm", "aes_ecb", "aes_gcm"):
        assert bench.observation(sealed(upgrade_status("d1"), em=em), em=em).kind == "status"
    assert bench.observation(sealed(upgrade_status("d1"), em="aes_ecb"), em=None).kind == "status"


def _spoilt(**changes: Any) -> bytes:
    return compact(envelope(upgrade_status("d1")) | changes)


@pytest.mark.parametrize(
    ("payload", "em", "reason"),
    [
        (b"x" * (1024 * 1024 + 1), "aes_gcm", "too_large"),
        (b"not json", "aes_gcm", "malformed_envelope"),
        (sealed(upgrade_status("d1"))[:-1] + b',"t":1}', "aes_gcm", "duplicate_key"),
        (_spoilt(sign=""), "aes_gcm", "missing_signature"),
        (_spoilt(sign="0" * 32), "aes_gcm", "bad_signature"),
        (sealed(upgrade_status("d1")), "aes_xyz", "unknown_encryption"),
        (sealed(upgrade_status("d1")), "aes_ecb", "undecryptable"),
        (sealed(b"not json"), "aes_gcm", "malformed_body"),
        (sealed(b'{"a":"\xff"}'), "aes_gcm", "malformed_body"),
        (sealed({"bizCode": "online"}), "aes_gcm", "unknown_shape"),
        (compact({"encryptPayload": "x", "t": 1}), "aes_gcm", "unknown_shape"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_reason_is_one_dead_letter_that_holds_the_message_as_received(
    bench: Bench, payload: bytes, em: str, reason: str
) -> None:
    letter = bench.letter(payload, em=em)
    assert (letter.reason, letter.account, letter.received_at_ms) == (reason, "tuya-test", RECEIVED_AT_MS)
    assert letter.source_position == "tuya-test/event/3:7:1:-1"
    assert letter.payload == payload[:RAW_LIMIT_BYTES]
    assert letter.payload_bytes == len(payload)
    assert letter.payload_sha256 == hashlib.sha256(payload).hexdigest()
    assert letter.properties == {"em": em, "tid": "trace-1"}
    assert bench.counters.dead_letters == {reason: 1}


def test_two_device_ids_are_a_dead_letter_and_a_hint_for_each(bench: Bench) -> None:
    letter, *hints = bench.records(sealed({**upgrade_status("d2"), "devId": "d1"}))
    assert json.loads(letter.value)["reason"] == "id_conflict"
    assert [(record.topic, record.key) for record in hints] == [
        ("observations", b"d2"),
        ("observations", b"d1"),
    ]
    assert {json.loads(record.value)["kind"] for record in hints} == {"hint"}


def test_large_dead_letters_stay_far_under_kafkas_limit(bench: Bench) -> None:
    (record,) = bench.records(b"\xff" * 1024 * 1024)
    assert len(record.value) < 400 * 1024


def test_a_defect_of_ours_costs_one_dead_letter(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: object) -> None:
        raise ZeroDivisionError(ACCESS_KEY)

    monkeypatch.setattr(translation, "decode_body", defect)
    letter = bench.letter(sealed(upgrade_status("d1")))
    assert (letter.reason, letter.detail) == ("internal_error", "ZeroDivisionError")


def test_warn_lets_unsigned_and_wrongly_signed_messages_pass_and_counts_them() -> None:
    bench = Bench(sign_policy="warn")
    assert bench.observation(_spoilt(sign="0" * 32)).kind == "status"
    assert bench.observation(_spoilt(sign="")).kind == "status"
    by_previous = compact(envelope(upgrade_status("d1"), key=PREVIOUS_KEY) | {"sign": "0" * 32})
    assert bench.observation(by_previous).kind == "status"
    bench.observation(sealed(upgrade_status("d1")))
    assert bench.counters.signatures == {"unverified": 3, "all_fields": 1}


def test_what_the_wrong_key_only_seems_to_decrypt_is_read_with_the_right_one() -> None:
    bench = Bench(sign_policy="warn")
    wrong = AccountKey(Secret(ACCESS_KEY), "current")
    seeming = 0
    for number in range(1000):
        body = upgrade_status(f"d{number}") | {"uuid": f"{number:016}"}
        sent = envelope(body, key=PREVIOUS_KEY, em="aes_ecb") | {"sign": "0" * 32}
        try:
            wrong.decrypt(sent["data"], "aes_ecb")
        except Rejected:
            continue
        seeming += 1
        assert bench.observation(compact(sent), em="aes_ecb").device_id == f"d{number}"
    assert seeming


def test_what_no_key_makes_a_json_object_of_is_told_as_what_the_first_made_of_it() -> None:
    bench = Bench(sign_policy="warn")
    by_current = compact(envelope(b"not json") | {"sign": "0" * 32})
    by_none = compact(envelope(upgrade_status("d1"), key="x" * 32) | {"sign": "0" * 32})
    assert bench.letter(by_current).reason == "malformed_body"
    assert bench.letter(by_none).reason == "undecryptable"


def test_unknown_statuses_and_unknown_members_are_counted(bench: Bench) -> None:
    bench.records(sealed(upgrade_status("d1", "99")))
    bench.records(sealed(upgrade_status("d1", "0")))
    bench.records(
        sealed({"bizCode": "deviceOtaProgress", "bizData": {"devId": "d", "otaStage": 1, "progress": 2}})
    )
    assert bench.counters.unknown_statuses == 1
    assert bench.counters.unrecognised_members == {"otaStage": 1}
    assert bench.counters.observations == {"hint": 3}


def test_dead_letters_never_hold_the_key_or_a_decrypted_value(bench: Bench) -> None:
    for payload, em in (
        (_spoilt(sign="0" * 32), "aes_gcm"),
        (sealed(b'{"bizCode":"online","token":"pairing-token"'), "aes_gcm"),
        (sealed({**upgrade_status("d2"), "devId": "d1", "token": "pairing-token"}), "aes_gcm"),
    ):
        for record in bench.records(payload, em=em):
            assert ACCESS_KEY.encode() not in record.value
            assert b"pairing-token" not in record.value
            assert base64.b64encode(ACCESS_KEY.encode()) not in record.value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from(["aes_gcm", "aes_ecb", None, "x"]))
def test_any_bytes_are_exactly_one_dead_letter(bench: Bench, payload: bytes, em: str | None) -> None:
    assert bench.letter(payload, em=em).payload == payload


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from(["aes_gcm", "aes_ecb"]))
def test_any_signed_body_is_a_record_or_a_count(bench: Bench, body: bytes, em: str) -> None:
    before = sum(bench.counters.unlisted.values())
    records = bench.records(sealed(body, em=em), em=em)
    assert len(records) + sum(bench.counters.unlisted.values()) - before == 1
    assert bench.counters.dead_letters.get("internal_error") is None


def test_properties_that_are_not_text_cost_one_dead_letter(bench: Bench) -> None:
    letter = bench.letter(sealed(upgrade_status("d")), readable_properties=False)
    assert (letter.reason, letter.properties) == ("unknown_encryption", {})
    assert bench.letter(b"no envelope", readable_properties=False).reason == "malformed_envelope"


_AS_THE_PLATFORM_WRITES = b'{"data":"QUJD","protocol":%s,"pv":"2.0","sign":"00","t":1668363150300}'


@pytest.mark.parametrize("protocol", [4, 1000])
def test_a_report_in_the_platforms_form_is_filtered_without_decoding_it(protocol: int) -> None:
    told = Bench()
    payload = _AS_THE_PLATFORM_WRITES % str(protocol).encode()
    assert told.translator.filter.passing([payload]) == []
    assert told.records(payload) == ()
    assert told.counters.filtered == {protocol: 2}


@pytest.mark.parametrize(
    "payload",
    [
        _AS_THE_PLATFORM_WRITES % b"20",
        _AS_THE_PLATFORM_WRITES % b"40",
        _AS_THE_PLATFORM_WRITES % b'20,"protocol":4',
        b'{"data":"\\",\\"protocol\\":4,","protocol":20,"pv":"2.0","t":1}',
        b'{"data":"","x":{"data":"","protocol":4},"protocol":20}',
        b'{"protocol":4,"data":"QUJD","pv":"2.0","t":1}',
        b'{"data":"',
        b'{"data":"QUJD","protocol":4,"protocol":20,"pv":"2.0","t":1}',
        b'{"data":"QUJD","protocol":4,"pv":"2.0","sig',
        b'{"data":"' + b"Q" * 1024 * 1024 + b'","protocol":4,"pv":"2.0","t":1}',
    ],
)
def test_everything_else_is_decoded_before_it_is_filtered(payload: bytes) -> None:
    told = Bench()
    assert told.translator.filter.passing([payload]) == [0]
    assert told.counters.filtered == {}


def test_of_many_only_those_that_are_not_filtered_pass_in_their_order() -> None:
    told = Bench()
    report, other = _AS_THE_PLATFORM_WRITES % b"4", _AS_THE_PLATFORM_WRITES % b"20"
    assert told.translator.filter.passing([report, other, report, report, other]) == [1, 4]
    assert told.counters.filtered == {4: 3}


def _passed(*payloads: bytes) -> list[translation.Passed]:
    messages = [Received(payload) for payload in payloads]
    return [(message, message.data(), position_of(message, "event/3")) for message in messages]


def test_ordinary_messages_are_never_translated_one_by_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordinary = [
        sealed(upgrade_status("d1")),
        sealed(upgrade_status("d2"), key=PREVIOUS_KEY),
        sealed({"bizCode": "deviceOtaProgress", "bizData": {"devId": "d3"}}),
        sealed({"bizCode": "none of ours"}),
        sealed({"status": []}, protocol=4),
    ]
    monkeypatch.setattr(bench.translator, "translate", None)
    made = bench.translator.translate_all(_passed(*ordinary), RECEIVED_AT_MS)
    assert [len(records) for records in made] == [1, 1, 1, 0, 0]


def test_after_an_unusual_message_nothing_is_tried_together_for_some_parts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def together(passed: list[translation.Passed], _received_at_ms: int) -> None:
        tried.append(len(passed))
        raise Rejected("bad_signature", "one of them")

    monkeypatch.setattr(bench.translator, "_together", together)
    parts = 2 * (1 + translation.ALONE_AFTERWARDS)
    payloads = [sealed(upgrade_status("d1"))] * (parts * translation.TOGETHER)
    made = bench.translator.translate_all(_passed(*payloads), RECEIVED_AT_MS)
    assert len(made) == len(payloads)
    assert tried == [translation.TOGETHER] * 2


def test_a_large_message_goes_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    large = sealed(upgrade_status("d1", description="x" * translation.LARGE_BYTES))
    alone = []
    translate = bench.translator.translate

    def counted(*arguments: Any) -> tuple[OutgoingRecord, ...]:
        alone.append(arguments)
        return translate(*arguments)

    monkeypatch.setattr(bench.translator, "translate", counted)
    assert len(bench.translator.translate_all(_passed(large), RECEIVED_AT_MS)) == len(alone) == 1


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5000])
def test_a_number_that_nothing_holds_in_a_member_that_nobody_knows_costs_nothing(
    bench: Bench, number: bytes
) -> None:
    body = b'{"bizCode":"deviceOtaProgress","bizData":{"devId":"d1","x":%s}}' % number
    assert bench.observation(sealed(body)).kind == "hint"
    assert bench.counters.unrecognised_members == {}
