"""Tuya's global error codes and what each means for us (contract: firmware APIs, 1.5). Data, with its one reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.clouds.errors import (
    AuthRefused,
    BadRequest,
    ClockSkewed,
    CloudError,
    DeviceForbidden,
    DeviceNotFound,
    DeviceOffline,
    DeviceUnsupported,
    Forbidden,
    Misconfigured,
    QuotaExhausted,
    SchemaMismatch,
    Throttled,
    TokenRejected,
    Unanswered,
)

CODES: Final[Mapping[int, type[CloudError]]] = {
    500: Unanswered,
    1000: DeviceNotFound,
    1001: AuthRefused,
    1002: TokenRejected,
    1003: Misconfigured,
    1004: AuthRefused,
    1005: AuthRefused,
    1006: Misconfigured,
    1007: AuthRefused,
    1008: AuthRefused,
    1010: TokenRejected,
    1011: TokenRejected,
    1012: TokenRejected,
    1013: ClockSkewed,
    1100: BadRequest,
    1101: BadRequest,
    1102: BadRequest,
    1103: Unanswered,
    1104: BadRequest,
    1105: BadRequest,
    1106: DeviceForbidden,
    1107: BadRequest,
    1108: BadRequest,
    1109: BadRequest,
    1110: Throttled,
    1111: Throttled,
    1112: Unanswered,
    1113: Throttled,
    1199: Throttled,
    1400: TokenRejected,
    2001: DeviceOffline,
    2003: DeviceUnsupported,
    2005: DeviceNotFound,
    2006: DeviceNotFound,
    2008: DeviceUnsupported,
    2009: DeviceUnsupported,
    2010: DeviceNotFound,
    2406: Misconfigured,
    28841004: QuotaExhausted,
}

NOT_SUBSCRIBED: Final = frozenset({"28841101", "28841105"})
"""This one API is not subscribed or not authorised; an older one that tells the same may be."""

_PLAN_CODES: Final = range(28841001, 28841200)
"""The family of subscription and permission codes; only the quota's is told apart."""

_AGAIN: Final = "and start the bridge again"

_REMEDIES: Final[Mapping[int, str]] = {
    1001: f"correct the account's access_key_file, {_AGAIN}",
    1004: f"check the account's access_key_file and that api.url is the project's own data centre, {_AGAIN}",
    1005: f"check the account's access_id and that api.url is the project's own data centre, {_AGAIN}",
    1007: f"check the account's access_id and access_key_file, {_AGAIN}",
    1008: f"check the account's access_id and access_key_file, {_AGAIN}",
    2406: f"check that api.url is the data centre that the project is linked in, {_AGAIN}",
}


def error_of(code: int, text: str, *, api: str, trace_id: str | None) -> CloudError:
    """Return the error that a code stands for. An undocumented one is a SchemaMismatch: not repeated."""
    kind = CODES.get(code)
    if kind is None:
        kind = Forbidden if code in _PLAN_CODES else SchemaMismatch
    words = text[:200] or "no text"
    return kind(words, api=api, code=str(code), trace_id=trace_id, remedy=_REMEDIES.get(code))
