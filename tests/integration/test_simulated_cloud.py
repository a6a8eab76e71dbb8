"""The simulated cloud on the real Pulsar: what it says it pushed is what a subscriber gets, come what may."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import httpx
import pulsar
import pytest

from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Means
from bridge.clouds.transport import HttpTransport
from bridge.clouds.tuya.settings import TuyaApi, TuyaCredentials
from bridge.clouds.tuya_cloud.cloud import TuyaCloud
from consumer.secret import Secret
from deploy.sandbox.brokers import Brokers
from deploy.sandbox.brokers.gateway_accounts import derive_password
from deploy.sandbox.cloud import SimulatedAccount, SimulatedCloud, new_account
from deploy.sandbox.cloud.envelope import Sealed
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from tests.unit.sandbox.gateway_reader import GatewayReader

SPEED = 5.0
"""Upgrades of 2 to 6 s, so that a test takes ten."""


class Running:
    """A simulated cloud with its control API, and a subscriber as the vendor's own SDK is one."""

    def __init__(self, brokers: Brokers, cloud: SimulatedCloud, account: SimulatedAccount) -> None:
        self.brokers = brokers
        self.cloud = cloud
        self.account = account
        self.http = httpx.AsyncClient(base_url=cloud.control_url, trust_env=False)
        self.received: list[tuple[str, Sealed]] = []
        self.partitions: dict[str, set[str]] = defaultdict(set)
        self.acknowledge = True
        self.stop = asyncio.Event()
        self.listening = asyncio.get_running_loop().run_in_executor(None, self.listen)

    async def campaign(self, **order: Any) -> str:
        response = await self.http.post("/campaigns", json={"account": self.account.name, **order})
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    async def finished(self, campaign_id: str) -> dict[str, Any]:
        while True:
            report: dict[str, Any] = (await self.http.get(f"/campaigns/{campaign_id}")).json()
            if report["state"] == "finished":
                return report
            await asyncio.sleep(0.1)

    async def truth(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (await self.http.get("/truth")).text.splitlines()]

    async def received_all(self, count: int) -> None:
        """Return once `count` messages were received; give a few more the time to show up."""
        while len(self.received) < count:
            assert not self.listening.done(), "the subscriber ended"
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)

    def subscribe(self) -> tuple[pulsar.Client, pulsar.Consumer]:
        access_id = self.account.access_id
        password = derive_password(access_id, self.account.access_key)
        text = json.dumps({"username": access_id, "password": password}, separators=(",", ":"))
        cut = text.index(":", text.index('"password"'))
        client = pulsar.Client(
            self.brokers.pulsar.url,
            authentication=pulsar.AuthenticationBasic(text[:cut], text[cut + 1 :], method="auth1"),
            logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error),
        )
        consumer = client.subscribe(
            f"persistent://{access_id}/out/event", f"{access_id}-sub", pulsar.ConsumerType.Failover
        )
        return client, consumer

    def listen(self) -> None:
        """Receive until told to stop; on a thread."""
        client, consumer = self.subscribe()
        while not self.stop.is_set():
            try:
                message = consumer.receive(200)
            except pulsar.Timeout:
                continue
            self.received.append((message.partition_key(), Sealed(message.data(), message.properties())))
            self.partitions[message.partition_key()].add(message.topic_name())
            if self.acknowledge:
                consumer.acknowledge(message)
        client.close()


@asynccontextmanager
async def running(brokers: Brokers) -> AsyncIterator[Running]:
    account = new_account("tuya-test")
    async with SimulatedCloud(brokers, [account], speed=SPEED) as cloud:
        sandbox = Running(brokers, cloud, account)
        try:
            yield sandbox
        finally:
            sandbox.stop.set()
            await sandbox.listening
            await sandbox.http.aclose()


class Unpaced:
    def turn(self) -> Any:
        return nullcontext()


async def test_what_it_says_it_pushed_is_what_a_subscriber_gets(brokers: Brokers) -> None:
    async with running(brokers) as sandbox:
        await sandbox.http.put("/faults", json={"push_drop": 0.2, "push_duplicate": 0.2, "push_garble": 0.1})
        report = await sandbox.finished(await sandbox.campaign(devices=60, rate_per_s=60, seed=5))
        garbled = report["pushes_garbled"]
        await sandbox.received_all(report["pushes_sent"] + sum(garbled.values()))

        reader = GatewayReader(sandbox.account)
        observations = reader.read(sandbox.received)
        assert reader.dead_letters == garbled
        assert len(observations) == report["pushes_sent"] + 2 * garbled.get("id_conflict", 0)
        assert report["ended"] == {"succeeded": 51, "failed": 6, "timed_out": 3}
        assert {len(topics) for topics in sandbox.partitions.values()} == {1}
        assert len(set().union(*sandbox.partitions.values())) > 5


async def test_the_bridges_own_client_learns_the_truth_over_verified_tls(brokers: Brokers) -> None:
    async with running(brokers) as sandbox:
        await sandbox.finished(await sandbox.campaign(devices=60, rate_per_s=60, seed=6))
        api = TuyaApi(
            url=sandbox.cloud.rest_url(sandbox.account.name), ca_file=str(brokers.ca_file), rate_per_s=200
        )
        account = ApiAccount(
            name=sandbox.account.name,
            cloud="tuya-cloud",
            credentials=TuyaCredentials(
                access_id=sandbox.account.access_id, access_key=Secret(sandbox.account.access_key)
            ),
            api=api,
        )
        transport = HttpTransport(api)
        means = Means(transport=transport, pace=Unpaced(), now_ms=lambda: time.time_ns() // 1_000_000)
        cloud = TuyaCloud(account, means)
        listed = [device.device_id async for page in cloud.discover() for device in page]
        truths = await sandbox.truth()
        assert listed == [truth["device_id"] for truth in truths]
        reset = 0
        for truth in truths:
            looked = await cloud.lookup(truth["device_id"])
            told = {o.channel: (o.status, o.current_version) for o in looked.observations}
            for channel in truth["channels"]:
                status, version = told[channel["channel"]]
                assert version == channel["current_version"]
                reset += (status, channel["status"]) == ("idle", "succeeded")
                assert status == channel["status"] or (status, channel["status"]) == ("idle", "succeeded")
            await asyncio.sleep(1 / 200)
        await transport.close()
        # Some successes are forgotten, because the subscriber acknowledged their claims.
        assert 0 < reset < 40
        requests = (await sandbox.http.get("/requests")).json()
        assert requests["refused"] == NOTHING_REFUSED
        assert requests["per_api"]["token"] == 1
        assert requests["per_api"]["firmware"] == 60


async def test_nothing_is_forgotten_that_the_subscriber_did_not_acknowledge(brokers: Brokers) -> None:
    async with running(brokers) as sandbox:
        sandbox.acknowledge = False
        await sandbox.finished(await sandbox.campaign(devices=40, rate_per_s=60, endings={"succeeded": 1.0}))
        fleet = sandbox.cloud.tenants[sandbox.account.name].fleet
        shown = {channel.shown.status for d in fleet for channel in d.channels if channel.attempts}
        assert shown == {"succeeded"}


async def test_a_firehose_reaches_the_topic(brokers: Brokers) -> None:
    async with running(brokers) as sandbox:
        order = {"account": sandbox.account.name, "rate_per_s": 2000, "seconds": 2}
        assert (await sandbox.http.post("/firehose", json=order)).json() == {"messages": 4000}
        await sandbox.received_all(4000)
        assert len(sandbox.received) == 4000


@pytest.mark.restarts_brokers
async def test_a_restart_of_the_broker_neither_loses_nor_repeats_a_push(brokers: Brokers) -> None:
    async with running(brokers) as sandbox:
        campaign = await sandbox.campaign(devices=60, rate_per_s=60, seed=7)
        await asyncio.sleep(1.5)
        await sandbox.http.put("/faults", json={"pulsar_restart": True})
        report = await sandbox.finished(campaign)
        await sandbox.received_all(report["pushes_sent"])
        # The broker may deliver again what was not acknowledged when it stopped; that is no second push.
        traces = {sealed.properties["tid"] for _, sealed in sandbox.received}
        assert len(traces) == report["pushes_sent"]
