"""Mistakes that a fold on Kafka makes easily, each made once in a prototype: what keeps the bridge from them works."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, RequestTimedOutError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import EndTxnRequest

from bridge.fold import worker
from bridge.fold.stage import Fold
from bridge.fold.store import Store
from bridge.kafka.clients import producer_arguments
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.transactions import TransactionalProducer
from deploy.sandbox.brokers import Brokers
from schemas import RAW_LIMIT_BYTES
from tests.integration.fold_owner import owning
from tests.integration.fold_stage import assert_each_once, fold_settings, folding, upgrades
from tests.integration.fold_topics import STARTED_AT_MS, produce, pushed, read
from tests.integration.kafka_faults import Deliver, between_client_and_broker


@pytest.fixture
async def settings(brokers: Brokers, kafka_prefix: str) -> KafkaSettings:
    return await fold_settings(brokers, kafka_prefix)


@pytest.fixture
async def one_partition(brokers: Brokers, kafka_prefix: str) -> KafkaSettings:
    return await fold_settings(brokers, kafka_prefix, partitions=1)


async def test_records_fetched_before_a_take_over_are_not_folded_by_the_next_worker(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library hands out records from the committed offset before the callback and the seek are through."""
    observations = upgrades(200)
    async with folding(settings):
        await produce(settings, observations[:300])
        await read(settings, "upgrade-events", 300)
    slow_start = TransactionalProducer.start

    async def start_slowly(settings: KafkaSettings, transactional_id: str) -> TransactionalProducer:
        await asyncio.sleep(0.5)
        return await slow_start(settings, transactional_id)

    await produce(settings, observations[300:])
    monkeypatch.setattr(TransactionalProducer, "start", start_slowly)
    async with folding(settings) as fold:
        events = await read(settings, "upgrade-events", 600)
        counts = fold.statistics().counts

    assert_each_once(events, 200)
    # None was offered to a worker twice: that would be seen, and end it.
    assert counts["observations"] == 300
    assert not counts.keys() & {"takeovers_again", "folded_before", "duplicate"}


async def test_a_take_over_longer_than_the_session_leaves_the_group_alone(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library sends no heartbeats while the assignment callback runs."""
    restore, assigned, assignments = Store.restore, Fold.on_partitions_assigned, []

    async def restore_for_long(store: Store, settings: KafkaSettings, topic: str) -> int:
        await asyncio.sleep(settings.session_timeout_s + 3)
        return await restore(store, settings, topic)

    def note(fold: Fold, partitions: Iterable[TopicPartition]) -> None:
        assignments.append(list(partitions))
        return assigned(fold, assignments[-1])

    monkeypatch.setattr(Store, "restore", restore_for_long)
    monkeypatch.setattr(Fold, "on_partitions_assigned", note)
    await produce(settings, upgrades(20))
    async with folding(settings):
        events = await read(settings, "upgrade-events", 60)

    assert len(assignments) == 1
    assert_each_once(events, 20)


async def test_a_take_over_reads_the_offset_that_the_old_owner_committed_last(
    one_partition: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old owner may still commit is settled by fencing it: the offset is read after that."""
    settings = one_partition
    place = TopicPartition(f"{settings.prefix}.observations.v1", 0)
    await produce(settings, upgrades(20))
    old = await TransactionalProducer.start(settings, f"{settings.prefix}-fold-0")
    start = TransactionalProducer.start

    async def commit_at_the_last_moment(settings: KafkaSettings, transactional_id: str) -> Any:
        await old.commit(old.draft(), {place: 7}, f"{settings.prefix}-fold")
        return await start(settings, transactional_id)

    monkeypatch.setattr(TransactionalProducer, "start", commit_at_the_last_moment)
    try:
        async with owning(settings) as owner:
            assert owner.worker.next_offset == 7
    finally:
        await old.close()


async def test_a_commit_that_fails_loses_nothing_of_what_was_queued_behind_it(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fourth commit of each partition's first owner fails, once there is much behind it."""
    queued: list[int] = []
    commits: Counter[str] = Counter()
    commit = AIOKafkaProducer.commit_transaction

    async def fail_the_fourth(producer: AIOKafkaProducer) -> None:
        transactional_id = producer._txn_manager.transactional_id
        commits[transactional_id] += 1
        if commits[transactional_id] == 4:
            # At most 75 of this partition's 500 are behind its worker: what is left waits behind the held commit.
            while fold.statistics().queued <= 100:
                await asyncio.sleep(0.01)
            queued.append(fold.statistics().queued)
            raise KafkaError
        await commit(producer)

    monkeypatch.setattr(worker, "BATCH_OBSERVATIONS", 25)
    async with folding(settings) as fold:
        monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", fail_the_fourth)
        await produce(settings, upgrades(500))
        events = await read(settings, "upgrade-events", 1500)

    assert len(queued) == 3
    assert_each_once(events, 500)


async def test_a_store_kept_from_an_earlier_assignment_learns_what_others_committed_meanwhile(
    one_partition: KafkaSettings,
) -> None:
    """Also what timers alone committed: then the input offset is where it was."""
    settings, kept, names = one_partition, Store(0), [f"device-{number}" for number in range(10)]
    await produce(settings, [pushed(name, 1, "downloading") for name in names])
    async with owning(settings, kept) as first:
        await first.fold_to_the_end()
    async with owning(settings) as second:
        an_hour_later_ms = STARTED_AT_MS + 3_600_000
        second.worker._now_ms = lambda: an_hour_later_ms
        await second.work(lambda: second.worker._counts["events"] == 10)
    await produce(settings, [pushed(name, 2, "installing") for name in names])
    async with owning(settings, kept) as third:
        await third.fold_to_the_end()

    revisions: dict[bytes, list[int]] = defaultdict(list)
    types: dict[bytes, list[bytes]] = defaultdict(list)
    for event in await read(settings, "upgrade-events", 40):
        revisions[event.key() or b""].append(json.loads(event.value() or b"")["revision"])
        types[event.key() or b""].append(dict(event.headers() or [])["ce_type"])
    assert len(revisions) == 10
    for device, told in revisions.items():
        assert [kind.rpartition(b".")[2] for kind in types[device]] == [
            b"status_changed",
            b"stalled",
            b"resumed",
            b"status_changed",
        ]
        assert told == list(range(told[0], told[0] + 4))


async def test_an_end_of_a_transaction_that_arrives_late_does_not_commit_half_of_the_next(
    one_partition: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library repeats a request that is not answered; the first may still be on its way, with the same epoch."""
    settings = one_partition
    ends: list[EndTxnRequest] = []
    late_answers: list[int] = []

    async def delay_the_first_end(request: Any, deliver: Deliver) -> Any:
        if isinstance(request, EndTxnRequest):
            ends.append(request)
            if len(ends) == 1:
                raise RequestTimedOutError
        answer = await deliver(request)
        if isinstance(request, ProduceRequest) and len(ends) == 2 and not late_answers:
            # The next transaction has written something, and not all.
            late_answers.append((await deliver(ends[0])).error_code)
        return answer

    monkeypatch.setattr(worker, "BATCH_OBSERVATIONS", 10)
    await produce(settings, upgrades(10))
    between_client_and_broker(monkeypatch, delay_the_first_end)
    async with folding(settings) as fold:
        events = await read(settings, "upgrade-events", 30)
        counts = fold.statistics().counts

    assert len(late_answers) == 1
    assert late_answers[0] != 0, "the late request was carried out"
    assert counts["takeovers_again"] == 1
    assert_each_once(events, 10)


async def test_an_observation_too_large_for_a_dead_letter_is_cut_and_stops_nothing(
    settings: KafkaSettings,
) -> None:
    """Compressed it passes the broker's limit; in a dead letter, as base64, it would not."""
    poison = random.Random(1).randbytes(900_000).hex().encode()
    async with AIOKafkaProducer(
        **producer_arguments(settings) | {"max_request_size": 4_000_000, "max_batch_size": 4_000_000}
    ) as producer:
        await producer.send_and_wait(f"{settings.prefix}.observations.v1", poison, partition=0)
    async with folding(settings):
        await produce(settings, upgrades(30))
        events = await read(settings, "upgrade-events", 90)
        (letter,) = [json.loads(letter.value()) for letter in await read(settings, "dead-letters", 1)]

    assert letter["payload_bytes"] == len(poison)
    assert len(letter["payload"]) < RAW_LIMIT_BYTES * 1.4
    assert_each_once(events, 30)


async def test_a_device_that_grows_beyond_what_kafka_takes_costs_dead_letters_and_stops_nothing(
    settings: KafkaSettings,
) -> None:
    chance = random.Random(2)
    names = [chance.randbytes(100_000).hex() for _ in range(12)]
    growing = [pushed("growing", number, "pending", channel=name) for number, name in enumerate(names)]
    async with folding(settings):
        await produce(settings, growing)
        await produce(settings, upgrades(30))
        events = [event for event in await read(settings, "upgrade-events", 92) if event.key() != b"growing"]
        letters = [json.loads(letter.value()) for letter in await read(settings, "dead-letters", 10)]

    assert_each_once(events, 30)
    assert len(letters) == 10
    assert "ResultTooLarge" in letters[0]["detail"]
