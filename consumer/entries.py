"""Entries: what a producer sent as one batch, and the smallest piece that Pulsar counts as acknowledged.

An acknowledgement inside an entry never reaches the broker, unless a setting of the broker that is off by default
says otherwise; the whole entry comes again. So each entry is acknowledged by itself once all of it is confirmed, and
receiving stops at the end of an entry, never inside one (`receive_rest`). What an entry means for the course of its
source partition is judged by `courses`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import _pulsar

from consumer.courses import Course, Place, Verdict
from consumer.pulsar_frames import fields_of
from consumer.source import MessageId, SourceMessage, source_partition

_BATCH_SIZE: Final = 6
"""Field number in the protocol's MessageIdData."""

Message_co = TypeVar("Message_co", bound=SourceMessage, covariant=True)


class Receiver(Protocol[Message_co]):
    """What is received from: a consumer of the Pulsar client."""

    def receive(self, timeout_ms: int) -> Message_co:
        """Return the next message. Raises `_pulsar.Timeout` when none comes in time."""
        ...


class Taken(NamedTuple):
    """What to do with messages of one source partition that came together."""

    new: Sequence[SourceMessage]
    """To work on."""
    came_before: int
    """So many were worked on already, or are at this moment. Others were let go, and will come again."""
    ended: Sequence[MessageId]
    """The entries, of these and of those that came before, to acknowledge once all up to here is confirmed."""


class Entries:
    """What was received of each source partition since the process began. Belongs to the thread that receives."""

    def __init__(self) -> None:
        self._courses: dict[str, Course] = {}
        self._begun: dict[str, Place] = {}
        self.let_go = 0
        """So many entries, or pieces of one, were let go."""

    def take(self, partition: str, messages: Sequence[SourceMessage]) -> Taken:
        """Take note of messages that came together, in their order."""
        course = self._courses.get(partition)
        if course is None:
            course = self._courses[partition] = Course()
        new: list[SourceMessage] = []
        ended: list[MessageId] = []
        came_before = start = 0
        while start < len(messages):
            message = messages[start]
            message_id = message.message_id()
            place, published_at_ms = _place(message_id), message.publish_timestamp()
            stop, is_whole = (start + 1, True) if place[2] < 0 else _end_of_entry(messages, start, message_id)
            verdict = course.judge(place, published_at_ms)
            if verdict is Verdict.NEW:
                new.extend(messages[start:stop])
                if is_whole:
                    self._begun.pop(partition, None)
                    course.add(place, published_at_ms)
                else:
                    self._begun[partition] = place
            elif verdict is Verdict.CAME_BEFORE:
                came_before += stop - start
            else:
                self.let_go += 1
            if is_whole and verdict is not Verdict.TOO_EARLY:
                ended.append(_whole(message_id, message.topic_name()))
            start = stop
        return Taken(new, came_before, ended)

    def broken_off(self) -> list[str]:
        """Return the source partitions of which something was let go, and has to come again."""
        return [name for name, course in self._courses.items() if course.is_broken_off]

    @property
    def breaks(self) -> int:
        """So many times a course was broken off."""
        return sum(course.breaks for course in self._courses.values())

    def asked(self) -> None:
        """Take note that the gateway was asked to go back."""
        for course in self._courses.values():
            course.asked()

    def renew(self) -> None:
        """There is a new subscription: it begins with the first entry that is not acknowledged, and with all of it."""
        self._begun.clear()
        self.asked()

    def begun(self) -> dict[str, Place]:
        """Return the source partitions that stand inside an entry, and where."""
        return self._begun.copy()


def receive_rest(receiver: Receiver[Message_co], begun: dict[str, Place], *, by: float) -> list[Message_co]:
    """Return what is missing of the entries in `begun`, which is emptied as they end; give up at `by` (monotonic).

    The client takes entries whole, so the rest waits in its queue. Messages of other entries are let go: they were
    not acknowledged, so the gateway keeps them.
    """
    rest: list[Message_co] = []
    while begun and (left_s := by - time.monotonic()) > 0:
        try:
            message = receiver.receive(max(1, round(left_s * 1000)))
        except _pulsar.Timeout:
            break
        partition = source_partition(message.topic_name())
        place = begun.get(partition)
        if place is None:
            continue
        rest.append(message)
        message_id = message.message_id()
        # After a reconnection earlier entries may come again first.
        if _left_of_entry(message_id) == 1 and _place(message_id)[:2] >= place[:2]:
            del begun[partition]
    return rest


def _end_of_entry(messages: Sequence[SourceMessage], start: int, message_id: MessageId) -> tuple[int, bool]:
    """Return where the messages of an entry stop, and whether its last one is among them.

    They stand together, unless a reconnection cut them off: then the entry begins anew, or earlier ones come again.
    """
    left = _left_of_entry(message_id)
    if left == 1:
        return start + 1, True
    ledger, entry, index = _place(message_id)
    for last in range(min(start + left, len(messages)) - 1, start, -1):
        if _place(messages[last].message_id()) == (ledger, entry, index + last - start):
            return last + 1, last + 1 - start == left
    return start + 1, False


def _left_of_entry(message_id: MessageId) -> int:
    """Count a message and those behind it in its entry. The client shows the entry's size only in the serialised id."""
    index = message_id.batch_index()
    if index < 0:
        return 1
    size = fields_of(message_id.serialize()).get(_BATCH_SIZE)
    return max(1, size - index) if isinstance(size, int) else 1


def _place(message_id: MessageId) -> Place:
    return message_id.ledger_id(), message_id.entry_id(), message_id.batch_index()


def _whole(message_id: MessageId, topic: str) -> MessageId:
    """Return the id of the entry itself: the client acknowledges it at once, and does not count its messages."""
    if message_id.batch_index() < 0:
        return message_id
    ledger, number, _ = _place(message_id)
    entry_id = _pulsar.MessageId(message_id.partition(), ledger, number, -1)
    entry_id.topic_name(topic)
    return entry_id
