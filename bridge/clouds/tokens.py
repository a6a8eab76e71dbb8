"""The access token of one account: fetched once for all who wait, renewed early, dropped only when it is the one.

A request that used an older token may be refused long after a newer one was fetched; that says nothing about the newer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from msgspec import Struct

from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import CloudError

log = structlog.get_logger(__name__)


class Token(Struct, frozen=True):
    """An access token and its times, in the vendor's clock."""

    value: str
    renew_at_ms: int
    expires_at_ms: int

    def __repr__(self) -> str:
        return f"<Token until {self.expires_at_ms}>"


class Tokens:
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
