"""Stage one alone in a process of its own, for tests that kill one: prints what it has acknowledged, and the end."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import structlog

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.writer import KafkaWriter
from consumer.ingest import Ingest
from consumer.secret import Secret
from consumer.settings import GatewayAccount, GatewaySettings


async def main(arguments: list[str]) -> None:
    bootstrap, prefix, access_id, key_file, url, ca_file = arguments
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = KafkaSettings(bootstrap_servers=bootstrap, prefix=prefix, partitions=4)
    account = GatewayAccount(
        name="tuya-test",
        cloud="tuya-cloud",
        access_id=access_id,
        access_key=Secret(Path(key_file).read_text()),  # noqa: ASYNC240
        gateway=GatewaySettings(url=url, subscription=f"{access_id}-sub", ca_file=ca_file),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with KafkaWriter(settings) as writer:
        stage = Ingest([account], writer)
        running = asyncio.create_task(stage.run(stop))
        told = -1
        while not running.done():
            acknowledged = stage.statistics().accounts["tuya-test"].acknowledged
            if acknowledged != told:
                told = acknowledged
                sys.stdout.write(f"{told}\n")
                sys.stdout.flush()
            await asyncio.sleep(0.01)
        await running


asyncio.run(main(sys.argv[1:]))
