"""What a worker cannot know, and what it must not believe: each doubt about a transaction ends in the one truth."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse_v0,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse_v0,
    EndTxnRequest,
    EndTxnResponse_v0,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse_v0,
)
from msgspec.structs import replace

from bridge.fold import worker
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.transactions import TransactionalProducer
from deploy.sandbox.brokers import Brokers
from tests.integration.fold_owner import owning
from tests.integration.fold_stage import assert_each_once, fold_settings, folding, upgrades
from tests.integration.fold_topics import produce, pushed, read
from tests.integration.kafka_faults import Deliver, between_client_and_broker

NOT_COORDINATOR = 16
COORDINATOR_LOADS = 14
BATCH = 20
DEVICES = 40


@pytest.fixture
async def settings(brokers: Brokers, kafka_prefix: str, monkeypatch: pytest.MonkeyPatch) -> KafkaSettings:
    """One partition with six transactions' worth of observations."""
    settings = await fold_settings(brokers, kafka_prefix, partitions=1)
    monkeypatch.setattr(worker, "BATCH_OBSERVATIONS", BATCH)
    await produce(settings, upgrades(DEVICES))
    return settings


async def assert_folds_each_once(settings: KafkaSettings) -> int:
    """Fold what there is, and return how often the partition had to be taken over again for it."""
    async with folding(settings) as fold:
        events = await read(settings, "upgrade-events", 3 * DEVICES)
        counts = fold.statistics().counts
    assert_each_once(events, DEVICES)
    return counts.get("takeovers_again", 0)


@pytest.mark.parametrize("reaches_the_broker", [True, False])
async def test_a_commit_whose_answer_is_lost_is_followed_by_a_new_producer(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch, *, reaches_the_broker: bool
) -> None:
    ends = 0

    async def lose_the_third(request: Any, deliver: Deliver) -> Any:
        nonlocal ends
        if isinstance(request, EndTxnRequest):
            ends += 1
            if ends == 3:
                if reaches_the_broker:
                    await deliver(request)
                raise KafkaConnectionError
        return await deliver(request)

    between_client_and_broker(monkeypatch, lose_the_third)
    assert await assert_folds_each_once(settings) == 1


@pytest.mark.parametrize("reaches_the_broker", [True, False])
async def test_a_commit_whose_outcome_stays_unknown_is_given_up_and_the_broker_is_asked(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch, *, reaches_the_broker: bool
) -> None:
    ends, last_epoch = 0, -1

    async def cut_off_one_producer(request: Any, deliver: Deliver) -> Any:
        nonlocal ends, last_epoch
        if isinstance(request, EndTxnRequest):
            ends += 1
            if ends == 3:
                last_epoch = request._producer_epoch
            if request._producer_epoch == last_epoch:
                if reaches_the_broker:
                    await deliver(request)
                raise KafkaConnectionError
        return await deliver(request)

    between_client_and_broker(monkeypatch, cut_off_one_producer)
    assert await assert_folds_each_once(replace(settings, transaction_timeout_s=2.0)) == 1
    assert ends > 10


async def test_a_worker_whose_producer_is_fenced_takes_over_and_goes_on(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a copy that was frozen and tries to go on."""
    offsets = 0

    async def fence_the_third(request: Any, deliver: Deliver) -> Any:
        nonlocal offsets
        if isinstance(request, TxnOffsetCommitRequest):
            offsets += 1
            if offsets == 3:
                stranger = await TransactionalProducer.start(settings, f"{settings.prefix}-fold-0")
                await stranger.close()
        return await deliver(request)

    between_client_and_broker(monkeypatch, fence_the_third)
    assert await assert_folds_each_once(settings) == 1


async def test_a_producer_out_of_sequence_is_replaced(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    increments = 0
    increment = TransactionManager.increment_sequence_number

    def skip_one(manager: TransactionManager, place: Any, count: int) -> None:
        nonlocal increments
        increments += 1
        increment(manager, place, count + (increments == 4))

    monkeypatch.setattr(TransactionManager, "increment_sequence_number", skip_one)
    assert await assert_folds_each_once(settings) == 1


@pytest.mark.parametrize(
    ("moved", "refusal"),
    [
        (AddPartitionsToTxnRequest, lambda of: AddPartitionsToTxnResponse_v0(0, _errors(of._topics))),
        (AddOffsetsToTxnRequest, lambda _: AddOffsetsToTxnResponse_v0(0, NOT_COORDINATOR)),
        (TxnOffsetCommitRequest, lambda of: TxnOffsetCommitResponse_v0(0, _errors(of._topics))),
        (EndTxnRequest, lambda _: EndTxnResponse_v0(0, NOT_COORDINATOR)),
    ],
    ids=["partitions", "group", "offsets", "end"],
)
async def test_a_coordinator_that_moves_costs_nothing(
    settings: KafkaSettings,
    monkeypatch: pytest.MonkeyPatch,
    moved: type[Any],
    refusal: Callable[[Any], Any],
) -> None:
    """The old one refuses; the library asks for the new one and repeats the request."""
    seen = 0

    async def refuse_each_third(request: Any, deliver: Deliver) -> Any:
        nonlocal seen
        if isinstance(request, moved):
            seen += 1
            if seen % 3 == 0:
                return refusal(request)
        return await deliver(request)

    between_client_and_broker(monkeypatch, refuse_each_third)
    await assert_folds_each_once(settings)
    assert seen > 6


def _errors(topics: Any) -> list[tuple[str, list[tuple[int, int]]]]:
    """Refuse each partition; those of offsets come with more beside their number."""
    return [
        (topic, [(each if isinstance(each, int) else each[0], NOT_COORDINATOR) for each in partitions])
        for topic, partitions in topics
    ]


@pytest.mark.parametrize("refusal", [NOT_COORDINATOR, COORDINATOR_LOADS])
async def test_a_coordinator_that_refuses_to_tell_the_offsets_is_asked_again(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    """The library takes its answer, which names no partition, for one that nothing was ever committed."""
    refused = 0

    async def refuse_two(request: Any, deliver: Deliver) -> Any:
        nonlocal refused
        if isinstance(request, OffsetFetchRequest) and refused < 2:
            refused += 1
            return OffsetFetchResponse_v3(0, [], refusal)
        return await deliver(request)

    await assert_folds_each_once(settings)
    between_client_and_broker(monkeypatch, refuse_two)
    async with folding(settings) as fold:
        await produce(settings, [pushed("another", 1, "pending")])
        await read(settings, "upgrade-events", 3 * DEVICES + 1)
        counts = fold.statistics().counts

    assert refused == 2
    assert counts["observations"] == 1
    assert "folded_before" not in counts


async def test_a_transaction_that_the_broker_gave_up_is_folded_again(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole process stands still within a transaction, for longer than the broker waits for its end."""
    ends = 0

    async def stand_still_before_the_third(request: Any, deliver: Deliver) -> Any:
        nonlocal ends
        if isinstance(request, EndTxnRequest):
            ends += 1
            if ends == 3:
                time.sleep(4)  # noqa: ASYNC251 - nothing of the process works meanwhile
        return await deliver(request)

    between_client_and_broker(monkeypatch, stand_still_before_the_third)
    assert await assert_folds_each_once(replace(settings, transaction_timeout_s=1.0)) == 1


@pytest.mark.parametrize(
    "frozen_before", [AddPartitionsToTxnRequest, ProduceRequest, TxnOffsetCommitRequest, EndTxnRequest]
)
async def test_a_zombie_that_wakes_within_its_transaction_publishes_nothing(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch, frozen_before: type[Any]
) -> None:
    frozen, thawed = asyncio.Event(), asyncio.Event()
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def freeze_once(request: Any, deliver: Deliver) -> Any:
        if isinstance(request, frozen_before) and not frozen.is_set():
            frozen.set()
            await thawed.wait()
        return await deliver(request)

    between_client_and_broker(monkeypatch, freeze_once)
    async with owning(settings) as zombie:
        zombies_turn = asyncio.create_task(zombie.fold_to_the_end())
        async with asyncio.timeout(30):
            await frozen.wait()
        async with owning(settings) as successor:
            await successor.fold_to_the_end()
            thawed.set()
            with pytest.raises(KafkaError):
                await zombies_turn

    assert_each_once(await read(settings, "upgrade-events", 3 * DEVICES), DEVICES)
    del zombie, zombies_turn
    gc.collect()
    assert complaints == []  # of futures that nobody asked: an operator would look for a defect
