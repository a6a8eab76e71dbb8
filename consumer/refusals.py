"""Decides when an account is refused for good: three refusals in a row over ten seconds, nothing less.

A broker that restarts may refuse once; a wrong key or a missing subscription refuses every time.
"""

from __future__ import annotations

from typing import Final

from consumer.errors import AccountStopped
from consumer.probe import ProbeResult

REFUSALS: Final = 3
REFUSED_FOR_S: Final = 10.0
PROBE_PERIOD_S: Final = 5.0
"""Three probes span the ten seconds; the operator reads the answer within fifteen."""


class Refusals:
    """Counts the refusals of one account in a row."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._first_at_s = 0.0
        self._count = 0

    def clear(self) -> None:
        """The account is connected."""
        self._count = 0

    def judge(self, result: ProbeResult, now_s: float) -> None:
        """Count one probe. Raises AccountStopped when the gateway has refused often and long enough."""
        if not result.refused:
            self._count = 0
            return
        if self._count == 0:
            self._first_at_s = now_s
        self._count += 1
        if self._count >= REFUSALS and now_s - self._first_at_s >= REFUSED_FOR_S:
            raise AccountStopped(self._account, result.what, result.remedy)
