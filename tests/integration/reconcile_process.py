"""Reconcile alone in a process of its own, for tests that stop one: prints `owned` once it owns its account."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import structlog

from bridge.clouds.settings import ApiAccount
from bridge.clouds.tuya.settings import TuyaApi, TuyaCredentials
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.writer import KafkaWriter
from bridge.reconcile.worker import Reconcile
from consumer.secret import Secret


async def main(arguments: list[str]) -> None:
    bootstrap, prefix, access_id, key_file, url, ca_file = arguments
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = KafkaSettings(bootstrap_servers=bootstrap, prefix=prefix, partitions=4, session_timeout_s=6)
    account = ApiAccount(
        name="tuya-sim",
        cloud="tuya-cloud",
        credentials=TuyaCredentials(
            access_id=access_id,
            access_key=Secret(Path(key_file).read_text()),  # noqa: ASYNC240
        ),
        api=TuyaApi(url=url, ca_file=ca_file, rate_per_s=20, discovery="off"),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with KafkaWriter(settings) as writer:
        stage = Reconcile([account], settings, writer)
        running = asyncio.create_task(stage.run(stop))
        while not stage.statistics().accounts[0].owned:
            await asyncio.sleep(0.05)
        sys.stdout.write("owned\n")
        sys.stdout.flush()
        await running


asyncio.run(main(sys.argv[1:]))
