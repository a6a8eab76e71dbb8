"""One run over a partition's observations: batches against a store of its own, which begins empty.

The steps are those of `bridge/fold/worker.py` without a clock, a group and offsets: 2. fold, 3. to 6. write where
anything is to be written, 7. swap in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiokafka import ConsumerRecord
from aiokafka.producer.message_accumulator import BatchBuilder
from msgspec import Struct

from bridge.fold.batch import FoldTopics
from bridge.fold.gap import OpenGap
from bridge.fold.policy import Policy
from bridge.fold.store import Store
from bridge.kafka.transactions import Draft, TransactionRecord
from bridge.replay.parting import Watch
from bridge.replay.refold import IsWanted, Refold
from bridge.replay.timing import Timing

TIMER_DEVICES: Final = 1000
"""At the end of the observations, whose timers are run in one batch."""


class NoDraft(Draft):
    """Takes what nobody wants written."""

    def __init__(self) -> None:
        super().__init__(_never)

    def add(self, record: TransactionRecord) -> None:
        """Let it go."""


def _never() -> BatchBuilder:
    raise AssertionError("what is not kept needs no batch")


class Output(Struct, frozen=True):
    """Where the records of a run go: `draft` gives a new draft, `write` writes one."""

    draft: Callable[[], Draft] = NoDraft
    write: Callable[[Draft], Awaitable[None]] | None = None


class Folding:
    """Folds what it is given. `store` holds what came of it."""

    def __init__(
        self,
        partition: int,
        policy: Policy,
        topics: FoldTopics,
        timing: Timing,
        *,
        is_wanted: IsWanted = lambda _: True,
        output: Output | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.store = Store(partition)
        self.counts: Counter[str] = Counter()
        self.time_ms = 0
        """The latest time at which an observation was made."""
        self._policy = policy
        self._topics = topics
        self._timing = timing
        self._is_wanted = is_wanted
        self._output = output or Output()
        self._watch = watch

    async def fold(self, records: Sequence[ConsumerRecord]) -> None:
        """Fold the next observations, in order."""
        left = records
        while left:
            batch = self._batch()
            gap = batch.fold_observations(left)
            batch.write_states()
            await self._settle(batch)
            if gap is None:
                return
            await self._fold_gap(gap)
            left = [record for record in left if record.offset > gap.offset]

    async def run_timers(self, until_ms: int) -> None:
        """Fire what is due when nothing more is observed."""
        while device_ids := self.store.timers.pop_due(until_ms, TIMER_DEVICES):
            batch = self._batch()
            batch.run_timers(device_ids, until_ms)
            await self._settle(batch)

    async def _fold_gap(self, gap: OpenGap) -> None:
        is_last = False
        while not is_last:
            batch = self._batch()
            is_last = batch.fold_gap(gap)
            await self._settle(batch)

    def _batch(self) -> Refold:
        return Refold(
            self.store,
            self._policy,
            topics=self._topics,
            draft=self._output.draft(),
            timing=self._timing,
            is_wanted=self._is_wanted,
            began_ms=self.time_ms,
            watch=self._watch,
        )

    async def _settle(self, batch: Refold) -> None:
        if self._output.write is not None and batch.states:
            await self._output.write(batch.complete_draft())
        batch.settle()
        self.time_ms = max(self.time_ms, batch.observed_at_ms)
        self.counts.update(batch.counts)
        self.counts["events"] += batch.event_count
