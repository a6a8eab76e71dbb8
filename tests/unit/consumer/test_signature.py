"""The signature: which text is signed, which key and rule matched, and that nothing else passes."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decryption import AccountKey
from consumer.envelope import open_envelope
from consumer.errors import Rejected
from consumer.secret import Secret
from consumer.signature import verify
from tests.gateway_messages import ACCESS_KEY, PREVIOUS_KEY, compact, envelope, signed

_CURRENT = AccountKey(Secret(ACCESS_KEY), "current")
_PREVIOUS = AccountKey(Secret(PREVIOUS_KEY), "previous")
_LIMIT = 1024 * 1024


def _verified(fields: dict[str, object]) -> tuple[str, str] | None:
    match = verify(*open_envelope(compact(fields), _LIMIT), (_CURRENT, _PREVIOUS))
    return None if match is None else (match[0].name, match[1])


def test_the_key_that_signed_is_told() -> None:
    assert _verified(envelope({"a": 1})) == ("current", "all_fields")
    assert _verified(envelope({"a": 1}, key=PREVIOUS_KEY)) == ("previous", "all_fields")
    assert _verified(envelope({"a": 1}, key="another-key-of-thirty-two-chars!")) is None


def test_the_vendors_rule_of_four_fields_is_told_apart() -> None:
    four = {"data": "QUJD", "protocol": 20, "pv": "2.0", "t": 1}
    assert _verified(signed(four) | {"encryptVersion": "v2"}) == ("current", "core_fields")
    assert _verified(signed(four | {"encryptVersion": "v2"})) == ("current", "all_fields")
    assert _verified(signed(four | {"later": "field"})) == ("current", "all_fields")
    assert _verified(signed(four) | {"later": "field"}) == ("current", "core_fields")


def test_blank_values_are_not_signed() -> None:
    four = {"data": "QUJD", "protocol": 20, "t": 1}
    assert _verified(signed(four) | {"pv": " ", "encryptVersion": "", "later": None}) == (
        "current",
        "all_fields",
    )


@given(st.integers(0, 31), st.sampled_from("0123456789abcdef"))
def test_any_other_sign_is_refused_but_upper_case_is_the_same(at: int, digit: str) -> None:
    good = envelope({"a": 1})
    sign = good["sign"]
    changed = sign[:at] + digit + sign[at + 1 :]
    assert (_verified(good | {"sign": changed}) is None) == (changed != sign)
    assert _verified(good | {"sign": sign[:at] + sign[at:].upper()}) == ("current", "all_fields")


@pytest.mark.parametrize(
    "spoil", [lambda s: s + "0", lambda s: s[:-1], lambda s: " " + s, lambda s: s[:-1] + "\u017f"]
)
def test_a_sign_of_another_form_is_refused(spoil: object) -> None:
    good = envelope({"a": 1})
    assert callable(spoil)
    assert _verified(good | {"sign": spoil(good["sign"])}) is None


@pytest.mark.parametrize("sign", [None, "", "  "])
def test_no_sign_is_another_thing_than_a_wrong_one(sign: str | None) -> None:
    with pytest.raises(Rejected, match="missing_signature"):
        _verified(envelope({"a": 1}) | {"sign": sign})


def test_text_that_is_not_ascii_is_signed_as_utf8() -> None:
    fields = {"data": "QUJD", "later": "升级", "protocol": 20, "pv": "2.0", "t": 1}
    text = f"data=QUJD||later=升级||protocol=20||pv=2.0||t=1||{ACCESS_KEY}"
    assert _verified(fields | {"sign": hashlib.md5(text.encode()).hexdigest()}) == ("current", "all_fields")
