"""Part one: how fast, how cheap and how soon the consumer stage is, beside the vendor's loop and the client's limit.

All contenders drain the same backlog, in rounds (ours, vendor's, raw, ours, …) so that the machine's moods meet all
alike; a contender's figure is its median round.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from rich.table import Table

from deploy.sandbox.brokers import Brokers
from tests.benchmarks.gateway.backlog import Backlog
from tests.benchmarks.gateway.contest import Contender, Contest
from tests.benchmarks.gateway.gauge import Drained
from tests.benchmarks.gateway.latency import measure_latency
from tests.benchmarks.gateway.mix import MIXES, Mix
from tests.benchmarks.run import Run

ROUNDS: Final = 3
CONTENDERS: Final[Mapping[Contender, str]] = {"ours": "", "vendor_loop": "vendor_loop_", "raw_client": "raw_"}
"""Each with what its metrics' names have between the mix and the unit."""
MESSAGES: Final[Mapping[str, int]] = {"firehose_gcm": 500_000, "ota_gcm": 300_000, "ota_ecb": 300_000}
VENDOR_MESSAGES: Final = 100_000
"""The vendor's loop reads the beginning of the same backlog: the whole of it would take half a minute."""
LATENCY_S: Final = 15
_QUICK_DIVISOR: Final = 10
_WITHIN_S: Final = 300.0


async def measure_gateway(run: Run) -> None:
    """Measure on brokers of its own."""
    directory = run.directory / "gateway"
    shutil.rmtree(directory, ignore_errors=True)
    peaks_mb: list[float] = []
    async with Brokers(directory, announce=run.console.print) as brokers:
        contest = Contest(brokers, directory)
        await contest.prepare()
        for mix in MIXES:
            await run.attempt(
                mix.name, partial(_measure_mix, run, contest, mix, peaks_mb), within_s=_WITHIN_S
            )
        await run.attempt(
            "ota_gcm, two processes", partial(_measure_two, run, contest, peaks_mb), within_s=_WITHIN_S
        )
        await run.attempt("latency", partial(_measure_latency, run, contest, peaks_mb), within_s=_WITHIN_S)
    if peaks_mb:
        run.metrics["ingest_peak_mb"] = max(peaks_mb)


async def _measure_mix(run: Run, contest: Contest, mix: Mix, peaks_mb: list[float]) -> Mapping[str, float]:
    count = _scaled(run, MESSAGES[mix.name])
    account = await contest.gateway.create_account()
    made = await contest.gateway.make(account, mix, count)
    backlog = await contest.gateway.publish(account, made, count)
    limits: Mapping[Contender, int] = {"vendor_loop": min(_scaled(run, VENDOR_MESSAGES), count)}
    # The brokers' first drain is their warm-up: nothing is compiled yet.
    await contest.drain("raw_client", backlog)
    rounds: dict[Contender, list[Drained]] = {contender: [] for contender in CONTENDERS}
    for _ in range(1 if run.quick else ROUNDS):
        for contender, drains in rounds.items():
            drains.append(await contest.drain(contender, backlog, messages=limits.get(contender)))
    medians = {contender: _median(drains) for contender, drains in rounds.items()}
    run.console.print(_table(mix, rounds, medians))
    if run.profile:
        profile = run.directory / f"profile-{mix.name}.txt"
        # A look at a frame that is just being made may crash the process: that costs the profile, not the figures.
        await run.attempt(
            f"profile of {mix.name}", partial(_profile, run, contest, backlog, profile), within_s=_WITHIN_S
        )
    peaks_mb += [drained.peak_mb for drained in rounds["ours"]]
    metrics: dict[str, float] = {}
    for contender, infix in CONTENDERS.items():
        metrics |= _metrics(f"{mix.name}_{infix}", medians[contender])
    return metrics


async def _profile(run: Run, contest: Contest, backlog: Backlog, profile: Path) -> Mapping[str, float]:
    await contest.drain("ours", backlog, profile=profile)
    run.console.print(f"where the time goes: {profile}")
    return {}


async def _measure_two(run: Run, contest: Contest, peaks_mb: list[float]) -> Mapping[str, float]:
    (mix,) = (mix for mix in MIXES if mix.name == "ota_gcm")
    drains = [
        await contest.drain_by_two(mix, _scaled(run, MESSAGES[mix.name]))
        for _ in range(1 if run.quick else ROUNDS)
    ]
    peaks_mb += [drained.peak_mb for drained in drains]
    return _metrics(f"{mix.name}_two_processes_", _median(drains))


async def _measure_latency(run: Run, contest: Contest, peaks_mb: list[float]) -> Mapping[str, float]:
    latency, needed = await measure_latency(contest, _scaled(run, LATENCY_S))
    peaks_mb.append(needed.peak_mb)
    return {**latency, "ingest_latency_cpu_us_per_msg": needed.cpu_us_per_msg}


def _scaled(run: Run, count: int) -> int:
    return max(count // _QUICK_DIVISOR, 1) if run.quick else count


def _median(drains: list[Drained]) -> Drained:
    """Return the round with the median speed; all its figures belong together."""
    return sorted(drains, key=lambda drained: drained.msgs_per_s)[len(drains) // 2]


def _metrics(prefix: str, drained: Drained) -> Mapping[str, float]:
    return {
        f"{prefix}msgs_per_s": drained.msgs_per_s,
        f"{prefix}cpu_us_per_msg": drained.cpu_us_per_msg,
        f"{prefix}peak_mb": drained.peak_mb,
    }


def _table(
    mix: Mix, rounds: Mapping[Contender, list[Drained]], medians: Mapping[Contender, Drained]
) -> Table:
    table = Table(title=mix.name, title_justify="left")
    table.add_column("contender")
    for name in (
        "messages",
        "s",
        "messages/s",
        "of all rounds",
        "CPU µs/message",
        "peak MB",
        "of vendor",
        "of raw",
    ):
        table.add_column(name, justify="right")
    for contender, drained in medians.items():
        speeds = [each.msgs_per_s for each in rounds[contender]]
        table.add_row(
            contender,
            f"{drained.messages:,}",
            f"{drained.seconds:.1f}",
            f"{drained.msgs_per_s:,.0f}",
            f"{min(speeds):,.0f} to {max(speeds):,.0f}",
            f"{drained.cpu_us_per_msg:.1f}",
            f"{drained.peak_mb:.0f}",
            f"{drained.msgs_per_s / medians['vendor_loop'].msgs_per_s:.2f}",
            f"{drained.msgs_per_s / medians['raw_client'].msgs_per_s:.2f}",
        )
    return table
