"""Part two: how many observations a second the fold takes, how soon an event is seen, and what a take-over costs.

On a real Kafka, the fold in one process with 12 partitions, transactions and all.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import psutil
from msgspec.structs import replace

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics
from deploy.sandbox.brokers import Brokers
from tests.benchmarks.fold import quix
from tests.benchmarks.fold.campaign import campaign
from tests.benchmarks.fold.fleet import fleet
from tests.benchmarks.fold.folding import PROCESS, Unfinished, folding
from tests.benchmarks.fold.job import Job
from tests.benchmarks.fold.load import EventReader, fill, tell_evenly
from tests.benchmarks.percentiles import percentile
from tests.benchmarks.run import Run

CAMPAIGN_DEVICES: Final = 20_000
CAMPAIGN_STARTED_PER_S: Final = 33.0
FLEET_DEVICES: Final = 1_000_000
BUSY_PER_S: Final = 1000.0
QUIET_PER_S: Final = 50.0
LATENCY_S: Final = 15.0
_WARM_UP_S: Final = 3.0
_QUICK_DIVISOR: Final = 10
_WITHIN_S: Final = 300.0
_HOUR_MS: Final = 3_600_000


async def measure_fold(run: Run) -> None:
    """Measure on brokers of its own."""
    directory = run.directory / "fold"
    shutil.rmtree(directory, ignore_errors=True)
    async with Brokers(directory, announce=run.console.print) as brokers:
        measuring = _Measuring(brokers, run)
        for name, measure in (
            ("fold throughput", measuring.throughput),
            ("fold latency", partial(measuring.latency, BUSY_PER_S, "fold_latency")),
            ("fold latency, quiet", partial(measuring.latency, QUIET_PER_S, "fold_quiet_latency")),
            ("take-over", measuring.take_over),
        ):
            await run.attempt(name, measure, within_s=_WITHIN_S)


class _Measuring:
    def __init__(self, brokers: Brokers, run: Run) -> None:
        self._bootstrap_servers = brokers.kafka.bootstrap_servers
        (self._broker,) = (
            child for child in psutil.Process().children(recursive=True) if "kafka.Kafka" in child.cmdline()
        )
        self._directory = run.directory / "fold"
        self._divisor = _QUICK_DIVISOR if run.quick else 1
        self._profile = str(run.directory / "profile-fold.txt") if run.profile else None

    async def throughput(self) -> Mapping[str, float]:
        """The rules and no rules, on the same observations."""
        devices = CAMPAIGN_DEVICES // self._divisor
        start_ms = time.time_ns() // 1_000_000 - _HOUR_MS
        told = campaign(devices, start_ms, started_per_s=CAMPAIGN_STARTED_PER_S)
        metrics = await self._drain("fold_empty", told, is_empty=True)
        metrics |= await self._drain("fold", told, profile=self._profile)
        if quix.is_installed():
            peer = await self._drain("fold_quixstreams", told, module=quix.__name__)
            metrics |= {name: peer[name] for name in peer if "broker" not in name}
        return metrics

    async def _drain(
        self,
        name: str,
        told: Sequence[tuple[bytes, bytes]],
        *,
        is_empty: bool = False,
        profile: str | None = None,
        module: str = PROCESS,
    ) -> dict[str, float]:
        """How fast a process folds the same backlog, and what that costs it and the broker."""
        count = len(told)
        job = replace(await self._job(name.replace("_", "-"), is_empty=is_empty), profile=profile)
        await asyncio.to_thread(
            fill, _settings(job), "observations", ((key, value, []) for key, value in told)
        )
        async with folding(job, self._directory / f"{name}.log", module=module) as process:
            began = await process.until(lambda reading: reading.observations > 0, within_s=60)
            broker_s = self._broker_cpu_s()
            ended = await process.until(lambda reading: reading.observations >= count, within_s=120)
            broker_s = self._broker_cpu_s() - broker_s
        done = ended.observations - began.observations
        return {
            f"{name}_observations_per_s": done / (ended.at_s - began.at_s),
            f"{name}_cpu_us_per_observation": (ended.cpu_s - began.cpu_s) / done * 1e6,
            f"{name}_broker_cpu_us_per_observation": broker_s / done * 1e6,
        }

    def _broker_cpu_s(self) -> float:
        """User and system time of the Kafka broker, which shares the machine."""
        used = self._broker.cpu_times()
        return float(used.user + used.system)

    async def latency(self, rate_per_s: float, name: str) -> Mapping[str, float]:
        """From the moment an observation is produced to its event in a read_committed reader's hands."""
        job = await self._job(name.replace("_", "-"))
        reader = EventReader(_settings(job))
        async with folding(job, self._directory / f"{name}.log") as process:
            await process.until(lambda reading: reading.folding == _settings(job).partitions, within_s=60)
            reader.start()
            began_ms = time.time_ns() // 1_000_000
            seconds = _WARM_UP_S + LATENCY_S / self._divisor
            count = await asyncio.to_thread(tell_evenly, _settings(job), rate_per_s, seconds, name)
            await process.until(lambda reading: reading.observations >= count, within_s=30)
            await asyncio.sleep(1.0)
        await asyncio.to_thread(reader.stop)
        if len(reader.latencies_ms) < count:
            raise Unfinished(f"{len(reader.latencies_ms)} of {count} events came")
        warm_ms = began_ms + _WARM_UP_S * 1000
        latencies_ms = [latency for at_ms, latency in reader.latencies_ms if at_ms >= warm_ms]
        return {
            f"{name}_p50_ms": percentile(latencies_ms, 50),
            f"{name}_p99_ms": percentile(latencies_ms, 99),
        }

    async def take_over(self) -> Mapping[str, float]:
        """A million devices at rest: until each partition has folded again, and what they then need."""
        devices = FLEET_DEVICES // self._divisor
        job = await self._job("take-over")
        settings = _settings(job)
        await asyncio.to_thread(fill, settings, "upgrade-state", fleet(devices, time.time_ns() // 1_000_000))
        # One for each partition, and a few more: when are they all at work again?
        await asyncio.to_thread(tell_evenly, settings, 1000.0, 0.5, "after")
        async with folding(job, self._directory / "take_over.log") as process:
            began = await process.until(lambda reading: reading.taking_over > 0, within_s=60)
            first = await process.until(lambda reading: reading.observations > 0, within_s=120)
            ended = await process.until(lambda reading: reading.observations >= 500, within_s=120)
            compact = await process.until(
                lambda reading: reading.devices >= devices and not reading.devices_as_read, within_s=120
            )
        bare = process.readings[0].rss_bytes
        peak = max(reading.rss_bytes for reading in process.readings)
        return {
            "takeover_million_s": ended.at_s - began.at_s,
            "takeover_first_fold_s": first.at_s - began.at_s,
            "takeover_compact_s": compact.at_s - began.at_s,
            "takeover_bytes_per_device": (compact.rss_bytes - bare) / devices,
            "takeover_peak_bytes_per_device": (peak - bare) / devices,
        }

    async def _job(self, prefix: str, *, is_empty: bool = False) -> Job:
        job = Job(bootstrap_servers=self._bootstrap_servers, prefix=prefix, is_empty=is_empty)
        await ensure_topics(_settings(job))
        return job


def _settings(job: Job) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=job.bootstrap_servers, prefix=job.prefix)
