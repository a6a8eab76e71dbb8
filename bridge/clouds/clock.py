"""The vendor's clock, as well as its answers tell it: local time plus a measured offset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from msgspec import Struct

DRIFT: Final = 100e-6
"""How far two hosts' clocks run apart, in seconds per second: five times what a free-running quartz does."""

SIGNING_TOLERANCE_MS: Final = 30_000
"""A signature's time may be off by minutes. It follows the measured offset only beyond this: a time that is corrected
by milliseconds with every answer would run backwards, and a cloud that counts its rate by it would count wrongly."""

EARLIEST_MS: Final = 1_420_070_400_000
"""2015-01-01: an answer's time before it is a default value, not a clock."""

LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01: neither is one after it, and far beyond it no signature could be dated."""


class VendorTime(Struct, frozen=True, kw_only=True, gc=False):
    """What an answer tells of its cloud's clock: Unix ms, rounded down to the resolution."""

    at_ms: int
    resolution_ms: int = 1


def date_of(headers: Mapping[str, str]) -> VendorTime | None:
    """Return the time of an answer's `Date` header (RFC 9110, 6.6.1), for APIs whose bodies tell none."""
    try:
        at_s = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return VendorTime(at_ms=int(at_s) * 1000, resolution_ms=1000)


class Span(Struct, frozen=True, gc=False):
    """Where the offset lies, in ms, as it was known at `at_ms` of the local clock."""

    low_ms: float
    high_ms: float
    at_ms: int

    def at(self, local_ms: int) -> Span:
        """The same knowledge at another time: wider by what the clocks may have drifted apart."""
        drift_ms = abs(local_ms - self.at_ms) * DRIFT
        return Span(self.low_ms - drift_ms, self.high_ms + drift_ms, local_ms)

    def both(self, other: Span) -> Span | None:
        """Where both are true; None where they contradict each other."""
        low_ms, high_ms = max(self.low_ms, other.low_ms), min(self.high_ms, other.high_ms)
        return Span(low_ms, high_ms, self.at_ms) if low_ms <= high_ms else None


_UNMEASURED: Final = Span(-SIGNING_TOLERANCE_MS, SIGNING_TOLERANCE_MS, 0)
"""The offset before the first answer: what a host with a time service is off by at most."""


class VendorClock:
    """Each answer says: the cloud's clock showed `vendor_ms` some time between our sending and our receiving.

    So the offset lies in a span; the spans of all answers are intersected, and widen as the clocks drift. One that
    contradicts what is known may be one server's mistake: it is believed when the next answer agrees with it, or when
    the cloud refused our time in the same breath. Before the first answer the local clock is what is known.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._local_ms = now_ms
        self._known: Span | None = None
        self._doubted: Span | None = None
        self._signing_offset_ms = 0

    @property
    def offset_ms(self) -> int:
        """What to add to local time; 0 until an answer was believed."""
        return 0 if self._known is None else round((self._known.low_ms + self._known.high_ms) / 2)

    @property
    def uncertainty_ms(self) -> int | None:
        """Half the span in which the offset lies; None until an answer was believed."""
        return None if self._known is None else round((self._known.high_ms - self._known.low_ms) / 2)

    def local_ms(self) -> int:
        """The local clock, Unix ms."""
        return self._local_ms()

    def now_ms(self) -> int:
        """The vendor's clock, Unix ms."""
        return self._local_ms() + self.offset_ms

    def signing_ms(self) -> int:
        """The time to sign a request with: the local clock, unless the vendor's is far from it."""
        return self._local_ms() + self._signing_offset_ms

    def at_ms(self, local_ms: int) -> int:
        """The vendor's clock when the local one showed `local_ms`."""
        return local_ms + self.offset_ms

    def learn(
        self,
        vendor_ms: int,
        *,
        sent_ms: int,
        received_ms: int,
        resolution_ms: int = 1,
        refused: bool = False,
    ) -> None:
        """Take an answer's time into account. `sent_ms` and `received_ms` are local; `resolution_ms` is the unit's.

        `refused`: the answer refuses our request for its time.
        """
        if not EARLIEST_MS <= vendor_ms <= LATEST_MS or received_ms < sent_ms:
            return

        told = Span(float(vendor_ms - received_ms), float(vendor_ms + resolution_ms - sent_ms), received_ms)
        believed = self._weigh(told, refused=refused)
        if believed is None:
            self._doubted = told
            return

        self._known, self._doubted = believed, None
        if abs(self.offset_ms - self._signing_offset_ms) > SIGNING_TOLERANCE_MS:
            self._signing_offset_ms = self.offset_ms

    def _weigh(self, told: Span, *, refused: bool) -> Span | None:
        """What is known with this answer; None when it stands alone against everything before."""
        if self._known is not None:
            agreed = told.both(self._known.at(told.at_ms))
        else:
            agreed = told if told.both(_UNMEASURED) is not None else None
        if agreed is None and self._doubted is not None:
            agreed = told.both(self._doubted.at(told.at_ms))
        if agreed is None and refused:
            agreed = told
        return agreed
