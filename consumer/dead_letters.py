"""Dead letters: what can never succeed, kept as it came so that an operator can look at it and replay it.

The payload stays encrypted. Cut to 256 KiB it is at most 350 KB of base64: always far under Kafka's 1 MB. Where even
that is too much for the topic, a letter without payload takes less than `LEAST_LETTER_BYTES`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from consumer.sink import OutgoingRecord
from consumer.source import SourceMessage, position_of, position_text, properties_of
from schemas import RAW_LIMIT_BYTES, DeadLetter, Position

LEAST_LETTER_BYTES: Final = 12 * 1024
"""More than any letter without payload: its properties, and names of topics and accounts."""
_PROPERTIES_BYTES: Final = 8 * 1024
_PROPERTY_LIMIT: Final = 512
"""Characters of a name and of a value. In JSON one takes six bytes at most, so that one property always has room."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeadLetter).decode


def dead_letter(
    *,
    reason: str,
    detail: str,
    account: str,
    position: Position,
    received_at_ms: int,
    payload: bytes,
    properties: Mapping[str, str],
    payload_limit_bytes: int = RAW_LIMIT_BYTES,
) -> OutgoingRecord:
    """Return the record of a gateway message that can never succeed."""
    key = position_text(account, position)
    letter = DeadLetter(
        reason=reason,
        detail=detail,
        source_position=key,
        account=account,
        received_at_ms=received_at_ms,
        payload=payload[:payload_limit_bytes],
        payload_bytes=len(payload),
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        properties=_cut(properties),
    )
    return OutgoingRecord(
        topic="dead-letters", key=key.encode(), value=_encode(letter), timestamp_ms=received_at_ms
    )


def refused_as_too_large(
    account: str, message: SourceMessage, partition: str, received_at_ms: int, *, payload_limit_bytes: int
) -> OutgoingRecord:
    """Return the dead letter of a message whose record Kafka refuses for good; its payload cut as said."""
    return dead_letter(
        reason="too_large",
        detail="Kafka refuses the record as too large (message.max.bytes)",
        account=account,
        position=position_of(message, partition),
        received_at_ms=received_at_ms,
        payload=message.data(),
        properties=properties_of(message),
        payload_limit_bytes=payload_limit_bytes,
    )


def without_payload(letter: OutgoingRecord) -> OutgoingRecord:
    """Return a dead letter that Kafka refused as too large as it is taken: its reason matters more than its payload."""
    return replace(letter, value=_encode(replace(_decode(letter.value), payload=b"")))


def _cut(properties: Mapping[str, str]) -> dict[str, str]:
    """Bound the properties: the gateway sends two short ones, a stranger could send a megabyte."""
    kept: dict[str, str] = {}
    left_bytes = _PROPERTIES_BYTES
    # The encryption first: without it nobody could ever decrypt the payload.
    for name, value in sorted(properties.items(), key=lambda item: (item[0] != "em", item)):
        name, value = name[:_PROPERTY_LIMIT], value[:_PROPERTY_LIMIT]  # noqa: PLW2901 (cut, not exchanged)
        left_bytes -= len(_encode({name: value}))
        if left_bytes < 0:
            break
        kept[name] = value
    return kept
