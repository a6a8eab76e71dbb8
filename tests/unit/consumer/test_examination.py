"""A captured message, step by step: whatever can be found out is, and nothing is decrypted by guessing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.captured import NOWHERE, CapturedMessage, judge
from consumer.errors import Misconfigured
from consumer.examination import Examination, KeyOf, Signature, examine
from consumer.secret import Secret
from consumer.settings import GatewayAccount
from tests.gateway_messages import (
    ACCESS_KEY,
    PREVIOUS_KEY,
    RECEIVED_AT_MS,
    account,
    backlog_notice,
    compact,
    envelope,
    sealed,
    upgrade_status,
)

OTHER_KEY = "otherAccountKeytesttesttesttest0"


def other_account() -> GatewayAccount:
    return msgspec.structs.replace(account(), name="other", access_key=Secret(OTHER_KEY))


def examined(payload: bytes, em: str | None = "aes_gcm") -> Examination:
    return examine(payload, em, [account(previous=True), other_account()])


def reasons(examination: Examination) -> list[str]:
    return [refusal.reason for refusal in examination.refusals]


@pytest.mark.parametrize("em", ["aes_gcm", "aes_ecb", None])
@pytest.mark.parametrize(
    ("key", "owner"),
    [
        (ACCESS_KEY, KeyOf("tuya-test", "current")),
        (PREVIOUS_KEY, KeyOf("tuya-test", "previous")),
        (OTHER_KEY, KeyOf("other", "current")),
    ],
)
def test_the_owner_of_the_key_is_found_among_all_accounts(key: str, owner: KeyOf, em: str | None) -> None:
    found = examined(sealed(upgrade_status("d1"), key=key, em=em or "aes_ecb"), em)

    assert found.signature == Signature(account=owner.account, key=owner.key, rule="all_fields")
    assert found.decrypted_with == owner
    assert found.body == upgrade_status("d1")
    assert found.refusals == ()


def test_the_rule_that_the_signature_follows_is_told() -> None:
    core_only = compact(envelope(upgrade_status("d1")) | {"encryptVersion": "v2"})

    assert examined(core_only).signature == Signature(account="tuya-test", key="current", rule="core_fields")


def test_a_wrong_signature_does_not_keep_the_operator_from_looking_inside() -> None:
    for sign, reason in (("0" * 32, "bad_signature"), ("", "missing_signature")):
        found = examined(compact(envelope(upgrade_status("d1"), key=PREVIOUS_KEY) | {"sign": sign}))

        assert (found.signature, reasons(found)) == (None, [reason])
        assert found.decrypted_with == KeyOf("tuya-test", "previous")
        assert found.body == upgrade_status("d1")


@pytest.mark.parametrize(
    ("payload", "em", "reason"),
    [
        (b"not json", "aes_gcm", "malformed_envelope"),
        (sealed(upgrade_status("d1"))[:-1] + b',"t":1}', "aes_gcm", "duplicate_key"),
        (sealed(upgrade_status("d1")), "aes_ecb", "undecryptable"),
        (sealed(upgrade_status("d1"), em="aes_ecb"), "aes_gcm", "undecryptable"),
        (sealed(upgrade_status("d1")), "aes_xyz", "unknown_encryption"),
        (sealed(b"not json"), "aes_gcm", "malformed_body"),
        (sealed(b"[1]"), "aes_gcm", "malformed_body"),
        (sealed(b'{"a":"\xff"}'), "aes_gcm", "malformed_body"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_told_in_the_words_of_its_dead_letter(
    payload: bytes, em: str, reason: str
) -> None:
    found = examined(payload, em)

    assert reasons(found) == [reason]
    assert found.body is None
    letter = judge(account(), CapturedMessage(payload, {"em": em}, NOWHERE), RECEIVED_AT_MS).dead_letter
    assert letter is not None
    assert letter.reason == reason


def test_a_key_that_cannot_be_one_is_a_mistake() -> None:
    short = msgspec.structs.replace(account(), access_key=Secret("short"))
    with pytest.raises(Misconfigured):
        examine(sealed(upgrade_status("d1")), "aes_gcm", [short])


@given(
    st.binary(max_size=200) | st.binary(max_size=100).map(sealed),
    st.sampled_from(["aes_gcm", "aes_ecb", None]),
)
def test_no_message_breaks_the_examination_or_shows_a_key(payload: bytes, em: str | None) -> None:
    found = examined(payload, em)

    assert found.body is not None or found.refusals
    for key in (ACCESS_KEY, PREVIOUS_KEY, OTHER_KEY):
        assert key not in repr(found)


@pytest.mark.parametrize(
    ("body", "protocol", "told"),
    [
        ({"bizCode": "homeCreate"}, 35, "not about devices' upgrades: homeCreate"),
        ({"devId": "d", "status": []}, 4, "filtered: protocol 4"),
        (backlog_notice(), 10000, "a notice of the platform: pulsar_backlog_notice"),
    ],
)
def test_what_the_stage_only_counts_is_named(body: dict[str, Any], protocol: int, told: str) -> None:
    message = CapturedMessage(sealed(body, protocol=protocol), {"em": "aes_gcm"}, NOWHERE)

    assert judge(account(), message, RECEIVED_AT_MS).counted_as == told


def test_the_judgement_is_the_stages_own() -> None:
    conflict = {**upgrade_status("d2"), "devId": "d1"}
    message = CapturedMessage(sealed(conflict), {"em": "aes_gcm"}, NOWHERE)

    judgement = judge(account(), message, RECEIVED_AT_MS)

    assert judgement.dead_letter is not None
    assert judgement.dead_letter.reason == "id_conflict"
    assert [seen.device_id for seen in judgement.observations] == ["d2", "d1"]
