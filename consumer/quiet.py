"""When nothing waits at the gateway, and since when nothing came: told from how the client hands messages over.

A client that looks connected may be starved, so silence alone proves nothing for ever: after a configured time of it
the subscription is renewed (`gateway`). Times are seconds of the monotonic clock.
"""

from __future__ import annotations

from typing import Final

from consumer.progress import CAUGHT_UP_AFTER_S

ABSENCE_S: Final = 30.0
"""Between two looks of a thread that looks several times a second. Shorter ones are a busy machine's."""


class Quiet:
    """One subscription's, from the moment it was made."""

    __slots__ = ("_flowing_since", "_is_drained", "_message_at", "_told_at")

    def __init__(self, now: float) -> None:
        self._message_at = self._told_at = self._flowing_since = now
        self._is_drained = False

    def interrupt(self, now: float) -> None:
        """Not connected: whatever waits cannot come."""
        self._flowing_since = now

    def pause(self, now: float) -> None:
        """Nothing was asked for: that nothing came says nothing."""
        self._flowing_since = self._message_at = now

    def receive(self, count: int, now: float, *, is_full: bool) -> None:
        """The client was asked and gave so many messages; a batch that is not full is all it had."""
        self._is_drained = not is_full
        if count:
            self._message_at = now

    def silent_s(self, now: float) -> float:
        """How long nothing has come although it was asked for."""
        return now - self._message_at

    def is_caught_up(self, now: float) -> bool:
        """Whether to tell now that the client has handed over all it had, having flowed for long enough to have it."""
        if not self._is_drained or now - max(self._told_at, self._flowing_since) <= CAUGHT_UP_AFTER_S:
            return False
        self._told_at = now
        return True


class Presence:
    """Notices that the process was frozen, or the machine suspended: the client then looks connected for a while.

    A freeze shows on both clocks, a suspended machine on the wall clock alone.
    """

    __slots__ = ("_monotonic", "_wall")

    def __init__(self, monotonic_s: float, wall_s: float) -> None:
        self._monotonic, self._wall = monotonic_s, wall_s

    def absence_s(self, monotonic_s: float, wall_s: float) -> float:
        """Return for how long it was away since the last call, 0 when it was there."""
        away = max(monotonic_s - self._monotonic, wall_s - self._wall)
        self._monotonic, self._wall = monotonic_s, wall_s
        return away if away > ABSENCE_S else 0.0
