"""Each simulated cloud through the whole bridge: a campaign with every ending its API can express, and the truth."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from bridge.clouds.registry import CLOUDS
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from deploy.sandbox.cloud.systems import SYSTEMS
from deploy.sandbox.supervisor import Sandbox
from tests.chaos.campaign import Bridge, run_campaign, running_bridge

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]

EXECUTABLE = Path(sys.executable).with_name("ota-bridge")

ENDINGS = {
    "failed": 0.15,
    "timed_out": 0.1,
    "silent": 0.1,
    "cancelled": 0.1,
    "stuck": 0.05,
    "removed": 0.05,
    "offline": 0.05,
}
"""Of a few dozen devices each; the rest succeeds."""


CONVERGE_WITHIN_S = {"oceanconnect": 240.0}
"""A hundred requests a minute are all that it allows, and a device may take several; a minute does for the others."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path_factory.mktemp("clouds") / "build") as sandbox:
        yield sandbox


def account_of(sandbox: Sandbox, cloud: str) -> str:
    (name,) = (name for name, about in sandbox.description["accounts"].items() if about["cloud"] == cloud)
    return str(name)


@pytest.mark.parametrize("cloud", SYSTEMS)
async def test_a_campaign_ends_in_the_truth(sandbox: Sandbox, tmp_path: Path, cloud: str) -> None:
    account = account_of(sandbox, cloud)
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        verdict = await run_campaign(
            *(sandbox, bridge),
            devices=40,
            rate_per_s=10,
            seed=5,
            endings=ENDINGS,
            account=account,
            converge_within_s=CONVERGE_WITHIN_S.get(cloud, 60.0),
        )
        shown = (await bridge.status())["stages"]["reconcile"]["statistics"]["accounts"]
    async with httpx.AsyncClient(base_url=sandbox.description["control_url"], trust_env=False) as control:
        requests = (await control.get("/requests", params={"account": account})).json()

    print(verdict, requests)
    verdict.assert_true_and_whole()
    assert not verdict.attempts.phantoms
    assert requests["refused"] == NOTHING_REFUSED
    assert requests["max_per_window"] <= requests["allowed_per_window"]
    assert requests["logins_at_once"] <= 1
    (about,) = (about for about in shown if about["account"] == account)
    assert about["circuit"] == "closed"
    if not CLOUDS[cloud].has_gateway:
        assert about["sweep"]["finished"] > 0
        assert about["sweep"].get("failure") is None


async def owned(bridge: Bridge, account: str) -> None:
    """Return when the bridge speaks for the account."""
    while True:
        with contextlib.suppress(httpx.HTTPError, OSError, IndexError, KeyError):
            stage = (await bridge.status())["stages"]["reconcile"]["statistics"]
            if any(about["owned"] for about in stage["accounts"] if about["account"] == account):
                return
        await asyncio.sleep(0.2)


async def baseline(sandbox: Sandbox, account: str, *options: str) -> tuple[int, dict[str, Any], str]:
    """Run the command as a script does."""
    process = await asyncio.create_subprocess_exec(
        EXECUTABLE,
        *("baseline", account, "-c", str(sandbox.config_file), "--json", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, json.loads(out or b"{}"), err.decode()


LISTS_EVERY_DEVICE = {"tuya-cloud", "enos"}
"""The others' lists are of upgrades: a device that never had one has to be named in a file."""


@pytest.mark.parametrize("cloud", SYSTEMS)
async def test_a_baseline_asks_about_every_device_once(sandbox: Sandbox, tmp_path: Path, cloud: str) -> None:
    account = account_of(sandbox, cloud)
    fleet = sandbox.cloud.tenants[account].fleet
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        await owned(bridge, account)
        new = [fleet.create().device_id for _ in range(30)]
        began = datetime.now(UTC).isoformat()
        known = {device.device_id for device in fleet if device.listed}
        (tmp_path / "all.txt").write_text("\n".join(sorted(known)), encoding="utf-8")
        by_file = () if cloud in LISTS_EVERY_DEVICE else ("--devices", str(tmp_path / "all.txt"))
        code, report, told = await baseline(sandbox, account, *by_file)

        assert (code, told) == (0, "")
        assert known >= set(new)
        assert report["outcomes"].get("ok", 0) >= len(known)
        assert report["devices"] >= len(known)

        # What was answered since it began is done: nothing is asked again.
        code, again, told = await baseline(sandbox, account, *by_file, "--since", began)
        assert (code, told, again["asked"]) == (0, "", 0)
        assert again["outcomes"].get("ok", 0) >= len(known)

        (tmp_path / "ids.txt").write_text(f"{new[0]}  # a comment\n\n{new[1]}\n", encoding="utf-8")
        code, named, told = await baseline(sandbox, account, "--devices", str(tmp_path / "ids.txt"))
        assert (code, told, named["devices"], named["outcomes"]) == (0, "", 2, {"ok": 2})
