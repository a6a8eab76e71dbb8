"""One Tuya project's OpenAPI: every request with a token and a signature, mended and repeated as the table says.

`tuya_cloud` uses it; the commercial-lighting API of the same projects can.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog
from msgspec import Struct

from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import ClockSkewed, CloudError, Mendable, TokenRejected
from bridge.clouds.retry import with_retries
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Pace
from bridge.clouds.transport import Request, Transport
from bridge.clouds.tuya_envelope import Envelope, open_envelope, result_of
from bridge.clouds.tuya_sign import is_token_call, sign, sign_legacy, string_to_sign, target_of
from bridge.clouds.tuya_token import Token, TuyaTokens, token_of

log = structlog.get_logger(__name__)

TOKEN_API: Final = "token"  # noqa: S105 - the name of the call


class Reply(Struct, frozen=True):
    """An answer's result, and the vendor's clock when the request was sent."""

    result: Any
    asked_at_ms: int


class TuyaClient:
    """Asks one project. All requests go through `pace`, those for tokens too."""

    def __init__(
        self,
        account: ApiAccount,
        transport: Transport,
        pace: Pace,
        clock: VendorClock,
        *,
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
    ) -> None:
        self.clock = clock
        self.tokens = TuyaTokens(self._fetch_token, clock)
        self._account = account
        self._transport = transport
        self._pace = pace
        self._sleep = sleep
        self._jitter = jitter

    async def get(self, api: str, path: str, query: Mapping[str, str] | None = None) -> Reply:
        """Send a business call. `path` is percent-encoded already, `query` is not. Raises CloudError."""
        return await with_retries(
            lambda: self._mended(api, path, query or {}), sleep=self._sleep, jitter=self._jitter
        )

    def sign(self, api: str, path: str, query: Mapping[str, str], token: Token | None) -> Request:
        """Return the GET request, signed at this moment. Tokens are fetched without a token."""
        t = str(self.clock.signing_ms())
        key, access_token = self._account.access_key.reveal(), token.value if token else ""
        headers = {"client_id": self._account.access_id, "t": t}
        if self._account.api.sign_version == "legacy":
            signature = sign_legacy(self._account.access_id, key, t, access_token=access_token)
        else:
            text = string_to_sign("GET", path, query)
            signature = sign(self._account.access_id, key, t, text, access_token=access_token)
        headers |= {"sign": signature, "sign_method": "HMAC-SHA256"}
        if token is not None:
            headers["access_token"] = access_token
        return Request(api=api, method="GET", target=target_of(path, query), headers=headers)

    async def _mended(self, api: str, path: str, query: Mapping[str, str]) -> Reply:
        """Send the request, and once more for each of: a fresh token, a corrected clock."""
        mended: set[str] = set()
        while True:
            token = None if is_token_call(path) else await self.tokens.get()
            try:
                return await self._exchange(api, path, query, token)
            except Mendable as error:
                if error.error in mended:
                    raise
                mended.add(error.error)
                if token is not None and isinstance(error, TokenRejected):
                    self.tokens.reject(token)
                log.info(
                    "request_mended", account=self._account.name, api=api, error=error.error, code=error.code
                )

    async def _exchange(self, api: str, path: str, query: Mapping[str, str], token: Token | None) -> Reply:
        async with self._pace.turn():
            sent_ms = self.clock.local_ms()
            try:
                answer = await self._transport.send(self.sign(api, path, query, token))
                envelope = open_envelope(answer, api=api)
                received_ms = self.clock.local_ms()
                try:
                    result = result_of(envelope, api=api)
                except CloudError as error:
                    refused = isinstance(error, ClockSkewed)
                    self._learn_time(envelope, sent_ms, received_ms, refused=refused)
                    raise
                self._learn_time(envelope, sent_ms, received_ms)
                return Reply(result, self.clock.at_ms(sent_ms))
            except CloudError as error:
                error.asked_at_ms = self.clock.at_ms(sent_ms)
                raise

    def _learn_time(
        self, envelope: Envelope, sent_ms: int, received_ms: int, *, refused: bool = False
    ) -> None:
        if envelope.time_ms is not None:
            self.clock.learn(
                envelope.time_ms,
                sent_ms=sent_ms,
                received_ms=received_ms,
                resolution_ms=envelope.resolution_ms,
                refused=refused,
            )

    async def _fetch_token(self) -> Token:
        # Not repeated here: the call that needs the token is, by its own count.
        reply = await self._mended(TOKEN_API, "/v1.0/token", {"grant_type": "1"})
        return token_of(reply.result, api=TOKEN_API, issued_at_ms=reply.asked_at_ms)
