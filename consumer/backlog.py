"""Asks the gateway itself what waits for an account's subscription, for each source partition.

The Pulsar client cannot tell: it refuses to ask about partitioned topics, and never asks how far a subscription is
acknowledged. The broker says both in one answer to whoever is subscribed, so for a moment a second consumer is: at the
lowest priority and without permits, it is given nothing and takes no turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from consumer import pulsar_frames
from consumer.pulsar_connection import Broker, CaFileUnreadable, Refused, broker_of, connected
from consumer.pulsar_frames import Command
from consumer.settings import GatewayAccount
from consumer.source import source_partition, topic_names

ANSWER_WITHIN_S: Final = 10.0
FOUND_FOR_S: Final = 600.0
"""Then the source partitions are looked up again: the platform may have added some, which the Pulsar client finds by
itself. One that nobody asks about would look ever further behind, and be starved unnoticed."""

Entry = tuple[int, int]
"""Ledger and number: rises within a source partition."""


class Backlog(Struct, frozen=True):
    """One source partition at the moment of the answer."""

    partition: str
    last: Entry
    """The last entry there is; (-1, -1) where there is none, or none any more."""
    done: Entry
    """Up to here everything was acknowledged, or dropped as too old."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self.done >= self.last


class BacklogUnknown(Exception):
    """The gateway did not say. Nothing follows from that but that it is asked again."""


class BacklogQuestion:
    """Asks for one account; remembers which broker serves what for `FOUND_FOR_S`, or until a question fails."""

    def __init__(self, account: GatewayAccount, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._account = account
        self._monotonic = monotonic
        self._brokers: dict[str, Broker] = {}
        self._found_at = 0.0

    async def ask(self) -> list[Backlog]:
        """Return what waits in every source partition of the account. Raises BacklogUnknown."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                if not self._brokers or self._monotonic() - self._found_at >= FOUND_FOR_S:
                    self._brokers = await self._find_brokers()
                    self._found_at = self._monotonic()
                served: dict[Broker, list[str]] = defaultdict(list)
                for topic, broker in self._brokers.items():
                    served[broker].append(topic)
                return [
                    backlog
                    for broker, topics in served.items()
                    for backlog in await self._ask_broker(broker, topics)
                ]
        except TimeoutError:
            problem = f"no answer within {ANSWER_WITHIN_S:.0f} s"
        except (OSError, EOFError, ValueError, Refused, CaFileUnreadable) as error:
            problem = f"{type(error).__name__}: {error}"
        self._brokers = {}
        raise BacklogUnknown(problem)

    async def _find_brokers(self) -> dict[str, Broker]:
        async with connected(self._account) as connection:
            return {
                partition: await broker_of(self._account, connection, partition)
                for topic in topic_names(self._account)
                for partition in await connection.partitions(topic)
            }

    async def _ask_broker(self, broker: Broker, topics: list[str]) -> list[Backlog]:
        subscription = self._account.gateway.subscription
        numbers = range(1, len(topics) + 1)
        async with connected(self._account, broker) as connection:
            await connection.send(
                b"".join(
                    pulsar_frames.subscribe(topic, subscription, consumer=number, request=number)
                    for number, topic in zip(numbers, topics, strict=True)
                )
            )
            await connection.answers(numbers, Command.SUCCESS, 1)
            await connection.send(
                b"".join(pulsar_frames.last_message_id(consumer=number, request=number) for number in numbers)
            )
            answers = await connection.answers(numbers, Command.LAST_MESSAGE_ID_RESPONSE, 2)
        return [_backlog(topic, answers[number]) for number, topic in zip(numbers, topics, strict=True)]


def _backlog(topic: str, answer: pulsar_frames.Fields) -> Backlog:
    last, done = pulsar_frames.entry_of(answer.get(1)), pulsar_frames.entry_of(answer.get(3))
    if last is None or done is None:
        raise ValueError("an answer without the position of the subscription")
    return Backlog(source_partition(topic), last, done)
