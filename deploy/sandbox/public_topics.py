"""A stranger's reading of the public topics: read_committed, from the start, with a client that is not the bridge's.

librdkafka instead of aiokafka, plain `json` instead of the schemas: a mistake that the bridge makes with its own tools
is not repeated here. Everything blocks; callers with an event loop use a thread.
"""

from __future__ import annotations

import json
import secrets
import time
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from msgspec import Struct

_SLICE = 1000
_POLL_S = 0.2


class PublicRecord(Struct, frozen=True, kw_only=True):
    """One committed record; `value` is None for a tombstone."""

    partition: int
    offset: int
    key: str
    value: dict[str, Any] | None
    headers: dict[str, str]


class TopicReader:
    """Reads one topic piece by piece: each `read()` returns what was committed since the one before.

    Usable while the brokers come and go; `read()` raises TimeoutError when they stay away.
    """

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._topic = topic
        self._next: dict[int, int] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"verifier-{secrets.token_hex(6)}",  # required, and never joined
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                # The broker tells of an end only after it waited this long for more.
                "fetch.wait.max.ms": 20,
                "auto.offset.reset": "error",
                "log_level": 0,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def read(self, within_s: float = 30.0) -> list[PublicRecord]:
        """Return the records from where the last call ended up to the topic's end."""
        deadline = time.monotonic() + within_s
        partitions = self._partitions(deadline)
        # Assigned anew each time: only then does every partition report that its end was reached.
        self._consumer.assign(
            [TopicPartition(self._topic, number, self._next.get(number, 0)) for number in partitions]
        )
        unread = set(partitions)
        records: list[PublicRecord] = []
        trouble = "no error was reported"
        while unread:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self._topic} was not read to its end within {within_s:.0f} s; {trouble}"
                )
            for message in self._consumer.consume(_SLICE, _POLL_S):
                if (error := message.error()) is None:
                    records.append(_record(message))
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public, for all its name
                    number, offset = message.partition(), message.offset()
                    if number is not None and offset is not None:
                        unread.discard(number)
                        self._next[number] = offset
                elif error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - as above
                    raise KafkaException(error)  # records are gone that were never read
                else:
                    trouble = str(error)  # a broker that is away; the client goes on by itself
        self._consumer.unassign()
        return records

    def _partitions(self, deadline: float) -> list[int]:
        while True:
            try:
                topic = self._consumer.list_topics(self._topic, timeout=5).topics[self._topic]
                if topic.error is None and topic.partitions:
                    return sorted(topic.partitions)
                missing = f"{self._topic}: {topic.error}"
            except KafkaException as error:
                missing = str(error)
            if time.monotonic() > deadline:
                raise TimeoutError(missing)
            time.sleep(_POLL_S)


class StateTable:
    """The latest-state topic as a table, followed by `refresh()`."""

    def __init__(self, bootstrap_servers: str, prefix: str = "ota") -> None:
        self._reader = TopicReader(bootstrap_servers, f"{prefix}.upgrade-state.v1")
        self.states: dict[str, dict[str, Any]] = {}
        """By device id; a tombstone takes the device out."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reader.__exit__(exception_type, exception, traceback)

    def refresh(self, within_s: float = 30.0) -> None:
        """Bring the table up to date."""
        for record in self._reader.read(within_s):
            if record.value is None:
                self.states.pop(record.key, None)
            else:
                self.states[record.key] = record.value


def read_events(bootstrap_servers: str, prefix: str = "ota", within_s: float = 30.0) -> list[PublicRecord]:
    """Return every published event, each partition's in its order."""
    with TopicReader(bootstrap_servers, f"{prefix}.upgrade-events.v1") as reader:
        return reader.read(within_s)


def read_events_and_states(
    bootstrap_servers: str, table: StateTable, prefix: str = "ota", within_s: float = 5.0
) -> list[PublicRecord]:
    """Return what `read_events` does, with the table brought up to date.

    A bridge at work writes between the two readings: both go on until they end at the same revisions, or time is over.
    """
    deadline = time.monotonic() + within_s
    events: list[PublicRecord] = []
    with TopicReader(bootstrap_servers, f"{prefix}.upgrade-events.v1") as reader:
        while True:
            events += reader.read()
            table.refresh()
            last = {event.key: event.value["revision"] for event in events if event.value is not None}
            if all(last.get(device_id) == state["revision"] for device_id, state in table.states.items()):
                return events
            if time.monotonic() > deadline:
                return events


def _record(message: Message) -> PublicRecord:
    key, value = message.key(), message.value()
    partition, offset = message.partition(), message.offset()
    if not isinstance(key, bytes) or partition is None or offset is None:
        raise ValueError(f"a record of {message.topic()} has no key")
    headers = message.headers() or []
    return PublicRecord(
        partition=partition,
        offset=offset,
        key=key.decode(),
        value=None if value is None else json.loads(value),
        # What is not text (a state's bookkeeping is msgpack) is no business of a stranger.
        headers={
            name: text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
            for name, text in (headers if isinstance(headers, list) else list(headers.items()))
        },
    )
