"""Fetching the token of an EnOS application (contract: firmware APIs, 6.1).

While a token lives, asking again gives the same one with the time it has left, so there is no need of the call that
refreshes it.
"""

from __future__ import annotations

from typing import Any, Final

from bridge.clouds.client import Ask, Call
from bridge.clouds.errors import SchemaMismatch
from bridge.clouds.tokens import Token, token_text
from bridge.clouds.values import number

TOKEN_API: Final = "token"  # noqa: S105 - the name of the call
TOKEN_PATH: Final = "/apim-token-service/v2.0/token/get"  # noqa: S105 - a path

RENEW_EARLY_MS: Final = 60_000
"""As the same token is given again while it lives, a new one comes only about its end: so close to it we ask."""


async def login(ask: Ask) -> Token:
    """Fetch a token. What the request's body says depends on its time, so it is written where it is signed."""
    reply = await ask(Call(api=TOKEN_API, method="POST", path=TOKEN_PATH, needs_token=False))
    return token_of(reply.result, api=TOKEN_API, issued_at_ms=reply.asked_at_ms)


def token_of(body: Any, *, api: str, issued_at_ms: int) -> Token:
    """Read the answer of a token call."""
    data = body.get("data") if isinstance(body, dict) else None
    told = data if isinstance(data, dict) else {}
    value = token_text(told.get("accessToken"), name="accessToken", api=api)
    lifetime_s = number(told.get("expire"))
    if lifetime_s is None:
        raise SchemaMismatch("expire is not a number of seconds", api=api)

    # What is left of a token given again may be less than the margin: half of it then, so that the calls thin out.
    lifetime_ms = max(0, lifetime_s) * 1000
    expires_at_ms = issued_at_ms + lifetime_ms
    return Token(value, expires_at_ms - min(RENEW_EARLY_MS, lifetime_ms // 2), expires_at_ms)
