"""Steps 2 and 4 of a worker's pass: inputs folded on working copies, and the records that come of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import structlog
from aiokafka import ConsumerRecord
from msgspec import Struct
from msgspec.structs import replace

from bridge.fold.device import Device
from bridge.fold.encoding import decode_observation, encode_device, encode_event, encode_record
from bridge.fold.events import TypedEvent
from bridge.fold.gap import OpenGap
from bridge.fold.lookups import is_due_in_background, is_watched
from bridge.fold.policy import Policy
from bridge.fold.rules import Folded, Refusal, TimerFired, fold
from bridge.fold.store import Store
from bridge.fold.timers import BackgroundPace
from bridge.fold.waiting import next_timer_at
from bridge.kafka.topics import partition_of, topic_name
from bridge.kafka.transactions import Draft, TransactionRecord
from schemas import RAW_LIMIT_BYTES, DeadLetter, LookupRequest, Observation
from schemas.unreadable import UNREADABLE

log = structlog.get_logger(__name__)

_FAILED_TIMER_MS: Final = 600_000
"""A device whose timer fails is looked at again after this: a defect of ours must not become a storm."""

_RECORD_LIMIT_BYTES: Final = 512 * 1024
"""Of a state or an event without its headers: half of what Kafka takes. One that Kafka refuses would be folded and
refused for ever, and a device that names ever new channels makes one."""


class ResultTooLarge(Exception):
    """Kafka would refuse what came of an input: the input becomes a dead letter (R21)."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"a record of {size_bytes} bytes is more than {_RECORD_LIMIT_BYTES}")


class FoldTopics(Struct, frozen=True, kw_only=True):
    """The full names of the topics a worker reads and writes, and how many partitions the keyed ones have."""

    observations: str
    state: str
    events: str
    lookups: str
    dead_letters: str
    partitions: int

    @classmethod
    def under(cls, prefix: str, partitions: int) -> FoldTopics:
        """Return the topics under a prefix."""
        return cls(
            observations=topic_name(prefix, "observations"),
            state=topic_name(prefix, "upgrade-state"),
            events=topic_name(prefix, "upgrade-events"),
            lookups=topic_name(prefix, "lookups"),
            dead_letters=topic_name(prefix, "dead-letters"),
            partitions=partitions,
        )


class StateRecord(Struct, frozen=True, gc=False):
    """A device's state as it is written, and when its timer is due."""

    device: Device
    record: TransactionRecord
    timer_at_ms: int | None


class Batch:
    """Folds inputs against a store that it does not change; afterwards holds everything they lead to.

    States and events go to the store's partition number, the rest goes by its key. `now_ms` becomes the states'
    timestamp. Events go into `draft` at once, everything else when all is folded.
    """

    def __init__(
        self,
        store: Store,
        pace: BackgroundPace,
        policy: Policy,
        *,
        topics: FoldTopics,
        now_ms: int,
        draft: Draft,
    ) -> None:
        self._store = store
        self._pace = pace
        self._policy = policy
        self._topics = topics
        self._now_ms = now_ms
        self._draft = draft
        self._devices: dict[str, Device | None] = {}
        """The working copies."""
        self._writes_at_once = True
        self._records: list[ConsumerRecord] = []
        """The observations, gaps excepted."""
        self._folded = 0
        """How many of them were not refused; a plain number, because it is counted for each of them."""
        self._lookups: list[LookupRequest] = []
        self._paced: list[tuple[LookupRequest, int]] = []
        """Those of them whose turn had come, and when they were asked, Unix ms."""
        self._dead_letters: list[DeadLetter] = []
        self.event_count = 0
        self.states: dict[str, StateRecord | None] = {}
        """One state for each device that changed, None for a tombstone."""
        self.counts: Counter[str] = Counter()
        """What happened, to be added to the stage's counts once it is committed."""
        self.next_offset: int | None = None
        """After the last observation; None in a batch of timers alone."""
        self.observed_at_ms = 0
        """The latest time at which one of the observations was made."""
        self.reminders: Sequence[str] = ()
        """Devices whose reminders this batch used up."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return self.next_offset is None and not self.states

    def fold_observations(self, records: Sequence[ConsumerRecord]) -> OpenGap | None:
        """2. Fold observations in order. One that cannot be folded changes nothing and becomes a dead letter (R21).

        Ends before a gap, which is returned, to be folded slice by slice.
        """
        self._writes_at_once = False
        for record in records:
            gap = self._fold_record(record)
            if gap is not None:
                return gap
            self._records.append(record)

        return None

    def write_states(self) -> None:
        """2. Encode one state for each device that the observations changed; to be called after the last.

        A result that cannot be written is refused like an input that raises (R21). To know which input made it, all
        are folded again, each state written at once: for nearly every batch that would be twice the work for nothing.
        """
        try:
            for device_id, device in self._devices.items():
                self.states[device_id] = self._state_record(device_id, device)
            self._writes_at_once = True
        except Exception:  # noqa: BLE001 (folded again, it is logged with its observation)
            self._writes_at_once = True
            self._folded = self.event_count = 0
            self._draft.clear()
            for kept in (self._devices, self.states, self._lookups, self._dead_letters, self.counts):
                kept.clear()
            for record in self._records:
                self._fold_record(record)
        if self._records:
            self.counts["observations"] += self._folded
            self.next_offset = self._records[-1].offset + 1

    def fold_gap(self, gap: OpenGap) -> bool:
        """2. Fold the next slice of an open gap; return whether that was the last."""
        if gap.lost_input is None:
            self.observed_at_ms = max(self.observed_at_ms, gap.at_ms)
        if not gap.rank(self._store, self._policy):
            return False

        device_ids, is_last = gap.take()
        for device_id in device_ids:
            try:
                self._fold_gap(device_id, gap)
            except Exception:
                # R21: the device keeps its other lookups; there is no input of its own to keep.
                log.exception("gap_failed", device_id=device_id)
                self.counts["gap_failed"] += 1
        if is_last:
            self.counts["gap"] += 1
            self.next_offset = gap.offset + 1
        return is_last

    def fold_timers(self, due: Sequence[str], paced: Sequence[str], now_ms: int) -> None:
        """2. Fold the timers of devices whose reminders came, and of those whose turn it is at the account's pace."""
        self.reminders = [*due, *paced]
        for number, device_id in enumerate(self.reminders):
            try:
                self._fold_timer(device_id, now_ms, is_paced=number >= len(due))
            except Exception:
                # R21 for timers: there is no input to keep, and the device must not be forgotten.
                log.exception("timer_failed", device_id=device_id)
                self.counts["timer_failed"] += 1
                self._store.timers.arm(now_ms + _FAILED_TIMER_MS, device_id)

    def complete_draft(self) -> Draft:
        """4. Return the draft with everything in it that is to be produced."""
        draft, topics, now_ms = self._draft, self._topics, self._now_ms
        for device_id, state in self.states.items():
            if state is None:
                key = device_id.encode()
                draft.add(TransactionRecord(topics.state, self._store.partition, key, None, now_ms))
            else:
                draft.add(state.record)
        for topic, key_text, keyed in (
            *((topics.lookups, lookup.account, lookup) for lookup in self._lookups),
            *((topics.dead_letters, letter.source_position, letter) for letter in self._dead_letters),
        ):
            key = key_text.encode()
            partition = partition_of(key, topics.partitions)
            draft.add(TransactionRecord(topic, partition, key, encode_record(keyed), now_ms))
        return draft

    @property
    def lookup_count(self) -> int:
        """How many lookups are asked for."""
        return len(self._lookups)

    def settle(self) -> None:
        """7. What was committed is the truth now: swap the working copies into the store, arm their timers.

        Only now its lookups are under way: those of an aborted transaction nobody ever answers.
        """
        store = self._store
        for device_id, state in self.states.items():
            if state is None:
                store.remove(device_id)
                continue
            store.keep(device_id, state.device)
            if state.timer_at_ms is not None:
                store.timers.arm(state.timer_at_ms, device_id)
        for asked, asked_at_ms in self._paced:
            self._pace.asked(
                asked.account, asked.device_id, asked_at_ms=asked_at_ms, expires_at_ms=asked.expires_at_ms
            )

    def _fold_record(self, record: ConsumerRecord) -> OpenGap | None:
        try:
            observation = decode_observation(record.value or b"")
        except UNREADABLE as error:
            self._refuse(record, Refusal("internal_error", f"Not an observation: {error}"), "")
            return None

        if not observation.device_id:
            if observation.kind == "gap":
                return OpenGap(
                    offset=record.offset, at_ms=observation.observed_at_ms, observation=observation
                )
            if observation.kind == "answer":
                self.counts["listing_answered"] += 1
                return None
            refusal = Refusal("internal_error", "Only a gap, and the end of a listing, name no device.")
            self._refuse(record, refusal, observation.account)
            return None

        self.observed_at_ms = max(self.observed_at_ms, observation.observed_at_ms)
        if observation.kind == "answer":
            self._pace.answered(observation.account, observation.device_id)
        self._fold_observation(record, observation)
        return None

    def _fold_observation(self, record: ConsumerRecord, observation: Observation) -> None:
        device_id, offset = observation.device_id, record.offset
        try:
            device = self._device(device_id)
            if device is not None and offset <= device.book.offset:
                self.counts["folded_before"] += 1
                return
            folded = fold(device, observation, self._policy)
            after = folded.device
            if after is not None and after is not device:
                after.book.offset = offset
            self._take(device_id, device, folded)
        except Exception as error:
            log.exception("fold_failed", partition=record.partition, offset=offset)
            refusal = Refusal("internal_error", f"The fold of this observation failed: {error!r}")
            self._refuse(record, refusal, observation.account)
            return

        self._folded += 1
        if folded.dead_letter is not None:
            self._refuse(record, folded.dead_letter, observation.account)

    def _fold_gap(self, device_id: str, gap: OpenGap) -> None:
        device = self._device(device_id)
        if device is None or (gap.lost_input is None and gap.offset <= device.book.offset):
            return

        folded = fold(device, gap.observation(device.state), self._policy)
        after = folded.device
        if after is not None and (after is not device or gap.lost_input == "recreated"):
            # States of a topic made anew are written in any case: their old offsets say nothing about the new one.
            book = replace(after.book, offset=gap.offset)
            folded = replace(folded, device=replace(after, book=book))
        self._take(device_id, device, folded)

    def _fold_timer(self, device_id: str, now_ms: int, *, is_paced: bool) -> None:
        device = self._device(device_id)
        due_ms = None if device is None else next_timer_at(device, self._policy)
        if device is None or due_ms is None:
            return

        if due_ms > now_ms:
            self._store.timers.arm(due_ms, device_id)
            return

        if not is_paced and is_due_in_background(device.book, now_ms):
            watched = is_watched(device.state.channels, now_ms, self._policy)
            self._pace.wait(device.state.account, device_id, is_watched=watched)
            due_ms = next_timer_at(device, self._policy, with_background=False)
            if due_ms is None:
                return
            if due_ms > now_ms:
                self._store.timers.arm(due_ms, device_id)
                return

        folded = fold(device, TimerFired(now_ms, asks_in_background=is_paced), self._policy)
        self._take(device_id, device, folded)
        if is_paced and folded.lookup is not None:
            self._paced.append((folded.lookup, now_ms))
        self.counts["timers"] += 1

    def _device(self, device_id: str) -> Device | None:
        if device_id in self._devices:
            return self._devices[device_id]

        return self._store.get(device_id)

    def _take(self, device_id: str, before: Device | None, folded: Folded) -> None:
        """Keep what came of an input; its events are encoded here, its state where `_writes_at_once`."""
        device = folded.device
        events = [self._event_record(typed) for typed in folded.events]
        if device is not before:
            if self._writes_at_once:
                self.states[device_id] = self._state_record(device_id, device)
            self._devices[device_id] = device
        for event in events:
            self._draft.add(event)
        self.event_count += len(events)
        if folded.lookup is not None:
            self._lookups.append(folded.lookup)
        for name in folded.counts:
            self.counts[name] += 1

    def _event_record(self, typed: TypedEvent) -> TransactionRecord:
        key, value, headers = encode_event(typed)
        if len(value) > _RECORD_LIMIT_BYTES:
            raise ResultTooLarge(len(value))
        return TransactionRecord(
            self._topics.events, self._store.partition, key, value, typed.event.observed_at_ms, headers
        )

    def _state_record(self, device_id: str, device: Device | None) -> StateRecord | None:
        if device is None:
            return None

        timer_at_ms = next_timer_at(device, self._policy)
        value, headers = encode_device(device, timer_at_ms)
        if len(value) > _RECORD_LIMIT_BYTES:
            raise ResultTooLarge(len(value))
        record = TransactionRecord(
            self._topics.state, self._store.partition, device_id.encode(), value, self._now_ms, headers
        )
        return StateRecord(device, record, timer_at_ms)

    def _refuse(self, record: ConsumerRecord, refusal: Refusal, account: str) -> None:
        payload = record.value or b""
        self.counts["dead_letters"] += 1
        self._dead_letters.append(
            DeadLetter(
                reason=refusal.reason,
                detail=refusal.detail,
                source_position=f"observations/{record.partition}:{record.offset}",
                account=account,
                received_at_ms=self._now_ms,
                payload=payload[:RAW_LIMIT_BYTES],
                payload_bytes=len(payload),
                payload_sha256=hashlib.sha256(payload).hexdigest(),
                properties={},
            )
        )
