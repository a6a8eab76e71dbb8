"""Each cloud under each fault of its API alone, and all together: true in the end, within the rate, no secret out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition

from bridge.clouds.settings import secrets_of
from bridge.kafka.topics import TOPICS, topic_name
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from deploy.sandbox.cloud.systems import SYSTEMS
from deploy.sandbox.public_topics import StateTable
from deploy.sandbox.supervisor import Sandbox
from deploy.sandbox.verify import await_known
from tests.chaos.campaign import Bridge, run_campaign, running_bridge
from tests.simulated_api import PLACE

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]

ALONE = (
    "rest_5xx",
    "rest_throttle",
    "rest_error_in_200",
    "rest_html",
    "rest_truncate",
    "rest_token_expires",
)
FAULTS: dict[str, dict[str, float]] = {knob: {knob: 0.2} for knob in ALONE}
FAULTS["slow"] = {"rest_slow_s": 0.7}
FAULTS["clock"] = {"rest_clock_skew_s": 4000.0}
FAULTS["together"] = dict.fromkeys(ALONE, 0.2 / len(ALONE)) | {
    "rest_slow_s": 0.1,
    "rest_clock_skew_s": -2000.0,
}

# A cloud whose clock went back is not believed about a device until it has caught up with what it told before (R2):
# where a fault moves the clock, the devices are new.

ENDINGS = {"failed": 0.2, "timed_out": 0.1, "silent": 0.1, "cancelled": 0.1, "stuck": 0.1, "offline": 0.1}
DEVICES = 40
MET = 140
"""Devices of an account that the bridge knows before its first fault. Campaigns use them up: what is stuck, or stays
away, is not taken again."""
MET_WITHIN_S = 120.0
KILL_EVERY_S = 9.0
CONVERGE_WITHIN_S = 240.0
"""After the faults have stopped: oceanconnect allows a hundred requests a minute, and is left alone for the rest of a
minute in which it refused one as too many."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path_factory.mktemp("clouds") / "build") as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def met() -> set[str]:
    """The accounts whose devices the bridge knows."""
    return set()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("cloud", SYSTEMS)
async def test_a_faulty_api_delays_the_truth_and_nothing_else(
    sandbox: Sandbox, tmp_path: Path, met: set[str], cloud: str, fault: str
) -> None:
    (account,) = (one for one in sandbox.cloud.accounts if one.cloud == cloud)
    log_file = tmp_path / "bridge.log"
    new_devices = "rest_clock_skew_s" in FAULTS[fault]
    async with running_bridge(sandbox, log_file) as bridge:
        if not SYSTEMS[cloud].manner.keeps_tasks and account.name not in met:
            await meet_devices(sandbox, account.name)
            met.add(account.name)
        verdict = await run_campaign(
            sandbox,
            bridge,
            devices=DEVICES,
            rate_per_s=10,
            seed=31,
            faults=FAULTS[fault],
            endings=told_endings(cloud) if new_devices else ENDINGS,
            account=account.name,
            converge_within_s=CONVERGE_WITHIN_S,
            faults_stop=True,
            new_devices=new_devices,
        )
    async with httpx.AsyncClient(base_url=sandbox.description["control_url"], trust_env=False) as control:
        requests = (await control.get("/requests", params={"account": account.name})).json()

    print(verdict, requests, f"{sum(requests['per_api'].values()) / DEVICES:.1f} requests a device")
    verdict.assert_true_and_whole()
    assert requests["refused"] == NOTHING_REFUSED
    assert requests["max_per_window"] <= requests["allowed_per_window"]
    assert requests["logins_at_once"] <= 1
    await assert_no_secret_went_out(sandbox, log_file)


@pytest.mark.parametrize("cloud", SYSTEMS)
async def test_three_processes_that_die_in_turn_keep_to_one_processs_rate(
    sandbox: Sandbox, tmp_path: Path, cloud: str
) -> None:
    (account,) = (one for one in sandbox.cloud.accounts if one.cloud == cloud)
    log_files = [tmp_path / f"bridge{number}.log" for number in range(3)]
    async with AsyncExitStack() as stack:
        bridges = [
            await stack.enter_async_context(running_bridge(sandbox, log_file)) for log_file in log_files
        ]
        killing = asyncio.create_task(kill_in_turn(bridges))
        stack.callback(killing.cancel)
        verdict = await run_campaign(
            sandbox,
            bridges[0],
            devices=DEVICES,
            rate_per_s=10,
            seed=37,
            faults=FAULTS["together"],
            endings=told_endings(cloud),
            account=account.name,
            converge_within_s=CONVERGE_WITHIN_S,
            faults_stop=True,
            disturbing=killing,
            new_devices=True,
        )
        with contextlib.suppress(asyncio.CancelledError):
            await killing
        kills = [bridge.kills for bridge in bridges]
    async with httpx.AsyncClient(base_url=sandbox.description["control_url"], trust_env=False) as control:
        requests = (await control.get("/requests", params={"account": account.name})).json()

    print(
        verdict,
        requests,
        f"{kills} kills, {sum(requests['per_api'].values()) / DEVICES:.1f} requests a device",
    )
    verdict.assert_true_and_whole()
    assert all(kills)
    assert requests["refused"] == NOTHING_REFUSED
    assert requests["max_per_window"] <= requests["allowed_per_window"]
    assert requests["logins_at_once"] <= 1
    await assert_no_secret_went_out(sandbox, *log_files)


def told_endings(cloud: str) -> dict[str, float]:
    """The endings that a cloud tells of devices nobody knew.

    Where a cancel leaves no trace it is known only to who looked before it, and of a new device nobody may have: its
    lookups fail, or their owner is killed.
    """
    keeps_tasks = SYSTEMS[cloud].manner.keeps_tasks
    return {name: share for name, share in ENDINGS.items() if keeps_tasks or name != "cancelled"}


async def meet_devices(sandbox: Sandbox, account: str) -> None:
    """Let the bridge know an account's devices, as it does after its first day.

    A cloud that keeps no trace of a cancel is understood by what was known before; of a device nobody had asked about
    before it was cancelled nobody ever knows.
    """
    control_url = sandbox.description["control_url"]
    async with httpx.AsyncClient(base_url=control_url, trust_env=False) as control:
        (await control.post("/devices", json={"account": account, "devices": MET})).raise_for_status()
    with StateTable(sandbox.description["kafka"]["bootstrap_servers"]) as table:
        assert await await_known(control_url, table, account, within_s=MET_WITHIN_S)


async def kill_in_turn(bridges: Sequence[Bridge]) -> None:
    """Further apart than the session timeout, so that each time somebody takes over."""
    for bridge in itertools.cycle(bridges):
        await asyncio.sleep(KILL_EVERY_S)
        await bridge.kill_and_restart()


async def assert_no_secret_went_out(sandbox: Sandbox, *log_files: Path) -> None:
    written = "".join(file.read_text(encoding="utf-8") for file in log_files)
    async for text in records_of(sandbox):
        written += text
    for secret in secrets(sandbox):
        assert secret not in written


def secrets(sandbox: Sandbox) -> Iterator[str]:
    for account in sandbox.cloud.accounts:
        tables = SYSTEMS[account.cloud].tables(account, PLACE)
        for table in (tables.credentials, tables.api):
            yield from (secret.reveal() for secret in secrets_of(table))


async def records_of(sandbox: Sandbox) -> AsyncIterator[str]:
    """Every record on every topic, headers included."""
    servers = sandbox.description["kafka"]["bootstrap_servers"]
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        for name in TOPICS:
            topic = topic_name("ota", name)
            places = [
                TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or range(12)
            ]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            while [place for place in places if await consumer.position(place) < ends[place]]:
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    for record in batch:
                        yield repr((record.key, record.value, record.headers))
                await asyncio.sleep(0)
    finally:
        await consumer.stop()
