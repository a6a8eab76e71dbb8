"""What the tests of stage one need of the real brokers: somebody who pushes, and a reader of what was produced."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import msgspec
import pulsar

from bridge.kafka.settings import KafkaSettings
from consumer.ingest import Ingest
from consumer.settings import GatewayAccount
from consumer.sink import OutgoingRecord, Sink, TopicName
from consumer.statistics import AccountStatistics
from deploy.sandbox.brokers import Brokers
from tests.gateway_messages import sealed, upgrade_status
from tests.integration.fold_topics import read

EVENT = "event"


class Platform:
    """Pushes into an account's topics as the cloud does: the device id is the key.

    Each message is an entry by itself; with `batched` fifty are, and what is left at a flush.
    """

    def __init__(self, brokers: Brokers, account: GatewayAccount, *, batched: bool = False) -> None:
        self._account = account
        self._batched = batched
        self._client = pulsar.Client(
            brokers.pulsar.url,
            authentication=pulsar.AuthenticationBasic(
                brokers.pulsar.admin_username, brokers.pulsar.admin_password
            ),
            logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull),
        )
        self._producers: dict[str, pulsar.Producer] = {}

    def push(
        self, payload: bytes, *, device: str = "d", em: str | None = "aes_gcm", topic: str = EVENT
    ) -> None:
        producer = self._producers.get(topic)
        if producer is None:
            name = f"persistent://{self._account.access_id}/out/{topic}"
            producer = self._client.create_producer(
                name,
                block_if_queue_full=True,
                batching_enabled=self._batched,
                batching_max_messages=50,
                batching_max_publish_delay_ms=60_000,
            )
            self._producers[topic] = producer
        producer.send_async(payload, None, {} if em is None else {"em": em}, device)

    def push_statuses(self, device: str, numbers: Sequence[int]) -> None:
        """Push one status after another; `description` carries the number to the evidence."""
        key = self._account.access_key.reveal()
        for number in numbers:
            self.push(sealed(upgrade_status(device, description=str(number)), key=key), device=device)

    def flush(self) -> None:
        for producer in self._producers.values():
            producer.flush()

    def close(self) -> None:
        self._client.close()


class Discarding:
    """A sink that confirms everything and keeps nothing."""

    async def write(self, _records: Sequence[OutgoingRecord]) -> Sequence[int]:
        return ()


class RunningIngest:
    """Stage one for as long as a test wants it."""

    def __init__(self, accounts: Sequence[GatewayAccount], sink: Sink, **options: Any) -> None:
        self.stage = Ingest(accounts, sink, **options)
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.stage.run(self.stop))

    def account(self, name: str = "tuya-test") -> AccountStatistics:
        return self.stage.statistics().accounts[name]

    async def until_acknowledged(self, count: int, *, within_s: float = 30.0) -> None:
        async with asyncio.timeout(within_s):
            while self.account().acknowledged < count:
                if self.task.done():
                    await self.task
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        self.stop.set()
        await self.task


async def statuses(settings: KafkaSettings, count: int) -> dict[str, list[int]]:
    """By device, the numbers that the platform gave its statuses, as they stand in Kafka."""
    told: dict[str, list[int]] = {}
    for observation in await records(settings, "observations", count):
        if observation["kind"] == "status":
            number = int(observation["evidence"]["raw"]["bizData"]["description"])
            told.setdefault(observation["device_id"], []).append(number)
    return told


async def records(settings: KafkaSettings, topic: TopicName, count: int) -> list[dict[str, Any]]:
    """The records of a topic, at least `count` of them."""
    return [msgspec.json.decode(message.value() or b"") for message in await read(settings, topic, count)]
