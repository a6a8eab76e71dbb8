"""`ota-bridge state DEVICE`: the latest truth about one device, from the one partition that holds it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiokafka import TopicPartition
from cyclopts import Parameter

from bridge.cli.console import console, write_json
from bridge.cli.failure import CommandFailed
from bridge.cli.kafka import ends_of, kafka_settings, open_reader, run_with_kafka
from bridge.cli.lines import state_tables
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.exit_codes import ExitCode
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import partition_of, topic_name
from bridge.typed import typed
from schemas import UpgradeState


def state(
    device: Annotated[str, Parameter(help="The device's id in its cloud.")],
    /,
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    json: AsJson = None,
) -> None:
    """Show what the bridge knows about one device.

    Ends with 5 when it knows nothing. As JSON it is the record's value as it stands in `<prefix>.upgrade-state.v1`.
    """
    settings = kafka_settings(config)
    value = run_with_kafka(settings, _latest(settings, device))
    if value is None:
        raise CommandFailed(ExitCode.DATA, f"The bridge knows nothing about device {typed(device)}.")
    if wants_json(json):
        write_json(msgspec.Raw(value))
        return
    screen = console()
    for table in state_tables(msgspec.json.decode(value, type=UpgradeState)):
        screen.print(table)


async def _latest(settings: KafkaSettings, device: str) -> bytes | None:
    topic, key = topic_name(settings.prefix, "upgrade-state"), device.encode()
    latest: bytes | None = None
    async with open_reader(settings, topic) as (consumer, count):
        partition = TopicPartition(topic, partition_of(key, count))
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        open_ends = await ends_of(consumer)
        while open_ends:
            for record in (await consumer.getmany(timeout_ms=500)).get(partition, ()):
                if record.key == key:
                    latest = record.value
            if await consumer.position(partition) >= open_ends[partition]:
                break
    return latest
