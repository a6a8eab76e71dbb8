"""Telling why partitions cannot be taken over: an alarm, unless Kafka itself is away, which is told elsewhere."""

from __future__ import annotations

import math
from typing import Final

import structlog

from bridge.kafka.reach import Reach, is_no_answer
from bridge.kafka.refusals import remedy_of_refusal, trouble_text

log = structlog.get_logger(__name__)

ABSENT_FOR_S: Final = 60.0
"""Where a take-over gets no answer for longer, and no outage of Kafka is known, it is the take-over that fails: the
library gives a request up after 40 s, so that the last one sent into an outage ends within."""


class TakeoverTrouble:
    """The trouble of all take-overs of a process: they wait for the same brokers, and try every second."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._told: tuple[str, str] | None = None
        """Event and reason, since a take-over last succeeded."""
        self._excused_at = -math.inf
        """When Kafka was last known to be away, or a take-over first got no answer."""

    def met(self, partition: int, error: BaseException, now: float) -> None:
        """Tell it, once. `now` is a monotonic clock in seconds."""
        remedy, reason = remedy_of_refusal(error), trouble_text(error)
        is_absence = remedy is None and is_no_answer(error)
        if is_absence and (self._excused_at == -math.inf or self._reach.outage() is not None):
            self._excused_at = now
        waits = is_absence and now - self._excused_at <= ABSENT_FOR_S
        event = "take_over_waits" if waits else "take_over_failed"
        if (event, reason) == self._told:
            return
        self._told = event, reason
        tell = log.info if waits else log.warning
        tell(
            event,
            partition=partition,
            error=reason,
            remedy=remedy or "none, it is tried again by itself, like those of other partitions",
        )

    def over(self) -> None:
        """A take-over succeeded."""
        self._told, self._excused_at = None, -math.inf
