"""The real daemon with its consumer stage alone, as `ota-bridge run --stage consumer` makes it, with a gauge beside it.

Everything is the product's: configuration, topics, supervisor, writer, pages. The gauge is a task that reads the
stage's public statistics a hundred times a second. It runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import uvloop

from bridge.config import load
from bridge.daemon import Daemon
from bridge.exit_codes import ExitCode
from bridge.kafka.topics import ensure_topics
from bridge.logs import Redactor, configure_logs
from bridge.stages import OpenStages, open_stages
from bridge.supervisor import Stage
from consumer.ingest import Ingest
from tests.benchmarks.gateway.gauge import Gauge
from tests.benchmarks.gateway.job import ACCOUNT, Job, read_job
from tests.benchmarks.gateway.sampler import Sampler

READ_EVERY_S = 0.01
CONFIGURATION = """\
[kafka]
bootstrap_servers = "{job.bootstrap_servers}"
prefix = "{job.prefix}"

[http]
port = 0

[accounts.{account}]
cloud = "tuya-cloud"
access_id = "{job.access_id}"
access_key_file = "{key_file}"

[accounts.{account}.gateway]
url = "{job.url}"
subscription = "{job.subscription}"
ca_file = "{job.ca_file}"
"""


class Watched:
    """The stages, opened as the daemon does, with an eye on the consumer that is built."""

    def __init__(self, stages: AbstractAsyncContextManager[OpenStages]) -> None:
        self._stages = stages
        self.consumer: Ingest | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[OpenStages]:
        async with self._stages as opened:
            builders = {name: self._kept(build) for name, build in opened.builders.items()}
            yield OpenStages(builders=builders, shared=opened.shared)

    def _kept(self, build: Callable[[], Stage]) -> Callable[[], Stage]:
        def build_and_keep() -> Stage:
            stage = build()
            if not isinstance(stage, Ingest):
                raise TypeError("only the consumer stage is to run")
            self.consumer = stage
            return stage

        return build_and_keep


async def run(job: Job, sampler: Sampler | None) -> ExitCode:
    configuration = load(_write_configuration(job))
    redact = Redactor(configuration.secrets())
    configure_logs(configuration.log, redact)
    watched = Watched(open_stages(configuration, ("consumer",)))
    daemon = Daemon(
        configuration,
        names=("consumer",),
        stages=watched.opened(),
        check_topics=lambda: ensure_topics(configuration.kafka),
        redact=redact,
    )
    with Gauge(Path(job.readings)) as gauge:
        reading = asyncio.create_task(_read(watched, gauge, sampler, job.messages))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, daemon.stop)
        code = await daemon.run()
        reading.cancel()
        return code


async def _read(watched: Watched, gauge: Gauge, sampler: Sampler | None, messages: int) -> None:
    while True:
        await asyncio.sleep(READ_EVERY_S)
        if watched.consumer is None:
            continue
        statistics = watched.consumer.statistics().accounts[ACCOUNT]
        gauge.read(statistics.received, statistics.acknowledged)
        # The profile is of the drain alone, as the figures are.
        if sampler is not None and statistics.received and not sampler.is_started:
            sampler.start()
        if sampler is not None and statistics.acknowledged >= messages:
            sampler.stop()


def _write_configuration(job: Job) -> Path:
    folder = Path(job.readings).parent
    key_file, file = folder / "access-key.txt", folder / "ota-bridge.toml"
    key_file.touch(mode=0o600)
    key_file.write_text(job.access_key)
    file.write_text(CONFIGURATION.format(job=job, account=ACCOUNT, key_file=key_file))
    return file


def main(job: Job) -> int:
    sampler = Sampler(Path(job.profile)) if job.profile else None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(run(job, sampler))
    if sampler is not None:
        sampler.write(job.messages)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(read_job(sys.argv[1])))
