"""What goes over the wire to a firmware API and what comes back: the seam where tests step in.

`transport.py` has the real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from msgspec import Struct

SECRET_SEGMENTS: Final = ("/v1.0/token/",)
"""Paths whose next segment is a token (Tuya's refresh call)."""


class Request(Struct, frozen=True, kw_only=True):
    """What goes over the wire. `api` is the name under which the call is counted, logged and given as evidence."""

    api: str
    method: str
    target: str
    """Path and query exactly as sent, percent-encoded."""
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def __repr__(self) -> str:
        return f"<Request {self.api} {self.method} {shown_target(self.target)}>"


class Answer(Struct, frozen=True, kw_only=True):
    """A complete HTTP answer: header names in lower case, the body as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Answer {self.status}, {len(self.body)} bytes>"


class Transport(Protocol):
    """Sends one request and reads its answer."""

    async def send(self, request: Request) -> Answer:
        """Return the answer, whatever its HTTP status.

        Raises Unanswered where none came in time, SchemaMismatch where it is larger than the cap.
        """
        ...


def shown_target(target: str) -> str:
    """Return a target that may be logged: tokens in the path and all query values are hidden."""
    path, _, query = target.partition("?")
    for prefix in SECRET_SEGMENTS:
        if path.startswith(prefix):
            path = f"{prefix}***"
    names = "&".join(f"{pair.partition('=')[0]}=***" for pair in query.split("&") if pair)
    return f"{path}?{names}" if names else path
