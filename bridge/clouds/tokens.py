"""The access token of one account: fetched once for all who wait, renewed early, dropped only when it is the one.

A request that used an older token may be refused long after a newer one was fetched; that says nothing about the newer.
While renewing fails for now, the old one is used to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from msgspec import Struct

from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import CloudError, SchemaMismatch, Transient
from bridge.clouds.values import text

log = structlog.get_logger(__name__)

RENEW_PAUSE_MS: Final = 10_000
"""Between two attempts to renew a token that is still valid: of the usual minute before its end, six fit in."""


class Token(Struct, frozen=True):
    """An access token and its times, in the vendor's clock."""

    value: str
    renew_at_ms: int
    expires_at_ms: int

    def __repr__(self) -> str:
        return f"<Token until {self.expires_at_ms}>"


def token_text(value: Any, *, name: str, api: str) -> str:
    """Return an access token of an answer, by the name that it has there.

    Raises SchemaMismatch where there is none, or none that a header can carry: printable ASCII (RFC 9110, 5.5).
    """
    token = text(value)
    if token is None:
        raise SchemaMismatch(f"no {name} in the answer", api=api)
    if not (token.isascii() and token.isprintable()):
        raise SchemaMismatch(f"{name} has characters that cannot be sent", api=api)
    return token


class Tokens:
    """Keeps one token. `fetch` asks the cloud for one and returns it."""

    def __init__(self, fetch: Callable[[], Awaitable[Token]], clock: VendorClock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token: Token | None = None
        self._one_at_a_time = asyncio.Lock()
        self._fetches = 0
        self._failure: CloudError | None = None
        self._renew_after_ms = 0
        """By the local clock, which no answer moves."""

    async def get(self) -> Token:
        """Return a token that is good for a while, or where renewing fails for now, the old one while it is valid.

        Raises the CloudError with which fetching failed, once for all who waited for it.
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
                if not isinstance(error, Transient) or (old := self._valid()) is None:
                    raise
                self._renew_after_ms = self._clock.local_ms() + RENEW_PAUSE_MS
                log.info(
                    "token_not_renewed",
                    api=error.api,
                    error=error.error,
                    code=error.code,
                    expires_at_ms=old.expires_at_ms,
                )
                return old
            finally:
                self._fetches += 1
            log.debug("token_fetched", expires_at_ms=token.expires_at_ms)
            return token

    def reject(self, token: Token) -> None:
        """The cloud refused `token`: drop it, unless a newer one took its place meanwhile."""
        if self._token is not None and self._token.value == token.value:
            self._token = None

    def _good(self) -> Token | None:
        """The token, unless it is to be renewed now."""
        token = self._valid()
        is_due = token is not None and self._clock.now_ms() >= token.renew_at_ms
        return None if is_due and self._clock.local_ms() >= self._renew_after_ms else token

    def _valid(self) -> Token | None:
        token = self._token
        return token if token is not None and self._clock.now_ms() < token.expires_at_ms else None
