"""Step 1, group: a received batch as one slice per source partition, its messages in order, already translated.

Slices are what crosses from the gateway's thread to the event loop: one object for hundreds of messages.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from consumer.entries import Entries, Piece, pieces_of
from consumer.sink import OutgoingRecord
from consumer.source import MessageId, SourceMessage, source_partition
from consumer.statistics import Counters
from consumer.translation import Passed, Translator
from schemas import Position


class Slice(Struct, frozen=True, kw_only=True, gc=False):
    """Messages of one source partition in their order. `sources[i]` is the message that led to `records[i]`.

    One without messages is of such that came before: it waits for those, and then acknowledges them again.
    """

    partition: str
    records: Sequence[OutgoingRecord]
    sources: Sequence[SourceMessage]
    ended: Sequence[MessageId]
    """The entries to acknowledge once this slice, and all before it, is confirmed."""
    last_position: Position
    first_published_at_ms: int
    last_published_at_ms: int
    received_at_ms: int
    message_count: int
    repeated_count: int = 0
    """Messages beside those, that came before: nothing is done with them, but their acknowledgements wait here."""
    size_bytes: int


_Home = tuple[list[OutgoingRecord], list[SourceMessage]]
"""The records and sources of a slice: where what a message leads to belongs."""


class Slicer:
    """Cuts and translates batches; passes over what came before. Belongs to one thread."""

    def __init__(self, translator: Translator, counters: Counters) -> None:
        self._translator = translator
        self._counters = counters
        self._partitions: dict[str, str] = {}
        self.entries = Entries()

    def cut(self, messages: Sequence[SourceMessage], received_at_ms: int) -> list[Slice]:
        """Return the slices of a batch."""
        groups: dict[str, list[Piece]] = {}
        for piece in pieces_of(messages):
            group = groups.get(piece.topic)
            if group is None:
                groups[piece.topic] = [piece]
            else:
                group.append(piece)
        self._counters.last_received_at_ms = received_at_ms
        passed: list[Passed] = []
        homes: list[_Home] = []
        slices = [self._slice(topic, group, received_at_ms, passed, homes) for topic, group in groups.items()]
        # Together, whatever source partitions they are of: few of each were not filtered.
        translated = self._translator.translate_all(passed, received_at_ms)
        for (message, *_), (records, sources), led_to in zip(passed, homes, translated, strict=True):
            for record in led_to:
                records.append(record)
                sources.append(message)
        return [piece for piece in slices if piece is not None]

    def _slice(
        self,
        topic: str,
        pieces: list[Piece],
        received_at_ms: int,
        passed: list[Passed],
        homes: list[_Home],
    ) -> Slice | None:
        """Return a source partition's slice, and add what was not filtered of it: `cut` fills in the records."""
        partition = self._partitions.get(topic)
        if partition is None:
            partition = self._partitions[topic] = source_partition(topic)
        new, came_before, ended = self.entries.take(partition, pieces)
        self._counters.redelivered += came_before
        if not new and not ended:
            return None
        records: list[OutgoingRecord] = []
        sources: list[SourceMessage] = []
        count = size_bytes = 0
        passing = self._translator.filter.passing
        for piece in new:
            count += len(piece.messages)
            payloads = [message.data() for message in piece.messages]
            size_bytes += sum(map(len, payloads))
            for offset in passing(payloads):
                passed.append((piece.messages[offset], payloads[offset], piece.position(offset, partition)))
                homes.append((records, sources))
        self._counters.received += count
        judged = new or pieces
        last = judged[-1]
        return Slice(
            partition=partition,
            records=records,
            sources=sources,
            ended=ended,
            last_position=last.position(len(last.messages) - 1, partition),
            first_published_at_ms=judged[0].published_at_ms,
            last_published_at_ms=last.published_at_ms,
            received_at_ms=received_at_ms,
            message_count=count,
            repeated_count=came_before,
            size_bytes=size_bytes,
        )
