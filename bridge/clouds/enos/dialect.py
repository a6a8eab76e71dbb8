"""How a request to EnOS is signed and sent, and how its answer is read: see `client.Dialect`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bridge.clouds.client import Call, Opened
from bridge.clouds.clock import VendorClock, date_of
from bridge.clouds.enos.errors import GATEWAY_CODES, SERVICE_CODES, error_of, refused_by_status
from bridge.clouds.enos.settings import EnosApi, EnosCredentials
from bridge.clouds.enos.sign import encryption, signature, target_of
from bridge.clouds.errors import SchemaMismatch, Throttled, Unanswered
from bridge.clouds.settings import ApiAccount
from bridge.clouds.tokens import Token
from bridge.clouds.values import number
from bridge.clouds.wire import Answer, Request
from schemas.unreadable import UNREADABLE

TOO_BUSY: Final = (429, 503)
"""How EnOS says that there were too many requests is not documented; these two always mean: later."""

SET_BACK_MS: Final = 1000
"""A clock that went back by more was corrected: its time is the better one, and was hardly used before."""

JSON: Final = "application/json;charset=UTF-8"


class EnosDialect:
    """One account's requests and answers."""

    def __init__(self, account: ApiAccount[EnosCredentials, EnosApi], clock: VendorClock) -> None:
        self._credentials = account.credentials
        self._clock = clock
        self._token_asked_ms = 0

    def sign(self, call: Call, token: Token | None) -> Request:
        """Return the request, signed at this moment. A request for a token proves itself by its body."""
        headers = {"content-type": JSON}
        body = call.body
        if token is None:
            body = self._token_body()
        else:
            timestamp, secret = str(self._clock.signing_ms()), self._credentials.app_secret.reveal()
            headers |= {
                "apim-accesstoken": token.value,
                "apim-signature": signature(token.value, call.query, body, timestamp, secret),
                "apim-timestamp": timestamp,
            }
        return Request(
            api=call.api,
            method=call.method,
            target=target_of(call.path, call.query),
            headers=headers,
            body=body,
        )

    def open(self, answer: Answer, call: Call) -> Opened:
        """Read the envelope; a success is the whole of it, since the pages stand beside the data."""
        if answer.status in TOO_BUSY:
            raise Throttled("too many requests", api=call.api, code=f"http-{answer.status}")

        try:
            body = msgspec.json.decode(answer.body)
        except UNREADABLE as error:
            raise Unanswered(
                f"not JSON, HTTP status {answer.status}", api=call.api, code=f"http-{answer.status}"
            ) from error
        if not isinstance(body, dict):
            raise Unanswered(
                f"not a JSON object, HTTP status {answer.status}", api=call.api, code=f"http-{answer.status}"
            )
        return self._judge(body, answer, call)

    def _judge(self, body: dict[str, Any], answer: Answer, call: Call) -> Opened:
        time = date_of(answer.headers)
        told = body.get("msg")
        text = told if isinstance(told, str) else ""
        trace_id = body.get("requestId")
        # The service's own word counts before the gateway's, whose field is misspelt in its samples.
        for name, codes in (("code", SERVICE_CODES), ("status", GATEWAY_CODES), ("stauts", GATEWAY_CODES)):
            code = number(body.get(name))
            if code is None:
                continue
            if code == 0:
                return Opened(result=body, time=time)
            error = None
            if code not in codes:
                error = refused_by_status(answer.status, text, api=call.api, code=str(code))
            return Opened(
                error=error
                or error_of(
                    code,
                    text,
                    codes=codes,
                    api=call.api,
                    trace_id=trace_id[:64] if isinstance(trace_id, str) else None,
                ),
                time=time,
            )
        error = refused_by_status(answer.status, text, api=call.api, code=None)
        return Opened(
            error=error or SchemaMismatch("neither a success nor an error code", api=call.api), time=time
        )

    def _token_body(self) -> bytes:
        """Prove who asks for a token. The same time is accepted only once, so it is never the one before."""
        now_ms = self._clock.signing_ms()
        if now_ms <= self._token_asked_ms < now_ms + SET_BACK_MS:
            now_ms = self._token_asked_ms + 1
        self._token_asked_ms = now_ms
        app_key, secret = self._credentials.app_key, self._credentials.app_secret.reveal()
        return msgspec.json.encode(
            {
                "appKey": app_key,
                "encryption": encryption(app_key, str(now_ms), secret),
                "timestamp": now_ms,
            }
        )
