"""The door of the Tuya OpenAPI: client, time, signature, nonce and token of each request, and the codes of refusal.

Written from `contracts/firmware-apis.md` section 1, apart from the bridge's signer, from what arrived on the wire.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from deploy.sandbox.cloud.rest import Asked, query_pairs
from deploy.sandbox.cloud.rest_faults import Refused
from deploy.sandbox.cloud.tuya.account import TuyaAccount

TOKEN_PATH = "/v1.0/token"  # noqa: S105 - a path
"""Calls of it are signed and served without an access token."""
_TIME_TOLERANCE_MS = 300_000
_TIME_DIGITS = 13
TOKEN_LIFETIME_S = 7200
_REISSUE_BELOW_S = 120
"""Asked for a token while one lives, the cloud repeats it with the time it has left, down to this."""


class _Token(Struct, frozen=True, kw_only=True):
    access: str
    refresh: str
    expires_at_s: float


class Door:
    """Lets the requests of one account in. `now_s` is the right time, `skew_s` how far ahead the vendor's clock is."""

    def __init__(self, account: TuyaAccount, now_s: Callable[[], float], skew_s: Callable[[], float]) -> None:
        self._account = account
        self._right_s = now_s
        self._skew_s = skew_s
        self._skews_s: set[float] = {0.0}
        self._nonces: set[str] = set()
        self._nonce_times: deque[tuple[float, str]] = deque()
        self._token: _Token | None = None
        self._ended_by_fault: set[str] = set()
        self._older: dict[str, float] = {}

    def now_s(self) -> float:
        """The vendor's clock."""
        return self._right_s() + self._skew_s()

    def check_signature(self, asked: Asked) -> int:
        """Check time, signature and nonce; return the time it was signed for, in ms."""
        headers = asked.headers
        missing = [name for name in ("t", "sign") if not headers.get(name)]
        if missing:
            raise Refused(1105, f"missing the header {', '.join(missing)}", "signature")
        if headers.get("sign_method") != "HMAC-SHA256":
            raise Refused(1004, "sign invalid", "signature")
        signed_at_ms = self._check_time(headers["t"])
        signature = sign(asked, self._account.access_id, self._account.access_key)
        if not hmac.compare_digest(signature.encode(), headers["sign"].encode()):
            raise Refused(1004, "sign invalid", "signature")
        if nonce := headers.get("nonce"):
            self._check_nonce(nonce)
        return signed_at_ms

    def check_token(self, asked: Asked) -> None:
        """Check the access token of a business call."""
        access = asked.headers.get("access_token", "")
        if not access:
            raise Refused(1002, "access_token is null", "token")
        if self._token is not None and access == self._token.access:
            if self._token.expires_at_s > self.now_s():
                return
        elif self._older.get(access, 0.0) > self.now_s():
            return
        raise Refused(1010, "token invalid", None if access in self._ended_by_fault else "token")

    def login(self) -> dict[str, object]:
        """`grant_type=1`: the living token with the time it has left, or a new one."""
        token = self._token
        if token is None or token.expires_at_s - self.now_s() < _REISSUE_BELOW_S:
            if token is not None:
                self._older = {token.access: token.expires_at_s}
            token = self._issue()
        return self._answer(token)

    def refresh(self, refresh_token: str) -> dict[str, object]:
        """A refresh token works once, and ends its access token."""
        if self._token is None or self._token.refresh != refresh_token:
            raise Refused(1010, "token invalid", "token")
        self._older.clear()
        return self._answer(self._issue())

    def end_token(self) -> None:
        """The knob `rest_token_expires`: every token given out is worth nothing from now on."""
        if self._token is not None:
            self._ended_by_fault |= {self._token.access, *self._older}
        self._token = None
        self._older.clear()

    def _check_time(self, text: str) -> int:
        if len(text) != _TIME_DIGITS or not (text.isascii() and text.isdigit()):
            raise Refused(1013, "request time is invalid", "signature")
        signed_at_ms = int(text)
        self._skews_s.add(self._skew_s())
        if not self._in_time(signed_at_ms, self._skew_s()):
            # A client that follows a clock which a knob has set, or set back, is not to blame.
            misled = any(self._in_time(signed_at_ms, skew_s) for skew_s in self._skews_s)
            raise Refused(1013, "request time is invalid", None if misled else "signature")
        return signed_at_ms

    def _in_time(self, signed_at_ms: int, skew_s: float) -> bool:
        return abs(signed_at_ms - (self._right_s() + skew_s) * 1000) <= _TIME_TOLERANCE_MS

    def _check_nonce(self, nonce: str) -> None:
        now_s = self.now_s()
        # Remembered for as long as a request with an old time would still be let in.
        while self._nonce_times and self._nonce_times[0][0] < now_s - 2 * _TIME_TOLERANCE_MS / 1000:
            self._nonces.discard(self._nonce_times.popleft()[1])
        if nonce in self._nonces:
            raise Refused(1004, "sign invalid", "signature")
        self._nonces.add(nonce)
        self._nonce_times.append((now_s, nonce))

    def _issue(self) -> _Token:
        self._token = _Token(
            access=secrets.token_hex(16),
            refresh=secrets.token_hex(16),
            expires_at_s=self.now_s() + TOKEN_LIFETIME_S,
        )
        return self._token

    def _answer(self, token: _Token) -> dict[str, object]:
        return {
            "access_token": token.access,
            "refresh_token": token.refresh,
            "expire_time": int(token.expires_at_s - self.now_s()),
            "uid": f"bay{self._account.access_id}",
        }


def sign(asked: Asked, access_id: str, access_key: str) -> str:
    """The signature that a request must carry: upper-case hex of HMAC-SHA256."""
    headers = asked.headers
    signed_names = [name for name in headers.get("signature-headers", "").split(":") if name]
    block = "".join(f"{name}:{headers.get(name.lower(), '')}\n" for name in signed_names)
    content_hash = hashlib.sha256(asked.body).hexdigest()
    string_to_sign = "\n".join([asked.method, content_hash, block, _canonical_url(asked)])
    token = "" if TOKEN_PATH in asked.path else headers.get("access_token", "")
    text = access_id + token + headers.get("t", "") + headers.get("nonce", "") + string_to_sign
    return hmac.new(access_key.encode(), text.encode(), hashlib.sha256).hexdigest().upper()


def query_parameters(query: str) -> dict[str, str]:
    """Names and decoded values. A repeated name is refused: the SDKs disagree on which one counts."""
    pairs: dict[str, str] = {}
    for name, value in query_pairs(query):
        if name in pairs:
            raise Refused(1109, f"param is illegal: {name} is repeated", "form")
        pairs[name] = value
    return pairs


def _canonical_url(asked: Asked) -> str:
    parameters = query_parameters(asked.query)
    if not parameters:
        return asked.path
    return asked.path + "?" + "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
