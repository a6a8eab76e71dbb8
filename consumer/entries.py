"""Entries: what a producer sent as one batch, and the smallest piece that Pulsar counts as acknowledged.

An acknowledgement inside an entry never reaches the broker, unless a setting of the broker that is off by default
says otherwise; the whole entry comes again. So each entry is acknowledged by itself once all of it is confirmed, and
receiving stops at the end of an entry, never inside one (`receive_rest`). What an entry means for the course of its
source partition is judged by `courses`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import _pulsar
from msgspec import Struct

from consumer.courses import Course, Place, Verdict
from consumer.pulsar_frames import fields_of
from consumer.source import MessageId, SourceMessage, source_partition
from schemas import Position

_BATCH_SIZE: Final = 6
"""Field number in the protocol's MessageIdData."""
_BATCH_SIZE_TAG: Final = _BATCH_SIZE << 3
_ONE_BYTE: Final = 0x80
"""A varint below is one byte: then the byte before it is its field's tag, which no longer number ends with."""

Message_co = TypeVar("Message_co", bound=SourceMessage, covariant=True)


class Receiver(Protocol[Message_co]):
    """What is received from: a consumer of the Pulsar client."""

    def receive(self, timeout_ms: int) -> Message_co:
        """Return the next message. Raises `_pulsar.Timeout` when none comes in time."""
        ...


class Piece(Struct, frozen=True, gc=False):
    """Messages of one entry that came together. `place` is the first one's; the others follow it one by one."""

    messages: Sequence[SourceMessage]
    topic: str
    place: Place
    published_at_ms: int
    """The entry's: its messages share it."""
    is_whole: bool
    """Whether the entry's last message is among them."""
    first_id: MessageId

    def position(self, offset: int, partition: str) -> Position:
        """Return the position of `messages[offset]`, without asking the client for it."""
        ledger, entry, index = self.place
        return Position(
            partition=partition,
            ledger=ledger,
            entry=entry,
            batch_index=index if index < 0 else index + offset,
            publish_time_at_ms=self.published_at_ms,
        )

    def entry_id(self) -> MessageId:
        """Return the id of the entry itself: the client acknowledges it at once, and does not count its messages."""
        ledger, entry, index = self.place
        if index < 0:
            return self.first_id
        entry_id = _pulsar.MessageId(self.first_id.partition(), ledger, entry, -1)
        entry_id.topic_name(self.topic)
        return entry_id


def pieces_of(messages: Sequence[SourceMessage]) -> list[Piece]:
    """Cut a batch of any source partitions into its entries, in order.

    An entry's messages stand together, so most of them need not be asked where they stood: each question to the
    client costs a quarter of a microsecond. Where they do not stand together they are pieces of their own.
    """
    pieces: list[Piece] = []
    start, total = 0, len(messages)
    while start < total:
        message = messages[start]
        message_id = message.message_id()
        place = _place(message_id)
        stop, is_whole = (
            (start + 1, True) if place[2] < 0 else _end_of_entry(messages, start, message_id, place)
        )
        pieces.append(
            Piece(
                messages[start:stop],
                message.topic_name(),
                place,
                message.publish_timestamp(),
                is_whole,
                message_id,
            )
        )
        start = stop
    return pieces


class Taken(NamedTuple):
    """What to do with what came together of one source partition."""

    new: Sequence[Piece]
    """To work on."""
    came_before: int
    """So many messages were worked on already, or are at this moment. Others were let go, and will come again."""
    ended: Sequence[MessageId]
    """The entries, of these and of those that came before, to acknowledge once all up to here is confirmed."""


class Entries:
    """What was received of each source partition since the process began. Belongs to the thread that receives."""

    def __init__(self) -> None:
        self._courses: dict[str, Course] = {}
        self._begun: dict[str, Place] = {}
        self.let_go = 0
        """So many entries, or pieces of one, were let go."""

    def take(self, partition: str, pieces: Iterable[Piece]) -> Taken:
        """Take note of what came together of a source partition, in its order."""
        course = self._courses.get(partition)
        if course is None:
            course = self._courses[partition] = Course()
        new: list[Piece] = []
        ended: list[MessageId] = []
        came_before = 0
        for piece in pieces:
            verdict = course.judge(piece.place, piece.published_at_ms)
            if verdict is Verdict.NEW:
                new.append(piece)
                if piece.is_whole:
                    self._begun.pop(partition, None)
                    course.add(piece.place, piece.published_at_ms)
                else:
                    self._begun[partition] = piece.place
            elif verdict is Verdict.CAME_BEFORE:
                came_before += len(piece.messages)
            else:
                self.let_go += 1
                continue
            if piece.is_whole:
                ended.append(piece.entry_id())
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


def _end_of_entry(
    messages: Sequence[SourceMessage], start: int, message_id: MessageId, place: Place
) -> tuple[int, bool]:
    """Return where the messages of an entry stop, and whether its last one is among them.

    They stand together, unless a reconnection cut them off: then the entry begins anew, or earlier ones come again.
    """
    left = _left_of_entry(message_id)
    if left == 1:
        return start + 1, True
    ledger, entry, index = place
    for last in range(min(start + left, len(messages)) - 1, start, -1):
        if _place(messages[last].message_id()) == (ledger, entry, index + last - start):
            return last + 1, last + 1 - start == left
    return start + 1, False


def _left_of_entry(message_id: MessageId) -> int:
    """Count a message and those behind it in its entry. The client shows the entry's size only in the serialised id."""
    index = message_id.batch_index()
    if index < 0:
        return 1
    serialised = message_id.serialize()
    if serialised[-2] == _BATCH_SIZE_TAG and serialised[-1] < _ONE_BYTE:
        # The last field, and a small one: nine of ten entries need not be taken apart.
        return max(1, serialised[-1] - index)
    size = fields_of(serialised).get(_BATCH_SIZE)
    return max(1, size - index) if isinstance(size, int) else 1


def _place(message_id: MessageId) -> Place:
    return message_id.ledger_id(), message_id.entry_id(), message_id.batch_index()
