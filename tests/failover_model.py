"""A source partition's dispatcher, its clients and two copies of the consumer, in random steps from a seed.

Written after Pulsar's `PersistentDispatcherSingleActiveConsumer`, with what makes it go wrong: a write that ends
goes on reading for whoever is the owner by then, without going back; a question makes it read twice at a time; while
it waits for an earlier owner's acknowledgements it does not listen. Some entries are nobody's: holes that stay.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping

from consumer.courses import Place
from consumer.entries import Entries, Taken, pieces_of
from consumer.questions import Questions
from consumer.source import SourceMessage
from tests.gateway_messages import Received

STEP_S = 0.002
CALM_STEPS = 20_000
_FIRST_LEDGER = 100
_LOWER = 10
"""So much lower begins the numbering of each platform than that of the one before."""
_MOST_PLATFORMS = 8

QUIET_STEPS: Mapping[str, float] = {
    "complete_read": 8,
    "end_write": 8,
    "end_wait": 2,
    "join": 1,
    "pass_on": 8,
    "receive": 8,
    "confirm": 6,
    "acknowledge": 6,
    "flush": 4,
}
TROUBLE: Mapping[str, float] = QUIET_STEPS | {"publish": 6, "leave": 0.3, "crash": 0.4, "restart_broker": 0.1}
"""Copies come, go and die, and brokers restart."""
LOST_CONNECTIONS: Mapping[str, float] = {"reconnect": 0.5, "renew": 0.2}
REBUILT: Mapping[str, float] = {"rebuild": 0.2}


class _Client:
    def __init__(self, *, rest: deque[Received] | None = None) -> None:
        self.of_partition: deque[Received] = deque()
        self.queue: deque[Received] = rest or deque()
        self.grouped: set[tuple[int, int]] = set()


class _Copy:
    def __init__(self) -> None:
        self.entries = Entries()
        self.questions = Questions()
        self.client = _Client()
        self.pending: deque[Taken] = deque()
        self.to_acknowledge: list[Taken] = []


class Failover:
    """Runs from a seed; afterwards `faults` says what was wrong, and `disorder` what reached Kafka out of order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._now = 100.0
        self._entries: list[tuple[int, int]] = []
        self._sizes: list[int] = []
        self._next = (_FIRST_LEDGER, 0)
        self._oldest = 0
        """Of the platform that there is now."""
        self._acknowledged: set[int] = set()
        self._position = self._writes = 0
        self._reads: list[tuple[int, _Client, int]] = []
        self._is_reading = self._is_waiting = False
        self._copies = [_Copy(), _Copy()]
        self._members = [0]
        self._active: int | None = 0
        self._kafka: set[Place] = set()
        self.faults: list[str] = []
        self.disorder: list[str] = []
        self._read_more()

    def run(self, steps: int, weights: Mapping[str, float]) -> None:
        """Take so many steps, and then as many without trouble as it takes to be done with everything."""
        for _ in range(steps):
            self._step(weights)
        for number in range(CALM_STEPS):
            if number % 4000 == 0:
                self._publish()
            self._step(QUIET_STEPS)
            if self._acknowledged.issuperset(range(self._oldest, len(self._entries))):
                break
        every = range(self._oldest, len(self._entries))
        if lost := [place for index in every for place in self._places(index) if place not in self._kafka]:
            self.faults.append(f"never reached Kafka: {lost}")
        if kept := [self._entries[index] for index in every if index not in self._acknowledged]:
            self.faults.append(f"never acknowledged: {kept}")

    def _step(self, weights: Mapping[str, float]) -> None:
        self._now += STEP_S
        for number, copy in enumerate(self._copies):
            entries = copy.entries
            if copy.questions.is_to_ask(
                self._now,
                are_missing=bool(entries.broken_off()),
                breaks=entries.breaks,
                let_go=entries.let_go,
            ):
                self._redeliver(number)
                entries.asked()
        (name,) = self._random.choices(list(weights), list(weights.values()))
        step = getattr(self, f"_{name}")
        if name in ("publish", "complete_read", "end_write", "end_wait", "restart_broker", "rebuild"):
            step()
        else:
            step(self._random.randrange(2))

    # The broker.

    def _publish(self) -> None:
        ledger, number = self._next
        if self._random.random() < 0.05:
            ledger, number = ledger + 1, 0
        if self._random.random() < 0.05:
            number += self._random.choice((1, 2))
        self._next = ledger, number + 1
        self._entries.append((ledger, number))
        self._sizes.append(self._random.choice((1, 1, 2, 3, 5)))

    def _places(self, index: int) -> list[Place]:
        size = self._sizes[index]
        return [(*self._entries[index], place) for place in ([-1] if size == 1 else range(size))]

    def _go_back(self) -> None:
        kept = (index for index in range(self._oldest, len(self._entries)) if index not in self._acknowledged)
        self._position = next(kept, len(self._entries))

    def _read_more(self) -> None:
        if self._active is not None and not self._is_reading:
            self._is_reading = True
            self._reads.append((self._active, self._copies[self._active].client, self._position))

    def _cancel_waiting_reads(self) -> None:
        running = [read for read in self._reads if read[2] < len(self._entries)]
        if len(running) < len(self._reads):
            self._reads, self._is_reading = running, False

    def _complete_read(self) -> None:
        ready = [read for read in self._reads if read[2] < len(self._entries)]
        if not ready:
            return
        read = self._random.choice(ready)
        self._reads.remove(read)
        owner, client, start = read
        self._position = min(len(self._entries), start + self._random.choice((1, 2, 4, 8)))
        self._is_reading = False
        if owner != self._active or client is not self._copies[owner].client:
            self._go_back()
            self._read_more()
            return
        for index in range(start, self._position):
            if index not in self._acknowledged and self._entries[index] not in client.grouped:
                client.of_partition += [
                    Received(b"", at=place, batch_size=self._sizes[index], published_at_ms=index)
                    for place in self._places(index)
                ]
        self._writes += 1

    def _end_write(self) -> None:
        if self._writes:
            self._writes -= 1
            self._read_more()

    def _end_wait(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            # A read that waits at the end goes on from where the cursor stands by then (really: at the next entry).
            self._cancel_waiting_reads()
            self._go_back()
            self._read_more()

    def _redeliver(self, number: int) -> None:
        if number == self._active and not self._is_waiting:
            self._cancel_waiting_reads()
            self._is_reading = False
            self._go_back()
            self._read_more()

    def _choose(self, active: int | None) -> None:
        if active != self._active:
            self._active = active
            self._cancel_waiting_reads()
            self._is_waiting = self._is_waiting or (active is not None and not self._is_reading)

    def _restart_broker(self) -> None:
        self._reads, self._is_reading, self._writes = [], False, 0
        self._is_waiting, self._active = False, None
        members, self._members = self._members, []
        for number in members:
            self._copies[number].client = _Client(rest=self._copies[number].client.queue)
            self._join(number)

    def _rebuild(self) -> None:
        begun = self._entries[self._oldest :]
        if begun and min(begun)[0] > _FIRST_LEDGER - _MOST_PLATFORMS * _LOWER:
            self._oldest = self._position = len(self._entries)
            self._next = (min(begun)[0] - _LOWER, 0)
            self._restart_broker()

    # The clients.

    def _join(self, number: int) -> None:
        if number not in self._members:
            self._members.append(number)
            self._choose(self._random.choice(self._members))

    def _leave(self, number: int) -> None:
        if number in self._members:
            self._members.remove(number)
            if self._active == number:
                self._active = None
                self._choose(self._random.choice(self._members) if self._members else None)

    def _reconnect(self, number: int) -> None:
        self._leave(number)
        self._pass_on(number)
        before = self._copies[number].client
        client = self._copies[number].client = _Client(rest=before.queue)
        if self._random.random() < 0.5:
            client.grouped = before.grouped
        self._join(number)

    def _renew(self, number: int) -> None:
        self._leave(number)
        self._copies[number].client = _Client()
        self._copies[number].entries.renew()
        self._join(number)

    def _pass_on(self, number: int) -> None:
        client = self._copies[number].client
        for _ in range(self._random.randrange(len(client.of_partition) + 1)):
            client.queue.append(client.of_partition.popleft())

    def _flush(self, number: int) -> None:
        client = self._copies[number].client
        if number in self._members:
            for entry in client.grouped:
                index = self._entries.index(entry)
                if not self._kafka.issuperset(self._places(index)):
                    self.faults.append(f"acknowledged and not in Kafka: {entry}")
                self._acknowledged.add(index)
        client.grouped = set()

    # The copies.

    def _receive(self, number: int) -> None:
        copy = self._copies[number]
        queue = copy.client.queue
        batch = [queue.popleft() for _ in range(min(len(queue), self._random.choice((1, 2, 4, 16))))]
        taken = copy.entries.take("event/3", pieces_of(batch))
        if taken.new or taken.ended:
            copy.pending.append(taken)

    def _confirm(self, number: int) -> None:
        copy = self._copies[number]
        if copy.pending:
            taken = copy.pending.popleft()
            self._write(_messages(taken))
            copy.to_acknowledge.append(taken)

    def _write(self, messages: Iterable[SourceMessage]) -> None:
        for message in messages:
            message_id = message.message_id()
            place = message_id.ledger_id(), message_id.entry_id(), message_id.batch_index()
            index = message.publish_timestamp()
            latest = max(
                (each for each in self._kafka if self._is_of_one_platform(each, place)), default=place
            )
            if place not in self._kafka and place < latest:
                self.disorder.append(f"{place} after {latest}, entry {index}")
            self._kafka.add(place)

    @staticmethod
    def _is_of_one_platform(one: Place, other: Place) -> bool:
        return (one[0] - _FIRST_LEDGER) // _LOWER == (other[0] - _FIRST_LEDGER) // _LOWER

    def _acknowledge(self, number: int) -> None:
        copy = self._copies[number]
        for taken in copy.to_acknowledge:
            copy.client.grouped |= {(entry.ledger_id(), entry.entry_id()) for entry in taken.ended}
        copy.to_acknowledge = []

    def _crash(self, number: int) -> None:
        pending = self._copies[number].pending
        if pending:
            messages = _messages(pending[0])
            self._write(messages[: self._random.randrange(len(messages) + 1)])
        self._leave(number)
        self._copies[number] = _Copy()


def _messages(taken: Taken) -> list[SourceMessage]:
    return [message for piece in taken.new for message in piece.messages]
