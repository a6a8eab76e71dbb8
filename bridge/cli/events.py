"""`ota-bridge events`: the public log of changes as it grows, only what was committed."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Collection
from typing import Annotated, Any

import msgspec
from aiokafka import ConsumerRecord, TopicPartition
from cyclopts import Parameter

from bridge.cli.console import console, write_json
from bridge.cli.kafka import ends_of, kafka_settings, open_reader, run_with_kafka
from bridge.cli.lines import event_line
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import partition_of, topic_name
from schemas import UpgradeEvent

_decode = msgspec.json.Decoder(UpgradeEvent).decode


def events(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    from_beginning: Annotated[
        bool, Parameter(help="Begin with the oldest event that Kafka still has.", negative=())
    ] = False,
    follow: Annotated[
        bool, Parameter(help="Wait for more; without it the command ends at what is published so far.")
    ] = True,
    device: Annotated[tuple[str, ...], Parameter(help="Only this device; may be given several times.")] = (),
    json: AsJson = None,
) -> None:
    """Show the events of `<prefix>.upgrade-events.v1` as they are published, until Ctrl-C.

    As JSON each line is one CloudEvent in structured mode.
    """
    settings = kafka_settings(config)
    show = _json_writer() if wants_json(json) else _line_writer()
    # Ctrl-C is how following ends.
    with contextlib.suppress(KeyboardInterrupt):
        run_with_kafka(
            settings,
            _read(settings, show, from_beginning=from_beginning, follow=follow, devices=set(device)),
        )


async def _read(
    settings: KafkaSettings,
    show: Any,
    *,
    from_beginning: bool,
    follow: bool,
    devices: Collection[str],
) -> None:
    topic = topic_name(settings.prefix, "upgrade-events")
    keys = {device.encode() for device in devices}
    async with open_reader(settings, topic) as (consumer, count):
        numbers = {partition_of(key, count) for key in keys} or range(count)
        partitions = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(partitions)
        if from_beginning:
            await consumer.seek_to_beginning(*partitions)
        else:
            await consumer.seek_to_end(*partitions)
        open_ends = {} if follow else await ends_of(consumer)
        while follow or open_ends:
            fetched = await consumer.getmany(timeout_ms=500)
            # Each partition keeps its order, which is that of its devices' revisions; among them goes the time.
            for record in heapq.merge(*fetched.values(), key=_at):
                if not keys or record.key in keys:
                    show(record)
            for partition, end in list(open_ends.items()):
                if await consumer.position(partition) >= end:
                    del open_ends[partition]


def _at(record: ConsumerRecord) -> int:
    return record.timestamp


def _json_writer() -> Any:
    def write(record: ConsumerRecord) -> None:
        attributes = {
            name.removeprefix("ce_"): value.decode()
            for name, value in record.headers
            if name.startswith("ce_")
        }
        event = attributes | {
            "datacontenttype": "application/json",
            "data": msgspec.Raw(record.value or b"null"),
        }
        write_json(event)

    return write


def _line_writer() -> Any:
    screen = console()

    def write(record: ConsumerRecord) -> None:
        if record.value is not None:
            headers = dict(record.headers)
            screen.print(event_line(_decode(record.value), headers.get("ce_type", b"").decode()))

    return write
