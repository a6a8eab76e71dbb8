"""Upgrades whose pushes the gateway drops while the bridge is away, and what becomes of the fleet afterwards.

The rules' own periods are an hour here, so nothing but the gap makes the states true again.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx
from confluent_kafka import Consumer, KafkaError, TopicPartition
from msgspec import Struct

from deploy.sandbox.brokers.gateway_accounts import EVENT_PARTITIONS
from deploy.sandbox.public_topics import StateTable, read_events_and_states
from deploy.sandbox.supervisor import DEMO_ACCOUNT, Sandbox
from deploy.sandbox.verify import Comparison, await_truth, find_broken_revisions
from tests.chaos.campaign import CONVERGE_WITHIN_S, POLL_S, Bridge

PARTITIONS: Final = 12
_HOUR: Final = "3600"
_RETENTION_S: Final = 17
_MARGIN_S: Final = 12
"""Between them lies the time to be away; a tenth of the margin is how often the bridge tells how far it read."""
_WHILE_AWAY_S: Final = 60
_AT_THE_END_S: Final = 1
_ENVIRONMENT: Final = {
    "OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__GATEWAY__RETENTION_S": str(_RETENTION_S),
    "OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__GATEWAY__RETENTION_MARGIN_S": str(_MARGIN_S),
    "OTA_BRIDGE__POLICY__OPEN_PERIOD_S": _HOUR,
    "OTA_BRIDGE__POLICY__REFRESH_PERIOD_S": _HOUR,
    "OTA_BRIDGE__POLICY__PENDING_STALL_S": _HOUR,
    "OTA_BRIDGE__POLICY__DOWNLOADING_STALL_S": _HOUR,
    "OTA_BRIDGE__POLICY__INSTALLING_STALL_S": _HOUR,
    # What only costs time here: before a device is asked about for the first time, and between two answers.
    "OTA_BRIDGE__POLICY__HINT_LOOKUP_S": "0.2",
    "OTA_BRIDGE__POLICY__NEW_ATTEMPT_LOOKUP_S": "0.2",
    "OTA_BRIDGE__POLICY__STALE_LOOKUP_S": "0.5",
    "OTA_BRIDGE__POLICY__JITTER_S": "0.1",
    "OTA_BRIDGE__POLICY__TWICE_APART_S": "1",
}


class Aftermath(Struct, frozen=True, kw_only=True):
    """What was found when everything was quiet again."""

    known: int
    """Devices the bridge knew before it went away."""
    missed: int
    """Upgraded while it was away: not one push of those upgrades was left."""
    dropped: int
    """What waited at the gateway for the bridge to come back and was dropped, counted in the producer's batches."""
    comparison: Comparison
    broken_revisions: list[str]
    gaps: dict[int, int]
    """By partition of the observations topic, those told since the bridge came back."""
    gap_lookups: int

    def assert_found_again(self) -> None:
        """Everything is true although pushes are gone, by one gap that every partition was told of."""
        assert self.dropped > 0
        assert not self.comparison.differences, "\n".join(map(str, self.comparison.differences[:20]))
        assert not self.broken_revisions, "\n".join(self.broken_revisions[:20])
        assert self.gaps == dict.fromkeys(range(PARTITIONS), 1)
        assert self.gap_lookups > self.known / 2

    def __str__(self) -> str:
        return (
            f"{self.comparison}; {self.known} devices known before, {self.missed} upgraded meanwhile; "
            f"{self.dropped} batches of pushes dropped; gaps by partition {dict(sorted(self.gaps.items()))}, "
            f"{self.gap_lookups} lookups of them; {len(self.broken_revisions)} holes or repeats"
        )


async def lose_pushes_while_away(
    sandbox: Sandbox, log_file: Path, *, devices: int, rate_per_s: float, missed: int, seed: int
) -> Aftermath:
    """Let the bridge see a campaign begin, kill it, let the rest happen and its pushes expire, and start it again.

    While it is away a second campaign upgrades `missed` devices, so that there are pushes to drop on any machine: some
    that have been upgraded already, and new ones where all are busy.
    """
    account = DEMO_ACCOUNT
    servers = sandbox.description["kafka"]["bootstrap_servers"]
    bridge = Bridge(sandbox, log_file, environment=_ENVIRONMENT)
    async with httpx.AsyncClient(
        base_url=sandbox.description["control_url"], trust_env=False, timeout=60
    ) as control:
        campaigns = [await _order(control, account, devices, rate_per_s, seed)]
        bridge.start()
        try:
            with StateTable(servers) as table:
                known = await _see_fleet(control, bridge, servers)
                await bridge.kill()
                away = asyncio.create_task(asyncio.sleep(_RETENTION_S - _MARGIN_S + 0.5))
                began = await asyncio.to_thread(_gaps, servers)
                asked = await asyncio.to_thread(_gap_lookups, servers)
                # From here on the cloud does not take an expired push for one that was read.
                (await control.put("/faults", json={"ttl_s": _WHILE_AWAY_S})).raise_for_status()
                campaigns.append(await _order(control, account, missed, rate_per_s, seed + 1000))
                for campaign in campaigns:
                    while (await control.get(f"/campaigns/{campaign}")).json()["state"] != "finished":
                        await asyncio.sleep(POLL_S)
                dropped = await _expire(sandbox, control)
                await away

                bridge.start()
                comparison = await await_truth(
                    sandbox.description["control_url"], table, within_s=CONVERGE_WITHIN_S, every_s=POLL_S
                )
                events = await asyncio.to_thread(read_events_and_states, servers, table)
                broken = find_broken_revisions(events, table.states)
        finally:
            code = await bridge.stop()
    assert code == 0, f"the bridge stopped with exit code {code}"
    return Aftermath(
        known=known,
        missed=missed,
        dropped=dropped,
        comparison=comparison,
        broken_revisions=broken,
        gaps=dict(await asyncio.to_thread(_gaps, servers) - began),
        gap_lookups=await asyncio.to_thread(_gap_lookups, servers) - asked,
    )


async def _order(control: httpx.AsyncClient, account: str, devices: int, rate_per_s: float, seed: int) -> str:
    """Begin a campaign; return its id."""
    body = {"account": account, "devices": devices, "rate_per_s": rate_per_s, "seed": seed}
    campaign: str = (await control.post("/campaigns", json=body)).raise_for_status().json()["id"]
    return campaign


async def _see_fleet(control: httpx.AsyncClient, bridge: Bridge, servers: str) -> int:
    """Return how many devices there are, once each was asked about and answered.

    And once the bridge has told how far it read: a gap is about what was known before.
    """
    while True:
        bridge.check()
        truth = {json.loads(line)["device_id"] for line in (await control.get("/truth")).text.splitlines()}
        observations = await asyncio.to_thread(read_records, servers, "ota.observations.v1")
        answered = {seen["device_id"] for _, seen in observations if seen["kind"] == "answer"}
        progress = await asyncio.to_thread(read_records, servers, "ota.ingest-progress.v1")
        if answered >= truth and len({told["source_partition"] for _, told in progress}) == EVENT_PARTITIONS:
            break
        await asyncio.sleep(POLL_S)
    return len(truth)


async def _expire(sandbox: Sandbox, control: httpx.AsyncClient) -> int:
    """Let the gateway drop everything that waits for the bridge; return how much it was."""
    dropped = await _backlog(sandbox)
    await asyncio.sleep(_AT_THE_END_S + 0.1)
    (await control.put("/faults", json={"ttl_s": _AT_THE_END_S})).raise_for_status()
    async with asyncio.timeout(30):
        while await _backlog(sandbox):
            await asyncio.sleep(0.1)
    (await control.put("/faults", json={})).raise_for_status()
    return dropped


async def _backlog(sandbox: Sandbox) -> int:
    """Return how many entries wait for the bridge."""
    pulsar, account = sandbox.description["pulsar"], sandbox.description["accounts"][DEMO_ACCOUNT]
    auth = (pulsar["admin"]["username"], pulsar["admin"]["password"])
    path = account["topic"].replace("://", "/")
    async with httpx.AsyncClient(
        base_url=pulsar["admin_url"], auth=auth, trust_env=False, verify=False
    ) as admin:
        answer = await admin.get(f"/admin/v2/{path}/partitioned-stats")
    backlog: int = answer.raise_for_status().json()["subscriptions"][account["subscription"]]["msgBacklog"]
    return backlog


def _gaps(servers: str) -> Counter[int]:
    return Counter(
        partition
        for partition, observation in read_records(servers, "ota.observations.v1")
        if observation["kind"] == "gap"
    )


def _gap_lookups(servers: str) -> int:
    return sum(lookup["cause"] == "gap" for _, lookup in read_records(servers, "ota.lookups.v1"))


def read_records(servers: str, topic: str) -> list[tuple[int, dict[str, Any]]]:
    """All committed records: partition and value. A gap has no key, which a reader of the public topics refuses."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "lost-pushes",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            # The broker tells of an end only after it waited this long for more.
            "fetch.wait.max.ms": 20,
        }
    )
    found: list[tuple[int, dict[str, Any]]] = []
    try:
        described = consumer.list_topics(topic, timeout=30).topics[topic]
        if described.error is not None:
            return []  # not made yet, or just being made
        consumer.assign([TopicPartition(topic, partition, 0) for partition in described.partitions])
        # An end is told again where more came after it: counting the ends would never be right.
        unread = set(described.partitions)
        while unread:
            for message in consumer.consume(1000, timeout=0.05):
                error = message.error()
                if error is None:
                    found.append((message.partition() or 0, json.loads(message.value() or b"")))
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition() or 0)
    finally:
        consumer.close()
    return found
