"""Backlogs on the real gateway: an account of its own for each, filled once, read by each contender anew.

A subscription that nobody uses keeps the messages; each contender gets its own at the earliest message.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import Sequence
from typing import Final

import httpx
import pulsar
from msgspec import Struct

from deploy.sandbox.brokers import Brokers
from tests.benchmarks.gateway.mix import Mix, Push, pushes

DISTINCT: Final = 50_000
"""Sealing costs 100 µs: this many messages are made, and published again and again until there are enough."""
BATCH_MESSAGES: Final = 20
"""Of one partition in an entry: 11 partitions of a producer that waits 5 ms at 45,000 messages a second. Unbatched, all
read a third as fast; batched by more, more memory is needed, since the broker hands out 100 entries at a time."""
_BATCH_DELAY_MS: Final = 100
_EARLIEST: Final = {"ledgerId": -1, "entryId": -1, "partitionIndex": -1}
_ACKNOWLEDGED_WITHIN_S: Final = 10.0


class Account(Struct, frozen=True, kw_only=True):
    """One account of the gateway."""

    access_id: str
    access_key: str
    topic: str
    subscription: str
    """Made with the account, at the earliest message."""


class Backlog(Struct, frozen=True, kw_only=True):
    """What lies in an account's topic."""

    account: Account
    messages: int
    forwarded: int
    """Of those: not filtered, so each becomes a record in Kafka."""


class Gateway:
    """The platform's side of the benchmark's Pulsar."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self._numbers = itertools.count(1)

    async def create_account(self) -> Account:
        """Create an account with empty topics."""
        access_id, access_key = secrets.token_hex(10), secrets.token_hex(16)
        address = await self._brokers.pulsar.create_account(access_id, access_key)
        return Account(
            access_id=access_id,
            access_key=access_key,
            topic=address.topic,
            subscription=address.subscription,
        )

    async def make(self, account: Account, mix: Mix, count: int) -> Sequence[Push]:
        """Return the distinct messages of a backlog of `count`."""
        distinct = min(count, DISTINCT)
        at_ms = time.time_ns() // 1_000_000
        return await asyncio.to_thread(lambda: list(pushes(mix, distinct, account.access_key, at_ms=at_ms)))

    async def publish(self, account: Account, made: Sequence[Push], count: int) -> Backlog:
        """Publish `count` messages: those made, again and again. Raises NotPublished."""
        messages = list(itertools.islice(itertools.cycle(made), count))
        await asyncio.to_thread(self._publish, account, messages)
        forwarded = sum(push.kind != "report" for push in messages)
        return Backlog(account=account, messages=count, forwarded=forwarded)

    async def subscribe(self, account: Account) -> str:
        """Make a new subscription at the topic's earliest message; return its name."""
        name = f"{account.access_id}-bench-{next(self._numbers)}"
        async with self._admin() as admin:
            path = f"persistent/{account.access_id}/out/event/subscription/{name}"
            (await admin.put(path, json=_EARLIEST)).raise_for_status()
        return name

    async def unacknowledged(self, account: Account, subscription: str) -> int:
        """Return how many entries the subscription still has, once it has none or some seconds are over."""
        deadline = time.monotonic() + _ACKNOWLEDGED_WITHIN_S
        async with self._admin() as admin:
            while True:
                answer = await admin.get(f"persistent/{account.access_id}/out/event/partitioned-stats")
                answer.raise_for_status()
                left = int(answer.json()["subscriptions"][subscription]["msgBacklog"])
                if left == 0 or time.monotonic() > deadline:
                    return left
                await asyncio.sleep(0.2)

    async def listened(self, account: Account, subscription: str) -> int:
        """Return how many consumers are connected to the subscription, over all partitions."""
        async with self._admin() as admin:
            answer = await admin.get(
                f"persistent/{account.access_id}/out/event/partitioned-stats?perPartition=true"
            )
            answer.raise_for_status()
        partitions = answer.json()["partitions"].values()
        return sum(len(stats["subscriptions"][subscription]["consumers"]) for stats in partitions)

    def client(self) -> pulsar.Client:
        """Return the platform's own client, which may publish."""
        broker = self._brokers.pulsar
        return pulsar.Client(
            broker.url,
            authentication=pulsar.AuthenticationBasic(broker.admin_username, broker.admin_password),
            logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull),
        )

    def _publish(self, account: Account, messages: Sequence[Push]) -> None:
        refused: list[pulsar.Result] = []

        def answered(result: pulsar.Result, _: object) -> None:
            if result != pulsar.Result.Ok:
                refused.append(result)

        client = self.client()
        try:
            producer = client.create_producer(
                account.topic,
                batching_enabled=True,
                batching_max_messages=BATCH_MESSAGES,
                batching_max_publish_delay_ms=_BATCH_DELAY_MS,
                block_if_queue_full=True,
            )
            for push in messages:
                producer.send_async(
                    push.sealed.payload, answered, push.sealed.properties, partition_key=push.device_id
                )
            producer.flush()
        finally:
            client.close()
        if refused:
            raise NotPublished(f"{len(refused)} messages were not published: {refused[0]}")

    def _admin(self) -> httpx.AsyncClient:
        broker = self._brokers.pulsar
        return httpx.AsyncClient(
            base_url=f"{broker.admin_url}/admin/v2/",
            auth=(broker.admin_username, broker.admin_password),
            timeout=30,
            trust_env=False,
        )


class NotPublished(Exception):
    """The broker refused a part of the backlog."""
