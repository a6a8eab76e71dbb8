"""Questions: when to ask the gateway to go back to the first entry that is not acknowledged (`courses` tells why).

A question is for all source partitions of a subscription: what is worked on of the others comes again too, and is
passed over. The broker does not listen while it waits for an earlier owner's acknowledgements, for a second as a rule,
and never where the source partition is another copy's by now; so it is asked again, less and less often.
"""

from __future__ import annotations

from typing import Final

FIRST_PAUSE_S: Final = 0.05
"""The source partitions of a subscription begin one after the other; one question may do for all of them."""
LONGEST_PAUSE_S: Final = 60.0


class Questions:
    """Belongs to the gateway's thread; times are of the monotonic clock."""

    __slots__ = ("_ask_at", "_pause_s")

    def __init__(self) -> None:
        self._ask_at: float | None = None
        self._pause_s = FIRST_PAUSE_S

    def is_to_ask(self, now: float, *, are_missing: bool) -> bool:
        """Tell whether to ask now, being told whether anything is missing."""
        if not are_missing:
            self._ask_at = None
            return False
        if self._ask_at is None:
            self._pause_s = FIRST_PAUSE_S
            self._ask_at = now + FIRST_PAUSE_S
        if now < self._ask_at:
            return False
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._ask_at = now + self._pause_s
        return True
