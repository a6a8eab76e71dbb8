"""The frame: what is accepted, what is refused, and that nothing hides behind a second key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.envelope import Envelope, open_envelope
from consumer.errors import Rejected
from tests.gateway_messages import compact

_GOOD = {"data": "QUJD", "protocol": 20, "pv": "2.0", "t": 1_668_363_150_300, "sign": "0" * 32}
_LIMIT = 1024 * 1024


def _refused(payload: bytes, limit: int = _LIMIT) -> str:
    with pytest.raises(Rejected) as refused:
        open_envelope(payload, limit)
    return refused.value.reason


def test_the_usual_form_is_read_once() -> None:
    envelope, others = open_envelope(compact(_GOOD | {"encryptVersion": "v2"}), _LIMIT)

    assert envelope == Envelope("QUJD", 20, "2.0", 1_668_363_150_300, "0" * 32, "v2")
    assert others is None


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(_GOOD, indent=2).encode(),
        compact(_GOOD).replace(b"QUJD", b"Q\\u0055JD"),
        compact(_GOOD).replace(b'"data"', b'"d\\u0061ta"'),
    ],
    ids=["spaces", "escaped value", "escaped key"],
)
def test_unusual_writing_means_the_same(payload: bytes) -> None:
    assert open_envelope(payload, _LIMIT)[0] == open_envelope(compact(_GOOD), _LIMIT)[0]


def test_unknown_fields_are_kept_as_the_text_that_is_signed() -> None:
    extra: dict[str, Any] = {
        "n": None,
        "yes": True,
        "no": False,
        "count": 12345678901234567890,
        "text": "ä||b",
    }

    _, others = open_envelope(compact(_GOOD | extra), _LIMIT)

    assert others is not None
    kept = {key: others[key] for key in extra}
    assert kept == {"n": "", "yes": "true", "no": "false", "count": "12345678901234567890", "text": "ä||b"}


@pytest.mark.parametrize("key", ["data", "protocol", "pv", "t", "sign", "foreign"])
def test_a_key_given_twice_is_refused_however_it_is_written(key: str) -> None:
    whole = compact(_GOOD | {"foreign": "x"})
    value = json.dumps((_GOOD | {"foreign": "x"})[key]).encode()
    spelled = "".join(f"\\u{ord(letter):04x}" for letter in key).encode()
    for second in (key.encode(), spelled):
        for space in (b"", b" "):
            assert (
                _refused(whole[:-1] + b',"' + second + b'"' + space + b":" + value + b"}") == "duplicate_key"
            )


def test_a_second_key_cannot_hide_behind_an_escaped_quote() -> None:
    payload = b'{"data":"a","data" :"b\\"","protocol":20,"pv":"2.0","t":1,"sign":"s"}'
    assert _refused(payload) == "duplicate_key"


@pytest.mark.parametrize("key", ["data", "protocol", "pv", "t"])
@pytest.mark.parametrize("wrong", [None, 1.5, [], {}, True, "missing"], ids=repr)
def test_a_required_field_that_is_missing_or_of_another_type_is_malformed(key: str, wrong: object) -> None:
    fields: dict[str, Any] = dict(_GOOD)
    if wrong == "missing":
        del fields[key]
    else:
        fields[key] = wrong
    assert _refused(compact(fields)) == "malformed_envelope"


def test_a_number_where_text_belongs_and_text_where_a_number_belongs_are_malformed() -> None:
    assert _refused(compact(_GOOD | {"pv": 2})) == "malformed_envelope"
    assert _refused(compact(_GOOD | {"t": "1668363150300"})) == "malformed_envelope"
    assert _refused(compact(_GOOD | {"sign": 5})) == "malformed_envelope"


@pytest.mark.parametrize("value", [1.0, [1], {"a": 1}], ids=repr)
def test_a_value_that_cannot_be_signed_is_malformed(value: object) -> None:
    assert _refused(compact(_GOOD | {"foreign": value})) == "malformed_envelope"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"[]",
        b"5",
        b'"text"',
        compact(_GOOD) + b"x",
        compact(_GOOD)[:-1],
        b"\xef\xbb\xbf" + compact(_GOOD),
        compact(_GOOD).replace(b"QUJD", b"\xff\xfe"),
        compact(_GOOD).replace(b"QUJD", b"\\ud800"),
        compact(_GOOD)[:-1] + b',"x":"\xff"}',
        compact(_GOOD)[:-1] + b',"x":"\\udfff"}',
        compact(_GOOD)[:-1] + b',"x":NaN}',
        compact(_GOOD)[:-1] + b',"x":' + b"9" * 5000 + b"}",
        compact(_GOOD)[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        compact(_GOOD)[:-1] + b',"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"\x00" * 100,
    ],
    ids=lambda payload: repr(payload[:24]),
)
def test_what_is_no_json_object_is_malformed(payload: bytes) -> None:
    assert _refused(payload) == "malformed_envelope"


def test_the_old_form_is_an_unknown_shape() -> None:
    old = {"encryptPayload": "QUJD", "encryptType": "AES", "sign": "0" * 32, "v": "1", "t": 1}
    assert _refused(compact(old)) == "unknown_shape"
    assert _refused(compact(_GOOD | {"encryptPayload": "QUJD"})) == "unknown_shape"


def test_size_is_refused_before_anything_is_read() -> None:
    assert _refused(compact(_GOOD), limit=len(compact(_GOOD)) - 1) == "too_large"
    open_envelope(compact(_GOOD), len(compact(_GOOD)))


@given(
    st.dictionaries(
        st.one_of(st.text(max_size=12), st.sampled_from(["sign", "encryptVersion"])),
        st.one_of(st.text(max_size=20), st.integers(), st.booleans(), st.none()),
        max_size=5,
    ),
    st.sampled_from([(",", ":"), (", ", " : ")]),
    st.booleans(),
)
def test_any_flat_envelope_is_read_as_json_reads_it(
    extra: dict[str, Any], separators: tuple[str, str], ascii_only: object
) -> None:
    fields = extra | {key: _GOOD[key] for key in ("data", "protocol", "pv", "t")}
    payload = json.dumps(fields, separators=separators, ensure_ascii=bool(ascii_only)).encode(
        "utf-8", "surrogatepass"
    )
    try:
        envelope, others = open_envelope(payload, _LIMIT)
    except Rejected as refused:
        unsignable = not isinstance(fields.get("sign", ""), (str, type(None)))
        assert refused.reason == "unknown_shape" or unsignable  # noqa: PT017
        return
    assert (envelope.data, envelope.protocol, envelope.pv, envelope.t) == ("QUJD", 20, "2.0", _GOOD["t"])
    assert envelope.sign == (fields.get("sign") or "")
    if others is None:
        assert set(fields) <= {"data", "protocol", "pv", "t", "sign", "encryptVersion"}
    else:
        assert set(others) == set(fields)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_raise_nothing_else(payload: bytes) -> None:
    assert _refused(payload) in {"malformed_envelope", "duplicate_key", "unknown_shape"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["data", "protocol", "pv", "t", "sign", "encryptVersion", "x"]),
            st.one_of(
                st.sampled_from(
                    [20, 4, 1_668_363_150_300, None, -20, 999, "2.0", "0" * 32, "", '"', "\\", "é"]
                ),
                st.text(max_size=40),
            ),
        ),
        min_size=4,
        max_size=8,
    )
)
def test_whatever_the_members_a_second_key_is_never_taken_for_the_platforms_own_form(
    members: list[tuple[str, object]],
) -> None:
    payload = (
        "{" + ",".join(f'"{key}":{json.dumps(value, ensure_ascii=False)}' for key, value in members) + "}"
    ).encode()
    names = [key for key, _ in members]
    try:
        _, others = open_envelope(payload, _LIMIT)
    except Rejected:
        return
    assert len(names) == len(set(names))
    assert others is not None or set(names) <= {"data", "protocol", "pv", "t", "sign", "encryptVersion"}


def test_a_second_key_is_found_whatever_length_it_has() -> None:
    text = compact(_GOOD).decode()
    for first in ("", "Q", "QUJDQUJD"):
        assert _refused(text.replace('{"data"', f'{{"data":"{first}","data"').encode()) == "duplicate_key"


@pytest.mark.parametrize(
    "payload",
    [
        # As long as the platform's own form would be, but for a second key that fills what a shorter member left.
        b'{"data":"QUJD","protocol":20,"pv":"2.0","sign":"00","t":5,"t":17}'.ljust(0),
        b'{"data":"QUJD","protocol":20,"pv":"2.0","t":1668363150300,"pv":"2"}',
        b'{"data":"QUJD","protocol":20,"pv":"2","sign":"0","t":1668363150300,"pv":"2"}',
        b'{"data":"QUJD","protocol":20,"pv":"2.0","sign":"0","t":1668363150300,"encryptVersion":"v","pv":"2.0"}',
    ],
)
def test_no_condition_of_the_platforms_own_form_lets_a_second_key_pass(payload: bytes) -> None:
    assert _refused(payload) == "duplicate_key"


def _filled(members: str, missing: int) -> bytes:
    """Fill up with a second, shorter `pv`, so that the length alone would be that of the platform's own form."""
    return ("{" + members + ',"pv":"' + "2" * (missing - len(',"pv":""')) + '"}').encode()


@pytest.mark.parametrize(
    ("members", "missing"),
    [
        # Twelve digits less of a time; `"sign":"",` less; both are what a second key could hide in.
        ('"data":"QUJD","protocol":20,"sign":"00","t":5', len('"pv":"",') + 11),
        ('"data":"QUJD","protocol":20,"t":1668363150300', len('"pv":"","sign":"",')),
    ],
)
def test_what_is_as_long_as_the_platforms_own_form_is_not_so_by_that_alone(
    members: str, missing: int
) -> None:
    once = _filled(members, missing)
    twice = once[:-1] + b',"pv":"2"}'
    assert open_envelope(once, _LIMIT)[0].protocol == 20
    assert _refused(twice) == "duplicate_key"
