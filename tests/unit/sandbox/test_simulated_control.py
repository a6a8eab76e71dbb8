"""The control API answers as SANDBOX's table says, and refuses clearly what it does not know."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from deploy.sandbox.cloud.broker_actions import BrokerActions
from deploy.sandbox.cloud.control import Control
from deploy.sandbox.cloud.faults import Actions
from deploy.sandbox.cloud.request_log import NOTHING_REFUSED
from tests.unit.sandbox.simulation import Simulation


class Brokers:
    def __init__(self) -> None:
        self.acted: list[Actions] = []
        self.ttls: list[float] = []

    def act(self, actions: Actions) -> None:
        if actions != Actions():
            self.acted.append(actions)

    async def set_ttl(self, seconds: float) -> None:
        self.ttls.append(seconds)


class Sandbox:
    def __init__(self) -> None:
        self.simulation = Simulation()
        self.brokers = Brokers()
        self.control = Control(
            {"tuya-demo": self.simulation.tenant},
            faults=self.simulation.faults,
            timeline=self.simulation.timeline,
            brokers=self.brokers,
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.control.app), base_url="http://127.0.0.1"
        )

    async def put_faults(self, **knobs: Any) -> Any:
        response = await self.http.put("/faults", json=knobs)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


async def test_a_campaign_is_ordered_followed_and_told_in_the_truth(sandbox: Sandbox) -> None:
    order = {"account": "tuya-demo", "devices": 20, "rate_per_s": 10, "seed": 7}
    campaign_id = (await sandbox.http.post("/campaigns", json=order)).json()["id"]
    sandbox.simulation.advance()
    report = (await sandbox.http.get(f"/campaigns/{campaign_id}")).json()
    assert report["state"] == "finished"
    assert report["devices"] == report["started"] == 20
    assert report["ended"] == {"succeeded": 17, "failed": 2, "timed_out": 1}
    assert report["pushes_sent"] == len(sandbox.simulation.publisher.sent)
    lines = (await sandbox.http.get("/truth", params={"account": "tuya-demo"})).text.splitlines()
    truths = [json.loads(line) for line in lines]
    assert len(truths) == 20
    assert set(truths[0]) == {"device_id", "account", "cloud", "removed", "online", "channels"}
    assert set(truths[0]["channels"][0]) == {
        "channel",
        "status",
        "current_version",
        "target_version",
        "outcome",
        "reason",
        "attempts",
    }


async def test_two_campaigns_never_share_a_device(sandbox: Sandbox) -> None:
    order = {"account": "tuya-demo", "devices": 20, "rate_per_s": 10}
    await asyncio.gather(*(sandbox.http.post("/campaigns", json=order) for _ in range(3)))
    assert len(sandbox.simulation.fleet) == 60


@pytest.mark.parametrize(("new_devices", "devices"), [(False, 20), (True, 40)])
async def test_a_campaign_takes_idle_devices_unless_it_wants_new_ones(
    sandbox: Sandbox, *, new_devices: bool, devices: int
) -> None:
    order = {"account": "tuya-demo", "devices": 20, "rate_per_s": 10, "endings": {}}
    for wants_new in (False, new_devices):
        await sandbox.http.post("/campaigns", json=order | {"new_devices": wants_new})
        sandbox.simulation.advance()
    assert len(sandbox.simulation.fleet) == devices


async def test_devices_that_are_idle_are_created_once_and_taken_by_the_next_campaign(
    sandbox: Sandbox,
) -> None:
    for _ in range(2):
        answer = await sandbox.http.post("/devices", json={"account": "tuya-demo", "devices": 20})
        assert answer.json() == {"devices": 20}
    await sandbox.http.post("/campaigns", json={"account": "tuya-demo", "devices": 20, "rate_per_s": 10})
    assert len(sandbox.simulation.fleet) == 20


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("/campaigns", {"account": "nobody", "devices": 1}, "unknown account 'nobody'; known are tuya-demo"),
        ("/campaigns", {"account": "tuya-demo", "devices": 1, "pace": 3}, "pace"),
        ("/campaigns", {"account": "tuya-demo"}, "devices"),
        ("/devices", {"account": "tuya-demo", "devices": 0}, "devices"),
        ("/campaigns", {"account": "tuya-demo", "devices": 1, "endings": {"lost": 1}}, "unknown ending lost"),
        ("/firehose", {"account": "tuya-demo", "rate_per_s": 0, "seconds": 1}, "rate_per_s"),
    ],
)
async def test_a_wrong_order_is_refused_in_one_sentence(
    sandbox: Sandbox, path: str, body: dict[str, Any], complaint: str
) -> None:
    response = await sandbox.http.post(path, json=body)
    assert response.status_code == 400
    assert complaint in response.json()["error"]
    assert len(sandbox.simulation.fleet) == 0


async def test_more_devices_than_an_account_can_have_are_refused_and_none_is_made(sandbox: Sandbox) -> None:
    sandbox.simulation.all_of("stuck", 3)
    response = await sandbox.http.post("/campaigns", json={"account": "tuya-demo", "devices": 100_000})
    assert response.status_code == 400
    assert "100000" in response.json()["error"]
    assert len(sandbox.simulation.fleet) == 3


async def test_an_unknown_campaign_is_not_found(sandbox: Sandbox) -> None:
    assert (await sandbox.http.get("/campaigns/campaign-9")).status_code == 404


async def test_put_replaces_the_whole_set(sandbox: Sandbox) -> None:
    assert await sandbox.put_faults(push_drop=0.3, rest_5xx=0.2) == {"push_drop": 0.3, "rest_5xx": 0.2}
    assert await sandbox.put_faults(push_garble=0.1) == {"push_garble": 0.1}
    assert sandbox.simulation.faults.of("tuya-demo").push_drop == 0.0


async def test_an_accounts_set_lies_over_everybodys_and_an_empty_put_clears_both(sandbox: Sandbox) -> None:
    await sandbox.put_faults(push_drop=0.3, push_delay_s=1)
    assert await sandbox.put_faults(account="tuya-demo", push_drop=0.9) == {
        "account": "tuya-demo",
        "push_drop": 0.9,
        "push_delay_s": 1,
    }
    assert sandbox.simulation.faults.of("tuya-demo").push_drop == 0.9
    assert sandbox.simulation.faults.of("tuya-demo").push_delay_s == 1.0
    assert await sandbox.put_faults(push_drop=0.1) == {
        "push_drop": 0.1,
        "accounts": {"tuya-demo": {"push_drop": 0.9}},
    }
    assert await sandbox.put_faults() == {}
    assert sandbox.simulation.faults.of("tuya-demo").push_drop == 0.0


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"push_dorp": 0.3}, "unknown knob push_dorp; known are account,"),
        ({"push_drop": 1.5}, "push_drop"),
        ({"push_drop": "much"}, "push_drop"),
        ({"push_delay_s": -1}, "push_delay_s"),
        ({"account": "nobody", "push_drop": 0.1}, "unknown account"),
        ({"account": "tuya-demo", "ttl_s": 5}, "ttl_s concerns all accounts"),
        ({"account": "tuya-demo", "pulsar_restart": True}, "brokers serve all accounts"),
    ],
)
async def test_wrong_faults_are_refused_and_change_nothing(
    sandbox: Sandbox, body: dict[str, Any], complaint: str
) -> None:
    await sandbox.put_faults(push_drop=0.2)
    response = await sandbox.http.put("/faults", json=body)
    assert response.status_code == 400
    assert complaint in response.json()["error"]
    assert sandbox.simulation.faults.of("tuya-demo").push_drop == 0.2
    assert sandbox.brokers.acted == []


async def test_what_is_done_at_once_is_done_once_and_is_no_knob_in_force(sandbox: Sandbox) -> None:
    assert await sandbox.put_faults(pulsar_restart=True, push_drop=0.1) == {"push_drop": 0.1}
    await sandbox.put_faults(kafka_down_s=3)
    assert sandbox.brokers.acted == [Actions(pulsar_restart=True), Actions(kafka_down_s=3.0)]


async def test_the_retention_returns_to_two_hours_with_the_knob(sandbox: Sandbox) -> None:
    await sandbox.put_faults(ttl_s=10)
    await sandbox.put_faults(ttl_s=10, push_drop=0.1)
    await sandbox.put_faults()
    assert sandbox.brokers.ttls == [10.0, 7200.0]


async def test_a_firehose_reports_at_its_rate_and_ends(sandbox: Sandbox) -> None:
    body = {"account": "tuya-demo", "rate_per_s": 500, "seconds": 2}
    assert (await sandbox.http.post("/firehose", json=body)).json() == {"messages": 1000}
    sandbox.simulation.advance(1)
    assert 480 <= len(sandbox.simulation.publisher.sent) <= 500
    sandbox.simulation.advance()
    assert len(sandbox.simulation.publisher.sent) == 1000


async def test_requests_are_told_for_the_only_account_unasked(sandbox: Sandbox) -> None:
    assert (await sandbox.http.get("/requests")).json() == {
        "per_api": {},
        "max_per_s": 0,
        "max_per_window": 0,
        "window_s": 1.0,
        "allowed_per_window": 50,
        "refused": NOTHING_REFUSED,
        "logins_at_once": 0,
    }


class Broker:
    def __init__(self, happened: list[str], name: str) -> None:
        self._happened = happened
        self._name = name

    async def restart(self) -> None:
        await self.down(0)

    async def down(self, seconds: float) -> None:
        self._happened.append(f"{self._name} stops for {seconds:g}")
        await asyncio.sleep(0)
        self._happened.append(f"{self._name} is back")

    async def set_ttl(self, seconds: int) -> None:
        self._happened.append(f"{self._name} keeps {seconds}")


async def test_a_broker_is_disturbed_by_one_thing_at_a_time() -> None:
    happened: list[str] = []
    async with asyncio.TaskGroup() as group:
        actions = BrokerActions(Broker(happened, "pulsar"), Broker(happened, "kafka"), group)
        actions.act(Actions(pulsar_restart=True, pulsar_down_s=2.0))
    assert happened == ["pulsar stops for 0", "pulsar is back", "pulsar stops for 2", "pulsar is back"]
