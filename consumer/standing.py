"""How far one source partition is acknowledged, in time: told from what the gateway says now and then of its backlog.

Whatever was the last entry at some moment has been dealt with as soon as the subscription is acknowledged up to it. So
a copy that only stands by knows it as well as the one that reads.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from consumer.backlog import Backlog, Entry

_MOMENTS: Final = 1000
"""Kept while nothing is acknowledged: more than a retention of them. What is left out makes it coarser, not wrong."""


class Standing:
    """Of one source partition. Times are Unix ms of our clock, taken before the gateway was asked."""

    __slots__ = ("_moments", "_still", "done", "rests")

    def __init__(self) -> None:
        self._moments: deque[tuple[int, Entry]] = deque(maxlen=_MOMENTS)
        self._still: tuple[Entry, float] | None = None
        self.done: Entry | None = None
        """Up to here the subscription is acknowledged; None while that is not known."""
        self.rests = False
        """Whether nothing came since the question before, and nothing waits."""

    def told(self, asked_at_ms: int, backlog: Backlog) -> int | None:
        """Return up to when everything that was published is acknowledged by now; None where that is not known."""
        last_before = self._moments[-1][1] if self._moments else None
        self.done, self.rests = backlog.done, backlog.is_empty and backlog.last == last_before
        if last_before is not None and backlog.last < last_before:
            # A platform that was rebuilt, or a topic emptied by its age: the numbers before mean nothing any more.
            self._moments.clear()
        elif backlog.last == last_before:
            self._moments.pop()
        self._moments.append((asked_at_ms, backlog.last))
        reached_ms: int | None = None
        while self._moments and self._moments[0][1] <= backlog.done:
            reached_ms, last = self._moments.popleft()
            if not self._moments:
                # The latest is kept, to tell whether something comes after it.
                self._moments.append((reached_ms, last))
                break
        return reached_ms

    def still_for_s(self, backlog: Backlog, now_s: float) -> float:
        """Return for how long something waits and nothing was acknowledged; `now_s` of the monotonic clock."""
        if backlog.is_empty:
            self._still = None
            return 0.0
        if self._still is None or self._still[0] != backlog.done:
            self._still = backlog.done, now_s
        return now_s - self._still[1]

    def moves(self) -> None:
        """What waits is being worked on: it does not stand still."""
        self._still = None

    def forget(self) -> None:
        """The gateway cannot be asked any more."""
        self.done, self.rests, self._still = None, False, None
        self._moments.clear()
