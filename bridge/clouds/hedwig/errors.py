"""Hedwig's error codes and what each means for us. Data, with its one reader.

The product's own list is not at hand: the names are those of Alibaba's RPC gateway and of its IoT platform, whose API
this is; they are compared without regard to case (contract: firmware APIs, 4.3). A code that no table has is believed
to be what its family says, and else is a SchemaMismatch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from bridge.clouds.errors import (
    AuthRefused,
    BadRequest,
    ClockSkewed,
    CloudError,
    DeviceNotFound,
    Forbidden,
    Misconfigured,
    SchemaMismatch,
    Throttled,
    Unanswered,
)

_CODES: Final[Mapping[str, type[CloudError]]] = {
    # The gateway's own.
    "SignatureDoesNotMatch": AuthRefused,
    "IncompleteSignature": AuthRefused,
    "InvalidAccessKeyId": AuthRefused,
    "InvalidAccessKeyId.NotFound": AuthRefused,
    "InvalidAccessKeyId.Inactive": AuthRefused,
    "InvalidAccessKeySecret": AuthRefused,
    # Repeated with another nonce, as every repetition is.
    "SignatureNonceUsed": Unanswered,
    "InvalidTimeStamp.Expired": ClockSkewed,
    "InvalidTimeStamp.Format": BadRequest,
    "Throttling": Throttled,
    "InternalError": Unanswered,
    "ServiceUnavailable": Unanswered,
    "Forbidden": Forbidden,
    "NoPermission": Forbidden,
    "MissingParameter": BadRequest,
    "InvalidParameter": BadRequest,
    "UnsupportedParameter": BadRequest,
    "InvalidAction": Misconfigured,
    "InvalidAction.NotFound": Misconfigured,
    "InvalidApi.NotFound": Misconfigured,
    "InvalidVersion": Misconfigured,
    "NoSuchVersion": Misconfigured,
    "UnsupportedOperation": Misconfigured,
    "UnsupportedHTTPMethod": Misconfigured,
    "InvalidSignatureMethod": Misconfigured,
    # The IoT platform's.
    "iot.system.SystemException": Unanswered,
    "iot.system.IllegalRequest": BadRequest,
    "iot.system.InstanceNotFound": Misconfigured,
    "iot.Sre.IotInstanceNotFound": Misconfigured,
    "iot.system.UidNotFound": Misconfigured,
    "iot.system.BillIsOverDue": Forbidden,
    "iot.common.InvalidPageParams": BadRequest,
    "iot.common.InvalidTenant": Misconfigured,
    "iot.device.NotExistedDevice": DeviceNotFound,
    "iot.prod.NotExistedProduct": BadRequest,
}

CODES: Final[Mapping[str, type[CloudError]]] = {code.lower(): kind for code, kind in _CODES.items()}
"""By the code in lower case."""

FAMILIES: Final[tuple[tuple[re.Pattern[str], type[CloudError]], ...]] = (
    (re.compile(r"throttling\..+"), Throttled),
    (re.compile(r"forbidden\..+"), Forbidden),
    (re.compile(r"invalidaccesskeyid\..+"), AuthRefused),
    (re.compile(r"serviceunavailable.+"), Unanswered),
    # Of a package or a job as well: who asked for one knows that no device was meant.
    (re.compile(r"iot\.(device|ota|firmware)\..*not_?(exist|found).*"), DeviceNotFound),
    (re.compile(r"(missing|invalidparameter|iot\.common\.(invalid|null|missing)).*"), BadRequest),
    (re.compile(r"iot\.(device|ota|firmware|prod)\.(invalid|null|missing|toolong|incorrect).*"), BadRequest),
)
"""Tried in this order for a code, in lower case, that the table has not."""

_REMEDIES: Final[Mapping[type[CloudError], str]] = {
    AuthRefused: (
        "correct the account's access_key_id, access_key_secret_file or api.url, and start the bridge again"
    ),
    Misconfigured: "correct the account's api.url or api.api_version, and start the bridge again",
    Forbidden: "grant the access key the OTA query operations, and check that the instance is paid for",
}

_SERVER_ERROR: Final = 500

_REPEATED_REQUEST: Final = re.compile(r"\W*(the )?(server )?string to ?sign.*", re.IGNORECASE | re.DOTALL)
"""A refused signature is answered with the text that should have been signed: all that we sent."""


def kind_of(code: str) -> type[CloudError] | None:
    """Return the class of error that a code stands for, None for one that nobody knows."""
    code = code.lower()
    if (known := CODES.get(code)) is not None:
        return known
    return next((kind for family, kind in FAMILIES if family.fullmatch(code)), None)


def error_of(code: str, text: str, *, api: str, request_id: str | None, http_status: int) -> CloudError:
    """Return the error that a code stands for. An unknown one with a server's error may pass; any other is a

    SchemaMismatch: not repeated.
    """
    kind = kind_of(code) or (Unanswered if http_status >= _SERVER_ERROR else SchemaMismatch)
    words = _REPEATED_REQUEST.sub("", text)[:200] or "no text"
    return kind(words, api=api, code=code[:64], trace_id=request_id, remedy=_REMEDIES.get(kind))
