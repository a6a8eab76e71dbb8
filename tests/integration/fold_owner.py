"""One owner of partition 0 after the other, without a consumer group: who owns it is what a test says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from bridge.fold.batch import FoldTopics
from bridge.fold.policy import Policy
from bridge.fold.store import Store
from bridge.fold.takeover import PartitionOwnership, take_over
from bridge.fold.timers import BackgroundPace
from bridge.fold.worker import Worker
from bridge.kafka.clients import consumer_arguments, group_name
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import topic_name
from tests.integration.fold_topics import until


class Owner:
    """Has taken partition 0 over with the store it was given."""

    def __init__(self, worker: Worker, consumer: AIOKafkaConsumer, place: TopicPartition) -> None:
        self.worker = worker
        self._consumer = consumer
        self._place = place

    async def fold_to_the_end(self) -> None:
        """Fold every observation there is, as a worker does that is not disturbed."""
        end = (await self._consumer.end_offsets([self._place]))[self._place]
        await self.work(lambda: self.worker.next_offset == end and not self.worker.queued)

    async def work(self, done: Callable[[], bool]) -> None:
        """Fold until then. Raises what ends the worker."""
        self._consumer.seek(self._place, self.worker.next_offset)
        running = asyncio.create_task(self.worker.run())
        fetching = asyncio.create_task(self._fetch())
        await until(lambda: running.done() or done())
        self.worker.stop()
        fetching.cancel()
        await running

    async def _fetch(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=100)).values():
                self.worker.offer(records)


@asynccontextmanager
async def owning(
    settings: KafkaSettings, store: Store | None = None, *, policy: Policy | None = None
) -> AsyncIterator[Owner]:
    """Take partition 0 over: with an empty store as a new process does, or with one kept from earlier."""
    ownership = PartitionOwnership(
        settings=settings,
        topics=FoldTopics(
            observations=topic_name(settings.prefix, "observations"),
            state=topic_name(settings.prefix, "upgrade-state"),
            events=topic_name(settings.prefix, "upgrade-events"),
            lookups=topic_name(settings.prefix, "lookups"),
            dead_letters=topic_name(settings.prefix, "dead-letters"),
            partitions=settings.partitions,
        ),
        group=group_name(settings, "fold"),
        policy=policy or Policy(),
        counts=Counter(),
    )
    place = TopicPartition(ownership.topics.observations, 0)
    async with AIOKafkaConsumer(**consumer_arguments(settings, group="fold")) as consumer:
        consumer.assign([place])
        worker, producer = await take_over(
            ownership, consumer, place, store if store is not None else Store(0), BackgroundPace({})
        )
        try:
            yield Owner(worker, consumer, place)
        finally:
            await producer.close()
