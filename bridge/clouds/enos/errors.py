"""EnOS's error codes and what each means for us (contract: firmware APIs, 6.1 and 6.2). Data, with its readers.

There are two families: the gateway's, in the field `status`, which speak of tokens; and the service's, in `code`.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from bridge.clouds.errors import (
    AuthRefused,
    BadRequest,
    CloudError,
    DeviceNotFound,
    Forbidden,
    SchemaMismatch,
    TokenRejected,
    Unanswered,
)

GATEWAY_CODES: Final[Mapping[int, type[CloudError]]] = {
    # A time that was used before: the next request for a token has a later one.
    1001: Unanswered,
    1002: AuthRefused,
    1003: AuthRefused,
    1004: BadRequest,
    1005: Unanswered,
    1202: BadRequest,
    1203: TokenRejected,
    1204: TokenRejected,
}

JOB_NOT_FOUND: Final = 24404

SERVICE_CODES: Final[Mapping[int, type[CloudError]]] = {
    JOB_NOT_FOUND: DeviceNotFound,
    24500: Unanswered,
    # Answers to calls that change a job or a task; nothing here makes any.
    24617: BadRequest,
    24620: BadRequest,
    24621: BadRequest,
}

_REMEDIES: Final[Mapping[int, str]] = {
    1002: "check the account's app_key and that api.url is its own environment, and start the bridge again",
    1003: "correct the account's app_secret_file, and start the bridge again",
}

NOT_PERMITTED: Final = "authorize the service account for the service Firmware, permission Read"


def error_of(
    code: int, text: str, *, codes: Mapping[int, type[CloudError]], api: str, trace_id: str | None
) -> CloudError:
    """Return the error that a code of one of the families stands for. An undocumented one is a SchemaMismatch."""
    kind = codes.get(code, SchemaMismatch)
    remedy = _REMEDIES.get(code) if codes is GATEWAY_CODES else None
    return kind(text[:200] or "no text", api=api, code=str(code), trace_id=trace_id, remedy=remedy)


def refused_by_status(http_status: int, text: str, *, api: str, code: str | None) -> CloudError | None:
    """Return what the HTTP status says where the code is not a documented one, None where it says nothing."""
    if http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unanswered(f"HTTP status {http_status}", api=api, code=code or f"http-{http_status}")
    if http_status in (401, 403):
        words = text[:200] or f"HTTP status {http_status}"
        return Forbidden(words, api=api, code=code or f"http-{http_status}", remedy=NOT_PERMITTED)
    return None
