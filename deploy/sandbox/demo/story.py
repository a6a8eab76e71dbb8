"""The demo from start to end.

1. Start the sandbox; 2. start the bridge as a user does; 3. lose some pushes and start a campaign at every cloud;
4. show the events and the campaigns until all have finished; 5. wait until the state table tells the truth; 6. stop the
bridge; 7. compare, and read every event once more with another client.
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
from deploy.sandbox.demo.fleet import Upgrades, share_out
from deploy.sandbox.demo.result import CloudResult, Result
from deploy.sandbox.demo.screen import Screen
from deploy.sandbox.public_topics import StateTable, read_events_and_states
from deploy.sandbox.supervisor import Sandbox
from deploy.sandbox.verify import (
    await_known,
    await_truth,
    compare_truth_and_state,
    count_attempts,
    find_broken_revisions,
    read_truth,
)

_PARTITIONS = 12
_CAMPAIGN_PERIOD_S = 0.5
_MET_WITHIN_S = 60.0
_CONVERGE_WITHIN_S = 120.0
"""Where nothing is pushed, a device is removed after two answers `not found`, 30 s apart; both wait for their turn."""
_POLL_S = 0.1


class DemoOrder(Struct, frozen=True, kw_only=True):
    """What the demo is to show."""

    directory: Path
    devices: int = 200
    rate_per_s: float = 20.0
    push_drop: float = 0.1
    seed: int = 1


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
        async with AsyncExitStack() as stack:
            with screen.waiting("Pulsar, Kafka and the simulated clouds"):
                sandbox = await stack.enter_async_context(Sandbox(order.directory, announce=screen.say))
            log_file = order.directory / "ota-bridge.log"
            bridge = await stack.enter_async_context(BridgeProcess(sandbox.config_file, log_file))
            fleet = share_out(
                sandbox.description["accounts"],
                devices=order.devices,
                rate_per_s=order.rate_per_s,
                seed=order.seed,
            )
            with screen.waiting(" ".join(["ota-bridge", *bridge.command[1:]])):
                await bridge.folding(_PARTITIONS)
                await self._connected(sandbox, bridge, fleet)
            screen.introduce(fleet, order.push_drop)
            result, stopped = await self._campaigns(sandbox, bridge, fleet)
            screen.show_result(result, self._tally)
            if stopped != 0:
                screen.say(f"the bridge did not stop cleanly: exit code {stopped}", "bold red")
                return 1
            return result.exit_code

    async def _connected(self, sandbox: Sandbox, bridge: BridgeProcess, fleet: Sequence[Upgrades]) -> None:
        for part in fleet:
            if part.pushes:
                access_id = sandbox.description["accounts"][part.account]["access_id"]
                while not await sandbox.brokers.pulsar.listened_partitions(access_id):
                    bridge.check()
                    await asyncio.sleep(_POLL_S)

    async def _campaigns(
        self, sandbox: Sandbox, bridge: BridgeProcess, fleet: Sequence[Upgrades]
    ) -> tuple[Result, int]:
        """Return what was found, and the bridge's exit code."""
        control_url = sandbox.description["control_url"]
        servers = sandbox.description["kafka"]["bootstrap_servers"]
        async with (
            httpx.AsyncClient(base_url=control_url, trust_env=False, timeout=30) as control,
            asyncio.TaskGroup() as group,
        ):
            # Whatever of these fails ends the story.
            watching = group.create_task(_watch(bridge))
            beside = [group.create_task(task) for task in (sandbox.watch(), self._follow(servers))]
            with StateTable(servers) as table:
                with self._screen.waiting("the bridge gets to know the devices"):
                    unknown = await _meet(control, control_url, table, fleet)
                for account in unknown:
                    self._screen.say(
                        f"{account}: the bridge does not know every device yet, so a cancel may stay unseen",
                        "yellow",
                    )
                reports = await self._upgrade(control, fleet)
                with self._screen.waiting("wait until the state table tells the truth"):
                    await await_truth(control_url, table, within_s=_CONVERGE_WITHIN_S)
                watching.cancel()
                # Only what is at rest can be compared: an event between two readings would look like a hole.
                with self._screen.waiting("stop the bridge"):
                    stopped = await bridge.stop()
                requests = {
                    part.account: await _call(control, "GET", "/requests", params={"account": part.account})
                    for part in fleet
                }
                result = await _judge(control_url, servers, table, fleet, reports=reports, requests=requests)
            for task in beside:
                task.cancel()
        return result, stopped

    async def _upgrade(
        self, control: httpx.AsyncClient, fleet: Sequence[Upgrades]
    ) -> dict[str, dict[str, Any]]:
        """Return the last report of each account."""
        await _call(control, "PUT", "/faults", json={"push_drop": self._order.push_drop})
        campaigns = {
            part.account: (await _call(control, "POST", "/campaigns", json=part.order()))["id"]
            for part in fleet
        }
        with self._screen.campaigns(fleet):
            while True:
                reports = {
                    account: await _call(control, "GET", f"/campaigns/{campaign}")
                    for account, campaign in campaigns.items()
                }
                self._screen.show_campaigns(reports, self._tally)
                if all(report["state"] == "finished" for report in reports.values()):
                    return reports
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


async def _judge(
    control_url: str,
    servers: str,
    table: StateTable,
    fleet: Sequence[Upgrades],
    *,
    reports: dict[str, dict[str, Any]],
    requests: dict[str, dict[str, Any]],
) -> Result:
    events = await asyncio.to_thread(read_events_and_states, servers, table)
    truths = await read_truth(control_url)
    clouds = tuple(
        CloudResult(
            upgrades=part,
            comparison=compare_truth_and_state(
                [truth for truth in truths if truth["account"] == part.account],
                {name: state for name, state in table.states.items() if state["account"] == part.account},
            ),
            report=reports[part.account],
            requests=requests[part.account],
        )
        for part in fleet
    )
    return Result(
        clouds=clouds,
        comparison=compare_truth_and_state(truths, table.states),
        attempts=count_attempts(truths, table.states, events),
        broken_revisions=find_broken_revisions(events, table.states),
    )


async def _meet(
    control: httpx.AsyncClient, control_url: str, table: StateTable, fleet: Sequence[Upgrades]
) -> list[str]:
    """Let the bridge know the devices, as it does after its first day, where that makes a difference.

    Return the accounts of which it does not know all of them in time.
    """
    met = [part for part in fleet if part.is_to_be_met]
    for part in met:
        await _call(control, "POST", "/devices", json={"account": part.account, "devices": part.devices})
    return [
        part.account
        for part in met
        if not await await_known(control_url, table, part.account, within_s=_MET_WITHIN_S)
    ]


async def _watch(bridge: BridgeProcess) -> None:
    while True:
        bridge.check()
        await asyncio.sleep(_POLL_S)


async def _call(control: httpx.AsyncClient, method: str, path: str, **arguments: Any) -> dict[str, Any]:
    answer = await control.request(method, path, **arguments)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body
