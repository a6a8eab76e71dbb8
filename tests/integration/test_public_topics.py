"""The verifier's reading of a topic sees what a read_committed stranger sees, each record once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.sandbox.brokers import Brokers
from deploy.sandbox.public_topics import StateTable, TopicReader

PARTITIONS = 3


@pytest.fixture
async def topic(brokers: Brokers, kafka_prefix: str) -> str:
    name = f"{kafka_prefix}.upgrade-state.v1"
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=PARTITIONS, replication_factor=1)])
    finally:
        await admin.close()
    return name


@pytest.fixture
async def producer(brokers: Brokers, kafka_prefix: str) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(
        bootstrap_servers=brokers.kafka.bootstrap_servers, transactional_id=kafka_prefix
    ) as producer:
        yield producer


async def commit(producer: AIOKafkaProducer, topic: str, key: str, value: object, partition: int = 0) -> None:
    async with producer.transaction():
        await send(producer, topic, key, value, partition)


async def send(producer: AIOKafkaProducer, topic: str, key: str, value: object, partition: int = 0) -> None:
    body = None if value is None else json.dumps(value).encode()
    await producer.send_and_wait(
        topic, body, key=key.encode(), partition=partition, headers=[("ce_id", b"x")]
    )


async def test_only_what_was_committed_is_read_and_only_once(
    brokers: Brokers, topic: str, producer: AIOKafkaProducer
) -> None:
    with TopicReader(brokers.kafka.bootstrap_servers, topic) as reader:
        await commit(producer, topic, "a", {"n": 1})
        await producer.begin_transaction()
        await send(producer, topic, "b", {"n": 2})
        await producer.abort_transaction()
        await commit(producer, topic, "c", {"n": 3}, partition=2)
        first = await asyncio.to_thread(reader.read)

        await producer.begin_transaction()
        await send(producer, topic, "d", {"n": 4})
        while_open = await asyncio.to_thread(reader.read)
        await producer.commit_transaction()
        last = await asyncio.to_thread(reader.read)

    assert {record.key: record.value for record in first} == {"a": {"n": 1}, "c": {"n": 3}}
    assert first[0].headers == {"ce_id": "x"}
    assert while_open == []
    assert [record.key for record in last] == ["d"]


async def test_a_table_keeps_the_latest_and_forgets_what_was_buried(
    brokers: Brokers, kafka_prefix: str, topic: str, producer: AIOKafkaProducer
) -> None:
    with StateTable(brokers.kafka.bootstrap_servers, kafka_prefix) as table:
        await commit(producer, topic, "a", {"n": 1})
        await commit(producer, topic, "b", {"n": 1})
        await asyncio.to_thread(table.refresh)
        await commit(producer, topic, "a", {"n": 2})
        await commit(producer, topic, "b", None)
        await asyncio.to_thread(table.refresh)

        assert table.states == {"a": {"n": 2}}


async def test_a_topic_that_nobody_made_is_an_error_and_no_wait_for_ever(brokers: Brokers) -> None:
    with (
        TopicReader(brokers.kafka.bootstrap_servers, "nothing") as reader,
        pytest.raises(TimeoutError, match="nothing"),
    ):
        await asyncio.to_thread(reader.read, 0.5)
