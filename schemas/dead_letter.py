"""DeadLetter: an input that can never succeed, kept with its reason so that an operator can look and replay."""

from __future__ import annotations

from msgspec import Struct

from schemas.vocabulary import DeadLetterReason


class DeadLetter(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """`source_position` is also the record's key.

    For a gateway message it reads `<account>/<source partition>:<ledger>:<entry>:<batch index>`, for an observation
    that the fold refused `observations/<partition>:<offset>`. `payload` is the message as received, still encrypted
    (base64 in JSON), cut at 256 KiB; `payload_bytes` and `payload_sha256` (lower-case hex) describe the whole.
    `properties` are the message's properties or headers.
    """

    reason: DeadLetterReason
    detail: str
    source_position: str
    account: str
    received_at_ms: int
    payload: bytes
    payload_bytes: int
    payload_sha256: str
    properties: dict[str, str]
