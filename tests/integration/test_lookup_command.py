"""`ota-bridge lookup` as an operator types it: by the running bridge, and directly, at a cloud with a single login."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from deploy.sandbox.supervisor import Sandbox
from deploy.sandbox.verify import read_truth
from tests.chaos.campaign import Bridge, running_bridge

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

ACCOUNT = "oceanconnect-demo"
EXECUTABLE = Path(sys.executable).with_name("ota-bridge")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path_factory.mktemp("lookup") / "build") as sandbox:
        yield sandbox


async def lookup(sandbox: Sandbox, device: str, *options: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(str(EXECUTABLE), "lookup", device, "--account", ACCOUNT, "-c", str(sandbox.config_file), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def logins(sandbox: Sandbox) -> int:
    async with httpx.AsyncClient(base_url=sandbox.description["control_url"], trust_env=False) as control:
        report: dict[str, Any] = (await control.get("/requests", params={"account": ACCOUNT})).json()
    assert report["logins_at_once"] <= 1
    return int(report["per_api"].get("login", 0))


async def stuck_device(sandbox: Sandbox) -> str:
    """Start an upgrade that never ends, and return its device once the cloud shows it."""
    async with httpx.AsyncClient(base_url=sandbox.description["control_url"], trust_env=False) as control:
        order = {"account": ACCOUNT, "devices": 1, "endings": {"stuck": 1.0}}
        campaign = (await control.post("/campaigns", json=order)).json()["id"]
        while (await control.get(f"/campaigns/{campaign}")).json()["state"] != "finished":
            await asyncio.sleep(0.2)
    (truth,) = await read_truth(sandbox.description["control_url"], ACCOUNT)
    return str(truth["device_id"])


async def speaks_for_the_account(bridge: Bridge) -> None:
    """Return once the bridge has made its topics and owns the account."""
    while True:
        bridge.check()
        try:
            shown = (await bridge.status())["stages"]["reconcile"]["statistics"]["accounts"]
        except (OSError, httpx.HTTPError, LookupError, TypeError):
            shown = []
        if any(about["account"] == ACCOUNT and about["owned"] for about in shown):
            return
        await asyncio.sleep(0.2)


async def test_an_operator_asks_by_the_running_bridge_or_directly(sandbox: Sandbox, tmp_path: Path) -> None:
    device = await stuck_device(sandbox)

    code, _, err = await lookup(sandbox, device, "--no-json")
    assert code == 5
    assert "Start the bridge" in err

    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        await speaks_for_the_account(bridge)
        code, out, err = await lookup(sandbox, device, "--json")
        assert code == 0, err
        by_bridge = json.loads(out)
        assert by_bridge["via"] == "bridge"
        assert "installing" in {each["status"] for each in by_bridge["observations"]}
        assert await logins(sandbox) == 1, "the bridge's token serves the operator as well"

        code, out, err = await lookup(sandbox, device, "--direct", "--json")
        assert code == 0, err
        directly = json.loads(out)
        assert directly["via"] == "direct"
        words = [
            {(each["channel"], each["status"], each.get("vendor_status")) for each in told["observations"]}
            for told in (by_bridge, directly)
        ]
        assert words[0] == words[1]
        assert await logins(sandbox) > 1, "each of the two logged the other out"

        code, out, err = await lookup(sandbox, device, "--no-json")
        assert code == 0, err
        assert "the running bridge" in out
        settled = await logins(sandbox)
        code, _, err = await lookup(sandbox, device, "--json")
        assert (code, await logins(sandbox)) == (0, settled), err
        code, _, err = await lookup(sandbox, "no-such-device", "--no-json")
        assert code == 5
        assert "123002" in err

    code, _, err = await lookup(sandbox, device, "--timeout", "2", "--no-json")
    assert code == 4
    assert "--direct" in err
