"""The vendor's clock, as well as its answers tell it: local time plus a measured offset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

DRIFT: Final = 100e-6
"""How far two hosts' clocks run apart, in seconds per second: five times what a free-running quartz does."""

SIGNING_TOLERANCE_MS: Final = 30_000
"""A signature's time may be off by minutes. It follows the measured offset only beyond this: a time that is corrected
by milliseconds with every answer would run backwards, and a cloud that counts its rate by it would count wrongly."""

EARLIEST_MS: Final = 1_420_070_400_000
"""2015-01-01: an answer's time before it is a default value, not a clock."""


class VendorClock:
    """Each answer says: the cloud's clock showed `vendor_ms` some time between our sending and our receiving.

    So the offset lies in an interval; the intervals of all answers are intersected, and widen as the clocks drift.
    One that contradicts the others means that a clock was set: it replaces them.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._local_ms = now_ms
        self._low_ms = 0.0
        self._high_ms = 0.0
        self._learned_at_ms: int | None = None
        self._signing_offset_ms = 0

    @property
    def offset_ms(self) -> int:
        """What to add to local time; 0 until the first answer."""
        return round((self._low_ms + self._high_ms) / 2)

    @property
    def uncertainty_ms(self) -> int | None:
        """Half the interval in which the offset lies; None until the first answer."""
        return None if self._learned_at_ms is None else round((self._high_ms - self._low_ms) / 2)

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

    def learn(self, vendor_ms: int, *, sent_ms: int, received_ms: int, resolution_ms: int = 1) -> None:
        """Take an answer's time into account. `sent_ms` and `received_ms` are local; `resolution_ms` is the unit's."""
        if vendor_ms < EARLIEST_MS or received_ms < sent_ms:
            return

        low, high = float(vendor_ms - received_ms), float(vendor_ms + resolution_ms - sent_ms)
        if self._learned_at_ms is not None:
            drift_ms = abs(received_ms - self._learned_at_ms) * DRIFT
            known_low, known_high = self._low_ms - drift_ms, self._high_ms + drift_ms
            if low <= known_high and high >= known_low:
                low, high = max(low, known_low), min(high, known_high)
        self._low_ms, self._high_ms, self._learned_at_ms = low, high, received_ms
        if abs(self.offset_ms - self._signing_offset_ms) > SIGNING_TOLERANCE_MS:
            self._signing_offset_ms = self.offset_ms
