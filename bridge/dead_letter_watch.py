"""Tells the log that inputs became dead letters: whose, how many, why. Each of them is in Kafka, with its payload."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import structlog
from msgspec import Struct

from bridge.fold.statistics import FoldStatistics
from consumer.statistics import IngestStatistics

log = structlog.get_logger(__name__)

TELL_AGAIN_S: Final = 60.0
"""The first is told at once, what follows as a sum: a wrong key makes one of every message."""

_REMEDY: Final = (
    "`ota-bridge dead-letters list` shows them, and what to mend; after that `ota-bridge dead-letters replay --all`"
    " reads them anew and has the cloud asked about the devices they name: nothing of them is sent again"
)

Counts = Mapping[str, int]
"""Dead letters since the stage was built, by reason."""


class _Source:
    """Whose dead letters are counted: what was seen of its counts, and what of it is to be told."""

    __slots__ = ("_seen", "told_at_s", "untold")

    def __init__(self) -> None:
        self._seen: Counts = {}
        self.told_at_s = -math.inf
        self.untold: Counter[str] = Counter()

    def see(self, counts: Counts) -> None:
        """Add what came since the last look."""
        if any(counts.get(reason, 0) < count for reason, count in self._seen.items()):
            # The stage was built anew, and counts from zero again: all of its reasons do.
            self._seen = {}
        for reason, count in counts.items():
            self.untold[reason] += count - self._seen.get(reason, 0)
        self._seen = dict(counts)

    def take(self, now_s: float) -> Counts:
        """Return what is told now."""
        told, self.untold, self.told_at_s = +self.untold, Counter(), now_s
        return told


class DeadLetterWatch:
    """Compares the stages' counts with those seen before. `monotonic` is a clock in seconds."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._sources: dict[str, _Source] = {}

    def look(self, stages: Mapping[str, Struct | None]) -> None:
        """Tell what came since; `stages` are their statistics, by name."""
        now_s = self._monotonic()
        for name, counts in _counts(stages):
            source = self._sources.setdefault(name, _Source())
            source.see(counts)
            if source.untold.total() and now_s - source.told_at_s >= TELL_AGAIN_S:
                log.warning("dead_lettered", source=name, reasons=dict(source.take(now_s)), remedy=_REMEDY)


def _counts(stages: Mapping[str, Struct | None]) -> Iterator[tuple[str, Counts]]:
    for name, statistics in stages.items():
        if isinstance(statistics, IngestStatistics):
            for account, told in statistics.accounts.items():
                yield f"{name}/{account}", told.dead_letters
        elif isinstance(statistics, FoldStatistics):
            yield name, {"refused": statistics.counts.get("dead_letters", 0)}
