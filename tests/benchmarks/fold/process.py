"""The fold stage in a process of its own, with a gauge beside it that prints a reading fifty times a second.

`python -m tests.benchmarks.fold.process JOB`; it runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil
import uvloop
from aiokafka import ConsumerRecord

from bridge.fold import worker
from bridge.fold.batch import Batch
from bridge.fold.policy import Policy
from bridge.fold.stage import Fold
from bridge.garbage import collect_seldom
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.transactions import Draft, TransactionRecord
from tests.benchmarks.fold.campaign import ACCOUNT
from tests.benchmarks.fold.job import Job, Reading
from tests.benchmarks.gateway.sampler import Sampler

READ_EVERY_S = 0.02
LOOKUPS_PER_S = 4.0


class EmptyBatch(Batch):
    """No decoding and no rules: one small state for each device, one small event for each observation."""

    def fold_observations(self, records: Sequence[ConsumerRecord]) -> None:
        self._records += records

    def write_states(self) -> None:
        if self._records:
            self.counts["observations"] += len(self._records)
            self.next_offset = self._records[-1].offset + 1

    def complete_draft(self) -> Draft:
        topics, now_ms, partition = self._topics, self._now_ms, self._store.partition
        add = self._draft.add
        for key, offset in {record.key: record.offset for record in self._records}.items():
            add(TransactionRecord(topics.state, partition, key, b"%d" % offset, now_ms))
        for record in self._records:
            add(TransactionRecord(topics.events, partition, record.key, b"%d" % record.offset, now_ms))
        return self._draft


async def run(job: Job) -> None:
    """Fold until told to stop."""
    if job.is_empty:
        worker.Batch = EmptyBatch  # type: ignore[misc]
    settings = KafkaSettings(bootstrap_servers=job.bootstrap_servers, prefix=job.prefix)
    fold = Fold(settings, Policy(), lookup_rates={ACCOUNT: LOOKUPS_PER_S})
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sampler = Sampler(Path(job.profile)) if job.profile else None
    reading = asyncio.create_task(_read(fold, sampler))
    await fold.run(stop)
    reading.cancel()
    if sampler is not None:
        sampler.stop()
        sampler.write(fold.statistics().counts["observations"])


async def _read(fold: Fold, sampler: Sampler | None) -> None:
    process, encode = psutil.Process(), msgspec.json.Encoder().encode
    while True:
        statistics = fold.statistics()
        reading = Reading(
            at_s=time.time(),
            cpu_s=time.process_time(),
            rss_bytes=process.memory_info().rss,
            folding=len(statistics.partitions_folding),
            taking_over=len(statistics.partitions_taking_over),
            observations=statistics.counts.get("observations", 0),
            transactions=statistics.counts.get("transactions", 0),
            devices=statistics.devices,
            devices_as_read=sum(len(store._as_read) for store in fold._stores.values()),
        )
        if sampler is not None and reading.observations and not sampler.is_started:
            sampler.start()
        sys.stdout.buffer.write(encode(reading) + b"\n")
        sys.stdout.buffer.flush()
        await asyncio.sleep(READ_EVERY_S)


if __name__ == "__main__":
    collect_seldom()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(msgspec.json.decode(sys.argv[1], type=Job)))
