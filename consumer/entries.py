"""Entries: what a producer sent as one batch, and the smallest piece that Pulsar counts as acknowledged.

An acknowledgement inside an entry never reaches the broker, unless a setting of the broker that is off by default
says otherwise; the whole entry comes again. So receiving stops at the end of an entry, never inside one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

import _pulsar

from consumer.pulsar_frames import fields_of
from consumer.slices import Slice
from consumer.source import MessageId, SourceMessage, source_partition

_BATCH_SIZE: Final = 6
"""Field number in the protocol's MessageIdData."""

Message_co = TypeVar("Message_co", bound=SourceMessage, covariant=True)


class Receiver(Protocol[Message_co]):
    """What is received from: a consumer of the Pulsar client."""

    def receive(self, timeout_ms: int) -> Message_co:
        """Return the next message. Raises `_pulsar.Timeout` when none comes in time."""
        ...


class Entries:
    """Where in its entry each source partition was received up to. Belongs to the thread that receives."""

    def __init__(self) -> None:
        self._last: dict[str, MessageId] = {}

    def clear(self) -> None:
        """Forget everything: a new subscription begins again with whole entries."""
        self._last.clear()

    def received(self, slices: Sequence[Slice]) -> None:
        """Note the end of what was received."""
        for piece in slices:
            self._last[piece.partition] = piece.last_id

    def begun(self) -> dict[str, tuple[int, int]]:
        """Return the source partitions that stand inside an entry, with its ledger and number."""
        return {partition: _entry(last) for partition, last in self._last.items() if not ends_entry(last)}


def ends_entry(message_id: MessageId) -> bool:
    """Tell whether a message is the last of its entry. The client shows the entry's size only in the serialised id."""
    index = message_id.batch_index()
    if index < 0:
        return True
    size = fields_of(message_id.serialize()).get(_BATCH_SIZE)
    return not isinstance(size, int) or index + 1 >= size


def receive_rest(
    receiver: Receiver[Message_co], begun: dict[str, tuple[int, int]], *, by: float
) -> list[Message_co]:
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
        entry = begun.get(partition)
        if entry is None:
            continue
        rest.append(message)
        message_id = message.message_id()
        # After a reconnection earlier entries may come again first.
        if ends_entry(message_id) and _entry(message_id) >= entry:
            del begun[partition]
    return rest


def _entry(message_id: MessageId) -> tuple[int, int]:
    return message_id.ledger_id(), message_id.entry_id()
