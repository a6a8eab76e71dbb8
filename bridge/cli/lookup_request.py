"""Having the running bridge ask: a request on the lookups topic, and its answer among the observations.

1. Note where the device's partition of the observations ends. 2. Write the request. 3. Read on until its `answer`; what
was learned stands before it, told by the same asking.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from bridge.cli.failure import CommandFailed
from bridge.cli.kafka import open_reader, partitions_of
from bridge.cli.lookup_answer import Answered
from bridge.cli.remedies import remedy_for_command
from bridge.clouds.errors import NO_REMEDY, REMEDIES
from bridge.clouds.settings import AnyAccount
from bridge.exit_codes import ExitCode
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import partition_of, topic_name
from bridge.kafka.writer import KafkaWriter
from consumer.sink import OutgoingRecord
from schemas import LookupRequest, Observation

_REMEMBERED_MOST: Final = 1000
"""Observations of the device before the answer: its own stand directly before it."""


async def ask_bridge(
    settings: KafkaSettings, account: AnyAccount, device_id: str, *, within_s: float
) -> Answered:
    """Have a device looked up by whoever owns the account."""
    topic, key = topic_name(settings.prefix, "observations"), device_id.encode()
    async with open_reader(settings, topic) as (consumer, count):
        # 1. Note the end
        partition = TopicPartition(topic, partition_of(key, count))
        consumer.assign([partition])
        await consumer.seek_to_end(partition)
        await consumer.position(partition)
        lookup_id = f"operator/{uuid.uuid4()}"
        try:
            async with asyncio.timeout(within_s):
                # 2. Request
                await _request(settings, account, device_id, lookup_id, within_s)
                # 3. Answer
                return await _answer(consumer, account, key, lookup_id)
        except TimeoutError:
            raise CommandFailed(
                ExitCode.UNREACHABLE,
                f"No bridge answered for {account.name} within {within_s:g} s. Check that one runs with this account"
                " and Kafka prefix, and what its /status says of it, or ask from here with --direct.",
            ) from None


async def _request(
    settings: KafkaSettings, account: AnyAccount, device_id: str, lookup_id: str, within_s: float
) -> None:
    now_ms = time.time_ns() // 1_000_000
    request = LookupRequest(
        lookup_id=lookup_id,
        device_id=device_id,
        account=account.name,
        cause="operator",
        due_at_ms=now_ms,
        expires_at_ms=now_ms + int(within_s * 1000),
    )
    # A request is in the partition that its account's key has in the topic as it is.
    count = await partitions_of(settings, topic_name(settings.prefix, "lookups"))
    async with KafkaWriter(msgspec.structs.replace(settings, partitions=count)) as writer:
        await writer.write(
            [
                OutgoingRecord(
                    topic="lookups",
                    key=account.name.encode(),
                    value=msgspec.json.encode(request),
                    timestamp_ms=now_ms,
                )
            ]
        )


async def _answer(consumer: AIOKafkaConsumer, account: AnyAccount, key: bytes, lookup_id: str) -> Answered:
    decoder = msgspec.json.Decoder(Observation)
    before: deque[Observation] = deque(maxlen=_REMEMBERED_MOST)
    while True:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            for record in records:
                if record.key != key or record.value is None:
                    continue
                observation = decoder.decode(record.value)
                if observation.kind == "answer" and observation.lookup_id == lookup_id:
                    return _answered(account, observation, before)
                before.append(observation)


def _answered(account: AnyAccount, answer: Observation, before: deque[Observation]) -> Answered:
    raw: Any = answer.evidence.raw
    words = raw if isinstance(raw, dict) else {}
    error: Any = answer.error
    return Answered(
        device_id=answer.device_id,
        account=account.name,
        cloud=account.cloud,
        via="bridge",
        api=answer.evidence.name,
        asked_at_ms=answer.asked_at_ms,
        outcome=answer.outcome or "unavailable",
        error=error,
        code=words.get("code"),
        text=words.get("msg"),
        remedy=remedy_for_command(REMEDIES.get(error, NO_REMEDY), account.name, bridge_asked=True),
        # Whoever else waited for the device shares the asking; the observations carry the newest of their ids.
        observations=tuple(
            each
            for each in before
            if each.account == account.name
            and each.kind != "answer"
            and each.asked_at_ms == answer.asked_at_ms
            and each.lookup_id is not None
        ),
    )
