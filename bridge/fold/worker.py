"""The worker of one input partition: observations and timers in, one transaction out, again and again.

1. **Fetch** up to a batch of observations, or what is there; take the due timers.
2. **Fold** each in order on working copies. An input whose fold raises changes nothing and becomes a dead letter.
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
import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from msgspec import MsgspecError, Struct

from bridge.fold.encoding import (
    Headers,
    decode_observation,
    encode_device,
    encode_event,
    encode_record,
)
from bridge.fold.policy import Policy
from bridge.fold.rules import Folded, Refusal, TimerFired, fold
from bridge.fold.store import Store
from bridge.fold.timers import BackgroundPace
from bridge.fold.turn import Device, TypedEvent
from bridge.fold.waiting import is_background, next_timer_at
from bridge.kafka.topics import partition_of
from bridge.kafka.transactions import TransactionalProducer, TransactionRecord
from schemas import RAW_LIMIT_BYTES, DeadLetter, LookupRequest

log = structlog.get_logger(__name__)

BATCH_OBSERVATIONS: Final = 1000
"""Per transaction: beyond this the cost of a transaction no longer shows in the cost of a message."""
BATCH_TIMERS: Final = 1000
_IDLE_S: Final = 1.0


class FoldTopics(Struct, frozen=True, kw_only=True):
    """The full names of the topics a worker reads and writes, and how many partitions the keyed ones have."""

    observations: str
    state: str
    events: str
    lookups: str
    dead_letters: str
    partitions: int


class OffsetGap(Exception):
    """An observation arrived beyond the expected offset: records between were not seen. Take the partition over."""


class _Batch:
    """What one pass of steps 1 and 2 made: working copies and the records to write."""

    def __init__(self) -> None:
        self.devices: dict[str, Device | None] = {}
        self.events: list[TypedEvent] = []
        self.lookups: list[LookupRequest] = []
        self.dead_letters: list[DeadLetter] = []
        self.next_offset: int | None = None
        self.timers_taken: list[str] = []
        self.states: dict[str, tuple[bytes, Headers, int | None] | None] = {}


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
        self._queue: deque[ConsumerRecord] = deque()
        self._wake = asyncio.Event()
        self._stopping = False
        self.next_offset = next_offset

    @property
    def queued(self) -> int:
        """Records handed over and not yet folded."""
        return len(self._queue)

    @property
    def is_behind(self) -> bool:
        """Whether the backlog found at take-over is not folded yet: then timers run on the observations' own time."""
        return self.next_offset < self._backlog_end

    def offer(self, records: Sequence[ConsumerRecord]) -> None:
        """Hand over records fetched for this worker, in order."""
        self._queue.extend(records)
        self._wake.set()

    def stop(self) -> None:
        """Finish the transaction under way, then return from `run`."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until stopped, or until a doubt makes a new producer necessary. Raises KafkaError and OffsetGap."""
        while not self._producer.is_doubtful and await self._has_input():
            batch = self._fold_batch()
            try:
                if batch.next_offset is not None or batch.states:
                    written = await self._producer.commit(
                        self._records(batch), self._offsets(batch), self._group
                    )
                    self._swap(batch, written)
            except BaseException:
                # The store is kept for the next take-over, so its reminders must be complete again.
                for device_id in batch.timers_taken:
                    self._store.timers.arm(0, device_id)
                raise

    async def _has_input(self) -> bool:
        """1. Wait for an observation or a due timer; False is the order to stop."""
        while not self._stopping and not self._queue:
            now_ms = self._timer_clock()
            due_ms = min(
                (at for at in (self._store.timers.next_at(), self._pace.next_at()) if at is not None),
                default=None,
            )
            if due_ms is not None and due_ms <= now_ms:
                break
            self._wake.clear()
            wait_s = _IDLE_S if due_ms is None else min(_IDLE_S, (due_ms - now_ms) / 1000)
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

        return not self._stopping

    def _timer_clock(self) -> int:
        """Overdue timers never overtake the unread backlog."""
        return self._observed_at_ms if self.is_behind else self._now_ms()

    def _fold_batch(self) -> _Batch:
        """2. Observations in order, then the timers that are due after them."""
        batch = _Batch()
        for _ in range(min(len(self._queue), BATCH_OBSERVATIONS)):
            record = self._queue.popleft()
            if self._is_next(record):
                self._fold_observation(batch, record)
                self.next_offset = batch.next_offset = record.offset + 1

        now_ms = self._timer_clock()
        due = self._store.timers.pop_due(now_ms, BATCH_TIMERS)
        paced = self._pace.take(now_ms, BATCH_TIMERS)
        batch.timers_taken = due + paced
        for device_id in due:
            self._fold_timer(batch, device_id, now_ms, is_paced=False)
        for device_id in paced:
            self._fold_timer(batch, device_id, now_ms, is_paced=True)

        for device_id, device in batch.devices.items():
            batch.states[device_id] = None if device is None else self._encode(device)

        return batch

    def _is_next(self, record: ConsumerRecord) -> bool:
        """Records come without holes; only those below the next offset may come again after a seek."""
        if record.offset < self.next_offset:
            return False
        if record.offset > self.next_offset:
            raise OffsetGap(
                f"{self._place.topic}/{self._place.partition}: expected offset {self.next_offset}, "
                f"got {record.offset}"
            )
        return True

    def _fold_observation(self, batch: _Batch, record: ConsumerRecord) -> None:
        value = record.value or b""
        try:
            observation = decode_observation(value)
        except MsgspecError as error:
            self._refuse(batch, record, Refusal("internal_error", f"Not an observation: {error}"), "")
            return

        self._observed_at_ms = max(self._observed_at_ms, observation.observed_at_ms)
        device_id = observation.device_id
        if not device_id:
            self._counts["gap"] += 1
            return

        device = self._device(batch, device_id)
        if device is not None and record.offset <= device.book.offset:
            self._counts["folded_before"] += 1
            return

        try:
            folded = fold(device, observation, self._policy)
        except Exception as error:
            # R21: one observation that breaks a rule must not stop the partition; it is kept as a dead letter.
            log.exception("fold failed", partition=self._place.partition, offset=record.offset)
            refusal = Refusal("internal_error", f"The fold of this observation failed: {error!r}")
            self._refuse(batch, record, refusal, observation.account)
            return

        self._counts["observations"] += 1
        if folded.dead_letter is not None:
            self._refuse(batch, record, folded.dead_letter, observation.account)
        if folded.device is not None and folded.device is not device:
            folded.device.book.offset = record.offset
        self._take(batch, device_id, device, folded)

    def _fold_timer(self, batch: _Batch, device_id: str, now_ms: int, *, is_paced: bool) -> None:
        device = self._device(batch, device_id)
        if device is None:
            return

        due_ms = next_timer_at(device, self._policy)
        if due_ms is None:
            return
        if due_ms > now_ms:
            self._store.timers.arm(due_ms, device_id)
            return
        if not is_paced and is_background(device, now_ms):
            self._pace.wait(device.state.account, device_id)
            return

        try:
            folded = fold(device, TimerFired(now_ms), self._policy)
        except Exception:
            # R21 for timers: there is no input to keep; the device waits for its next observation.
            log.exception("timer failed", partition=self._place.partition)
            self._counts["timer_failed"] += 1
            return

        self._counts["timers"] += 1
        self._take(batch, device_id, device, folded)

    def _device(self, batch: _Batch, device_id: str) -> Device | None:
        if device_id in batch.devices:
            return batch.devices[device_id]
        return self._store.get(device_id)

    def _take(self, batch: _Batch, device_id: str, before: Device | None, folded: Folded) -> None:
        if folded.device is not before:
            batch.devices[device_id] = folded.device
        batch.events.extend(folded.events)
        if folded.lookup is not None:
            batch.lookups.append(folded.lookup)
        self._counts.update(folded.counts)

    def _refuse(self, batch: _Batch, record: ConsumerRecord, refusal: Refusal, account: str) -> None:
        payload = record.value or b""
        self._counts["dead_letters"] += 1
        batch.dead_letters.append(
            DeadLetter(
                reason=refusal.reason,
                detail=refusal.detail,
                source_position=f"observations/{record.partition}:{record.offset}",
                account=account,
                received_at_ms=self._now_ms(),
                payload=payload[:RAW_LIMIT_BYTES],
                payload_bytes=len(payload),
                payload_sha256=hashlib.sha256(payload).hexdigest(),
                properties={},
            )
        )

    def _encode(self, device: Device) -> tuple[bytes, Headers, int | None]:
        timer_at_ms = next_timer_at(device, self._policy)
        value, headers = encode_device(device, timer_at_ms)
        return value, headers, timer_at_ms

    def _records(self, batch: _Batch) -> Iterable[TransactionRecord]:
        """4. In the order of the topics; states and events keep the input's partition number."""
        topics, partition = self._topics, self._place.partition
        now_ms = self._now_ms()
        for device_id, state in batch.states.items():
            key = device_id.encode()
            if state is None:
                yield TransactionRecord(topics.state, partition, key, None, now_ms)
            else:
                value, headers, _ = state
                yield TransactionRecord(topics.state, partition, key, value, now_ms, headers)
        for typed in batch.events:
            value, headers = encode_event(typed)
            key = typed.event.device_id.encode()
            yield TransactionRecord(topics.events, partition, key, value, typed.event.observed_at_ms, headers)
        for lookup in batch.lookups:
            yield self._keyed(topics.lookups, lookup.account, lookup, now_ms)
        for letter in batch.dead_letters:
            yield self._keyed(topics.dead_letters, letter.source_position, letter, now_ms)

    def _keyed(self, topic: str, key: str, record: Struct, at_ms: int) -> TransactionRecord:
        encoded = key.encode()
        partition = partition_of(encoded, self._topics.partitions)
        return TransactionRecord(topic, partition, encoded, encode_record(record), at_ms)

    def _offsets(self, batch: _Batch) -> dict[TopicPartition, int]:
        """5. The offset after the last observation; a batch of timers alone moves none."""
        return {} if batch.next_offset is None else {self._place: batch.next_offset}

    def _swap(self, batch: _Batch, written: dict[tuple[str, int], int]) -> None:
        """7. What was committed is the truth now."""
        for device_id, state in batch.states.items():
            if state is None:
                self._store.remove(device_id)
                continue
            value, headers, timer_at_ms = state
            self._store.put(device_id, value, headers)
            if timer_at_ms is not None:
                self._store.timers.arm(timer_at_ms, device_id)
        complete_to = written.get((self._topics.state, self._place.partition))
        if complete_to is not None:
            self._store.complete_to = max(self._store.complete_to, complete_to)
        if batch.next_offset is not None:
            self._store.highest_input_offset = max(self._store.highest_input_offset, batch.next_offset - 1)
        self._counts["transactions"] += 1
        self._counts["events"] += len(batch.events)
        self._counts["lookups"] += len(batch.lookups)
