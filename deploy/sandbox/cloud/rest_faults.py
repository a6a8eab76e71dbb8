"""Faults of a REST API: which one a request meets, and what is answered then.

They come after the signature was checked and the request was counted: whoever signs wrongly is told so under every
knob.
"""

from __future__ import annotations

import hashlib
from random import Random

from starlette.responses import HTMLResponse, PlainTextResponse, Response

from deploy.sandbox.cloud.faults import Faults
from deploy.sandbox.cloud.fleet import Channel, Device, Shown
from deploy.sandbox.cloud.tuya_answers import View
from deploy.sandbox.cloud.tuya_door import Refused

_RETRYABLE = ((500, "system error, please contact the admin"), (1111, "system is busy, please retry later"))
THROTTLED = ((1110, "concurrent request over limit"), (1199, "your requests are too frequent"))
_TOO_MANY_SHARE = 0.2
"""Of throttled requests: HTTP 429 from a proxy in front, instead of the API's own code in a 200."""
_LIE_S = 4.0
_ERROR_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def interfere(faults: Faults, rng: Random) -> Response | None:
    """Return the answer that a fault gives instead of the API's; raise `Refused` for one in the API's own words."""
    if rng.random() < faults.rest_5xx:
        status = rng.choice((500, 502, 503, 504))
        return PlainTextResponse("upstream error", status_code=status)
    if rng.random() < faults.rest_html:
        return HTMLResponse(_ERROR_PAGE, status_code=rng.choice((200, 502)))
    if rng.random() < faults.rest_throttle:
        if rng.random() < _TOO_MANY_SHARE:
            return PlainTextResponse("too many requests", status_code=429)
        raise Refused(*rng.choice(THROTTLED))
    if rng.random() < faults.rest_error_in_200:
        raise Refused(*rng.choice(_RETRYABLE + THROTTLED))
    if rng.random() < float(faults.rest_quota):
        raise Refused(28841004, "the trial edition quota is used up")
    return None


def truncate(answer: bytes, rng: Random) -> bytes:
    """Cut an answer somewhere, so that it is no JSON any more."""
    return answer[: rng.randrange(1, len(answer))]


def view_for(device: Device, faults: Faults, now_s: float) -> View:
    """What the API shows of a device's channels: the fleet's view, or for some seconds an older one."""
    if faults.rest_lie > 0:
        window = int(now_s / _LIE_S)
        digest = hashlib.blake2b(f"{device.device_id}/{window}".encode(), digest_size=8).digest()
        if int.from_bytes(digest, "big") / 2**64 < faults.rest_lie:
            return _before
    return _shown


def _shown(channel: Channel) -> Shown:
    return channel.shown


def _before(channel: Channel) -> Shown:
    return channel.shown_before
