"""The door of EnOS's gateway: token, signature and time of each request, and the codes of refusal.

Written from `contracts/firmware-apis.md` section 6.1, apart from the bridge's signer, from what arrived on the wire.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from deploy.sandbox.cloud.enos.account import EnosAccount
from deploy.sandbox.cloud.rest import Asked, query_pairs
from deploy.sandbox.cloud.rest_faults import Refused

TOKEN_LIFETIME_S = 7200
_TIME_DIGITS = 13
DUPLICATED = 1001
UNKNOWN_APP = 1002
BAD_ENCRYPTION = 1003
BAD_PARAMETER = 1004
PARAMETER_EMPTY = 1202
TOKEN_EXPIRED = 1203
REFRESH_FAILED = 1204


class _Token(Struct, frozen=True, kw_only=True):
    value: str
    expires_at_s: float


class Door:
    """Lets the requests of one account in. `now_s` is the vendor's clock."""

    def __init__(self, account: EnosAccount, now_s: Callable[[], float]) -> None:
        self._account = account
        self._now_s = now_s
        self._token: _Token | None = None
        self._ended_by_fault: set[str] = set()
        self._times_used: set[str] = set()

    def check_encryption(self, asked: Asked) -> int:
        """Check a request for a token; return the time it was made for, in ms."""
        body = body_of(asked)
        for name in ("appKey", "encryption", "timestamp"):
            if body.get(name) in (None, ""):
                raise Refused(PARAMETER_EMPTY, f"parameter empty: {name}", "signature")
        timestamp = _time(body["timestamp"])
        text = self._account.app_key + timestamp + self._account.app_secret
        expected = hashlib.sha256(text.encode()).hexdigest()
        if not isinstance(body["encryption"], str) or not _same(expected, body["encryption"]):
            raise Refused(BAD_ENCRYPTION, "the encryption is not valid", "signature")
        if timestamp in self._times_used:
            raise Refused(DUPLICATED, "repeated requests with duplicated encryption", "signature")
        self._times_used.add(timestamp)
        return int(timestamp)

    def check_signature(self, asked: Asked) -> int:
        """Check the signature of a business call; return the time it was signed for, in ms."""
        headers = asked.headers
        for name in ("apim-accesstoken", "apim-signature", "apim-timestamp"):
            if not headers.get(name):
                raise Refused(PARAMETER_EMPTY, f"parameter empty: {name}", "signature")
        timestamp = _time(headers["apim-timestamp"])
        if not _same(sign(asked, self._account.app_secret), headers["apim-signature"]):
            raise Refused(BAD_PARAMETER, "invalid parameter: apim-signature", "signature")
        return int(timestamp)

    def check_token(self, asked: Asked) -> None:
        """Check the token of a business call."""
        value = asked.headers.get("apim-accesstoken", "")
        token = self._token
        if token is None or value != token.value or token.expires_at_s <= self._now_s():
            raise Refused(
                TOKEN_EXPIRED, "token is expired", None if value in self._ended_by_fault else "token"
            )

    def login(self) -> dict[str, object]:
        """`token/get`: the living token with the time it has left, or a new one."""
        token = self._token
        if token is None or token.expires_at_s - self._now_s() < 1:
            token = self._issue()
        return self._answer(token)

    def refresh(self, asked: Asked) -> dict[str, object]:
        """`token/refresh`: a new one in the place of the living one."""
        if self._token is None or body_of(asked).get("accessToken") != self._token.value:
            raise Refused(REFRESH_FAILED, "refresh failed", "token")
        return self._answer(self._issue())

    def end_token(self) -> None:
        """The knob `rest_token_expires`: the token given out is worth nothing from now on."""
        if self._token is not None:
            self._ended_by_fault.add(self._token.value)
        self._token = None

    def _issue(self) -> _Token:
        self._token = _Token(value=secrets.token_hex(16), expires_at_s=self._now_s() + TOKEN_LIFETIME_S)
        return self._token

    def _answer(self, token: _Token) -> dict[str, object]:
        return {"accessToken": token.value, "expire": int(token.expires_at_s - self._now_s())}


def sign(asked: Asked, app_secret: str) -> str:
    """The signature that a business call must carry: lower-case hex of SHA-256."""
    glued = "".join(f"{name}{value}" for name, value in sorted(parameters_of(asked).items()))
    parts = (
        asked.headers.get("apim-accesstoken", "").encode(),
        glued.encode(),
        asked.body,
        asked.headers.get("apim-timestamp", "").encode(),
        app_secret.encode(),
    )
    return hashlib.sha256(b"".join(parts)).hexdigest()


def parameters_of(asked: Asked) -> dict[str, str]:
    """Names and decoded values of the query; a repeated name is refused, since nobody says what is signed then."""
    parameters: dict[str, str] = {}
    for name, value in query_pairs(asked.query):
        if name in parameters:
            raise Refused(BAD_PARAMETER, f"invalid parameter: {name} is repeated", "form")
        parameters[name] = value
    return parameters


def body_of(asked: Asked) -> dict[str, Any]:
    """Return the JSON object that a request carries."""
    kind = asked.headers.get("content-type", "").replace(" ", "").lower()
    if kind not in ("application/json", "application/json;charset=utf-8"):
        raise Refused(BAD_PARAMETER, "invalid parameter: content-type", "form")
    try:
        body = msgspec.json.decode(asked.body)
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict):
        raise Refused(BAD_PARAMETER, "invalid parameter: the body is no JSON object", "form")
    return body


def _time(value: object) -> str:
    """A time in ms, as a number or as a text."""
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or len(text) != _TIME_DIGITS:
        raise Refused(BAD_PARAMETER, "invalid parameter: timestamp", "signature")
    return text


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode())
