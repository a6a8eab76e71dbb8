"""The access token of one Tuya project: fetched once for all who wait, renewed early, dropped only when it is the one.

A request that used an older token may be refused long after a newer one was fetched; that says nothing about the newer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from msgspec import Struct

from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import CloudError, SchemaMismatch

log = structlog.get_logger(__name__)

RENEW_EARLY_MS: Final = 60_000
"""The margin of Tuya's own Python SDK."""

DEFAULT_LIFETIME_S: Final = 7200


class Token(Struct, frozen=True):
    """An access token and its times, in the vendor's clock."""

    value: str
    renew_at_ms: int
    expires_at_ms: int

    def __repr__(self) -> str:
        return f"<Token until {self.expires_at_ms}>"


class TuyaTokens:
    """Keeps one token. `fetch` asks the cloud for one and returns it."""

    def __init__(self, fetch: Callable[[], Awaitable[Token]], clock: VendorClock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token: Token | None = None
        self._one_at_a_time = asyncio.Lock()
        self._fetches = 0
        self._failure: CloudError | None = None

    async def get(self) -> Token:
        """Return a token that is good for a while. Raises the CloudError with which fetching failed, once for all

        who waited for it.
        """
        if (token := self._good()) is not None:
            return token

        seen = self._fetches
        async with self._one_at_a_time:
            if (token := self._good()) is not None:
                return token
            if self._fetches != seen and self._failure is not None:
                # Somebody else's fetch failed while we waited: the answer would be the same, and a request more.
                raise self._failure

            self._failure = None
            try:
                self._token = token = await self._fetch()
            except CloudError as error:
                self._failure = error
                raise
            finally:
                self._fetches += 1
            log.debug("token_fetched", expires_at_ms=token.expires_at_ms)
            return token

    def reject(self, token: Token) -> None:
        """The cloud refused `token`: drop it, unless a newer one took its place meanwhile."""
        if self._token is not None and self._token.value == token.value:
            self._token = None

    def _good(self) -> Token | None:
        token = self._token
        return token if token is not None and self._clock.now_ms() < token.renew_at_ms else None


def token_of(result: Any, *, api: str, issued_at_ms: int) -> Token:
    """Read a token call's `result`. `issued_at_ms` is the answer's own time, else the vendor's clock now."""
    if (
        not isinstance(result, dict)
        or not isinstance(result.get("access_token"), str)
        or not result["access_token"]
    ):
        raise SchemaMismatch("no access_token in the answer", api=api)

    lifetime_s: Any = result.get("expire_time", result.get("expire", DEFAULT_LIFETIME_S))
    try:
        lifetime_ms = max(0, int(lifetime_s)) * 1000
    except (TypeError, ValueError) as error:
        raise SchemaMismatch("expire_time is not a number of seconds", api=api) from error

    # A repeated call may return the live token with little time left (unconfirmed): half of it is then the margin, so
    # the calls thin out by themselves instead of following each other.
    margin_ms = min(RENEW_EARLY_MS, lifetime_ms // 2)
    expires_at_ms = issued_at_ms + lifetime_ms
    return Token(result["access_token"], expires_at_ms - margin_ms, expires_at_ms)
