"""A gap while ten thousand upgrades run: each of them is looked up, as fast as the account's rate allows."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest
from confluent_kafka import Producer

from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from deploy.sandbox.supervisor import DEMO_ACCOUNT, Sandbox
from schemas import Observation, ObservedEvidence
from tests.chaos.campaign import POLL_S, Bridge
from tests.chaos.lost_pushes import PARTITIONS, read_records

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

DEVICES: Final = 10_000
STARTED_PER_S: Final = 250
QUIET_S: Final = 5.0
_HOUR: Final = "3600"
_ENVIRONMENT: Final = {
    # Nothing but the gap makes lookups.
    "OTA_BRIDGE__POLICY__OPEN_PERIOD_S": _HOUR,
    "OTA_BRIDGE__POLICY__REFRESH_PERIOD_S": _HOUR,
    "OTA_BRIDGE__POLICY__PENDING_STALL_S": _HOUR,
    "OTA_BRIDGE__POLICY__DOWNLOADING_STALL_S": _HOUR,
    "OTA_BRIDGE__POLICY__INSTALLING_STALL_S": _HOUR,
}


async def test_ten_thousand_open_attempts_are_looked_up_at_the_accounts_rate(tmp_path: Path) -> None:
    async with Sandbox(tmp_path / "build") as sandbox:
        servers = sandbox.description["kafka"]["bootstrap_servers"]
        bridge = Bridge(sandbox, tmp_path / "bridge.log", environment=_ENVIRONMENT)
        bridge.start()
        try:
            async with httpx.AsyncClient(
                base_url=sandbox.description["control_url"], trust_env=False, timeout=60
            ) as control:
                await _all_are_stuck(control)
                await _is_quiet(bridge)
                before = await _requests(control)
                gap_at_ms = time.time_ns() // 1_000_000
                _tell_gap(servers, gap_at_ms)
                answered_at_ms = await _all_are_answered(bridge, servers, gap_at_ms)
                after = await _requests(control)
        finally:
            code = await bridge.stop()
    assert code == 0, f"the bridge stopped with exit code {code}"

    took_s = (answered_at_ms - gap_at_ms) / 1000
    requests = sum(after["per_api"].values()) - sum(before["per_api"].values())
    rate_per_s = after["allowed_per_window"] / after["window_s"]
    print(
        f"{DEVICES} open attempts looked up in {took_s:.1f} s: {requests} requests at {rate_per_s:.0f} a second"
        f" need {requests / rate_per_s:.1f} s, {took_s * rate_per_s / requests:.2f} times as long"
    )
    assert after["refused"] == NOTHING_REFUSED
    assert requests < 3 * DEVICES, "lookups are asked in vain"


async def _all_are_stuck(control: httpx.AsyncClient) -> None:
    order = {
        "account": DEMO_ACCOUNT,
        "devices": DEVICES,
        "rate_per_s": STARTED_PER_S,
        "seed": 41,
        "endings": {"stuck": 1.0},
    }
    campaign = (await control.post("/campaigns", json=order)).raise_for_status().json()["id"]
    while (await control.get(f"/campaigns/{campaign}")).json()["state"] != "finished":
        await asyncio.sleep(POLL_S)


async def _is_quiet(bridge: Bridge) -> None:
    """Return once no lookup has waited, or been under way, for a while."""
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < QUIET_S:
        await asyncio.sleep(POLL_S)
        bridge.check()
        stages = (await bridge.status())["stages"]
        accounts = stages["reconcile"]["statistics"]["accounts"]
        (about,) = (one for one in accounts if one["account"] == DEMO_ACCOUNT)
        if about["queue"]["waiting"] or about["in_flight"] or stages["fold"]["statistics"]["lookups_waiting"]:
            quiet_since = time.monotonic()


async def _requests(control: httpx.AsyncClient) -> dict[str, Any]:
    counted: dict[str, Any] = (await control.get("/requests", params={"account": DEMO_ACCOUNT})).json()
    return counted


def _tell_gap(servers: str, at_ms: int) -> None:
    """As the consumer tells one: to every partition, without a device."""
    gap = Observation(
        device_id="",
        cloud="tuya-cloud",
        account=DEMO_ACCOUNT,
        kind="gap",
        observed_at_ms=at_ms,
        evidence=ObservedEvidence(origin="bridge", name="gap"),
    )
    producer = Producer({"bootstrap.servers": servers})
    for partition in range(PARTITIONS):
        producer.produce("ota.observations.v1", msgspec.json.encode(gap), partition=partition)
    producer.flush()


async def _all_are_answered(bridge: Bridge, servers: str, gap_at_ms: int) -> int:
    """Return when the last device was answered for whose lookup was asked after the gap, Unix ms."""
    while True:
        await _is_quiet(bridge)
        answered: dict[str, int] = {}
        for _, one in await asyncio.to_thread(read_records, servers, "ota.observations.v1"):
            if one["kind"] == "answer" and one["outcome"] == "ok" and one["asked_at_ms"] >= gap_at_ms:
                answered.setdefault(one["device_id"], one["observed_at_ms"])
        if len(answered) >= DEVICES:
            return max(answered.values())
