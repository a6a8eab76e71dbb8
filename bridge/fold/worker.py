"""The worker of one input partition: observations and timers in, one transaction out, again and again.

1. **Fetch** up to a batch of observations, or what is there; take the due timers.
2. **Fold** each in order on working copies. An input whose fold raises changes nothing and becomes a dead letter.
   A gap concerns every device of an account: it is folded in slices, a pass each, before what follows it.
3. **Begin** a transaction with the partition's own producer.
4. **Produce** states and events to the partition of the same number, lookups and dead letters by their keys.
5. **Send offsets** to the transaction.
6. **Commit**.
7. **Swap** the working copies in, arm their timers.

Steps 3 to 6 are one call. Any failure, and any doubt about a commit, ends the worker; its owner takes the partition
over again (`takeover.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from bridge.fold.batch import Batch, FoldTopics
from bridge.fold.gap import OpenGap
from bridge.fold.policy import Policy
from bridge.fold.store import Store
from bridge.fold.timers import BackgroundPace
from bridge.kafka.transactions import TransactionalProducer

log = structlog.get_logger(__name__)

BATCH_OBSERVATIONS: Final = 4000
"""Per transaction. A device's state is written once for all of its observations in one: in a campaign of hundreds of
devices a minute 4,000 observations have a state for each five or six, 1,000 observations one for each two."""
SLICE_OBSERVATIONS: Final = 500
"""Folded at a time, some ten milliseconds, in which nothing else of the process runs."""
BATCH_TIMERS: Final = 1000
_COMPACT_DEVICES: Final = 100
"""Per pass, half a millisecond: a take-over leaves its devices as they were read, to be compacted as time allows."""
_COMMITS_APART: Final = 3.0
"""Times what a commit takes of late: brokers that are slow, or busy, get fewer and larger transactions. Else all of
their time would go into small ones, and every record would wait for that."""
_COMMIT_WEIGHT: Final = 0.2
"""Of the latest commit, in what commits take of late."""
_IDLE_S: Final = 1.0


class OffsetJump(Exception):
    """An observation did not have the expected offset: take the partition over, which looks at the log itself.

    Lower: the topic was re-created under us. Higher: records were not seen, or are no longer there.
    """

    def __init__(self, place: TopicPartition, expected: int, found: int) -> None:
        super().__init__(f"{place.topic}/{place.partition}: expected offset {expected}, found {found}")
        self.expected = expected


class Worker:
    """Folds one partition from `next_offset` on. Made by a take-over, used once."""

    def __init__(
        self,
        *,
        place: TopicPartition,
        topics: FoldTopics,
        group: str,
        policy: Policy,
        store: Store,
        producer: TransactionalProducer,
        pace: BackgroundPace,
        next_offset: int,
        backlog_end: int,
        counts: Counter[str],
        gap: OpenGap | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._place = place
        self._topics = topics
        self._group = group
        self._policy = policy
        self._store = store
        self._producer = producer
        self._pace = pace
        self._backlog_end = backlog_end
        self._counts = counts
        self._now_ms = now_ms
        self._observed_at_ms = 0
        self._gap = gap
        self._queue: deque[ConsumerRecord] = deque()
        self._wake = asyncio.Event()
        self._stopping = False
        self._known_hole_at: int | None = None
        self._committing_since: float | None = None
        self._commit_s = 0.0
        self.has_committed = False
        self.next_offset = next_offset

    @property
    def queued(self) -> int:
        """Records handed over and not yet folded."""
        return len(self._queue)

    @property
    def has_gap(self) -> bool:
        """Whether a gap is being folded; what follows it waits."""
        return self._gap is not None

    @property
    def lookups_waiting(self) -> int:
        """Devices whose lookup is due and waits for its turn."""
        return len(self._pace)

    @property
    def commit_age_s(self) -> float:
        """How long the commit under way has been waiting for the brokers; 0 where there is none."""
        return 0.0 if self._committing_since is None else time.monotonic() - self._committing_since

    @property
    def is_behind(self) -> bool:
        """Whether the backlog found at take-over is not folded yet: then timers run on the observations' own time."""
        return self.next_offset < self._backlog_end

    def expect_hole(self, at: int | None) -> None:
        """The last worker of this partition ended at this offset because the log goes on only later."""
        self._known_hole_at = at

    def offer(self, records: Sequence[ConsumerRecord]) -> None:
        """Hand over records fetched for this worker, in order."""
        self._queue.extend(records)
        self._wake.set()

    def stop(self) -> None:
        """Finish the transaction under way, then return from `run`."""
        self._stopping = True
        self._wake.set()

    async def run(self, interval_s: Callable[[], float] = lambda: 0.0) -> None:
        """Work until stopped, or until a doubt makes a new producer necessary. Raises KafkaError and OffsetJump.

        `interval_s` says how long after the begin of a transaction the next one may begin; slow brokers get more time.
        """
        while not self._producer.is_doubtful and await self._has_input():
            self._store.compact(_COMPACT_DEVICES)
            batch = Batch(
                self._store,
                self._pace,
                self._policy,
                topics=self._topics,
                now_ms=self._now_ms(),
                draft=self._producer.draft(),
            )
            try:
                await self._fold(batch)
                if batch.is_empty:
                    # Reminders that came too early, devices that were only ranked: let others have their turn.
                    await asyncio.sleep(0)
                else:
                    began_s = self._committing_since = time.monotonic()
                    # 3. to 6.
                    written = await self._producer.commit(
                        batch.complete_draft(),
                        {} if batch.next_offset is None else {self._place: batch.next_offset},
                        self._group,
                    )
                    self._committing_since = None
                    self._swap(batch, written)
                    self._commit_s += _COMMIT_WEIGHT * (time.monotonic() - began_s - self._commit_s)
                    if (apart_s := interval_s()) > 0:
                        apart_s = max(apart_s, _COMMITS_APART * self._commit_s)
                        await self._rest(began_s + apart_s - time.monotonic())
            except BaseException:
                # The store is kept for the next take-over, so its reminders must be complete again.
                for device_id in batch.reminders:
                    self._store.timers.arm(0, device_id)
                raise

    async def _rest(self, seconds: float) -> None:
        """Let observations gather for the next transaction, unless there are many already."""
        if seconds > 0 and len(self._queue) < SLICE_OBSERVATIONS and not self._stopping:
            await asyncio.sleep(seconds)

    async def _has_input(self) -> bool:
        """1. Wait for an observation, the rest of a gap or a due timer; False is the order to stop."""
        while not self._stopping and not self._queue and self._gap is None:
            now_ms = self._timer_clock()
            due_ms = min(
                (at for at in (self._store.timers.next_at(), self._pace.next_at(now_ms)) if at is not None),
                default=None,
            )
            if due_ms is not None and due_ms <= now_ms:
                break
            if self._store.compact(_COMPACT_DEVICES):
                await asyncio.sleep(0)
                continue
            self._wake.clear()
            wait_s = _IDLE_S if due_ms is None else min(_IDLE_S, (due_ms - now_ms) / 1000)
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

        return not self._stopping

    def _timer_clock(self) -> int:
        """Overdue timers never overtake the unread backlog, nor our own clock where another copy's was ahead."""
        now_ms = self._now_ms()
        return min(self._observed_at_ms, now_ms) if self.is_behind else now_ms

    async def _fold(self, batch: Batch) -> None:
        """2. Observations in order, then the timers that are due after them."""
        if self._gap is None:
            await self._fold_observations(batch)
        elif batch.fold_gap(self._gap):
            self.next_offset, self._gap = self._gap.offset + 1, None
        self._observed_at_ms = max(self._observed_at_ms, batch.observed_at_ms)

        timer_now_ms = self._timer_clock()
        due = self._store.timers.pop_due(timer_now_ms, BATCH_TIMERS)
        batch.fold_timers(due, self._pace.take(timer_now_ms, BATCH_TIMERS), timer_now_ms)

    async def _fold_observations(self, batch: Batch) -> None:
        """Slice by slice, as long as there are more: under load a transaction is large."""
        room = BATCH_OBSERVATIONS
        while self._gap is None and room:
            count = min(len(self._queue), SLICE_OBSERVATIONS, room)
            room -= count
            records = [self._queue.popleft() for _ in range(count)]
            for record in records:
                if record.offset != self.next_offset:
                    self._check_hole(record)
                self.next_offset = record.offset + 1
            gap = self._gap = batch.fold_observations(records)
            if gap is not None:
                # R15: it counts as read only when it is folded into the last device.
                self.next_offset = gap.offset
                self._queue.extendleft(reversed([record for record in records if record.offset > gap.offset]))
            if count < SLICE_OBSERVATIONS or not self._queue or self._stopping:
                break
            await asyncio.sleep(0)
        batch.write_states()

    def _check_hole(self, record: ConsumerRecord) -> None:
        """Records come in order and without holes, except for one that a take-over found again in the log."""
        if record.offset > self.next_offset == self._known_hole_at:
            log.error(
                "observations_missing",
                partition=self._place.partition,
                offset=self.next_offset,
                missing=record.offset - self.next_offset,
                remedy="only the bridge may write to the observations topic, and never in a transaction",
            )
            self._counts["offsets_missing"] += record.offset - self.next_offset
            return

        raise OffsetJump(self._place, self.next_offset, record.offset)

    def _swap(self, batch: Batch, written: dict[tuple[str, int], int]) -> None:
        """7. What was committed is the truth now."""
        self.has_committed = True
        batch.settle()
        store = self._store
        complete_to = written.get((self._topics.state, self._place.partition))
        if complete_to is not None:
            store.complete_to = max(store.complete_to, complete_to)
        if batch.next_offset is not None:
            store.highest_input_offset = max(store.highest_input_offset, batch.next_offset - 1)
        self._counts.update(batch.counts)
        self._counts["transactions"] += 1
        self._counts["events"] += batch.event_count
        self._counts["lookups"] += batch.lookup_count
