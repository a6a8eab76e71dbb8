"""Tuya's request signature: HMAC-SHA256 over who asks, when, and what exactly (contract: firmware APIs, 1.3).

The canonical URL holds the query's values decoded and sorted by key; over the wire they go encoded. Path and body are
signed as they are sent.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

TOKEN_PATHS: Final = ("/v1.0/token", "/v1.0/authorize_token")
"""Calls that fetch a token; they are signed without one."""


def is_token_call(path: str) -> bool:
    """Return whether a path fetches a token."""
    return path.startswith(TOKEN_PATHS)


def path_of(template: str, **parts: str) -> str:
    """Fill a path's `{names}`, each percent-encoded as one segment: the path as it is sent, and as it is signed."""
    return template.format_map({name: quote(part, safe="") for name, part in parts.items()})


def target_of(path: str, query: Mapping[str, str]) -> str:
    """Return path and query as they are sent: keys sorted, values percent-encoded."""
    if not query:
        return path

    pairs = (f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in sorted(query.items()))
    return f"{path}?{'&'.join(pairs)}"


def canonical_url(path: str, query: Mapping[str, str]) -> str:
    """Return path and query as they are signed: keys sorted, values decoded."""
    if not query:
        return path

    return f"{path}?{'&'.join(f'{key}={value}' for key, value in sorted(query.items()))}"


def string_to_sign(
    method: str,
    path: str,
    query: Mapping[str, str],
    *,
    body: bytes = b"",
    signed_headers: Mapping[str, str] | None = None,
) -> str:
    """Return the request's part of the signed text: four lines, the third being the block of signed headers.

    Each signed header ends its own line, so with none that line is empty, and with some an empty line follows them.
    """
    block = "".join(f"{name}:{value}\n" for name, value in (signed_headers or {}).items())
    content_hash = hashlib.sha256(body).hexdigest()
    return f"{method}\n{content_hash}\n{block}\n{canonical_url(path, query)}"


def sign(
    access_id: str, access_key: str, t: str, request: str, *, access_token: str = "", nonce: str = ""
) -> str:
    """Return the upper-case signature. `t` is Unix ms as sent, `request` the `string_to_sign`.

    A token call has no `access_token`; a nonce is signed only where one is sent.
    """
    return _hmac(access_key, f"{access_id}{access_token}{t}{nonce}{request}")


def sign_legacy(access_id: str, access_key: str, t: str, *, access_token: str = "") -> str:
    """Return the signature of projects made before 2021-06-30, which says nothing about the request itself."""
    return _hmac(access_key, f"{access_id}{access_token}{t}")


def _hmac(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest().upper()
