"""Reconcile on a real Kafka against the simulated cloud: lookups in, observations out, one owner per account."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from bridge.clouds.settings import ApiAccount
from bridge.clouds.tuya.settings import TuyaApi, TuyaCredentials
from bridge.kafka.clients import producer_arguments
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics
from bridge.kafka.writer import KafkaWriter
from bridge.reconcile.worker import Reconcile
from consumer.secret import Secret
from deploy.sandbox.brokers import Brokers
from deploy.sandbox.cloud import SimulatedCloud, new_account
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from schemas import LookupRequest, Observation
from tests.integration.fold_topics import read, until

RATE_PER_S = 50


@pytest.fixture
async def settings(brokers: Brokers, kafka_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(
        bootstrap_servers=brokers.kafka.bootstrap_servers,
        prefix=kafka_prefix,
        partitions=4,
        session_timeout_s=6,
    )
    await ensure_topics(settings)
    return settings


class House:
    """A simulated cloud with one account, the topics, and as many bridges as a test starts."""

    def __init__(
        self, settings: KafkaSettings, cloud: SimulatedCloud, account: ApiAccount[TuyaCredentials, TuyaApi]
    ) -> None:
        self.settings = settings
        self.cloud = cloud
        self.account = account
        self._control = httpx.AsyncClient(base_url=cloud.control_url, trust_env=False)

    async def devices(self, count: int) -> list[str]:
        """Let a campaign make devices, and wait until nothing changes any more."""
        order = {"account": self.account.name, "devices": count, "rate_per_s": 200, "seed": 1}
        campaign = (await self._control.post("/campaigns", json=order)).json()["id"]
        while (await self._control.get(f"/campaigns/{campaign}")).json()["state"] != "finished":
            await asyncio.sleep(0.1)
        text = (await self._control.get("/truth", params={"account": self.account.name})).text
        return [msgspec.json.decode(line)["device_id"] for line in text.splitlines()]

    async def faults(self, **knobs: float) -> None:
        (await self._control.put("/faults", json=knobs)).raise_for_status()

    async def requests(self) -> dict[str, object]:
        answer = await self._control.get("/requests", params={"account": self.account.name})
        found: dict[str, object] = answer.json()
        return found

    @asynccontextmanager
    async def reconciling(self, **api: object) -> AsyncIterator[Reconcile]:
        """A running stage."""
        account = msgspec.structs.replace(
            self.account, api=msgspec.structs.replace(self.account.api, **api) if api else self.account.api
        )
        stop = asyncio.Event()
        async with KafkaWriter(self.settings) as writer:
            stage = Reconcile([account], self.settings, writer)
            running = asyncio.create_task(stage.run(stop))
            try:
                yield stage
            finally:
                stop.set()
                await running

    async def ask(self, devices: Sequence[str], cause: str = "gap", expires_in_s: float = 60.0) -> list[str]:
        now_ms = time.time_ns() // 1_000_000
        requests = [
            LookupRequest(
                lookup_id=f"{now_ms}-{number}",
                device_id=device_id,
                account=self.account.name,
                cause=cause,
                due_at_ms=now_ms,
                expires_at_ms=now_ms + round(expires_in_s * 1000),
            )
            for number, device_id in enumerate(devices)
        ]
        async with AIOKafkaProducer(**producer_arguments(self.settings)) as producer:
            for request in requests:
                await producer.send(
                    f"{self.settings.prefix}.lookups.v1",
                    key=request.account.encode(),
                    value=msgspec.json.encode(request),
                )
            await producer.flush()
        return [request.lookup_id for request in requests]

    async def observations(self, count: int) -> list[Observation]:
        messages = await read(self.settings, "observations", count)
        return [msgspec.json.decode(message.value() or b"", type=Observation) for message in messages]

    async def close(self) -> None:
        await self._control.aclose()


@pytest.fixture
async def house(brokers: Brokers, settings: KafkaSettings) -> AsyncIterator[House]:
    simulated = new_account("tuya-sim", rate_per_s=RATE_PER_S)
    async with AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(SimulatedCloud(brokers, [simulated], speed=20.0))
        account = ApiAccount(
            name=simulated.name,
            cloud=simulated.cloud,
            credentials=TuyaCredentials(
                access_id=simulated.access_id, access_key=Secret(simulated.access_key)
            ),
            api=TuyaApi(
                url=cloud.rest_url(simulated.name),
                ca_file=str(brokers.ca_file),
                rate_per_s=RATE_PER_S,
                circuit_open_s=5.0,
                discovery="off",
            ),
        )
        house = House(settings, cloud, account)
        stack.push_async_callback(house.close)
        yield house


def served(stage: Reconcile) -> int:
    return sum(stage.statistics().accounts[0].answers.values())


async def test_each_lookup_read_from_kafka_ends_in_its_answer_on_kafka(house: House) -> None:
    devices = await house.devices(60)
    ids = await house.ask(devices)
    async with house.reconciling() as stage:
        await until(lambda: served(stage) == len(ids))
        ids += await house.ask(["no-such-device"])
        await until(lambda: served(stage) == len(ids))
        statistics = stage.statistics().accounts[0]

    found = await house.observations(2 * len(devices) + 1)
    answers = {one.lookup_id: one.outcome for one in found if one.kind == "answer"}
    assert answers == dict.fromkeys(ids[:-1], "ok") | {ids[-1]: "not_found"}
    assert {one.device_id for one in found if one.kind in ("status", "versions")} == set(devices)
    assert statistics.circuit == "closed"
    assert (await house.requests())["refused"] == NOTHING_REFUSED


async def test_discovery_announces_every_device_of_the_account(house: House) -> None:
    devices = await house.devices(50)
    async with house.reconciling(discovery="api") as stage:
        await until(lambda: stage.statistics().accounts[0].discovery.finished_at_ms is not None)

    found = await house.observations(len(devices))
    assert sorted(one.device_id for one in found) == sorted(devices)
    assert {(one.kind, one.evidence.origin) for one in found} == {("hint", "sweep")}


async def test_under_faults_every_lookup_is_answered_within_the_rate(house: House) -> None:
    devices = await house.devices(100)
    await house.faults(
        rest_5xx=0.2, rest_throttle=0.02, rest_html=0.1, rest_truncate=0.1, rest_token_expires=0.1
    )
    ids = await house.ask(devices)
    async with house.reconciling() as stage:
        await until(lambda: served(stage) == len(ids))

    answers = {one.lookup_id for one in await house.observations(len(ids)) if one.kind == "answer"}
    assert answers == set(ids)
    report = await house.requests()
    assert report["refused"] == NOTHING_REFUSED
    assert isinstance(report["max_per_s"], int)
    assert report["max_per_s"] <= RATE_PER_S


async def test_an_account_has_one_owner_and_a_clean_stop_hands_it_on_within_the_rate(house: House) -> None:
    devices = await house.devices(60)
    async with AsyncExitStack() as stack:
        first_stack = await stack.enter_async_context(AsyncExitStack())
        first = await first_stack.enter_async_context(house.reconciling())
        await until(lambda: first.statistics().accounts[0].owned)
        second = await stack.enter_async_context(house.reconciling())
        await until(lambda: len(second.statistics().partitions) == 2)
        owners = [stage for stage in (first, second) if stage.statistics().accounts[0].owned]
        assert len(owners) == 1
        for _ in range(3):
            await house.ask(devices, expires_in_s=20)
            await asyncio.sleep(0.5)
        await first_stack.aclose()
        await until(lambda: second.statistics().accounts[0].owned)
        before = served(second)
        await house.ask(devices)
        await until(lambda: served(second) >= before + len(devices))

    report = await house.requests()
    assert isinstance(report["max_per_s"], int)
    assert report["max_per_s"] <= RATE_PER_S
    assert report["logins_at_once"] == 1


async def test_ownership_does_not_need_lookups(house: House) -> None:
    async with house.reconciling() as stage:
        await until(lambda: stage.statistics().accounts[0].owned)
        await until(lambda: stage.statistics().proven_s_ago is not None)
        # Longer than a proof is good for: it is made anew although nothing is read.
        await asyncio.sleep(house.settings.session_timeout_s / 2 + 1)
        age_s = stage.statistics().proven_s_ago
        assert age_s is not None
        assert age_s < house.settings.session_timeout_s / 2


async def test_a_process_that_was_stopped_sends_nothing_when_it_goes_on(
    house: House, brokers: Brokers, tmp_path: Path
) -> None:
    devices = await house.devices(40)
    key_file = tmp_path / "key"
    key_file.write_text(house.account.credentials.access_key.reveal())
    account = house.account
    arguments = [
        house.settings.bootstrap_servers,
        house.settings.prefix,
        account.credentials.access_id,
        str(key_file),
        account.api.url,
        str(brokers.ca_file),
    ]
    zombie = subprocess.Popen(  # noqa: ASYNC220 - a moment, and the test needs its process id
        [sys.executable, "-m", "tests.integration.reconcile_process", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert zombie.stdout is not None
        assert await asyncio.to_thread(zombie.stdout.readline) == "owned\n"
        await house.ask(devices * 20, expires_in_s=120)
        await until(lambda: _asked(house) > 20)
        os.kill(zombie.pid, signal.SIGSTOP)
        async with house.reconciling() as heir:
            await until(lambda: heir.statistics().accounts[0].owned)
            await until(lambda: heir.statistics().proven_s_ago is not None)
            await asyncio.sleep(2)
            before = _asked(house)
            os.kill(zombie.pid, signal.SIGCONT)
            # A rebalance lets the zombie back in; until then it must be silent. It owns other partitions or none.
            await asyncio.sleep(1.0)
            assert _asked(house) - before <= 2
    finally:
        os.kill(zombie.pid, signal.SIGCONT)
        zombie.terminate()
        await asyncio.to_thread(zombie.wait, 30)
        if zombie.stdout is not None:
            zombie.stdout.close()


def _asked(house: House) -> int:
    per_api = house.cloud.tenants[house.account.name].requests.report()["per_api"]
    return sum(Counter(per_api).values())


async def test_without_kafka_the_stage_says_so_and_stops_when_told(kafka_prefix: str) -> None:
    settings = KafkaSettings(bootstrap_servers="127.0.0.1:9", prefix=kafka_prefix)
    stop = asyncio.Event()
    async with KafkaWriter(settings) as writer:
        stage = Reconcile([], settings, writer)
        running = asyncio.create_task(stage.run(stop))
        await until(lambda: stage.statistics().problem is not None)
        assert not stage.statistics().connected
        stop.set()
        await asyncio.wait_for(running, 15)


@pytest.mark.restarts_brokers
async def test_a_restarted_kafka_is_served_again(house: House, brokers: Brokers) -> None:
    devices = await house.devices(20)
    async with house.reconciling() as stage:
        await house.ask(devices)
        await until(lambda: served(stage) == len(devices))
        await brokers.kafka.restart()
        ids = await house.ask(devices)
        await until(lambda: served(stage) >= 2 * len(devices))

    answers = {one.lookup_id for one in await house.observations(4 * len(devices)) if one.kind == "answer"}
    assert set(ids) <= answers
