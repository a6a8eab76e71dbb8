"""Whole campaigns through the whole bridge: whatever is lost, repeated, garbled or killed, the table tells the truth.

Short forms of `make chaos`. One campaign follows another in one sandbox; the verdict is about everything up to then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from deploy.sandbox.public_topics import read_events
from deploy.sandbox.supervisor import DEMO_ACCOUNT, PROJECT, Sandbox
from tests.chaos.campaign import Bridge, run_campaign, running_bridge

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path_factory.mktemp("campaigns") / "build") as sandbox:
        yield sandbox


async def test_lost_and_repeated_pushes_and_a_failing_api_end_in_the_truth(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    faults = {"push_drop": 0.3, "push_duplicate": 0.2, "rest_5xx": 0.2}
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        verdict = await run_campaign(sandbox, bridge, devices=100, rate_per_s=20, seed=1, faults=faults)

    print(verdict)
    verdict.assert_true_and_whole()
    assert verdict.report["pushes_dropped"] > 0


async def test_kill_9_loses_nothing_and_repeats_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    faults = {"push_drop": 0.3, "push_duplicate": 0.2, "rest_5xx": 0.2}
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        verdict = await run_campaign(
            sandbox, bridge, devices=100, rate_per_s=4, seed=2, faults=faults, kills=3
        )

    print(verdict)
    verdict.assert_true_and_whole()
    assert verdict.kills == 3


async def test_each_garbled_push_is_one_dead_letter_with_its_reason_and_no_other_push_is(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        verdict = await run_campaign(
            sandbox, bridge, devices=50, rate_per_s=20, seed=3, faults={"push_garble": 0.2}
        )

    print(verdict)
    verdict.assert_true_and_whole()
    assert len(verdict.dead_letters) >= 3
    assert verdict.dead_letters == verdict.report["pushes_garbled"]


async def test_rotated_keys_and_both_encryptions_are_read_message_by_message(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    faults = {"push_previous_key": 0.3, "push_ecb_share": 0.5}
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        verdict = await run_campaign(sandbox, bridge, devices=50, rate_per_s=20, seed=4, faults=faults)
        account = (await bridge.status())["stages"]["consumer"]["statistics"]["accounts"][DEMO_ACCOUNT]

    print(verdict, account)
    verdict.assert_true_and_whole()
    assert (verdict.dead_letters, account["dead_letters"]) == ({}, {})
    for counts, names in (("keys", ("current", "previous")), ("signatures", ("all_fields", "core_fields"))):
        assert set(account[counts]) == set(names)
        assert min(account[counts].values()) > 0
        assert sum(account[counts].values()) == account["received"] - sum(account["filtered"].values())


async def test_campaigns_folded_again_are_as_published_but_for_what_timers_did(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    shares = {
        "succeeded": 0.4,
        "failed": 0.2,
        "timed_out": 0.1,
        "silent": 0.1,
        "stuck": 0.1,
        "cancelled": 0.1,
    }
    faults = {"push_drop": 0.2, "push_duplicate": 0.2, "rest_5xx": 0.3, "rest_lie": 0.1}
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        # An API that goes on to lie never lets the last of them converge, and this test is not about that.
        verdict = await run_campaign(
            *(sandbox, bridge),
            devices=80,
            rate_per_s=20,
            seed=5,
            faults=faults,
            endings=shares,
            kills=1,
            converge_within_s=0,
        )
        while_running = await replay(sandbox)
    stopped = await replay(sandbox)

    print(verdict)
    for code, *told in (while_running, stopped):
        *_, summary = told
        print(summary)
        assert summary["by_rules"] == 0, [line for line in told if line.get("cause") == "rules"]
        assert (code, summary["began_earlier"], summary["unreadable"]) == (0, 0, 0)
        assert summary["compared"] >= 80


async def replay(sandbox: Sandbox) -> list[Any]:
    """Return the command's exit code and its lines."""
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("ota-bridge"), "replay", "--json", "-c", sandbox.config_file),
        stdout=PIPE,
    )
    out, _ = await process.communicate()
    return [process.returncode, *map(json.loads, out.splitlines())]


async def test_the_readmes_consumer_reads_the_events_as_they_are(sandbox: Sandbox, tmp_path: Path) -> None:
    (program,) = re.findall(
        r"^```python\n(.*?)^```$",
        (PROJECT / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    servers = sandbox.description["kafka"]["bootstrap_servers"]
    order = {"account": "tuya-demo", "devices": 5, "rate_per_s": 5}
    async with running_bridge(sandbox, tmp_path / "bridge.log") as bridge:
        # There are events of other tests already: the bridge has to have begun before it can stop cleanly.
        await listening(bridge)
        async with httpx.AsyncClient(base_url=sandbox.description["control_url"], trust_env=False) as control:
            (await control.post("/campaigns", json=order)).raise_for_status()
        await some_event(servers)
        consumer = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-c", program), cwd=sandbox.description_file.parents[1], stdout=PIPE
        )
        try:
            assert consumer.stdout is not None
            lines = [(await consumer.stdout.readline()).decode().split() for _ in range(10)]
        finally:
            consumer.kill()
            await consumer.wait()
    published = {
        (event["device_id"], str(event["revision"]), event["status"], str(event["confirmed"]))
        for record in await asyncio.to_thread(read_events, servers)
        if (event := record.value) is not None
    }

    assert {tuple(line) for line in lines} <= published
    assert len({tuple(line) for line in lines}) == 10


async def listening(bridge: Bridge) -> None:
    """Return once it answers."""
    while True:
        with contextlib.suppress(httpx.HTTPError, OSError, IndexError):
            await bridge.status()
            return
        await asyncio.sleep(0.1)


async def some_event(servers: str) -> None:
    """Wait for one: the bridge makes its topics when it first starts."""
    while True:
        try:
            if await asyncio.to_thread(read_events, servers):
                return
        except TimeoutError:
            pass
        await asyncio.sleep(0.5)
