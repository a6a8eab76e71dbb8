"""Taking over a partition: the one recovery path, after an assignment, a failure, or a doubt about a commit.

1. **Start** the partition's transactional producer: it fences the old owner and settles its open transaction.
2. **Restore** the store from where it is complete to the end of the state partition.
3. **Read** the committed offset, which no one can move any more.
4. **Check** it against the log: a topic that was re-created, observations that expired unread.

The caller then seeks, resumes the partition and runs the worker.
"""

from __future__ import annotations

import time
from collections import Counter

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Struct, field

from bridge.fold.batch import FoldTopics
from bridge.fold.gap import LostInput, OpenGap
from bridge.fold.policy import Policy
from bridge.fold.restore_turns import RestoreTurns
from bridge.fold.store import Store
from bridge.fold.timers import BackgroundPace
from bridge.fold.worker import Worker
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.transactions import TransactionalProducer

log = structlog.get_logger(__name__)


class PartitionOwnership(Struct, frozen=True, kw_only=True):
    """What every take-over of this process needs."""

    settings: KafkaSettings
    topics: FoldTopics
    group: str
    policy: Policy
    counts: Counter[str]
    restores: RestoreTurns = field(default_factory=RestoreTurns)


async def take_over(
    ownership: PartitionOwnership,
    consumer: AIOKafkaConsumer,
    place: TopicPartition,
    store: Store,
    pace: BackgroundPace,
) -> tuple[Worker, TransactionalProducer]:
    """Return the partition's worker, ready to run from the committed offset, and its producer, to be closed after.

    Raises KafkaError; the caller tries again.
    """
    settings = ownership.settings
    producer = await TransactionalProducer.start(settings, f"{settings.prefix}-fold-{place.partition}")
    try:
        async with ownership.restores.turn():
            restored = await store.restore(settings, ownership.topics.state)
        committed = await consumer.committed(place)
        start = (await consumer.beginning_offsets([place]))[place]
        end = (await consumer.end_offsets([place]))[place]
        next_offset, lost_input = _next_offset(place, store, committed, start, end)
    except BaseException:
        await producer.close()
        raise

    log.info(
        "partition_taken_over",
        partition=place.partition,
        devices=len(store),
        restored=restored,
        offset=next_offset,
        backlog=end - next_offset,
    )
    worker = Worker(
        place=place,
        topics=ownership.topics,
        group=ownership.group,
        policy=ownership.policy,
        store=store,
        producer=producer,
        pace=pace,
        next_offset=next_offset,
        backlog_end=end,
        counts=ownership.counts,
        gap=None
        if lost_input is None
        else OpenGap(offset=next_offset - 1, at_ms=time.time_ns() // 1_000_000, lost_input=lost_input),
    )
    return worker, producer


def _next_offset(
    place: TopicPartition, store: Store, committed: int | None, start: int, end: int
) -> tuple[int, LostInput | None]:
    """4. Where to go on, and what was lost when that is not where the last owner stopped: a gap for every account."""
    if store.highest_input_offset >= end or (committed is not None and committed > end):
        # Kafka forgets a topic's committed offsets with the topic: one that lies within belongs to the new topic.
        goes_on = committed is not None and start <= committed <= end
        next_offset = committed if committed is not None and goes_on else start
        log.error(
            "observations_topic_recreated",
            partition=place.partition,
            restored_offset=store.highest_input_offset,
            committed=committed,
            end=end,
            reading_from=next_offset,
            remedy="never delete the observations topic while its state topic is kept",
        )
        store.forget_offsets()
        return next_offset, "recreated"

    # Kafka forgets the offsets of a group that was away for a week; the states tell how far it had come.
    read_to = committed if committed is not None else store.highest_input_offset + 1 if len(store) else start
    if read_to < start:
        log.error(
            "observations_expired",
            partition=place.partition,
            lost=start - read_to,
            remedy="keep the fold running, or raise retention.ms of the observations topic",
        )
        return start, "expired"

    return (start if committed is None else committed), None
