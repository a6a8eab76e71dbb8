"""From the gateway's publish to the event in a stranger's hands, through the whole daemon.

A campaign in the sandbox with every push delivered; each pushed event carries the publish time of its push.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.sandbox.demo.bridge import BridgeProcess
from deploy.sandbox.demo.feed import Tally, follow
from deploy.sandbox.supervisor import DEMO_ACCOUNT, Sandbox
from tests.benchmarks.run import Run

DEVICES: Final = 1000
STARTED_PER_S: Final = 50.0
PARTITIONS: Final = 12
_WITHIN_S: Final = 300.0


async def measure_push_to_event(run: Run) -> None:
    """Measure on a sandbox of its own."""
    await run.attempt("push to event", partial(_measure, run.directory / "push-to-event"), within_s=_WITHIN_S)


async def _measure(directory: Path) -> Mapping[str, float]:
    """Return the latency's percentiles, and how many pushes a second that was at."""
    tally = Tally()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(directory))
        bridge = await stack.enter_async_context(
            BridgeProcess(sandbox.config_file, directory / "ota-bridge.log")
        )
        await bridge.folding(PARTITIONS)
        account = DEMO_ACCOUNT
        following = asyncio.create_task(_follow(sandbox.description["kafka"]["bootstrap_servers"], tally))
        began = asyncio.get_running_loop().time()
        report = await _campaign(sandbox.description["control_url"], account, bridge)
        took_s = asyncio.get_running_loop().time() - began
        following.cancel()
        await bridge.stop()
    return {
        "push_to_event_p50_ms": tally.latency_percentile(account, 50) or 0.0,
        "push_to_event_p99_ms": tally.latency_percentile(account, 99) or 0.0,
        "push_to_event_rate_msgs_per_s": report["pushes_sent"] / took_s,
        "push_to_event_events_count": float(tally.events),
    }


async def _campaign(control_url: str, account: str, bridge: BridgeProcess) -> Mapping[str, Any]:
    async with httpx.AsyncClient(base_url=control_url, trust_env=False, timeout=60) as control:
        body = {"account": account, "devices": DEVICES, "rate_per_s": STARTED_PER_S, "seed": 1}
        started = await control.post("/campaigns", json=body)
        started.raise_for_status()
        while True:
            bridge.check()
            report: Mapping[str, Any] = (await control.get(f"/campaigns/{started.json()['id']}")).json()
            if report["state"] == "finished":
                return report
            await asyncio.sleep(1.0)


async def _follow(bootstrap_servers: str, tally: Tally) -> None:
    async with aclosing(follow(bootstrap_servers)) as happenings:
        async for happening in happenings:
            tally.add(happening)
