"""What `ota-bridge lookup` was told, by whichever way it asked."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from schemas import Observation


class Answered(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of one lookup. `error` is the class of a failure, with the vendor's `code` and `text`."""

    device_id: str
    account: str
    cloud: str
    via: Literal["bridge", "direct"]
    api: str
    asked_at_ms: int | None = None
    """The vendor's clock when it was asked."""
    outcome: str
    error: str | None = None
    code: str | None = None
    text: str | None = None
    remedy: str | None = None
    observations: tuple[Observation, ...] = ()
