"""Where the stages put their records: the one seam between them and Kafka, or a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from schemas import IngestProgress

TopicName = Literal[
    "observations", "dead-letters", "ingest-progress", "lookups", "upgrade-events", "upgrade-state"
]


class OutgoingRecord(Struct, frozen=True, gc=False):
    """One record to produce. `partition` None means: by Kafka's murmur2 of `key` (null keys need a partition)."""

    topic: TopicName
    key: bytes | None
    value: bytes
    timestamp_ms: int
    partition: int | None = None


class SinkClosed(Exception):
    """Nothing more is taken. Of the call that raises it the first `confirmed` records are done."""

    def __init__(self, confirmed: int) -> None:
        self.confirmed = confirmed
        super().__init__(f"closed after {confirmed} records")


class Sink(Protocol):
    """Takes records in order and confirms them."""

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        """Return once the broker confirmed every record; retries transient failures for ever, keeping the order.

        The result names, by index, the records the broker refuses for good as too large (normally none).
        Raises SinkClosed where there is an end to what is wanted (a terminal; never Kafka): the account ends by it.
        Calls from several tasks may overlap; each call's records keep their order, as do the calls' own.
        """
        ...

    def partitions(self, topic: TopicName) -> int:
        """Return how many partitions a topic has, for records that every one of them must get."""
        ...


class ProgressReader(Protocol):
    """Remembers how far earlier runs and other copies have read."""

    async def read_progress(self, account: str) -> Mapping[str, IngestProgress]:
        """Return the account's progress by source partition, as it stands now; waits for the broker for ever."""
        ...
