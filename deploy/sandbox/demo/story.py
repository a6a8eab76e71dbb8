"""The demo from start to end.

1. Start the sandbox; 2. start the bridge as a user does; 3. lose some pushes and start a campaign; 4. show the events
and the campaign until it has finished; 5. wait until the state table tells the truth; 6. compare, and read every event
once more with another client; 7. stop the bridge.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from deploy.sandbox.demo.bridge import BridgeProcess
from deploy.sandbox.demo.feed import Tally, follow
from deploy.sandbox.demo.screen import Screen
from deploy.sandbox.public_topics import StateTable, read_events
from deploy.sandbox.supervisor import DEMO_ACCOUNT, Sandbox
from deploy.sandbox.verify import (
    AttemptCount,
    Comparison,
    await_truth,
    count_attempts,
    find_broken_revisions,
    read_truth,
)

_PARTITIONS = 12
_CAMPAIGN_PERIOD_S = 0.5
_CONVERGE_WITHIN_S = 60.0
_POLL_S = 0.1


class DemoOrder(Struct, frozen=True, kw_only=True):
    """What the demo is to show."""

    directory: Path
    devices: int = 200
    rate_per_s: float = 10.0
    push_drop: float = 0.1
    seed: int = 1


def verdict(comparison: Comparison, attempts: AttemptCount, broken_revisions: Sequence[str]) -> int:
    """Return 0 when state equals truth for every device, no event is missing or repeated and no attempt is told that
    never began, else 1. Merged attempts are no fault: a push that was lost can cause them.
    """
    return 0 if comparison.all_equal and not broken_revisions and not attempts.phantom else 1


class Demo:
    """One run. `screen` takes everything a person sees."""

    def __init__(self, order: DemoOrder, screen: Screen, began: float) -> None:
        self._order = order
        self._screen = screen
        self._began = began
        self._tally = Tally()

    async def run(self) -> int:
        """Return the verdict as an exit code, 1 also for a bridge that did not stop cleanly."""
        order, screen = self._order, self._screen
        screen.say(
            f"{order.devices} devices upgrade; {order.push_drop:.0%} of the cloud's pushes get lost.\n"
        )
        async with AsyncExitStack() as stack:
            with screen.waiting("Pulsar, Kafka and a simulated Tuya cloud"):
                sandbox = await stack.enter_async_context(Sandbox(order.directory, announce=screen.say))
            log_file = order.directory / "ota-bridge.log"
            bridge = await stack.enter_async_context(BridgeProcess(sandbox.config_file, log_file))
            access_id = sandbox.description["accounts"][DEMO_ACCOUNT]["access_id"]
            with screen.waiting(" ".join(["ota-bridge", *bridge.command[1:]])):
                await bridge.folding(_PARTITIONS)
                await self._connected(sandbox, bridge, access_id)
            exit_code = await self._campaign(sandbox, bridge, DEMO_ACCOUNT)
            if (code := await bridge.stop()) != 0:
                screen.say(f"the bridge did not stop cleanly: exit code {code}", "bold red")
                return 1
            return exit_code

    async def _connected(self, sandbox: Sandbox, bridge: BridgeProcess, access_id: str) -> None:
        while not await sandbox.brokers.pulsar.listened_partitions(access_id):
            bridge.check()
            await asyncio.sleep(_POLL_S)

    async def _campaign(self, sandbox: Sandbox, bridge: BridgeProcess, account: str) -> int:
        control_url = sandbox.description["control_url"]
        servers = sandbox.description["kafka"]["bootstrap_servers"]
        async with (
            httpx.AsyncClient(base_url=control_url, trust_env=False, timeout=30) as control,
            asyncio.TaskGroup() as group,
        ):
            # Whatever of these fails ends the story.
            beside = [
                group.create_task(task) for task in (sandbox.watch(), _watch(bridge), self._follow(servers))
            ]
            report = await self._upgrade(control, account)
            with self._screen.waiting("the state table tells the truth"):
                comparison, attempts, broken = await _compare(control_url, servers)
            requests = await _call(control, "GET", "/requests", params={"account": account})
            for task in beside:
                task.cancel()
        self._screen.show_result(comparison, attempts, broken, self._tally, report=report, requests=requests)
        return verdict(comparison, attempts, broken)

    async def _upgrade(self, control: httpx.AsyncClient, account: str) -> dict[str, Any]:
        order = self._order
        await _call(control, "PUT", "/faults", json={"push_drop": order.push_drop})
        body = {
            "account": account,
            "devices": order.devices,
            "rate_per_s": order.rate_per_s,
            "seed": order.seed,
        }
        campaign = (await _call(control, "POST", "/campaigns", json=body))["id"]
        with self._screen.campaign(order.devices):
            while True:
                report = await _call(control, "GET", f"/campaigns/{campaign}")
                self._screen.show_campaign(report, self._tally)
                if report["state"] == "finished":
                    return report
                await asyncio.sleep(_CAMPAIGN_PERIOD_S)

    async def _follow(self, bootstrap_servers: str) -> None:
        async with aclosing(follow(bootstrap_servers)) as happenings:
            async for happening in happenings:
                if not self._tally.events:
                    self._screen.say(
                        f"first event {time.monotonic() - self._began:.1f} s after the start", "dim"
                    )
                self._tally.add(happening)
                self._screen.show_event(happening)


async def _compare(control_url: str, bootstrap_servers: str) -> tuple[Comparison, AttemptCount, list[str]]:
    with StateTable(bootstrap_servers) as table:
        comparison = await await_truth(control_url, table, within_s=_CONVERGE_WITHIN_S)
        events = await asyncio.to_thread(read_events, bootstrap_servers)
        await asyncio.to_thread(table.refresh)
        attempts = count_attempts(await read_truth(control_url), table.states, events)
        return comparison, attempts, find_broken_revisions(events, table.states)


async def _watch(bridge: BridgeProcess) -> None:
    while True:
        bridge.check()
        await asyncio.sleep(_POLL_S)


async def _call(control: httpx.AsyncClient, method: str, path: str, **arguments: Any) -> dict[str, Any]:
    answer = await control.request(method, path, **arguments)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body
