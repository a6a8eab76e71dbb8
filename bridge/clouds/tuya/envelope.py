"""What every answer of a Tuya API is wrapped in: success, time, result or an error code (firmware APIs, 1.5).

Most errors come with HTTP status 200. A body that is no JSON object came from something in between.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from bridge.clouds.clock import VendorTime
from bridge.clouds.errors import BadRequest, SchemaMismatch, Throttled, Unanswered
from bridge.clouds.tuya.errors import error_of
from bridge.clouds.values import number
from bridge.clouds.wire import Answer
from schemas.unreadable import UNREADABLE

_BAD_REQUEST: Final = 400
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500
_SECONDS_BELOW: Final = 10**11
"""A time below it is in seconds: 13 digits are documented, 10 were seen."""


class Envelope(Struct, frozen=True, kw_only=True):
    """An answer's JSON, not judged yet."""

    http_status: int
    body: dict[str, Any]
    time: VendorTime | None = None
    trace_id: str | None = None


def open_envelope(answer: Answer, *, api: str) -> Envelope:
    """Read an answer, be it a success or a refusal: its time is worth having either way.

    Raises Throttled for HTTP 429, BadRequest for HTTP 400 without a JSON object, Unanswered for any other such answer.
    """
    if answer.status == _TOO_MANY_REQUESTS:
        raise Throttled("too many requests", api=api, code="http-429")

    # Whoever refuses the request as it is will refuse it again: nothing is gained by repeating it.
    unreadable = BadRequest if answer.status == _BAD_REQUEST else Unanswered
    try:
        body = msgspec.json.decode(answer.body)
    except UNREADABLE as error:
        raise unreadable(f"not JSON, HTTP status {answer.status}", api=api, code=_http(answer)) from error
    if not isinstance(body, dict):
        raise unreadable(f"not a JSON object, HTTP status {answer.status}", api=api, code=_http(answer))

    trace_id = body.get("tid")
    return Envelope(
        http_status=answer.status,
        body=body,
        time=_time(body.get("t")),
        trace_id=trace_id[:64] if isinstance(trace_id, str) else None,
    )


def result_of(envelope: Envelope, *, api: str) -> Any:
    """Return the result of a success; raises the error of a refusal, also one inside a nested `FusionResult`."""
    status = envelope.http_status
    if (status >= _SERVER_ERROR or status == _BAD_REQUEST) and code_of(envelope.body) is None:
        kind = BadRequest if status == _BAD_REQUEST else Unanswered
        raise kind(f"HTTP status {status}", api=api, code=f"http-{status}", trace_id=envelope.trace_id)

    result = _unwrap(envelope.body, api=api, trace_id=envelope.trace_id)
    if isinstance(result, dict) and "success" in result and "result" in result:
        return _unwrap(result, api=api, trace_id=envelope.trace_id)
    return result


def code_of(body: dict[str, Any]) -> int | None:
    """Return the error code of a body, which different gateways spell and type differently."""
    for name in ("code", "error_code"):
        if (code := number(body.get(name))) is not None:
            return code
    return None


def _unwrap(body: dict[str, Any], *, api: str, trace_id: str | None) -> Any:
    success = body.get("success")
    if success is True:
        return body.get("result")

    code = code_of(body)
    if code is None:
        raise SchemaMismatch("neither a success nor an error code", api=api, trace_id=trace_id)

    text = body.get("msg") or body.get("error_msg")
    raise error_of(code, text if isinstance(text, str) else "", api=api, trace_id=trace_id)


def _time(value: Any) -> VendorTime | None:
    at = number(value)
    if at is None or at <= 0:
        return None
    if at < _SECONDS_BELOW:
        return VendorTime(at_ms=at * 1000, resolution_ms=1000)
    return VendorTime(at_ms=at)


def _http(answer: Answer) -> str:
    return f"http-{answer.status}"
