"""OceanConnect's error codes and what each means for us (contract: firmware APIs, 5.1). Data, with its one reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.clouds.errors import (
    AuthRefused,
    BadRequest,
    CloudError,
    DeviceNotFound,
    Forbidden,
    Misconfigured,
    SchemaMismatch,
    Throttled,
    TokenRejected,
    Unanswered,
)

CODES: Final[Mapping[str, type[CloudError]]] = {
    "50252": Unanswered,
    "100023": Unanswered,
    "100203": Misconfigured,
    "100208": AuthRefused,
    "100217": Forbidden,
    "100220": Unanswered,
    "100247": Forbidden,
    "102202": BadRequest,
    "120015": BadRequest,
    "123002": DeviceNotFound,
    "123029": BadRequest,
    "1010005": TokenRejected,
    "1010009": Throttled,
}

_AGAIN: Final = "and start the bridge again"

_REMEDIES: Final[Mapping[str, str]] = {
    "100203": f"check the account's app_id and that api.url is the application's own platform, {_AGAIN}",
    "100208": f"correct the account's app_id or secret_file, {_AGAIN}",
    "100217": "authorise the application at the platform",
    "100247": "have the application unfrozen at the platform",
    "1010005": "none, it is tried again by itself; if it lasts, another program logs in with the same app_id: give the "
    "bridge an application of its own",
    "1010009": "none, it is tried again by itself; if it lasts, lower api.rate_per_s or have the limit raised",
}

_MINUTE_S: Final = 60.0
_AFTER_S: Final = 0.5
"""The platform's clock is known to within a few hundred milliseconds."""


def error_of(code: str, text: str, *, api: str, now_ms: int) -> CloudError:
    """Return the error that a code stands for. An undocumented one is a SchemaMismatch: not repeated.

    `now_ms` is the vendor's clock: requests are counted by its minutes, so one that is too many waits for the next.
    """
    error = CODES.get(code, SchemaMismatch)(
        text[:200] or "no text", api=api, code=code, remedy=_REMEDIES.get(code)
    )
    if isinstance(error, Throttled):
        error.pause_s = _MINUTE_S - now_ms / 1000 % _MINUTE_S + _AFTER_S
    return error
