"""A second set of the public topics, under another prefix: what the replay makes of every device, states and events.

Never under a prefix that is in use: its two topics are made here, or have never been written to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from types import TracebackType
from typing import Final, Self

from aiokafka import TopicPartition
from msgspec.structs import replace

from bridge.fold.batch import FoldTopics
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics, topic_name
from bridge.kafka.transactions import Draft, TransactionalProducer
from bridge.replay.folding import Output
from bridge.replay.reading import Reader
from consumer.sink import TopicName

_TOPICS: Final[Collection[TopicName]] = ("upgrade-state", "upgrade-events")


class PrefixInUse(Exception):
    """The second set cannot be written there: take another prefix."""


class SecondSet:
    """Writes the records of one partition after the other, a batch in a transaction."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._partition = 0
        self._producer: TransactionalProducer | None = None
        self.topics = FoldTopics.under(settings.prefix, settings.partitions)
        """The names that a replay writes by; it writes neither lookups nor dead letters."""
        self.records: Counter[str] = Counter()
        """Written, by topic."""

    @classmethod
    async def prepare(cls, settings: KafkaSettings, reader: Reader, prefix: str, partitions: int) -> Self:
        """Make the topics. Raises PrefixInUse, TopicsRefused, KafkaError."""
        if prefix == settings.prefix:
            raise PrefixInUse(f"{prefix!r} is the bridge's own prefix: a replay never writes there.")

        own = replace(settings, prefix=prefix, partitions=partitions)
        await ensure_topics(own, wanted=_TOPICS)
        for name in _TOPICS:
            topic = topic_name(prefix, name)
            for partition in range(partitions):
                if (await reader.bounds(TopicPartition(topic, partition)))[1] > 0:
                    raise PrefixInUse(
                        f"Topic {topic} has been written to: take a prefix that is not in use, or delete the topics of"
                        " an earlier replay."
                    )
        return cls(own)

    async def output(self, partition: int) -> Output:
        """Start to write a partition; return where its records go. The one before it is complete."""
        await self._close()
        self._partition = partition
        self._producer = await TransactionalProducer.start(
            self._settings, f"{self._settings.prefix}-replay-{partition}"
        )
        return Output(self._draft, self._write)

    async def __aenter__(self) -> Self:
        """Nothing is open yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self._close()

    def _draft(self) -> Draft:
        return self._open().draft()

    async def _write(self, draft: Draft) -> None:
        batches = [(topic, batch.record_count()) for (topic, _), batch in draft.batches()]
        await self._open().commit(draft, {}, "")
        for topic, count in batches:
            self.records[topic] += count
        if self._open().is_doubtful:
            await self.output(self._partition)

    def _open(self) -> TransactionalProducer:
        if self._producer is None:
            raise AssertionError("a partition's output is asked for before it is written to")
        return self._producer

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()
