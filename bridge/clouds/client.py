"""One account's requests, the same for every cloud: paced, signed as they are sent, timed, mended, repeated.

What differs between clouds is their `Dialect` and how they log in. The way of a request, numbered the same in code:

1. **Token**: the account's one token is fetched, once for all who wait for it.
2. **Turn**: wait until the account's rate lets the request go.
3. **Sign and send**, so that a signature's time is that of sending; a repeated request is signed anew.
4. **Learn** the vendor's clock from the answer.
5. **Mend**: once with a fresh token, once with a corrected clock.
6. **Repeat** what may succeed later, as the table in `errors.py` says; only requests that change nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import structlog
from msgspec import Struct

from bridge.clouds.clock import VendorClock, VendorTime
from bridge.clouds.errors import ClockSkewed, CloudError, Mendable, TokenRejected
from bridge.clouds.retry import with_retries
from bridge.clouds.shape import Means
from bridge.clouds.tokens import Token, Tokens
from bridge.clouds.wire import Answer, Request

log = structlog.get_logger(__name__)


class Call(Struct, frozen=True, kw_only=True):
    """A question, before it is signed. `path` is percent-encoded already, `query` is not."""

    api: str
    """The name under which it is counted, logged and given as evidence."""
    method: str = "GET"
    path: str = "/"
    query: Mapping[str, str] = {}
    body: bytes = b""
    needs_token: bool = True
    """False for the calls that fetch a token."""


class Opened(Struct, frozen=True, kw_only=True):
    """An answer as its dialect reads it: a result or an error, and the vendor's clock where the answer tells it."""

    result: Any = None
    error: CloudError | None = None
    time: VendorTime | None = None


class Reply(Struct, frozen=True):
    """An answer's result, and the vendor's clock when the request was sent."""

    result: Any
    asked_at_ms: int


class Dialect(Protocol):
    """How one cloud signs its requests and wraps its answers."""

    def sign(self, call: Call, token: Token | None) -> Request:
        """Return the request, signed at this moment."""
        ...

    def open(self, answer: Answer, call: Call) -> Opened:
        """Read an answer. Raises CloudError where it is not one of the cloud's own."""
        ...


Ask = Callable[[Call], Awaitable[Reply]]
Login = Callable[[Ask], Awaitable[Token]]
"""Fetches a token with the calls it needs (`needs_token=False`); they are mended, not repeated: the call that needs the

token is, by its own count.
"""


class ApiClient:
    """Asks one account's API. All requests go through the pace, those for tokens too. Raises CloudError."""

    def __init__(
        self, account: str, dialect: Dialect, means: Means, clock: VendorClock, *, login: Login | None = None
    ) -> None:
        self._account = account
        self._dialect = dialect
        self._means = means
        self._clock = clock
        self._tokens = None if login is None else Tokens(lambda: login(self._mended), clock)

    async def ask(self, call: Call) -> Reply:
        """Send a call that changes nothing."""
        # 6. Repeat
        return await with_retries(
            lambda: self._mended(call), sleep=self._means.sleep, jitter=self._means.jitter
        )

    async def act(self, call: Call) -> Reply:
        """Send a call that changes something: not repeated, because nobody knows what a lost answer said."""
        return await self._mended(call)

    async def _mended(self, call: Call) -> Reply:
        mended: set[str] = set()
        while True:
            # 1. Token
            token = await self._tokens.get() if self._tokens is not None and call.needs_token else None
            try:
                return await self._exchange(call, token)
            except Mendable as error:
                # 5. Mend
                if error.error in mended:
                    raise
                mended.add(error.error)
                if self._tokens is not None and token is not None and isinstance(error, TokenRejected):
                    self._tokens.reject(token)
                log.info(
                    "request_mended", account=self._account, api=call.api, error=error.error, code=error.code
                )

    async def _exchange(self, call: Call, token: Token | None) -> Reply:
        # 2. Turn
        async with self._means.pace.turn():
            sent_ms = self._clock.local_ms()
            try:
                # 3. Sign and send
                answer = await self._means.transport.send(self._dialect.sign(call, token))
                opened = self._dialect.open(answer, call)
                # 4. Learn
                self._learn(opened, sent_ms)
                if opened.error is not None:
                    raise opened.error
                return Reply(opened.result, self._clock.at_ms(sent_ms))
            except CloudError as error:
                error.asked_at_ms = self._clock.at_ms(sent_ms)
                raise

    def _learn(self, opened: Opened, sent_ms: int) -> None:
        if opened.time is not None:
            self._clock.learn(
                opened.time.at_ms,
                sent_ms=sent_ms,
                received_ms=self._clock.local_ms(),
                resolution_ms=opened.time.resolution_ms,
                refused=isinstance(opened.error, ClockSkewed),
            )
