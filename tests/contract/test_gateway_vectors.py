"""Every vector of the message gateway contract, `vectors/message-gateway.json` and `vectors/ota-bodies.json`."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumer import auth, signature
from consumer.decryption import AccountKey
from consumer.envelope import open_envelope
from consumer.errors import Rejected
from consumer.messages import Message
from consumer.secret import Secret
from consumer.settings import GatewayAccount, GatewaySettings
from consumer.source import topic_names
from consumer.statistics import Counters
from consumer.translation import Translator
from schemas import DeadLetter, Observation
from tests.gateway_messages import (
    PUBLISHED_AT_MS,
    RECEIVED_AT_MS,
    Received,
    compact,
    encrypted,
    signed,
    translated,
)

_FOLDER = Path(__file__).parent / "vectors"
_VECTORS: dict[str, Any] = json.loads((_FOLDER / "message-gateway.json").read_text())
_BODIES: list[dict[str, Any]] = json.loads((_FOLDER / "ota-bodies.json").read_text())
_CREDENTIALS: dict[str, str] = _VECTORS["credentials"]
_MESSAGES: dict[str, dict[str, Any]] = {message["name"]: message for message in _VECTORS["messages"]}
_NEGATIVES: dict[str, dict[str, Any]] = {vector["name"]: vector for vector in _VECTORS["negative"]}
_ID = _CREDENTIALS["accessId"]
_SECRET = Secret(_CREDENTIALS["accessKey"])
_LIMIT = 1024 * 1024

every_message = pytest.mark.parametrize("vector", _MESSAGES.values(), ids=_MESSAGES)


def _account(**gateway: Any) -> GatewayAccount:
    settings = {"url": "pulsar+ssl://localhost:7285", "subscription": _CREDENTIALS["subscription"]} | gateway
    return GatewayAccount(
        name="vectors",
        cloud="tuya-cloud",
        access_id=_ID,
        access_key=_SECRET,
        gateway=GatewaySettings(**settings),
    )


def _translated(payload: bytes, properties: dict[str, str]) -> list[Observation | DeadLetter]:
    translator = Translator(_account(filter_protocols=()), Counters())
    message = Received(payload, em=properties.get("em"))
    records = translated(translator, message, at_ms=RECEIVED_AT_MS)
    kinds: dict[str, type[Observation | DeadLetter]] = {
        "observations": Observation,
        "dead-letters": DeadLetter,
    }
    return [msgspec.json.decode(record.value, type=kinds[record.topic]) for record in records]


def _refusal(envelope: dict[str, Any], properties: dict[str, str]) -> str:
    (letter,) = _translated(compact(envelope), properties)
    assert isinstance(letter, DeadLetter)
    return letter.reason


def test_password_is_derived_as_every_sdk_does() -> None:
    inner = hashlib.md5(_CREDENTIALS["accessKey"].encode()).hexdigest()
    assert inner == _CREDENTIALS["md5_accessKey"]
    assert auth.derive_password(_ID, _SECRET) == _CREDENTIALS["password"]


def test_the_two_halves_join_to_the_json_that_the_gateway_expects() -> None:
    user, password = auth.basic_halves(_ID, _SECRET)

    assert f"{user}:{password}" == auth.authentication_json(_ID, _SECRET) == _CREDENTIALS["auth_data"]
    assert _CREDENTIALS["auth_method_name"] == auth.METHOD


def test_topics_are_the_channels_of_the_accounts_own_tenant() -> None:
    names = topic_names(_account(topics=("event", "event-test", "notice")))

    assert names == [_CREDENTIALS[key] for key in ("topic_prod", "topic_test", "topic_alert")]


@every_message
def test_both_signature_candidates_are_computed(vector: dict[str, Any]) -> None:
    fields = {key: str(value) for key, value in vector["envelope"].items()}
    core = {key: fields[key] for key in ("data", "protocol", "pv", "t")}

    assert signature.digest(signature.canonical(fields), _SECRET.reveal()) == vector["sign_all_fields"]
    assert signature.digest(signature.canonical(core), _SECRET.reveal()) == vector["sign_core_fields"]
    assert vector["envelope"]["sign"] == vector["sign_all_fields"]


@every_message
def test_both_signature_candidates_are_accepted_and_told_apart(vector: dict[str, Any]) -> None:
    keys = [AccountKey(_SECRET, "current")]
    for expected, rule in (("sign_all_fields", "all_fields"), ("sign_core_fields", "core_fields")):
        opened = open_envelope(compact(vector["envelope"] | {"sign": vector[expected]}), _LIMIT)

        match = signature.verify(*opened, keys)

        same = vector["sign_all_fields"] == vector["sign_core_fields"]
        assert match == (keys[0], "all_fields" if same else rule)


@every_message
def test_a_sign_made_with_the_middle_of_the_key_is_refused(vector: dict[str, Any]) -> None:
    for name in ("sign_must_reject_middle16_key", "sign_must_reject_middle16_key_core"):
        if name in vector:
            assert (
                _refusal(vector["envelope"] | {"sign": vector[name]}, vector["properties"]) == "bad_signature"
            )


@every_message
def test_plaintext_is_the_vectors_byte_for_byte(vector: dict[str, Any]) -> None:
    key = AccountKey(_SECRET, "current")

    plaintext = key.decrypt(vector["envelope"]["data"], vector["properties"].get("em"))

    assert plaintext == vector["plaintext"].encode()


def test_aes_key_is_the_middle_of_the_access_key() -> None:
    assert _CREDENTIALS["accessKey"][8:24] == _CREDENTIALS["aes_key_ascii"]
    assert _CREDENTIALS["aes_key_ascii"].encode().hex() == _CREDENTIALS["aes_key_hex"]


def test_every_negative_vector_has_its_test() -> None:
    tested = {
        "gcm-tag-bit-flipped",
        "gcm-too-short",
        "ecb-not-block-multiple",
        "ecb-data-under-gcm",
        "sign-tampered-protocol",
        "unknown-em",
    }
    assert set(_NEGATIVES) == tested


def test_a_flipped_bit_of_the_tag_is_refused() -> None:
    data = bytearray(
        base64.b64decode(_MESSAGES["legacy-upgradeProcess-gcm-encryptVersion"]["envelope"]["data"])
    )
    data[-1] ^= 1
    with pytest.raises(Rejected, match="undecryptable: aes_gcm: the tag"):
        AccountKey(_SECRET, "current").decrypt(base64.b64encode(data).decode(), "aes_gcm")


@pytest.mark.parametrize(
    ("name", "told"),
    [("gcm-too-short", "fewer than nonce and tag"), ("ecb-not-block-multiple", "whole blocks")],
)
def test_wrong_lengths_are_refused(name: str, told: str) -> None:
    vector = _NEGATIVES[name]
    with pytest.raises(Rejected, match=f"undecryptable: .*{told}"):
        AccountKey(_SECRET, "current").decrypt(vector["data"], vector["em"])


def test_ecb_data_under_gcm_is_never_tried_as_ecb() -> None:
    vector = _MESSAGES["legacy-upgradeStatus-ecb"]
    assert _refusal(vector["envelope"], {"em": "aes_gcm"}) == "undecryptable"


def test_a_protocol_that_was_tampered_with_is_refused() -> None:
    vector = _MESSAGES["published-nodejs-test-ecb"]
    assert _refusal(vector["envelope"] | {"protocol": 20}, vector["properties"]) == "bad_signature"


@every_message
def test_an_unknown_encryption_is_refused(vector: dict[str, Any]) -> None:
    assert _refusal(vector["envelope"], {"em": "aes_xyz"}) == "unknown_encryption"


@pytest.mark.parametrize("vector", _BODIES, ids=lambda vector: json.dumps(vector["body"])[:60])
def test_ota_bodies_become_the_expected_observations(vector: dict[str, Any]) -> None:
    body, expected = json.dumps(vector["body"]).encode(), vector["expect"]
    fields = {
        "data": encrypted(body, key=_SECRET.reveal()),
        "protocol": 20,
        "pv": "2.0",
        "t": PUBLISHED_AT_MS,
    }
    payload = compact(signed(fields, key=_SECRET.reveal()))
    published_at_ms = PUBLISHED_AT_MS + 10 * 365 * 86_400_000

    translator = Translator(_account(), Counters())
    message = Received(payload, published_at_ms=published_at_ms)
    records = translated(translator, message, at_ms=published_at_ms)

    decoded = [json.loads(record.value) for record in records]
    if "dead_letter" in expected:
        letter, *hints = decoded
        assert letter["reason"] == expected["dead_letter"]
        assert [hint["device_id"] for hint in hints] == expected["hints_for"]
        assert {hint["kind"] for hint in hints} == {"hint"}
    else:
        (observation,) = decoded
        assert {key: observation.get(key) for key in expected} == expected


def test_messages_that_the_catalogue_lists_are_all_known() -> None:
    listed = {
        *("upgradeStatus", "upgradeProcess", "deviceOtaProgress"),
        *("online", "offline", "delete", "bindUser", "nameUpdate"),
        *("deviceOnline", "deviceOffline", "deviceBindSpace", "deviceUnbindSpace", "deviceNameUpdate"),
        *("deviceTransfer", "deviceFreeze", "deviceUnFreeze"),
    }
    assert {str(struct.__struct_config__.tag) for struct in _leaves(Message)} == listed


def _leaves(struct: type[Message]) -> set[type[Message]]:
    below: set[type[Message]] = set().union(*(_leaves(child) for child in struct.__subclasses__()), set())
    return below | ({struct} if struct.__struct_config__.tag not in (None, struct.__name__) else set())
