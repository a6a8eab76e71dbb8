"""The beginning and the end of a producer; the end has to work also while Kafka is away."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from bridge.kafka.clients import producer_arguments
from bridge.kafka.hardening import harden
from bridge.kafka.reach import Reach
from bridge.kafka.settings import KafkaSettings

START_WITHIN_S: Final = 30.0
"""aiokafka asks for a producer id without end, also when the broker it asks is gone."""
STOP_WITHIN_S: Final = 2.0


class Producer(Protocol):
    """What the writer needs of a producer."""

    def create_batch(self) -> BatchBuilder:
        """Return an empty batch."""
        ...

    async def send_batch(
        self, batch: BatchBuilder, topic: str, *, partition: int
    ) -> asyncio.Future[RecordMetadata]:
        """Queue a batch; the result tells when the broker has it."""
        ...

    async def stop(self) -> None:
        """Flush and close."""
        ...


async def start_producer(
    settings: KafkaSettings, *, transactional_id: str | None = None, reach: Reach | None = None
) -> AIOKafkaProducer:
    """Return a connected, idempotent producer, whose requests tell `reach` whether Kafka answers.

    Raises KafkaError, OSError or TimeoutError.
    """
    producer = AIOKafkaProducer(**producer_arguments(settings, transactional_id=transactional_id))
    harden(producer.client)
    if reach is not None:
        reach.watch(producer.client)
    try:
        async with asyncio.timeout(START_WITHIN_S):
            await producer.start()
    except BaseException as error:
        if reach is not None:
            reach.failed(error)
        await dismiss_producer(producer)
        raise
    return producer


async def dismiss_producer(producer: Producer) -> None:
    """Close a producer that may be dead or have unanswered batches, in bounded time and without waiting for Kafka.

    Its own `stop` waits until everything queued was delivered, which here is what will never happen.
    """
    if not isinstance(producer, AIOKafkaProducer):
        await producer.stop()
        return
    producer._closed = True  # else it would warn that nobody closed it
    transactions = producer._txn_manager
    if transactions is not None:
        # A commit that was given up asks no more for the offsets that it wanted to send.
        for *_, offsets_sent in transactions._pending_txn_offsets:
            offsets_sent.add_done_callback(_retrieved)
    sender = producer._sender.sender_task
    if sender is not None:
        # The first cancellation lets requests under way finish; the second ends those whose broker is gone.
        for _ in range(2):
            sender.cancel()
            await asyncio.wait([sender], timeout=STOP_WITHIN_S / 2)
            if sender.done():
                break
        _retrieved(sender)
    if transactions is not None and (waiter := transactions.wait_for_transaction_end()) is not None:
        _retrieved(waiter)
    # Batches that a fenced producer never sent: nobody waits any more for them to leave.
    accumulator = producer._message_accumulator
    for batch in itertools.chain(accumulator._pending_batches, *accumulator._batches.values()):
        _retrieved(batch._drain_waiter)
    await producer.client.close()


def _retrieved(future: asyncio.Future[Any]) -> None:
    """Ask for the error, if there is one: whoever dismisses the producer knows of the trouble."""
    if future.done() and not future.cancelled():
        future.exception()
