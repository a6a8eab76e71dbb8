"""The one login of an application (contract: firmware APIs, 5.1): only the last token given out is valid.

A token that grows old is renewed with its refresh token; one that was refused, or whose renewal failed for whatever
reason, is replaced by a login: either call may work while the other does not. That there is one of these at a time is
the business of `bridge/clouds/tokens.py`.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import structlog

from bridge.clouds.client import Ask, Call
from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import CloudError, SchemaMismatch, Throttled
from bridge.clouds.oceanconnect.settings import OceanConnectCredentials
from bridge.clouds.tokens import Token, token_text
from bridge.clouds.values import number, text
from consumer.secret import Secret

log = structlog.get_logger(__name__)

LOGIN_API: Final = "login"
LOGIN_PATH: Final = "/iocm/app/sec/v1.1.0/login"
REFRESH_API: Final = "refresh-token"
REFRESH_PATH: Final = "/iocm/app/sec/v1.1.0/refreshToken"

RENEW_AT: Final = 0.8
"""Of its life."""


class Login:
    """Fetches the tokens of one application, and knows what the calls for them carry."""

    def __init__(self, credentials: OceanConnectCredentials, clock: VendorClock) -> None:
        self._credentials = credentials
        self._clock = clock
        self._refresh: Secret | None = None
        self._renew_at_ms = 0

    async def __call__(self, ask: Ask) -> Token:
        """Fetch a token."""
        # Before its time a token is only replaced because it was refused; then the refresh token is in doubt as well.
        if self._refresh is not None and self._clock.now_ms() >= self._renew_at_ms:
            try:
                return await self._fetch(ask, REFRESH_API, REFRESH_PATH)
            except Throttled:
                raise
            except CloudError as error:
                log.info("token_not_refreshed", error=error.error, code=error.code, text=error.text)
                self._refresh = None
        return await self._fetch(ask, LOGIN_API, LOGIN_PATH)

    def content_of(self, api: str) -> tuple[str, bytes]:
        """Return type and body of a call for a token: made when it is sent, so that no secret waits in a `Call`."""
        application = {"appId": self._credentials.app_id, "secret": self._credentials.secret.reveal()}
        if api == REFRESH_API and self._refresh is not None:
            return "application/json", msgspec.json.encode(
                application | {"refreshToken": self._refresh.reveal()}
            )
        return "application/x-www-form-urlencoded", urlencode(application).encode("ascii")

    async def _fetch(self, ask: Ask, api: str, path: str) -> Token:
        reply = await ask(Call(api=api, method="POST", path=path, needs_token=False))
        token, self._refresh = tokens_of(reply.result, api=api, issued_at_ms=reply.asked_at_ms)
        self._renew_at_ms = token.renew_at_ms
        return token


def tokens_of(result: Any, *, api: str, issued_at_ms: int) -> tuple[Token, Secret | None]:
    """Read a login's answer: the access token, and the refresh token where there is one. Times are the vendor's."""
    told = result if isinstance(result, dict) else {}
    access = token_text(told.get("accessToken"), name="accessToken", api=api)
    refresh = text(told.get("refreshToken"))
    lifetime_s = number(told.get("expiresIn"))
    if lifetime_s is None:
        raise SchemaMismatch("expiresIn is not a number of seconds", api=api)

    lifetime_ms = max(0, lifetime_s) * 1000
    token = Token(access, issued_at_ms + int(lifetime_ms * RENEW_AT), issued_at_ms + lifetime_ms)
    return token, None if refresh is None else Secret(refresh)
