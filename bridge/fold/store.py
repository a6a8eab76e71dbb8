"""The devices of one partition in memory, exactly as their state records say, and how a take-over reads them.

A device is kept as encoded bytes and decoded when it is touched: a million of them are half a gigabyte, not five.
"""

from __future__ import annotations

from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from bridge.fold.device import Device
from bridge.fold.encoding import Headers, encode_device, pack, read_resume, unpack
from bridge.fold.timers import Timers
from bridge.kafka.clients import consumer_arguments
from bridge.kafka.settings import KafkaSettings

log = structlog.get_logger(__name__)

_FETCH_BYTES: Final = 8 * 1024 * 1024
"""A restore reads one partition from end to end: few large answers."""
_LOG_EVERY: Final = 100_000
_POLL_MS: Final = 1000


class Store:
    """The devices of one partition, with their timers. Complete up to `complete_to` of the state partition."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.timers = Timers()
        self.complete_to = 0
        self.highest_input_offset = -1
        """The highest input offset behind any state: it must lie below the end of the observations partition."""
        self._devices: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._devices)

    def get(self, device_id: str) -> Device | None:
        """Return the device, freshly decoded."""
        packed = self._devices.get(device_id)
        return None if packed is None else unpack(packed)

    def put(self, device_id: str, value: bytes, headers: Headers) -> None:
        """Keep a committed state record."""
        self._devices[device_id] = pack(value, headers)

    def remove(self, device_id: str) -> None:
        """Forget a device whose tombstone was committed."""
        self._devices.pop(device_id, None)
        self.timers.forget(device_id)

    def device_ids(self) -> list[str]:
        """Every device known, in no particular order."""
        return list(self._devices)

    def forget_offsets(self) -> None:
        """The observations topic was re-created: no stored input offset says anything about the new one."""
        for device_id, packed in self._devices.items():
            device = unpack(packed)
            device.book.offset = -1
            self._devices[device_id] = pack(*encode_device(device, None))
        self.highest_input_offset = -1

    async def restore(self, settings: KafkaSettings, topic: str) -> int:
        """Read the state partition from where the store is complete to its end; return how many records that were.

        The caller's transactional producer must have started before: then no older owner can write any more, and
        everything it committed lies before the end that is read here. Raises KafkaError.
        """
        place = TopicPartition(topic, self.partition)
        consumer = AIOKafkaConsumer(
            **consumer_arguments(settings) | {"max_partition_fetch_bytes": _FETCH_BYTES}
        )
        await consumer.start()
        try:
            consumer.assign([place])
            start = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
            consumer.seek(place, max(start, self.complete_to))
            count = await self._read_until(consumer, place, end)
        finally:
            await consumer.stop()
        self.complete_to = max(end, self.complete_to)
        return count

    async def _read_until(self, consumer: AIOKafkaConsumer, place: TopicPartition, end: int) -> int:
        count = 0
        reminders: list[tuple[int, str]] = []
        # The position passes markers and aborted batches, which no record would.
        while await consumer.position(place) < end:
            batches = await consumer.getmany(place, timeout_ms=_POLL_MS)
            for record in batches.get(place, ()):
                device_id = (record.key or b"").decode()
                if record.value is None:
                    self.remove(device_id)
                    continue
                headers = list(record.headers)
                self.put(device_id, record.value, headers)
                resume = read_resume(headers)
                self.highest_input_offset = max(self.highest_input_offset, resume.offset)
                if resume.timer_at_ms is not None:
                    reminders.append((resume.timer_at_ms, device_id))
                count += 1
                if count % _LOG_EVERY == 0:
                    log.info("restoring", partition=self.partition, records=count, of=end - self.complete_to)
        self.timers.load(reminders)
        return count
