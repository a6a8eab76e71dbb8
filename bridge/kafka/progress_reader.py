"""Reads the progress topic: how far earlier runs and other copies of stage one have come.

The whole topic is read each time, to its end at that moment. It is compacted within the hour, a few megabytes per
account at most, and asked for at a start and after a long silence only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from bridge.kafka.clients import consumer_arguments
from bridge.kafka.hardening import harden
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import topic_name
from schemas import IngestProgress
from schemas.unreadable import UNREADABLE

log = structlog.get_logger(__name__)

_POLL_MS: Final = 500
_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 5.0

_decode = msgspec.json.Decoder(IngestProgress).decode


class KafkaProgress:
    """Implements `consumer.sink.ProgressReader`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        topic = topic_name(settings.prefix, "ingest-progress")
        self._places = [TopicPartition(topic, number) for number in range(settings.partitions)]

    async def read_progress(self, account: str) -> Mapping[str, IngestProgress]:
        """Return the account's latest records by source partition; a Kafka that is away is asked for ever."""
        retry_s = _FIRST_RETRY_S
        while True:
            try:
                latest = await self._read()
            except (KafkaError, OSError) as error:
                log.warning("progress_not_read", account=account, error=repr(error), retry_s=retry_s)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, _LAST_RETRY_S)
                continue
            return dict(_records(account, latest))

    async def _read(self) -> dict[bytes, bytes]:
        latest: dict[bytes, bytes] = {}
        consumer = AIOKafkaConsumer(**consumer_arguments(self._settings))
        harden(consumer._client)  # noqa: SLF001 (what all its requests pass)
        try:
            await consumer.start()
            consumer.assign(self._places)
            for place, offset in (await consumer.beginning_offsets(self._places)).items():
                consumer.seek(place, offset)
            for place, end in (await consumer.end_offsets(self._places)).items():
                while await consumer.position(place) < end:
                    for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                        latest.update((record.key or b"", record.value or b"") for record in records)
        finally:
            await consumer.stop()
        return latest


def _records(account: str, latest: Mapping[bytes, bytes]) -> Iterator[tuple[str, IngestProgress]]:
    for key, value in latest.items():
        if not value or not key.startswith(f"{account}/".encode()):
            continue
        try:
            record = _decode(value)
        except UNREADABLE as error:
            log.error(
                "progress_unreadable",
                key=key.decode(errors="replace"),
                error=str(error),
                remedy="only the bridge may write to the progress topic; this source partition counts as new",
            )
            continue
        yield record.source_partition, record
