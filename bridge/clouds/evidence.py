"""The vendor's JSON as evidence: only the fields on an allow-list, and never more than a Kafka record can hold."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from schemas import RAW_LIMIT_BYTES, ObservedEvidence


def evidence(origin: str, name: str, raw: Mapping[str, Any], allowed: Collection[str]) -> ObservedEvidence:
    """Return evidence with those fields of `raw` that are allowed; a value that is an object or a list is not kept,

    because nobody looked at what may be inside it.
    """
    kept = {
        field: value
        for field, value in raw.items()
        if field in allowed and isinstance(value, str | int | float | bool)
    }
    if not kept:
        return ObservedEvidence(origin=origin, name=name)

    text = msgspec.json.encode(kept)
    if len(text) <= RAW_LIMIT_BYTES:
        return ObservedEvidence(origin=origin, name=name, raw=kept)

    return ObservedEvidence(
        origin=origin,
        name=name,
        raw=text[:RAW_LIMIT_BYTES].decode("utf-8", "ignore"),
        raw_bytes=len(text),
        raw_sha256=hashlib.sha256(text).hexdigest(),
    )
