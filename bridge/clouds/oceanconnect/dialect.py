"""How a request to OceanConnect is authorised and sent, and how its answer is read: see `client.Dialect`."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from bridge.clouds.client import Call, Opened
from bridge.clouds.clock import VendorClock, date_of
from bridge.clouds.errors import (
    AuthRefused,
    BadRequest,
    CloudError,
    SchemaMismatch,
    Throttled,
    TokenRejected,
    Unanswered,
)
from bridge.clouds.oceanconnect.errors import error_of
from bridge.clouds.oceanconnect.token import REFRESH_API, Login
from bridge.clouds.tokens import Token
from bridge.clouds.wire import Answer, Request
from schemas.unreadable import UNREADABLE

_OK: Final = range(200, 300)
_UNAUTHORIZED: Final = 401
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500


class OceanConnectDialect:
    """One application's requests and answers."""

    def __init__(self, app_id: str, login: Login, clock: VendorClock) -> None:
        self._app_id = app_id
        self._login = login
        self._clock = clock

    def sign(self, call: Call, token: Token | None) -> Request:
        """Return the request. Tokens are fetched without a token and without `app_key`."""
        if token is None:
            content_type, body = self._login.content_of(call.api)
            headers = {"content-type": content_type}
        else:
            body = call.body
            headers = {
                "app_key": self._app_id,
                "authorization": f"Bearer {token.value}",
                "content-type": "application/json",
            }
        query = urlencode(call.query, quote_via=quote)
        target = f"{call.path}?{query}" if query else call.path
        return Request(api=call.api, method=call.method, target=target, headers=headers, body=body)

    def open(self, answer: Answer, call: Call) -> Opened:
        """Read an answer; an error code counts whatever the HTTP status says.

        Raises Throttled for HTTP 429, Unanswered for what is not a JSON object.
        """
        if answer.status == _TOO_MANY_REQUESTS:
            raise Throttled("too many requests", api=call.api, code="http-429")

        body = _json(answer, api=call.api)
        error = self._error(answer, body, call)
        time = date_of(answer.headers)
        return Opened(result=body, time=time) if error is None else Opened(error=error, time=time)

    def _error(self, answer: Answer, body: dict[str, Any], call: Call) -> CloudError | None:
        code, text = code_of(body), body.get("error_desc")
        if code is not None:
            words = text if isinstance(text, str) else ""
            error = error_of(code, words, api=call.api, now_ms=self._clock.now_ms())
            if isinstance(error, TokenRejected) and call.api == REFRESH_API:
                # There is no other refresh token to try; a login is what mends it.
                return BadRequest(error.text, api=call.api, code=code)
            return error
        if answer.status in _OK:
            return None

        told = f"HTTP status {answer.status} without an error code"
        if answer.status >= _SERVER_ERROR:
            return Unanswered(told, api=call.api, code=f"http-{answer.status}")
        if answer.status == _UNAUTHORIZED:
            kind = TokenRejected if call.needs_token else AuthRefused
            return kind(told, api=call.api, code="http-401")
        return SchemaMismatch(told, api=call.api, code=f"http-{answer.status}")


def code_of(body: dict[str, Any]) -> str | None:
    """Return the error code of a body, None where it is a success."""
    code = body.get("error_code")
    if isinstance(code, int) and not isinstance(code, bool):
        return str(code)
    return code.strip()[:64] if isinstance(code, str) and code.strip() else None


def _json(answer: Answer, *, api: str) -> dict[str, Any]:
    code = f"http-{answer.status}"
    try:
        body = msgspec.json.decode(answer.body)
    except UNREADABLE as error:
        raise Unanswered(f"not JSON, HTTP status {answer.status}", api=api, code=code) from error
    if not isinstance(body, dict):
        raise Unanswered(f"not a JSON object, HTTP status {answer.status}", api=api, code=code)
    return body
