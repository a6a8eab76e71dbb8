"""A dead letter once more: a hint for each device it names, or why it stays what it is; never its old status."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from consumer.replay import Replayed, replay
from consumer.secret import Secret
from consumer.settings import GatewayAccount
from consumer.statistics import Counters
from consumer.translation import Translator
from schemas import DeadLetter, Observation, ObservedEvidence
from tests.gateway_messages import (
    PREVIOUS_KEY,
    PUBLISHED_AT_MS,
    RECEIVED_AT_MS,
    Received,
    account,
    sealed,
    translated,
    upgrade_status,
)

NOW_MS = RECEIVED_AT_MS + 86_400_000
SAID_AT_MS = 1_668_363_150_268
ACCOUNTS = {"tuya-test": account(previous=True)}


def dead_letter(payload: bytes, em: str | None = "aes_gcm", **changes: Any) -> DeadLetter:
    """What the stage made of a message when it only had another key."""
    then = msgspec.structs.replace(account(), access_key=Secret("x" * 32))
    records = translated(Translator(then, Counters()), Received(payload, em=em))
    return msgspec.structs.replace(msgspec.json.decode(records[0].value, type=DeadLetter), **changes)


def folds_letter(value: bytes, **changes: Any) -> DeadLetter:
    """What the fold makes of an observation that it cannot fold."""
    return msgspec.structs.replace(
        DeadLetter(
            reason="internal_error",
            detail="The fold of this observation failed: KeyError()",
            source_position="observations/3:17",
            account="tuya-test",
            received_at_ms=RECEIVED_AT_MS,
            payload=value,
            payload_bytes=len(value),
            payload_sha256=hashlib.sha256(value).hexdigest(),
            properties={},
        ),
        **changes,
    )


def replayed(letter: DeadLetter, accounts: Mapping[str, GatewayAccount] = ACCOUNTS) -> Replayed:
    return replay(letter, accounts, NOW_MS)


@pytest.mark.parametrize("em", ["aes_gcm", "aes_ecb"])
def test_a_message_of_a_key_that_is_known_by_now_is_a_hint_without_its_status(em: str) -> None:
    (hint,) = replayed(dead_letter(sealed(upgrade_status("d1", "3"), key=PREVIOUS_KEY, em=em), em)).hints

    assert hint == Observation(
        device_id="d1",
        cloud="tuya-cloud",
        account="tuya-test",
        product_id="testproductkey00",
        kind="hint",
        vendor_time_at_ms=SAID_AT_MS,
        observed_at_ms=NOW_MS,
        evidence=ObservedEvidence(
            origin="bridge", name="replay", raw={"dead_letter": "tuya-test/event/3:7:1:-1"}
        ),
    )


def test_a_conflict_of_ids_asks_about_both_devices() -> None:
    letter = dead_letter(sealed({**upgrade_status("d2"), "devId": "d1"}))

    assert [hint.device_id for hint in replayed(letter).hints] == ["d2", "d1"]


def test_an_observation_that_the_fold_refused_is_a_hint_for_its_device() -> None:
    seen = Observation(
        device_id="d1",
        cloud="tuya-cloud",
        account="home",
        kind="status",
        status="failed",
        vendor_time_at_ms=SAID_AT_MS,
        observed_at_ms=PUBLISHED_AT_MS,
        evidence=ObservedEvidence(origin="push", name="upgradeStatus"),
    )

    (hint,) = replayed(folds_letter(msgspec.json.encode(seen)), accounts={}).hints

    assert (hint.device_id, hint.account, hint.kind, hint.status) == ("d1", "home", "hint", None)
    assert (hint.vendor_time_at_ms, hint.evidence.raw) == (SAID_AT_MS, {"dead_letter": "observations/3:17"})


@pytest.mark.parametrize(
    ("letter", "left"),
    [
        (dead_letter(sealed(upgrade_status("d1"), key="y" * 32)), "bad_signature"),
        (dead_letter(b"not json"), "malformed_envelope"),
        (dead_letter(b"x" * 300_000), "cut"),
        (dead_letter(sealed(upgrade_status("d1")), account="gone"), "unknown account"),
        (dead_letter(sealed({"bizCode": "homeCreate"}, protocol=35)), "nothing to ask"),
        (folds_letter(b"{"), "not an observation"),
        (folds_letter(b"{}", payload_bytes=300_000), "cut"),
        (
            folds_letter(
                b'{"device_id":"","cloud":"c","account":"a","kind":"gap","observed_at_ms":1,'
                b'"evidence":{"origin":"bridge","name":"gap"}}'
            ),
            "no device",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_leads_to_no_device_is_left_with_its_reason(letter: DeadLetter, left: str) -> None:
    found = replayed(letter)

    assert (found.hints, found.left) == ((), left)
    assert found.detail


def test_the_accounts_settings_of_today_count() -> None:
    unsigned = dead_letter(sealed(upgrade_status("d1"), key="y" * 32).replace(b'"sign":"', b'"sign":"0'))
    lenient = msgspec.structs.replace(account(sign_policy="warn"), previous_access_key=Secret("y" * 32))

    assert replayed(unsigned).left == "bad_signature"
    assert [hint.device_id for hint in replayed(unsigned, {"tuya-test": lenient}).hints] == ["d1"]
