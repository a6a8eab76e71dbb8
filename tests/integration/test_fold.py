"""The fold on a real broker: exactly once, whatever ends a worker in the middle of its work."""

from __future__ import annotations

import asyncio
import contextlib
import json

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from bridge.fold import gap
from bridge.fold.bookkeeping import decode_bookkeeping
from bridge.fold.policy import Policy
from bridge.fold.stage import Fold
from bridge.kafka.clients import producer_arguments
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics
from bridge.kafka.transactions import TransactionalProducer, TransactionRecord
from deploy.sandbox.brokers import Brokers
from schemas import Observation, ObservedEvidence
from tests.integration.fold_stage import assert_each_once, fold_settings, folding, upgrades
from tests.integration.fold_topics import STARTED_AT_MS, produce, pushed, read, until


@pytest.fixture
async def settings(brokers: Brokers, kafka_prefix: str) -> KafkaSettings:
    return await fold_settings(brokers, kafka_prefix)


async def test_every_change_is_published_once_and_the_latest_state_is_kept(settings: KafkaSettings) -> None:
    async with folding(settings):
        await produce(settings, upgrades(50))
        events = await read(settings, "upgrade-events", 150)

    states = {
        message.key(): json.loads(message.value()) for message in await read(settings, "upgrade-state", 50)
    }
    assert_each_once(events, 50)
    assert {state["status"] for state in states.values()} == {"installing"}


async def test_a_devices_records_lie_in_the_partition_of_its_observations(settings: KafkaSettings) -> None:
    async with folding(settings):
        await produce(settings, upgrades(20))
        events = await read(settings, "upgrade-events", 60)

    places = {message.key(): message.partition() for message in await read(settings, "observations", 60)}
    assert all(places[message.key()] == message.partition() for message in events)


async def test_a_new_process_goes_on_where_the_last_one_stopped(settings: KafkaSettings) -> None:
    observations = upgrades(30)
    async with folding(settings):
        await produce(settings, observations[:45])
        await read(settings, "upgrade-events", 45)
    async with folding(settings) as fold:
        devices = fold.statistics().devices
        await produce(settings, observations[45:])
        events = await read(settings, "upgrade-events", 90)

    assert devices == 30
    assert_each_once(events, 30)


async def test_a_worker_that_dies_between_produce_and_commit_publishes_nothing_twice(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = iter([True, False, True, True] + [False] * 10_000)
    commit = AIOKafkaProducer.commit_transaction

    async def die_or_commit(producer: AIOKafkaProducer) -> None:
        if next(deaths):
            raise KafkaError
        await commit(producer)

    monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", die_or_commit)
    async with folding(settings) as fold:
        await produce(settings, upgrades(40))
        events = await read(settings, "upgrade-events", 120)
        # Its last events are there before it notices that it died.
        while fold.statistics().counts["takeovers_again"] < 3:
            await asyncio.sleep(0.05)

    assert fold.statistics().counts["takeovers_again"] == 3
    assert_each_once(events, 40)


async def test_a_worker_that_dies_after_a_commit_it_did_not_see_publishes_nothing_twice(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = iter([False, True, True, False, True] + [False] * 10_000)
    commit = AIOKafkaProducer.commit_transaction

    async def commit_and_die(producer: AIOKafkaProducer) -> None:
        await commit(producer)
        if next(deaths):
            raise KafkaError

    monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", commit_and_die)
    async with folding(settings) as fold:
        await produce(settings, upgrades(40))
        events = await read(settings, "upgrade-events", 120)

    assert fold.statistics().counts["takeovers_again"] == 3
    assert_each_once(events, 40)


async def test_a_doubtful_transaction_is_followed_by_a_new_producer(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.kafka.transactions.DOUBTFUL_AFTER_S", 0.0)
    async with folding(settings) as fold:
        await produce(settings, upgrades(10))
        events = await read(settings, "upgrade-events", 30)
        counts = fold.statistics().counts

    assert counts["takeovers_again"] >= 1
    assert_each_once(events, 10)


async def test_an_older_producer_of_the_same_id_is_fenced(settings: KafkaSettings) -> None:
    record = TransactionRecord(f"{settings.prefix}.upgrade-events.v1", 0, b"d", b"{}", STARTED_AT_MS)
    older = await TransactionalProducer.start(settings, f"{settings.prefix}-zombie")
    newer = await TransactionalProducer.start(settings, f"{settings.prefix}-zombie")
    try:
        for producer in (older, newer):
            draft = producer.draft()
            draft.add(record)
            with pytest.raises(KafkaError) if producer is older else contextlib.nullcontext():
                await producer.commit(draft, {}, "group")
    finally:
        await older.close()
        await newer.close()

    assert len(await read(settings, "upgrade-events", 1)) == 1


async def test_two_processes_share_the_partitions_and_one_takes_over_from_the_other(
    settings: KafkaSettings,
) -> None:
    observations = upgrades(60)
    async with folding(settings) as first:
        second, stop = Fold(settings, Policy()), asyncio.Event()
        running = asyncio.create_task(second.run(stop))
        await until(
            lambda: (
                len(second.statistics().partitions_folding) >= 1
                and len(first.statistics().partitions_folding) + len(second.statistics().partitions_folding)
                == 3
            )
        )
        await produce(settings, observations[:90])
        await read(settings, "upgrade-events", 90)
        stop.set()
        await running
        await until(lambda: len(first.statistics().partitions_folding) == 3)
        await produce(settings, observations[90:])
        events = await read(settings, "upgrade-events", 180)

    assert_each_once(events, 60)


async def test_an_observation_that_cannot_be_folded_is_one_dead_letter_and_stops_nothing(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bridge.fold import batch  # noqa: PLC0415

    fold = batch.fold

    def break_on_one(device, given, policy):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        if getattr(given, "device_id", "") == "device-3":
            raise ZeroDivisionError
        return fold(device, given, policy)

    monkeypatch.setattr(batch, "fold", break_on_one)
    async with folding(settings):
        await produce(settings, [b"not json", *upgrades(10)])
        events = await read(settings, "upgrade-events", 27)
        letters = [json.loads(letter.value()) for letter in await read(settings, "dead-letters", 4)]

    assert_each_once(events, 9)
    assert [letter["reason"] for letter in letters] == ["internal_error"] * 4
    assert len({letter["source_position"] for letter in letters}) == 4


async def test_a_lookup_asked_for_reaches_the_accounts_partition(settings: KafkaSettings) -> None:
    async with folding(settings):
        await produce(settings, upgrades(20))
        lookups = await read(settings, "lookups", 20)

    assert {lookup.key() for lookup in lookups} == {b"home"}
    assert len({lookup.partition() for lookup in lookups}) == 1
    assert len({json.loads(lookup.value())["device_id"] for lookup in lookups}) == 20


async def test_a_recreated_observations_topic_is_read_from_its_start(settings: KafkaSettings) -> None:
    from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415

    async with folding(settings):
        await produce(settings, upgrades(30))
        await read(settings, "upgrade-events", 90)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    await admin.delete_topics([f"{settings.prefix}.observations.v1"])
    await admin.close()
    await until_gone(settings)
    await ensure_topics(settings)
    later = [pushed(f"device-{number}", 100, "verifying", claimed="failed") for number in range(30)]
    async with folding(settings):
        await produce(settings, later)
        events = await read(settings, "upgrade-events", 120)

    assert sum(json.loads(event.value())["status"] == "verifying" for event in events) == 30


async def until_gone(settings: KafkaSettings) -> None:
    """A deleted topic stays in the metadata for a moment."""
    name = f"{settings.prefix}.observations.v1"

    async def is_gone() -> bool:
        async with AIOKafkaProducer(**producer_arguments(settings)) as producer:
            return name not in (await producer.client.fetch_all_metadata()).topics()

    await until(is_gone)


async def test_a_worker_that_dies_within_a_gap_makes_each_device_wanted_once(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gap, "SLICE_DEVICES", 20)
    devices = 300
    # Each is asked about at once and nobody answers: nothing but the gap makes another lookup wanted.
    async with folding(settings, Policy(hint_lookup_s=0.0)):
        await produce(settings, [pushed(f"device-{number}", 1, "idle") for number in range(devices)])
        await read(settings, "lookups", devices)
    deaths = iter([False, True, False, False, True, True] + [False] * 10_000)
    commit = AIOKafkaProducer.commit_transaction

    async def die_or_commit(producer: AIOKafkaProducer) -> None:
        if next(deaths):
            raise KafkaError
        await commit(producer)

    monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", die_or_commit)
    async with folding(settings, Policy(hint_lookup_s=0.0)) as fold:
        await _tell_gap(settings)

        async def all_wanted() -> bool:
            return len(await _wanted_by_gap(settings)) >= devices

        await until(all_wanted)
        assert fold.statistics().counts["takeovers_again"] == 3

    wanted = await _wanted_by_gap(settings)
    assert len(wanted) == len(set(wanted)) == devices


async def _wanted_by_gap(settings: KafkaSettings) -> list[bytes]:
    """The devices of every state that says so, as often as it was written."""
    return [
        message.key()
        for message in await read(settings, "upgrade-state", 0)
        if decode_bookkeeping(dict(message.headers() or [])["bookkeeping"]).due_cause == "gap"
    ]


async def _tell_gap(settings: KafkaSettings) -> None:
    """On every partition, without a key."""
    told = Observation(
        device_id="",
        cloud="tuya-cloud",
        account="home",
        kind="gap",
        observed_at_ms=STARTED_AT_MS,
        evidence=ObservedEvidence(origin="bridge", name="gap"),
    )
    async with AIOKafkaProducer(**producer_arguments(settings)) as producer:
        for partition in range(settings.partitions):
            await producer.send_and_wait(
                f"{settings.prefix}.observations.v1", msgspec.json.encode(told), partition=partition
            )
