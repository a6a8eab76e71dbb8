"""Tells the log that inputs became dead letters: whose, how many, why. Each of them is in Kafka, with its payload."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import structlog
from msgspec import Struct

from bridge.fold.statistics import FoldStatistics
from consumer.statistics import IngestStatistics

log = structlog.get_logger(__name__)

TELL_AGAIN_S: Final = 60.0
"""The first is told at once, what follows as a sum: a wrong key makes one of every message."""

Counts = Mapping[str, int]
"""Dead letters since the start, by reason."""


class DeadLetterWatch:
    """Compares the stages' counts with those told before. `monotonic` is a clock in seconds."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._told: dict[str, tuple[float, Counts]] = {}
        """When a source's counts were told last, and which."""

    def look(self, stages: Mapping[str, Struct | None]) -> None:
        """Tell what came since; `stages` are their statistics, by name."""
        now_s = self._monotonic()
        for source, counts in _sources(stages):
            told_at_s, told = self._told.get(source, (-TELL_AGAIN_S, {}))
            # A stage that was built anew counts from zero again.
            new = {
                reason: count - told.get(reason, 0) if count >= told.get(reason, 0) else count
                for reason, count in counts.items()
            }
            new = {reason: count for reason, count in new.items() if count}
            if new and now_s - told_at_s >= TELL_AGAIN_S:
                self._told[source] = now_s, dict(counts)
                log.warning(
                    "dead_lettered",
                    source=source,
                    reasons=new,
                    remedy="look at them with `ota-bridge dead-letters list`; `replay` sends them again",
                )


def _sources(stages: Mapping[str, Struct | None]) -> Iterator[tuple[str, Counts]]:
    for name, statistics in stages.items():
        if isinstance(statistics, IngestStatistics):
            for account, told in statistics.accounts.items():
                yield f"{name}/{account}", told.dead_letters
        elif isinstance(statistics, FoldStatistics):
            yield name, {"refused": statistics.counts.get("dead_letters", 0)}
