"""Questions: when to ask the gateway to go back to the first entry that is not acknowledged (`courses` tells why).

A question is for all source partitions of a subscription: what is worked on of the others comes again too, and is
passed over. The broker does not listen while it waits for an earlier owner's acknowledgements, for a second as a rule,
and never where the source partition is another copy's by now; so it is asked again, less and less often. A source
partition that waits in vain must not make another wait: what is newly missing is asked for at once.
"""

from __future__ import annotations

import math
from typing import Final

FIRST_PAUSE_S: Final = 0.05
"""The source partitions of a subscription begin one after the other; one question may do for all of them."""
COMING_PAUSE_S: Final = 2.0
"""No longer pause while more comes and is let go: then the source partition is ours, and an answer will come."""
LONGEST_PAUSE_S: Final = 60.0


class Questions:
    """Belongs to the gateway's thread; times are of the monotonic clock."""

    __slots__ = ("_ask_at", "_asked_at", "_breaks", "_let_go", "_pause_s")

    def __init__(self) -> None:
        self._ask_at = math.inf
        self._asked_at = -math.inf
        self._pause_s = FIRST_PAUSE_S
        self._breaks = self._let_go = 0

    def is_to_ask(self, now: float, *, are_missing: bool, breaks: int, let_go: int) -> bool:
        """Tell whether to ask now, being told whether anything is missing, and what `Entries` counted so far."""
        if not are_missing:
            self._breaks = breaks
            self._ask_at = math.inf
            return False
        if breaks != self._breaks:
            self._breaks = breaks
            self._let_go = let_go
            self._pause_s = FIRST_PAUSE_S
            self._ask_at = min(self._ask_at, now + FIRST_PAUSE_S)
        elif let_go != self._let_go:
            self._ask_at = min(self._ask_at, self._asked_at + COMING_PAUSE_S)
        if now < self._ask_at:
            return False
        self._asked_at, self._let_go = now, let_go
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._ask_at = now + self._pause_s
        return True
