"""Faults of a REST API: which one a request meets, and what is answered then, in the words of its cloud.

They come after the signature was checked and the request was counted: whoever signs wrongly is told so under every
knob.
"""

from __future__ import annotations

from random import Random

from msgspec import Struct
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from deploy.sandbox.cloud.faults import Faults
from deploy.sandbox.cloud.request_log import RefusalKind

_TOO_MANY_SHARE = 0.2
"""Of throttled requests: HTTP 429 from a proxy in front, instead of the API's own answer."""
_ERROR_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class Refusal(Struct, frozen=True):
    """A cloud's words for no: its code, its text, the HTTP status they come with."""

    code: int | str
    text: str
    status: int = 200


class Refused(Exception):
    """A request that the cloud answers with a refusal; `kind` is how it is counted, if it is."""

    def __init__(
        self, code: int | str, text: str, kind: RefusalKind | None = None, *, status: int = 200
    ) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.kind: RefusalKind | None = kind
        self.status = status


class Words(Struct, frozen=True, kw_only=True):
    """How a cloud says what the knobs make it say."""

    throttled: tuple[Refusal, ...]
    retryable: tuple[Refusal, ...]
    """Something is wrong for a moment, in the API's own answer."""
    quota: Refusal | None = None
    """None: this cloud knows no quota, and the knob does nothing."""

    def throttle(self, rng: Random, kind: RefusalKind | None = None) -> Refused:
        """Return a refusal for too many requests."""
        return _refused(rng.choice(self.throttled), kind)


def interfere(faults: Faults, rng: Random, words: Words) -> Response | None:
    """Return the answer that a fault gives instead of the API's; raise `Refused` for one in the API's own words."""
    if rng.random() < faults.rest_5xx:
        status = rng.choice((500, 502, 503, 504))
        return PlainTextResponse("upstream error", status_code=status)
    if rng.random() < faults.rest_html:
        return HTMLResponse(_ERROR_PAGE, status_code=rng.choice((200, 502)))
    if rng.random() < faults.rest_throttle:
        if rng.random() < _TOO_MANY_SHARE:
            return PlainTextResponse("too many requests", status_code=429)
        raise words.throttle(rng)
    if rng.random() < faults.rest_error_in_200:
        raise _refused(rng.choice(words.retryable + words.throttled))
    if rng.random() < float(faults.rest_quota) and words.quota is not None:
        raise _refused(words.quota)
    return None


def truncate(answer: bytes, rng: Random) -> bytes:
    """Cut an answer somewhere, so that it is no JSON any more."""
    return answer[: rng.randrange(1, len(answer))]


def _refused(refusal: Refusal, kind: RefusalKind | None = None) -> Refused:
    return Refused(refusal.code, refusal.text, kind, status=refusal.status)
