"""The devices of one partition in memory, exactly as their state records say, and how a take-over reads them.

A device is kept as it was read, until there is time to pack it into half of the bytes (`compact.py`); those that
changed lately stay decoded, because a device under way is heard of again within seconds.
"""

from __future__ import annotations

from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from msgspec.structs import replace

from bridge.fold.compact import Compactor
from bridge.fold.device import Device
from bridge.fold.encoding import Headers, is_as_read, pack, read_resume, unpack
from bridge.fold.memory import return_free_memory
from bridge.fold.timers import Timers
from bridge.kafka.clients import consumer_arguments
from bridge.kafka.hardening import harden
from bridge.kafka.settings import KafkaSettings
from schemas.unreadable import UNREADABLE

log = structlog.get_logger(__name__)

_FETCH_BYTES: Final = 8 * 1024 * 1024
"""A restore reads one partition from end to end: few large answers."""
_LOG_EVERY: Final = 100_000
_POLL_MS: Final = 20
"""A marker at the end moves the position and gives no record: then this is what a store that knows all waits for."""
_WORTH_RETURNING: Final = 10_000
"""Devices made compact after which their memory is returned: that takes some ten milliseconds, in which all waits."""
DECODED_DEVICES: Final = 1024
"""Per partition, 4 MB: as many as are under way at a time in a campaign of some hundred devices a minute."""


class Store:
    """The devices of one partition, with their timers. Complete up to `complete_to` of the state partition."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.timers = Timers()
        self.complete_to = 0
        self.highest_input_offset = -1
        """The highest input offset behind any state: it must lie below the end of the observations partition."""
        self._devices: dict[str, bytes] = {}
        """As read or compact; empty for one that is in `_decoded`."""
        self._decoded: dict[str, Device] = {}
        """The last ones committed, the latest at the end. Only what a commit made the truth comes here."""
        self._as_read: list[str] = []
        """Devices to be made compact."""
        self._made_compact = 0
        """Of those, since the last one was done."""
        self._compactor = Compactor()

    def __len__(self) -> int:
        return len(self._devices)

    def get(self, device_id: str) -> Device | None:
        """Return the device, not to be changed in place."""
        device = self._decoded.get(device_id)
        if device is not None:
            return device

        packed = self._devices.get(device_id)
        if packed is None:
            return None

        return unpack(packed) if is_as_read(packed) else self._compactor.unpack(packed, device_id)

    def put(self, device_id: str, value: bytes, headers: Headers) -> None:
        """Keep a state record that was read."""
        self._decoded.pop(device_id, None)
        self._devices[device_id] = pack(value, headers)
        self._as_read.append(device_id)

    def take(self, record: ConsumerRecord) -> bool:
        """Keep what a record of the state partition says; return whether it is a state, and no tombstone."""
        try:
            device_id = (record.key or b"").decode()
        except UnicodeDecodeError:
            log.warning("state_unreadable", partition=self.partition, offset=record.offset)
            return False

        if record.value is None:
            self.remove(device_id)
            return False

        headers = list(record.headers)
        self.put(device_id, record.value, headers)
        resume = read_resume(headers)
        self.highest_input_offset = max(self.highest_input_offset, resume.offset)
        if resume.timer_at_ms is not None:
            self.timers.arm(resume.timer_at_ms, device_id)
        return True

    def keep(self, device_id: str, device: Device) -> None:
        """Keep a device whose state record was committed."""
        decoded = self._decoded
        decoded.pop(device_id, None)
        decoded[device_id] = device
        self._devices[device_id] = b""
        if len(decoded) > DECODED_DEVICES:
            oldest = next(iter(decoded))
            self._devices[oldest] = self._compactor.pack(decoded.pop(oldest))

    def compact(self, limit: int) -> bool:
        """Make some devices compact that are kept as they were read; return whether there are more."""
        as_read = self._as_read
        if not as_read:
            return False

        count = min(limit, len(as_read))
        self._made_compact += count
        for _ in range(count):
            device_id = as_read.pop()
            packed = self._devices.get(device_id, b"")
            if is_as_read(packed):
                try:
                    self._devices[device_id] = self._compactor.pack(unpack(packed))
                except UNREADABLE:
                    # Folding an input of this device will fail as well, and tell; nothing of it is lost till then.
                    log.warning("state_unreadable", partition=self.partition, device_id=device_id)
        if as_read:
            return True

        if self._made_compact >= _WORTH_RETURNING:
            return_free_memory()
        self._made_compact = 0
        return False

    def remove(self, device_id: str) -> None:
        """Forget a device whose tombstone was committed."""
        self._devices.pop(device_id, None)
        self._decoded.pop(device_id, None)
        self.timers.forget(device_id)

    def device_ids(self) -> list[str]:
        """Every device known, in no particular order."""
        return list(self._devices)

    def forget_offsets(self) -> None:
        """The observations topic was re-created: no stored input offset says anything about the new one."""
        for device_id in self._devices:
            try:
                device = self.get(device_id)
            except UNREADABLE:
                # As in `compact`.
                log.warning("state_unreadable", partition=self.partition, device_id=device_id)
                continue
            if device is not None:
                forgetful = Device(device.state, replace(device.book, offset=-1))
                self._devices[device_id] = self._compactor.pack(forgetful)
        self._decoded.clear()
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
        harden(consumer._client)  # noqa: SLF001 (what all its requests pass)
        try:
            await consumer.start()
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
        # The position passes markers and aborted batches, which no record would.
        while await consumer.position(place) < end:
            batches = await consumer.getmany(place, timeout_ms=_POLL_MS)
            for record in batches.get(place, ()):
                if not self.take(record):
                    continue
                count += 1
                if count % _LOG_EVERY == 0:
                    log.info("restoring", partition=self.partition, records=count, of=end - self.complete_to)
        return count
