"""How a request to Hedwig is signed and sent, and how its answer is read: see `client.Dialect`. There are no tokens."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any, Final

import msgspec

from bridge.clouds.client import Call, Opened
from bridge.clouds.clock import VendorClock, date_of
from bridge.clouds.errors import CloudError, SchemaMismatch, Throttled, Unanswered
from bridge.clouds.hedwig.errors import error_of
from bridge.clouds.hedwig.names import named
from bridge.clouds.hedwig.settings import HedwigApi, HedwigCredentials
from bridge.clouds.hedwig.sign import sign, target_of, timestamp
from bridge.clouds.settings import ApiAccount
from bridge.clouds.tokens import Token
from bridge.clouds.values import text
from bridge.clouds.wire import Answer, Request
from schemas.unreadable import UNREADABLE

_TOO_MANY_REQUESTS: Final = 429
_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500

_PAGE: Final = re.compile(rb"<(!doctype\s+html|html)\b", re.IGNORECASE)
"""How a page for people begins, which a proxy sent; any other markup is the API's own XML."""
_XML_CODE: Final = re.compile(rb"<code>\s*([\w.]{1,64})\s*</code>", re.IGNORECASE)
_XML_REMEDY: Final = (
    "the API did not heed Format=JSON: with common_params = full it is asked for; check that api.url is the"
    " instance's API and not something in front of it"
)


def _new_nonce() -> str:
    return str(uuid.uuid4())


class HedwigDialect:
    """One access key's requests and answers. A call's api is its `Action`, its query the action's parameters."""

    def __init__(
        self,
        account: ApiAccount[HedwigCredentials, HedwigApi],
        clock: VendorClock,
        *,
        new_nonce: Callable[[], str] = _new_nonce,
    ) -> None:
        self._credentials = account.credentials
        self._is_full = account.api.common_params == "full"
        self._version = account.api.api_version
        self._clock = clock
        self._new_nonce = new_nonce

    def sign(self, call: Call, token: Token | None) -> Request:  # noqa: ARG002 - the shape's
        """Return the request, signed at this moment with a nonce of its own."""
        parameters = {
            **call.query,
            "Action": call.api,
            "AccessKeyId": self._credentials.access_key_id,
            "SignatureMethod": "HMAC-SHA1",
            "SignatureNonce": self._new_nonce(),
            "Timestamp": timestamp(self._clock.signing_ms()),
        }
        if self._is_full:
            parameters |= {"Format": "JSON", "Version": self._version, "SignatureVersion": "1.0"}
        signature = sign(self._credentials.access_key_secret.reveal(), call.method, parameters)
        return Request(api=call.api, method=call.method, target=target_of(parameters, signature))

    def open(self, answer: Answer, call: Call) -> Opened:
        """Read an answer; the vendor's clock is told by its `Date` alone.

        Raises Throttled for HTTP 429, Unanswered for what is not a JSON object, SchemaMismatch for XML.
        """
        body = _json(answer, call.api)
        time = date_of(answer.headers)
        if _is_true(body.get("success")) and answer.status < _CLIENT_ERROR:
            return Opened(result=body, time=time)
        return Opened(error=_refusal(answer, body, call.api), time=time)


def _json(answer: Answer, api: str) -> dict[str, Any]:
    http = f"http-{answer.status}"
    if answer.status == _TOO_MANY_REQUESTS:
        raise Throttled("too many requests", api=api, code=http)

    begin = answer.body[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(b"<") and not _PAGE.match(begin) and answer.status < _SERVER_ERROR:
        code = _XML_CODE.search(answer.body[:4096])
        raise SchemaMismatch(
            f"the answer is XML, HTTP status {answer.status}",
            api=api,
            code=http if code is None else code[1].decode(),
            remedy=_XML_REMEDY,
        )
    try:
        body = named(msgspec.json.decode(answer.body))
    except UNREADABLE as error:
        raise Unanswered(f"not JSON, HTTP status {answer.status}", api=api, code=http) from error
    if not isinstance(body, dict):
        raise Unanswered(f"not a JSON object, HTTP status {answer.status}", api=api, code=http)
    return body


def _refusal(answer: Answer, body: dict[str, Any], api: str) -> CloudError:
    request_id = (text(body.get("requestId")) or "")[:64] or None
    code = text(body.get("code"))
    if code is not None:
        words = text(body.get("errorMessage")) or text(body.get("message")) or ""
        return error_of(code, words, api=api, request_id=request_id, http_status=answer.status)
    if answer.status >= _SERVER_ERROR:
        http = f"http-{answer.status}"
        return Unanswered(f"HTTP status {answer.status}", api=api, code=http, trace_id=request_id)
    return SchemaMismatch("neither a success nor an error code", api=api, trace_id=request_id)


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")
