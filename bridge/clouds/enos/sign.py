"""EnOS's signatures: plain SHA-256 over token, parameters, body, time and secret (contract: firmware APIs, 6.1).

The parameters are signed decoded, sorted and glued together without anything between; over the wire they go encoded.
The body is signed as it is sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import quote


def encryption(app_key: str, timestamp: str, app_secret: str) -> str:
    """Return what a request for a token proves itself by. `timestamp` is Unix ms, as sent."""
    return _digest(app_key, timestamp, app_secret)


def signature(
    access_token: str, query: Mapping[str, str], body: bytes, timestamp: str, app_secret: str
) -> str:
    """Return the header `apim-signature`. `timestamp` is the header `apim-timestamp`, Unix ms."""
    parameters = "".join(f"{name}{value}" for name, value in sorted(query.items()))
    return _digest(access_token, parameters, body, timestamp, app_secret)


def target_of(path: str, query: Mapping[str, str]) -> str:
    """Return path and query as they are sent: keys sorted, values percent-encoded."""
    if not query:
        return path

    pairs = (f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in sorted(query.items()))
    return f"{path}?{'&'.join(pairs)}"


def _digest(*parts: str | bytes) -> str:
    text = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return hashlib.sha256(text).hexdigest()
