"""`ota-bridge events`, `state` and `topics` as a reader uses them, on a real broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from aiokafka import AIOKafkaProducer
from confluent_kafka.admin import AdminClient

from bridge.kafka.clients import producer_arguments
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics, partition_of, topic_name
from deploy.sandbox.brokers import Brokers
from schemas import Evidence, UpgradeEvent, UpgradeState
from tests.integration.fold_topics import STARTED_AT_MS

EXECUTABLE = Path(sys.executable).with_name("ota-bridge")


def event(device: str, revision: int) -> UpgradeEvent:
    return UpgradeEvent(
        device_id=device,
        cloud="tuya-cloud",
        account="demo",
        channel="0",
        revision=revision,
        status="downloading",
        phase="active",
        stalled=False,
        needs_confirmation=False,
        confirmed=False,
        correction=False,
        observed_at_ms=1_700_000_000_000 + revision,
        evidence=Evidence(origin="push", name="upgradeStatus"),
    )


class Topics:
    """The public topics, filled as the fold fills them, and the commands that read them."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self.environment = os.environ | {
            "OTA_BRIDGE__KAFKA__BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "OTA_BRIDGE__KAFKA__PREFIX": settings.prefix,
            "OTA_BRIDGE__KAFKA__PARTITIONS": str(settings.partitions),
        }

    async def write(self, *events: UpgradeEvent, commit: bool = True) -> None:
        """Publish events and the state after each, in one transaction."""
        arguments = producer_arguments(self.settings, transactional_id=f"{self.settings.prefix}-test")
        async with AIOKafkaProducer(**arguments) as producer:
            await producer.begin_transaction()
            for each in events:
                headers = {
                    "ce_id": f"{each.device_id}/{each.revision}",
                    "ce_type": "ota.upgrade.status_changed",
                }
                await self._send(producer, "upgrade-events", each.device_id, each, headers)
                state = UpgradeState(
                    device_id=each.device_id,
                    cloud=each.cloud,
                    account=each.account,
                    revision=each.revision,
                    updated_at_ms=each.observed_at_ms,
                    status=each.status,
                    channels=(),
                )
                await self._send(producer, "upgrade-state", each.device_id, state)
            await (producer.commit_transaction() if commit else producer.abort_transaction())

    async def remove(self, device: str) -> None:
        """Write the device's tombstone."""
        async with AIOKafkaProducer(**producer_arguments(self.settings)) as producer:
            await self._send(producer, "upgrade-state", device, None)

    async def _send(
        self,
        producer: AIOKafkaProducer,
        name: Any,
        device: str,
        value: msgspec.Struct | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        key = device.encode()
        await producer.send(
            topic_name(self.settings.prefix, name),
            value=None if value is None else msgspec.json.encode(value),
            key=key,
            partition=partition_of(key, self.settings.partitions),
            timestamp_ms=STARTED_AT_MS,
            headers=[(header, text.encode()) for header, text in (headers or {}).items()],
        )

    async def start(
        self, *arguments: str, stdout: int = asyncio.subprocess.PIPE
    ) -> asyncio.subprocess.Process:
        """Start a command; its configuration is the environment alone."""
        return await asyncio.create_subprocess_exec(
            EXECUTABLE,
            *arguments,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
            cwd="/",
        )

    async def run(self, *arguments: str) -> tuple[int, list[Any], str]:
        """Run a command; return exit code, its JSON lines, and what it complained."""
        process = await self.start(*arguments)
        out, complaint = await process.communicate()
        assert process.returncode is not None
        return process.returncode, [json.loads(line) for line in out.splitlines()], complaint.decode()


@pytest.fixture
def missing(brokers: Brokers, kafka_prefix: str) -> Topics:
    return Topics(
        KafkaSettings(bootstrap_servers=brokers.kafka.bootstrap_servers, prefix=kafka_prefix, partitions=3)
    )


@pytest.fixture
async def topics(missing: Topics) -> Topics:
    await ensure_topics(missing.settings)
    return missing


async def test_events_shows_what_was_committed_as_cloud_events(topics: Topics) -> None:
    await topics.write(event("a", 1), event("b", 1))
    await topics.write(event("a", 2), commit=False)
    await topics.write(event("a", 2))

    code, events, complaint = await topics.run("events", "--from-beginning", "--no-follow")

    assert (code, complaint) == (0, "")
    assert sorted(shown["id"] for shown in events) == ["a/1", "a/2", "b/1"]
    assert events[0]["type"] == "ota.upgrade.status_changed"
    assert events[0]["data"]["status"] == "downloading"


async def test_events_of_one_device_come_in_the_order_of_their_revisions(topics: Topics) -> None:
    await topics.write(*(event(device, revision) for revision in range(1, 6) for device in "abcdef"))

    _, events, _ = await topics.run("events", "--from-beginning", "--no-follow", "--device", "c")

    assert [(shown["data"]["device_id"], shown["data"]["revision"]) for shown in events] == [
        ("c", revision) for revision in range(1, 6)
    ]


async def test_events_follows_until_it_is_interrupted(topics: Topics) -> None:
    await topics.write(event("a", 1))
    process = await topics.start("events", "--from-beginning")
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["id"] == "a/1"

    await topics.write(event("a", 2))
    assert json.loads(await process.stdout.readline())["id"] == "a/2"

    process.send_signal(signal.SIGINT)
    _, complaint = await process.communicate()
    assert (process.returncode, complaint) == (0, b"")


async def test_events_end_quietly_when_nobody_reads_them_any_more(topics: Topics) -> None:
    await topics.write(*(event("a", revision) for revision in range(1, 2000)))
    for form in ("--json", "--no-json"):
        read_end, write_end = os.pipe()
        process = await topics.start("events", "--from-beginning", form, stdout=write_end)
        os.close(write_end)
        await asyncio.to_thread(os.read, read_end, 100)
        os.close(read_end)
        _, complaint = await process.communicate()
        assert (process.returncode, complaint) == (0, b""), form


async def test_state_shows_the_latest_record_of_the_device(topics: Topics) -> None:
    await topics.write(*(event(device, revision) for revision in (1, 2) for device in "abcdef"))

    code, (state,), _ = await topics.run("state", "d")

    assert code == 0
    assert (state["device_id"], state["revision"]) == ("d", 2)


async def test_state_of_a_removed_or_unknown_device_ends_with_5(topics: Topics) -> None:
    await topics.write(event("a", 1))
    await topics.remove("a")

    for device in ("a", "nobody"):
        assert await topics.run("state", device) == (
            5,
            [],
            f"The bridge knows nothing about device {device}.\n",
        )


async def test_kafka_that_refuses_ends_with_3_and_one_that_is_not_trusted_with_4(
    missing: Topics, brokers: Brokers, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other-ca.pem")
    missing.environment |= {
        "OTA_BRIDGE__KAFKA__BOOTSTRAP_SERVERS": brokers.kafka.sasl_ssl_bootstrap_servers,
        "OTA_BRIDGE__KAFKA__SECURITY": "sasl_ssl",
        "OTA_BRIDGE__KAFKA__SASL_MECHANISM": "PLAIN",
        "OTA_BRIDGE__KAFKA__USERNAME": brokers.kafka.username,
        "OTA_BRIDGE__KAFKA__CA_FILE": str(brokers.ca_file),
        "OTA_BRIDGE__KAFKA__PASSWORD": "a-wrong-password",
    }
    code, _, complaint = await missing.run("topics", "check")
    assert (code, complaint.count("\n")) == (3, 1)
    assert "refuses (" in complaint
    assert "Authentication" in complaint
    assert "a-wrong-password" not in complaint

    missing.environment |= {
        "OTA_BRIDGE__KAFKA__PASSWORD": brokers.kafka.password,
        "OTA_BRIDGE__KAFKA__CA_FILE": str(tmp_path / "other-ca.pem"),
    }
    code, _, complaint = await missing.run("topics", "check")
    assert (code, complaint.count("\n")) == (4, 1)
    assert "an authority not trusted here" in complaint
    assert "kafka.ca_file" in complaint


async def test_topics_can_be_made_before_the_bridge_runs(missing: Topics) -> None:
    code, _, complaint = await missing.run("topics", "check")
    assert code == 2
    assert topic_name(missing.settings.prefix, "upgrade-state") in complaint

    code, (created,), _ = await missing.run("topics", "create")
    assert code == 0
    assert all(report["created"] for report in created)

    code, (found,), _ = await missing.run("topics", "check")
    assert code == 0
    assert not any(report["created"] for report in found)


@pytest.mark.parametrize("arguments", [["events", "--no-follow"], ["state", "device"]], ids=lambda a: a[0])
async def test_reading_a_missing_topic_does_not_create_it(missing: Topics, arguments: list[str]) -> None:
    code, _, complaint = await missing.run(*arguments)

    assert code == 5
    assert "ota-bridge topics create" in complaint
    admin = AdminClient({"bootstrap.servers": missing.settings.bootstrap_servers})
    topics = await asyncio.to_thread(admin.list_topics, timeout=10)
    assert not any(topic.startswith(missing.settings.prefix) for topic in topics.topics)
