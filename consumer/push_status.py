"""What the `upgradeStatus` values of a push mean, as data. What is not in the table is a hint and is counted.

The value list of the message itself was never published; this one joins the REST enumeration (0 to 7) and the codes
of the vendor's device software (10 to 49). Source: the message gateway contract, section 8.1.1.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from schemas.vocabulary import ReasonCode, Status


class PushedStatus(Struct, frozen=True, kw_only=True, gc=False):
    """`undivided`: the value covers download and installation alike. `claimed`: told, not yet confirmed."""

    status: Status | None
    claimed: Status | None = None
    undivided: bool = False
    reason: ReasonCode | None = None


NO_STATUS: Final = PushedStatus(status=None)
"""What a message that tells no status means."""


def _failed(reason: ReasonCode | None = None) -> PushedStatus:
    return PushedStatus(status="verifying", claimed="failed", reason=reason)


REST_VALUE: Final = 0
"""No update needed or none going on. A rest status never closes anything, so this known value is a hint too."""

PUSH_STATUS: Final[dict[int, PushedStatus]] = {
    1: PushedStatus(status="pending"),
    2: PushedStatus(status="installing", undivided=True),
    3: PushedStatus(status="verifying", claimed="succeeded"),
    4: _failed(),
    5: PushedStatus(status="pending"),
    6: PushedStatus(status="downloading"),
    7: PushedStatus(status="verifying", claimed="timed_out"),
    10: PushedStatus(status="downloading"),
    11: PushedStatus(status="downloading"),
    12: PushedStatus(status="installing"),
    13: PushedStatus(status="pending"),
    40: _failed("unknown_error"),
    41: _failed("low_battery"),
    42: _failed("no_space"),
    43: _failed("out_of_memory"),
    44: _failed("download_timeout"),
    45: _failed("signature_invalid"),
    46: _failed("low_battery"),
    47: _failed("out_of_memory"),
    48: _failed("version_invalid"),
    49: _failed("signature_invalid"),
}
