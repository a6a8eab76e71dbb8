"""Step 2, the frame: the outer JSON of a gateway message, decoded strictly and without a second reading.

msgspec keeps the last of two equal keys, which would leave it open what was signed. The envelope is flat, so counting
its quotes proves that the keys just decoded are all there are; only where the count differs is the text read again.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from msgspec import Struct

from consumer.errors import Rejected
from schemas.unreadable import UNREADABLE


class Envelope(Struct, frozen=True, gc=False):
    """The outer fields (contract section 4). `encryptVersion` is signed but decides nothing."""

    data: str
    protocol: int
    pv: str
    t: int
    sign: str = ""
    encryptVersion: str | None = None  # noqa: N815 (the wire's name)


DATA_FIRST: Final = b'{"data":"'
"""How the platform begins an envelope, without a space."""
AFTER_DATA: Final = b'","protocol":%d,'
"""How it goes on behind the base64 of `data`."""

PROTOCOL: Final = b'"protocol"'

_decode = msgspec.json.Decoder(Envelope).decode

_PLAIN_PROTOCOLS: Final = range(10, 100)
_PLAIN_TIMES: Final = range(10**12, 10**13)
_PLAIN_BYTES: Final = len('{"data":"","protocol":20,"pv":"","sign":"","t":1668363150300}')
"""An envelope of such a protocol and time without spaces, beside what is in its texts."""
_QUOTES_WITHOUT_SIGN: Final = 2 * (4 + 2)
"""Quotes of the four required keys and their two strings; `sign` and `encryptVersion` add four each."""


def open_envelope(
    payload: bytes, size_limit_bytes: int, filtered: frozenset[int] = frozenset()
) -> tuple[Envelope, dict[str, str] | None]:
    """Decode the outer fields; the second part is every field's text where there are others than `Envelope` knows.

    One of a `filtered` protocol goes no further, so nobody asks whether its keys are unambiguous.

    Raises Rejected: too_large, malformed_envelope, duplicate_key, unknown_shape (the `encryptPayload` form).
    """
    if len(payload) > size_limit_bytes:
        raise Rejected("too_large", f"{len(payload)} bytes, the limit is {size_limit_bytes}")
    try:
        envelope = _decode(payload)
    except UNREADABLE:
        return _read_again(payload)
    protocol = envelope.protocol
    if protocol in filtered:
        return envelope, None
    # No JSON of these five members is shorter than this: one that is as long has no other member and no escape.
    if (
        protocol in _PLAIN_PROTOCOLS
        and envelope.t in _PLAIN_TIMES
        and envelope.sign
        and envelope.encryptVersion is None
        and len(payload) == _PLAIN_BYTES + len(envelope.data) + len(envelope.pv) + len(envelope.sign)
    ):
        return envelope, None
    quotes = _QUOTES_WITHOUT_SIGN
    if envelope.sign:
        quotes += 4
    if envelope.encryptVersion is not None:
        quotes += 4
    # An escape could hide a quote or a second spelling of a key: the slow reading looks at each key as it means.
    if payload.count(b'"') != quotes or b"\\" in payload:
        return _read_again(payload)
    return envelope, None


def _read_again(payload: bytes) -> tuple[Envelope, dict[str, str] | None]:
    """Read an envelope of unusual form, field by field; say exactly what is wrong with a bad one."""
    try:
        pairs = json.loads(payload.decode("utf-8"), object_pairs_hook=_Pairs, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Rejected("malformed_envelope", f"not JSON ({type(error).__name__})") from None
    if not isinstance(pairs, _Pairs):
        raise Rejected("malformed_envelope", "not a JSON object")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Rejected("duplicate_key", "a key appears twice, so what was signed is ambiguous")
    if "encryptPayload" in fields:
        raise Rejected("unknown_shape", "the old form with encryptPayload, whose signature rule is unknown")
    texts = {key: _text(key, value) for key, value in fields.items()}
    for key, kind in (("data", str), ("protocol", int), ("pv", str), ("t", int)):
        if key not in fields:
            raise Rejected("malformed_envelope", f"{key} is missing")
        if type(fields[key]) is not kind:
            raise Rejected("malformed_envelope", f"{key} is not of type {kind.__name__}")
    sign = fields.get("sign")
    if sign is not None and not isinstance(sign, str):
        raise Rejected("malformed_envelope", "sign is not of type str")
    return Envelope(fields["data"], fields["protocol"], fields["pv"], fields["t"], sign or ""), texts


class _Pairs(list[tuple[str, Any]]):
    """A JSON object's members in order, duplicates included."""


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _text(key: str, value: object) -> str:
    """Return the text that is signed for a value (contract section 6.3)."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Rejected("malformed_envelope", "a text holds half of a surrogate pair") from None
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    known = key if key.isascii() and key.isidentifier() and len(key) <= 32 else "a field"  # noqa: PLR2004 (as long as a field name in a sentence may be)
    raise Rejected("malformed_envelope", f"{known} is neither text nor an integer, so it cannot be signed")
