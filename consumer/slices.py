"""Step 1, group: a received batch as one slice per source partition, its messages in order, already translated.

Slices are what crosses from the gateway's thread to the event loop: one object for hundreds of messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from consumer.sink import OutgoingRecord
from consumer.source import MessageId, SourceMessage, position_of, source_partition
from consumer.statistics import Counters
from consumer.translation import Translator
from schemas import Position

_BEFORE_ALL: Final = (-1, -1, -1)


class Slice(Struct, frozen=True, kw_only=True, gc=False):
    """Consecutive messages of one source partition. `sources[i]` is the message that led to `records[i]`."""

    partition: str
    records: Sequence[OutgoingRecord]
    sources: Sequence[SourceMessage]
    last_id: MessageId
    last_position: Position
    first_published_at_ms: int
    last_published_at_ms: int
    received_at_ms: int
    message_count: int
    size_bytes: int


class Slicer:
    """Cuts and translates batches; remembers how far each source partition was received. Belongs to one thread."""

    def __init__(self, translator: Translator, counters: Counters) -> None:
        self._translator = translator
        self._counters = counters
        self._partitions: dict[str, str] = {}
        self._received_up_to: dict[str, tuple[int, int, int]] = {}

    def cut(self, messages: Sequence[SourceMessage], received_at_ms: int) -> list[Slice]:
        """Return the slices of a batch."""
        groups: dict[str, list[SourceMessage]] = {}
        for message in messages:
            topic = message.topic_name()
            if topic in groups:
                groups[topic].append(message)
            else:
                groups[topic] = [message]
        self._counters.received += len(messages)
        self._counters.last_received_at_ms = received_at_ms
        return [self._slice(topic, group, received_at_ms) for topic, group in groups.items()]

    def _slice(self, topic: str, messages: list[SourceMessage], received_at_ms: int) -> Slice:
        partition = self._partitions.get(topic)
        if partition is None:
            partition = self._partitions[topic] = source_partition(topic)
        self._count_redelivered(partition, messages)
        records: list[OutgoingRecord] = []
        sources: list[SourceMessage] = []
        size_bytes = 0
        translate = self._translator.translate
        for message in messages:
            payload = message.data()
            size_bytes += len(payload)
            translated = translate(message, partition, payload, received_at_ms)
            if translated:
                records += translated
                sources += [message] * len(translated)
        last = messages[-1]
        return Slice(
            partition=partition,
            records=records,
            sources=sources,
            last_id=last.message_id(),
            last_position=position_of(last, partition),
            first_published_at_ms=messages[0].publish_timestamp(),
            last_published_at_ms=last.publish_timestamp(),
            received_at_ms=received_at_ms,
            message_count=len(messages),
            size_bytes=size_bytes,
        )

    def _count_redelivered(self, partition: str, messages: list[SourceMessage]) -> None:
        """Count what was received before: a Failover subscription reports no redelivery count of its own."""
        up_to = self._received_up_to.get(partition, _BEFORE_ALL)
        last = _order(messages[-1])
        if _order(messages[0]) <= up_to:
            self._counters.redelivered += sum(_order(message) <= up_to for message in messages)
        # A platform that was rebuilt counts from the start again: follow it, or everything would look repeated.
        self._received_up_to[partition] = last


def _order(message: SourceMessage) -> tuple[int, int, int]:
    message_id = message.message_id()
    return message_id.ledger_id(), message_id.entry_id(), message_id.batch_index()
