"""The door of the simulated Hedwig: common parameters, time, signature and nonce of each request.

Written from `contracts/firmware-apis.md` section 4 and the rules of Alibaba's RPC gateway, apart from the bridge's
signer, from the query as it arrived on the wire.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import unquote

from deploy.sandbox.cloud.hedwig.account import HedwigAccount
from deploy.sandbox.cloud.request_log import RefusalKind
from deploy.sandbox.cloud.rest import Asked
from deploy.sandbox.cloud.rest_faults import Refused

VERSIONS = ("2018-01-20", "2022-01-01")
COMMON = (
    "AccessKeyId",
    "Action",
    "Format",
    "Signature",
    "SignatureMethod",
    "SignatureNonce",
    "SignatureVersion",
    "Timestamp",
    "Version",
)
_REQUIRED = (
    "Version",
    "AccessKeyId",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "SignatureNonce",
    "Timestamp",
    "Action",
)
_TIME_TOLERANCE_S = 900
"""The gateway's quarter of an hour."""
_LONGEST_NONCE = 64
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Door:
    """Lets the requests of one account in. `now_s` is the right time, `skew_s` how far ahead the vendor's clock is."""

    def __init__(
        self, account: HedwigAccount, now_s: Callable[[], float], skew_s: Callable[[], float]
    ) -> None:
        self._account = account
        self._right_s = now_s
        self._skew_s = skew_s
        self._skews_s: set[float] = {0.0}
        self._nonces: set[str] = set()
        self._nonce_times: deque[tuple[float, str]] = deque()

    def check(self, asked: Asked) -> None:
        """Check everything that a request must have whatever it asks for."""
        parameters = parameters_of(asked)
        for name in _REQUIRED:
            if not parameters.get(name):
                raise _refused(f"Missing{name}", f"{name} is mandatory for this action.", "signature")
        if parameters.get("Format", "XML") not in ("JSON", "XML"):
            raise _refused("InvalidParameter.Format", "Specified parameter format is not valid.", "form")
        if parameters["Version"] not in VERSIONS:
            raise _refused("InvalidVersion", "Specified parameter Version is not valid.", "form")
        if parameters["SignatureMethod"] != "HMAC-SHA1" or parameters["SignatureVersion"] != "1.0":
            raise _refused("InvalidSignatureMethod", "Specified signature method is not valid.", "signature")
        self._check_time(parameters["Timestamp"])
        expected = signature_of(asked, self._account.access_key_secret)
        if not hmac.compare_digest(expected.encode(), parameters["Signature"].encode()):
            text = "Specified signature is not matched with our calculation. server string to sign is:"
            raise _refused("SignatureDoesNotMatch", text + string_to_sign(asked), "signature")
        self._check_nonce(parameters["SignatureNonce"])

    def _check_time(self, text: str) -> None:
        signed_at_s: float | None = None
        if _TIMESTAMP.fullmatch(text):
            try:
                signed_at_s = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
            except ValueError:
                signed_at_s = None
        if signed_at_s is None:
            raise _refused(
                "InvalidTimeStamp.Format",
                "Specified time stamp or date value is not well formatted.",
                "signature",
            )
        self._skews_s.add(self._skew_s())
        if not self._in_time(signed_at_s, self._skew_s()):
            # A client that follows a clock which a knob has set, or set back, is not to blame.
            misled = any(self._in_time(signed_at_s, skew_s) for skew_s in self._skews_s)
            raise _refused(
                "InvalidTimeStamp.Expired",
                "Specified time stamp or date value is expired.",
                None if misled else "signature",
            )

    def _in_time(self, signed_at_s: float, skew_s: float) -> bool:
        return abs(signed_at_s - self._right_s() - skew_s) <= _TIME_TOLERANCE_S

    def _check_nonce(self, nonce: str) -> None:
        now_s = self._right_s() + self._skew_s()
        # Remembered for as long as a request with an old time would still be let in.
        while self._nonce_times and self._nonce_times[0][0] < now_s - 2 * _TIME_TOLERANCE_S:
            self._nonces.discard(self._nonce_times.popleft()[1])
        if nonce in self._nonces or len(nonce) > _LONGEST_NONCE:
            raise _refused("SignatureNonceUsed", "Specified signature nonce was used already.", "signature")
        self._nonces.add(nonce)
        self._nonce_times.append((now_s, nonce))


def parameters_of(asked: Asked) -> dict[str, str]:
    """Names and decoded values of the query; a plus is a plus, as the encoding rules have it."""
    parameters: dict[str, str] = {}
    for part in asked.query.split("&") if asked.query else ():
        name, _, value = part.partition("=")
        name = unquote(name)
        if name in parameters:
            raise _refused("InvalidParameter", f"Specified parameter {name} is repeated.", "form")
        parameters[name] = unquote(value)
    return parameters


def string_to_sign(asked: Asked) -> str:
    """The text that has to be signed: everything that came, but for the signature."""
    parameters = parameters_of(asked)
    pairs = [
        f"{_percent(name)}={_percent(parameters[name])}"
        for name in sorted(parameters, key=str.encode)
        if name != "Signature"
    ]
    return f"{asked.method}&%2F&{_percent('&'.join(pairs))}"


def signature_of(asked: Asked, secret: str) -> str:
    """The signature that a request must carry."""
    digest = hmac.digest(secret.encode() + b"&", string_to_sign(asked).encode(), hashlib.sha1)
    return base64.standard_b64encode(digest).decode("ascii")


def _percent(text: str) -> str:
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def _refused(code: str, text: str, kind: RefusalKind | None = None) -> Refused:
    return Refused(code, text, kind, status=400)
