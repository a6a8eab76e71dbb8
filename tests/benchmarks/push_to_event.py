"""From the gateway's publish to the event in a stranger's hands, through the whole daemon.

A campaign in the sandbox, at an even pace and with every push delivered; each pushed event carries the publish time of
its push. The daemon runs with what a user would have: one account with a gateway and an API, and the default policy,
rate and periods, where the sandbox's own configuration has periods short enough to watch.
"""

from __future__ import annotations

import asyncio
import time
import tomllib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from bridge.kafka.settings import KafkaSettings
from deploy.sandbox.configuration import SHORT_PERIODS
from deploy.sandbox.demo.bridge import BridgeProcess
from deploy.sandbox.supervisor import DEMO_ACCOUNT, Sandbox
from schemas import UpgradeEvent
from tests.benchmarks.fold.load import EventReader
from tests.benchmarks.percentiles import percentile
from tests.benchmarks.run import Run

STARTED_PER_S: Final = 95.0
"""A device is pushed about some eleven times."""
WARM_UP_S: Final = 40.0
"""As many upgrades end as begin from then on."""
MEASURED_S: Final = 30.0
PARTITIONS: Final = 12
_LATE_S: Final = 10.0
_WITHIN_S: Final = 300.0
_QUICK_DIVISOR: Final = 10


async def measure_push_to_event(run: Run) -> None:
    """Measure on a sandbox of its own."""
    started_per_s = STARTED_PER_S / _QUICK_DIVISOR if run.quick else STARTED_PER_S
    await run.attempt(
        "push to event", partial(_measure, run.directory / "push-to-event", started_per_s), within_s=_WITHIN_S
    )


async def _measure(directory: Path, started_per_s: float) -> Mapping[str, float]:
    """Return the latency's percentiles, and how many messages a second that was at."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(directory))
        config_file = directory / "defaults.toml"
        config_file.write_text(_with_defaults(sandbox.config_file.read_text("utf-8")), encoding="utf-8")
        bridge = await stack.enter_async_context(BridgeProcess(config_file, directory / "ota-bridge.log"))
        await bridge.folding(PARTITIONS)
        reader = EventReader(
            KafkaSettings(bootstrap_servers=sandbox.description["kafka"]["bootstrap_servers"]),
            _published_at_ms,
        )
        reader.start()
        control_url, began_s = sandbox.description["control_url"], asyncio.get_running_loop().time()
        async with httpx.AsyncClient(base_url=control_url, trust_env=False, timeout=60) as control:
            campaign = await _start(control, started_per_s)
            await _until(began_s + WARM_UP_S, bridge)
            before, first_ms = await _pushed(control, campaign), time.time_ns() // 1_000_000
            await _until(began_s + WARM_UP_S + MEASURED_S, bridge)
            pushed, last_ms = await _pushed(control, campaign) - before, time.time_ns() // 1_000_000
        await asyncio.sleep(_LATE_S)
        await asyncio.to_thread(reader.stop)
        await bridge.stop()
    latencies_ms = [
        latency for began_at_ms, latency in reader.latencies_ms if first_ms <= began_at_ms < last_ms
    ]
    return {
        "push_to_event_p50_ms": percentile(latencies_ms, 50),
        "push_to_event_p99_ms": percentile(latencies_ms, 99),
        "push_to_event_rate_msgs_per_s": pushed / MEASURED_S,
        "push_to_event_events_count": float(len(latencies_ms)),
    }


def _with_defaults(configuration: str) -> str:
    """Return the sandbox's configuration with its one account that is pushed to, without its short periods."""
    short = {"rate_per_s", *SHORT_PERIODS}
    kept: list[str] = []
    for table in configuration.split("\n["):
        name, _, keys = table.partition("]\n")
        if name in ("kafka", "http") or name.startswith(f"accounts.{DEMO_ACCOUNT}"):
            lines = [line for line in keys.splitlines() if line.partition(" =")[0] not in short]
            kept.append("\n".join([f"[{name}]", *lines]))
    text = "\n\n".join(kept) + "\n"
    assert set(tomllib.loads(text)) == {"kafka", "http", "accounts"}
    return text


async def _start(control: httpx.AsyncClient, started_per_s: float) -> str:
    devices = round(started_per_s * (WARM_UP_S + MEASURED_S))
    body = {"account": DEMO_ACCOUNT, "devices": devices, "rate_per_s": started_per_s, "seed": 1}
    started = await control.post("/campaigns", json=body)
    started.raise_for_status()
    return str(started.json()["id"])


async def _pushed(control: httpx.AsyncClient, campaign: str) -> int:
    report: Mapping[str, Any] = (await control.get(f"/campaigns/{campaign}")).json()
    return int(report["pushes_sent"])


async def _until(at_s: float, bridge: BridgeProcess) -> None:
    while (left_s := at_s - asyncio.get_running_loop().time()) > 0:
        bridge.check()
        await asyncio.sleep(min(left_s, 1.0))


def _published_at_ms(event: UpgradeEvent) -> int:
    position = event.evidence.position
    assert position is not None, "a push has a position"
    return position.publish_time_at_ms
