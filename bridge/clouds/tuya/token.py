"""Fetching the token of a Tuya project: `grant_type=1`, anew each time (contract: firmware APIs, 1.4).

The refresh token works only once and would be lost with the process, so it is not used.
"""

from __future__ import annotations

from typing import Any, Final

from bridge.clouds.client import Ask, Call
from bridge.clouds.errors import SchemaMismatch
from bridge.clouds.tokens import Token, token_text

TOKEN_API: Final = "token"  # noqa: S105 - the name of the call

RENEW_EARLY_MS: Final = 60_000
"""The margin of Tuya's own Python SDK."""

DEFAULT_LIFETIME_S: Final = 7200


async def login(ask: Ask) -> Token:
    """Fetch a token."""
    reply = await ask(Call(api=TOKEN_API, path="/v1.0/token", query={"grant_type": "1"}, needs_token=False))
    return token_of(reply.result, api=TOKEN_API, issued_at_ms=reply.asked_at_ms)


def token_of(result: Any, *, api: str, issued_at_ms: int) -> Token:
    """Read a token call's `result`. `issued_at_ms` is the answer's own time, else the vendor's clock now."""
    told = result if isinstance(result, dict) else {}
    value = token_text(told.get("access_token"), name="access_token", api=api)
    lifetime_s: Any = told.get("expire_time", told.get("expire", DEFAULT_LIFETIME_S))
    try:
        lifetime_ms = max(0, int(lifetime_s)) * 1000
    except (TypeError, ValueError) as error:
        raise SchemaMismatch("expire_time is not a number of seconds", api=api) from error

    # A repeated call may return the live token with little time left (unconfirmed): half of it is then the margin, so
    # the calls thin out by themselves instead of following each other.
    margin_ms = min(RENEW_EARLY_MS, lifetime_ms // 2)
    expires_at_ms = issued_at_ms + lifetime_ms
    return Token(value, expires_at_ms - margin_ms, expires_at_ms)
