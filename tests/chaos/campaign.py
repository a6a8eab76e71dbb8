"""One campaign in the sandbox under faults, with the real bridge as a process that may be killed, and its verdict.

The verdict is a stranger's: librdkafka reads the public topics from their start, the control API tells the truth.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from deploy.sandbox.brokers.process import Child
from deploy.sandbox.public_topics import StateTable, TopicReader, read_events_and_states
from deploy.sandbox.supervisor import DEMO_ACCOUNT, Sandbox
from deploy.sandbox.verify import (
    AttemptCount,
    Comparison,
    await_truth,
    count_attempts,
    find_broken_revisions,
    read_truth,
)

CONVERGE_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0
POLL_S = 0.5
MOST_STORIES = 3


class Verdict(Struct, frozen=True, kw_only=True):
    """What a campaign left behind."""

    comparison: Comparison
    attempts: AttemptCount
    broken_revisions: list[str]
    events: int
    report: Mapping[str, Any]
    dead_letters: Mapping[str, int]
    kills: int
    stories: list[str]
    """What came and was told of devices that differ."""

    def assert_true_and_whole(self) -> None:
        """State equals truth for every device, and every device's revisions rise by one."""
        assert not self.comparison.differences, "\n".join(
            [*map(str, self.comparison.differences[:20]), *self.stories]
        )
        assert not self.broken_revisions, "\n".join(self.broken_revisions[:20])

    def __str__(self) -> str:
        ended = ", ".join(f"{count} {status}" for status, count in sorted(self.report["ended"].items()))
        sentences = (*self.attempts.phantoms[:20], *self.attempts.merges[:20])
        miscounted = "".join(f"\n  {sentence}" for sentence in sentences)
        return (
            f"{self.comparison}; {self.attempts}; {self.events} events, {len(self.broken_revisions)} holes or repeats; "
            f"{self.kills} kills; pushes: {self.report['pushes_sent']} sent, {self.report['pushes_dropped']} "
            f"dropped, {dict(self.report['pushes_garbled'])} garbled; dead letters: {dict(self.dead_letters)}; {ended}"
            f"{miscounted}"
        )


class Bridge:
    """`ota-bridge run` on the sandbox's configuration; started again after each kill."""

    def __init__(
        self, sandbox: Sandbox, log_file: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        program = Path(sys.executable).with_name("ota-bridge")
        self._command = [str(program), "run", "-c", str(sandbox.config_file)]
        self._log_file = log_file
        self._environment = environment
        self._child: Child | None = None
        self.kills = 0

    def start(self) -> None:
        self._child = Child(
            "The bridge", self._command, log_file=self._log_file, environment=self._environment
        )

    def check(self) -> None:
        """Fail where the bridge ended by itself."""
        if self._child is not None and self._child.exit_code is not None:
            raise self._child.failed(f"ended by itself with exit code {self._child.exit_code}")

    async def status(self) -> dict[str, Any]:
        """Return what the running process shows; its log names the port."""
        lines = [json.loads(line) for line in self._log_file.read_text().splitlines() if line.startswith("{")]
        port = [line["port"] for line in lines if line["event"] == "http_listening"][-1]
        # Plain http: to read the trusted authorities anew at each poll would take longer than all the rest of it.
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/status")
        shown: dict[str, Any] = answer.json()
        return shown

    async def kill(self) -> None:
        """Kill -9."""
        self.check()
        child, self._child = self._child, None
        assert child is not None
        await child.kill()
        self.kills += 1

    async def kill_and_restart(self) -> None:
        """Kill -9, and a new process at once."""
        await self.kill()
        self.start()

    async def stop(self) -> int:
        """SIGTERM, as an operator stops it, where it runs; return the exit code."""
        return 0 if self._child is None else await self._child.stop(STOP_WITHIN_S)


@asynccontextmanager
async def running_bridge(sandbox: Sandbox, log_file: Path) -> AsyncIterator[Bridge]:
    """A started bridge that is stopped cleanly at the end."""
    bridge = Bridge(sandbox, log_file)
    bridge.start()
    try:
        yield bridge
    finally:
        code = await bridge.stop()
    assert code == 0, f"the bridge stopped with exit code {code}"


async def run_campaign(
    sandbox: Sandbox,
    bridge: Bridge,
    *,
    devices: int,
    rate_per_s: float,
    seed: int,
    faults: Mapping[str, object] | None = None,
    endings: Mapping[str, float] | None = None,
    kills: int = 0,
    account: str = DEMO_ACCOUNT,
    converge_within_s: float = CONVERGE_WITHIN_S,
    faults_stop: bool = False,
    disturbing: asyncio.Task[None] | None = None,
    new_devices: bool = False,
) -> Verdict:
    """Run a campaign to its end, kill the bridge meanwhile, wait for the truth, and judge.

    The faults go on until the truth is there, or stop with the campaign, as `disturbing` does.
    """
    servers = sandbox.description["kafka"]["bootstrap_servers"]
    body: dict[str, Any] = {
        "account": account,
        "devices": devices,
        "rate_per_s": rate_per_s,
        "seed": seed,
        "new_devices": new_devices,
    }
    if endings is not None:
        body["endings"] = endings
    async with httpx.AsyncClient(
        base_url=sandbox.description["control_url"], trust_env=False, timeout=60
    ) as control:
        letters_before = await asyncio.to_thread(_dead_letters, servers)
        (await control.put("/faults", json=dict(faults or {}))).raise_for_status()
        started = await control.post("/campaigns", json=body)
        started.raise_for_status()
        murders = asyncio.create_task(_kill(bridge, kills, random.Random(seed)))
        report = await _finished(control, started.json()["id"], bridge)
        await murders
        if disturbing is not None:
            disturbing.cancel()
        if faults_stop:
            (await control.put("/faults", json={})).raise_for_status()
        with StateTable(servers) as table:
            comparison = await await_truth(
                sandbox.description["control_url"], table, within_s=converge_within_s
            )
            events = await asyncio.to_thread(read_events_and_states, servers, table)
            broken = find_broken_revisions(events, table.states)
            truths = await read_truth(sandbox.description["control_url"])
            attempts = count_attempts(truths, table.states, events)
        report = (await control.get(f"/campaigns/{started.json()['id']}")).json()
        (await control.put("/faults", json={})).raise_for_status()
    different = {one.device_id for one in comparison.differences[:MOST_STORIES]}
    return Verdict(
        stories=await asyncio.to_thread(_stories, servers, different) if different else [],
        comparison=comparison,
        attempts=attempts,
        broken_revisions=broken,
        events=len(events),
        report=report,
        dead_letters=await asyncio.to_thread(_dead_letters, servers) - letters_before,
        kills=bridge.kills,
    )


async def _finished(control: httpx.AsyncClient, campaign: str, bridge: Bridge) -> dict[str, Any]:
    while True:
        bridge.check()
        report: dict[str, Any] = (await control.get(f"/campaigns/{campaign}")).json()
        if report["state"] == "finished":
            return report
        await asyncio.sleep(POLL_S)


async def _kill(bridge: Bridge, kills: int, chance: random.Random) -> None:
    """8 to 14 s apart, longer than the session timeout: each process folds before it dies."""
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(8, 14))
        await bridge.kill_and_restart()


def _dead_letters(bootstrap_servers: str) -> Counter[str]:
    with TopicReader(bootstrap_servers, "ota.dead-letters.v1") as reader:
        return Counter(record.value["reason"] for record in reader.read() if record.value is not None)


def _stories(servers: str, device_ids: set[str]) -> list[str]:
    """Return the observations and events of these devices, by the bridge's clock."""
    told: list[tuple[str, int, str]] = []
    for name in ("observations", "upgrade-events"):
        with TopicReader(servers, f"ota.{name}.v1") as reader:
            for record in reader.read():
                if record.key in device_ids and record.value is not None:
                    shown = {key: value for key, value in record.value.items() if value is not None}
                    raw = shown.get("evidence", {}).pop("raw", None)
                    line = f"{name} {json.dumps(shown)} {json.dumps(raw) if raw else ''}"
                    told.append((record.key, record.value["observed_at_ms"], line))
    return [f"{device_id} {at_ms} {line}" for device_id, at_ms, line in sorted(told)]
