"""Hedwig's request signature: HMAC-SHA1 over method and all parameters (contract: firmware APIs, 4.2).

The parameters are the query string: it is sent as it was signed, with the signature behind it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

_UNRESERVED: Final = "-_.~"
"""RFC 3986; `quote` keeps letters and digits by itself. A space is %20, never a plus."""


def encoded(text: str) -> str:
    """Return a text percent-encoded as it is signed and sent."""
    return quote(text, safe=_UNRESERVED)


def canonical_query(parameters: Mapping[str, str]) -> str:
    """Return the parameters, sorted by name and encoded."""
    return "&".join(f"{encoded(name)}={encoded(parameters[name])}" for name in sorted(parameters))


def string_to_sign(method: str, parameters: Mapping[str, str]) -> str:
    """Return the signed text; `parameters` are all but the signature."""
    return f"{method}&{encoded('/')}&{encoded(canonical_query(parameters))}"


def sign(secret: str, method: str, parameters: Mapping[str, str]) -> str:
    """Return the signature in base64, not percent-encoded yet."""
    digest = hmac.new(f"{secret}&".encode(), string_to_sign(method, parameters).encode(), hashlib.sha1)
    return base64.b64encode(digest.digest()).decode()


def target_of(parameters: Mapping[str, str], signature: str) -> str:
    """Return path and query as they are sent."""
    return f"/?{canonical_query(parameters)}&Signature={encoded(signature)}"


def timestamp(at_ms: int) -> str:
    """Return the time as `Timestamp` has it: UTC, to the second."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
