"""Whether this process still owns its partitions, and so its accounts: known only as well as the group confirmed it.

A process that was stopped for a minute wakes up in the belief that nothing happened, while another speaks for its
accounts. So nothing is sent on a belief: the group's coordinator must have accepted a commit of ours, which only a
member of the current generation may make and which renews its session, within the last half session timeout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FRESH_SHARE: Final = 1 / 2
"""Of the session timeout: nobody else can own our partitions before the whole of it has passed."""

PROVE_SHARE: Final = 1 / 6
"""Proved anew this often, so that two commits in a row may fail."""


class Membership:
    """The age of the last proof. `monotonic` must go on while the process is stopped."""

    def __init__(self, session_timeout_s: float, monotonic: Callable[[], float]) -> None:
        self._session_timeout_s = session_timeout_s
        self._monotonic = monotonic
        self._proven_at: float | None = None

    def proved(self, sent_at: float) -> None:
        """The coordinator confirmed what was sent at `sent_at`; its answer may have lain about since."""
        if self._proven_at is None or sent_at > self._proven_at:
            self._proven_at = sent_at

    def lost(self) -> None:
        """Our partitions were revoked."""
        self._proven_at = None

    def age_s(self) -> float | None:
        """Return the age of the last proof; None without any."""
        return None if self._proven_at is None else self._monotonic() - self._proven_at

    def is_fresh(self) -> bool:
        """Return whether nobody else can own our partitions yet."""
        age_s = self.age_s()
        return age_s is not None and age_s < self._session_timeout_s * FRESH_SHARE

    def is_due(self) -> bool:
        """Return whether it is time to prove it again."""
        age_s = self.age_s()
        return age_s is None or age_s >= self._session_timeout_s * PROVE_SHARE
