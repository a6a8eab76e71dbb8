"""The door of the northbound API: logins, the one valid token, headers, and the codes of refusal.

Written from `contracts/firmware-apis.md` section 5.1, apart from the bridge's client.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

from deploy.sandbox.cloud.oceanconnect.account import OceanConnectAccount
from deploy.sandbox.cloud.request_log import RefusalKind
from deploy.sandbox.cloud.rest import Asked, query_pairs
from deploy.sandbox.cloud.rest_faults import Refused

TOKEN_LIFETIME_S = 3600
REFRESH_LIFETIME_S = 30 * 24 * 3600
LOGIN_PATH = "/iocm/app/sec/v1.1.0/login"
REFRESH_PATH = "/iocm/app/sec/v1.1.0/refreshToken"
_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"


def fields_of(asked: Asked) -> dict[str, str]:
    """What a call for a token carries: a form to log in, JSON to refresh."""
    kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
    expected = _FORM if asked.path == LOGIN_PATH else _JSON
    if kind != expected:
        raise Refused("120015", f"Bad request error: Content-Type is not {expected}", "form", status=400)
    try:
        text = asked.body.decode()
        told: Any = dict(query_pairs(text)) if kind == _FORM else json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise Refused("120015", "Bad request error.", "form", status=400)
    return {name: value for name, value in told.items() if isinstance(value, str) and value}


class Door:
    """Lets the requests of one application in. `now_s` is the vendor's clock."""

    def __init__(self, account: OceanConnectAccount, now_s: Callable[[], float]) -> None:
        self._account = account
        self._now_s = now_s
        self._access: str | None = None
        self._refresh: str | None = None
        self._access_until_s = 0.0
        self._refresh_until_s = 0.0
        self._ended_by_fault: set[str] = set()
        self._issued = 0

    def check_login(self, asked: Asked) -> None:
        """Check who wants a token."""
        fields = fields_of(asked)
        if "secret" not in fields:
            raise Refused("102202", "Required Parameter is null or empty.", "form", status=400)
        if not secrets.compare_digest(fields["secret"].encode(), self._account.secret.encode()):
            raise Refused("100208", "AppId or secret is not right.", "signature", status=401)

    def check_headers(self, asked: Asked) -> None:
        """Check what every business call carries beside its token."""
        if asked.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
            raise Refused("120015", f"Bad request error: Content-Type is not {_JSON}", "form", status=400)

    def check_token(self, asked: Asked) -> None:
        """Only the last token given out is valid."""
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        is_mine = scheme.lower() == "bearer" and token and token == self._access
        if not is_mine or self._now_s() >= self._access_until_s:
            kind: RefusalKind | None = None if token in self._ended_by_fault else "token"
            raise Refused("1010005", "App_key or access_token is invalid.", kind, status=403)

    def log_in(self) -> dict[str, object]:
        """Give out a token; the one before is worth nothing from now on."""
        self._issued += 1
        self._access, self._refresh = secrets.token_hex(16), secrets.token_hex(16)
        self._access_until_s = self._now_s() + TOKEN_LIFETIME_S
        self._refresh_until_s = self._now_s() + REFRESH_LIFETIME_S
        return {
            "scope": "default",
            "tokenType": "bearer",
            # A number by the documents, a text by some servers.
            "expiresIn": TOKEN_LIFETIME_S if self._issued % 2 else str(TOKEN_LIFETIME_S),
            "accessToken": self._access,
            "refreshToken": self._refresh,
        }

    def refresh(self, asked: Asked) -> dict[str, object]:
        """Give out a token for the last refresh token."""
        given = fields_of(asked).get("refreshToken")
        if given is None:
            raise Refused("102202", "Required Parameter is null or empty.", "form", status=400)
        if given != self._refresh or self._now_s() >= self._refresh_until_s:
            raise Refused("1010005", "App_key or access_token is invalid.", "token", status=403)
        return self.log_in()

    def end_token(self) -> None:
        """The knob `rest_token_expires`: every token given out is worth nothing from now on."""
        if self._access is not None:
            self._ended_by_fault.add(self._access)
        self._access = None
