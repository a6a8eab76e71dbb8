"""A producer that is dismissed leaves nothing behind that anybody would be told of."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from bridge.kafka.producer import dismiss_producer


async def test_offsets_of_a_commit_that_was_given_up_are_nobodys_error() -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1", transactional_id="t")
    transactions = producer._txn_manager
    transactions.set_pid_and_epoch(1, 1)
    transactions.begin_transaction()
    transactions.add_offsets_to_txn({TopicPartition("observations", 0): OffsetAndMetadata(1, "")}, "fold")

    await dismiss_producer(producer)
    transactions.fatal_error(ProducerFenced())
    await asyncio.sleep(0)
    transactions.wait_for_transaction_end().exception()
    del producer, transactions
    gc.collect()

    assert complaints == []
