"""`ota-bridge replay` on a real broker, beside a fold that wrote what it compares with."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import KafkaError
from confluent_kafka import Message

from bridge.cli import run_command
from bridge.fold import batch
from bridge.fold.device import Device
from bridge.fold.policy import Policy
from bridge.fold.rules import Folded, TimerFired, fold
from bridge.kafka.clients import producer_arguments
from bridge.kafka.settings import KafkaSettings
from deploy.sandbox.brokers import Brokers
from schemas import Observation
from tests.benchmarks.fold.campaign import campaign
from tests.benchmarks.fold.load import fill
from tests.integration.fold_stage import fold_settings, folding
from tests.integration.fold_topics import produce, pushed, read
from tests.restored_logging import restored_logging

EXECUTABLE = Path(sys.executable).with_name("ota-bridge")
DEVICES = 60


class House:
    """A prefix of its own, a fold that may run on it, and the command."""

    def __init__(self, settings: KafkaSettings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        (folder / "key.txt").write_text("a-very-secret-access-key-of-32-c")

    def config(self, policy: str = "") -> Path:
        """Write a configuration with this `[policy]`."""
        file = self.folder / "ota-bridge.toml"
        file.write_text(
            f"[kafka]\nbootstrap_servers = '{self.settings.bootstrap_servers}'\nprefix = '{self.settings.prefix}'\n"
            # The topics' own count is what places a device's records, whatever stands here.
            f"partitions = 7\n[policy]\n{policy}\n"
            "[accounts.home]\ncloud = 'tuya-cloud'\naccess_id = 'id'\naccess_key_file = 'key.txt'\n"
            "api.url = 'https://localhost:1'\n"
        )
        return file

    async def replay(self, *arguments: str, policy: str = "") -> tuple[int | None, list[dict[str, Any]], str]:
        """Run the command; return exit code, its JSON lines, and what it complained."""
        process = await asyncio.create_subprocess_exec(
            EXECUTABLE,
            "replay",
            *arguments,
            "-c",
            self.config(policy),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ,
        )
        out, complaint = await process.communicate()
        print(out.decode(), complaint.decode())
        return process.returncode, [json.loads(line) for line in out.splitlines()], complaint.decode()

    async def tell_campaign(self) -> int:
        """Produce what a campaign of an hour ago told; return how many observations that are."""
        told = campaign(DEVICES, time.time_ns() // 1_000_000 - 3_600_000, started_per_s=33.0)
        records = [(key, value, []) for key, value in told]
        return await asyncio.to_thread(fill, self.settings, "observations", records)


@pytest.fixture
async def house(brokers: Brokers, kafka_prefix: str, tmp_path: Path) -> House:
    return House(await fold_settings(brokers, kafka_prefix), tmp_path)


async def test_a_campaign_folded_again_is_as_published_also_while_the_bridge_runs(house: House) -> None:
    async with folding(house.settings):
        count = await house.tell_campaign()
        await read(house.settings, "upgrade-events", 16 * DEVICES)
        while_running = await house.replay()
    stopped = await house.replay()

    for code, (summary,), complaint in (while_running, stopped):
        assert (code, complaint) == (0, "")
        assert (summary["observations"], summary["compared"], summary["same"]) == (count, DEVICES, DEVICES)
        assert summary["groups"] == []


async def test_another_policy_differs_where_it_must_and_nowhere_else(house: House) -> None:
    # Half of them wait in the middle of their download, for longer than a timer may be late.
    upgrades = [
        pushed(f"{pace}-{number}", at, status)
        for pace, at_s in (("quick", (1, 2, 4)), ("slow", (1, 2, 100)))
        for at, status in zip(at_s, ("pending", "downloading", "installing"), strict=True)
        for number in range(10)
    ]
    async with folding(house.settings):
        await produce(house.settings, upgrades)
        await read(house.settings, "upgrade-events", 60)

    code, lines, _ = await house.replay("--limit", "100", policy="downloading_stall_s = 10.0")
    *differing, summary = lines
    unchanged, _, _ = await house.replay()

    assert (code, unchanged) == (5, 0)
    assert {line["device_id"] for line in differing} == {f"slow-{number}" for number in range(10)}
    assert (summary["by_rules"], summary["same"], summary["by_timers"]) == (10, 10, 0)
    (group,) = summary["groups"]
    assert (group["cause"], group["fields"], group["devices"]) == ("rules", ["revision"], 10)
    assert group["parting"] == {
        "at": "timer",
        "published": "status_changed installing",
        "replayed": "stalled downloading (timer)",
    }
    assert [each["replayed"] - each["published"] for each in differing[0]["differences"]] == [2]


def without_order(device: Device | None, given: Observation | TimerFired, policy: Policy) -> Folded:
    """A changed rule: what comes after `downloading` is taken for nothing."""
    if isinstance(given, Observation) and given.status == "installing" and "odd" in given.device_id:
        return Folded(device, counts=("ignored",))
    return fold(device, given, policy)


async def test_a_rule_that_changed_is_found_with_its_devices_and_its_input(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{'odd' if number % 4 == 0 else 'plain'}-{number}" for number in range(40)]
    async with folding(house.settings):
        await produce(
            house.settings,
            [
                pushed(name, step, status)
                for step, status in enumerate(("pending", "downloading", "installing"), start=1)
                for name in names
            ],
        )
        await read(house.settings, "upgrade-events", 120)
    monkeypatch.setattr(batch, "fold", without_order)

    command = ["replay", "-c", str(house.config()), "--limit", "100"]
    capsys.readouterr()
    with restored_logging():
        code = await asyncio.to_thread(run_command, [*command, "--json"])
        *differing, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        await asyncio.to_thread(run_command, [*command, "--no-json"])
        text = capsys.readouterr().out

    assert code == 5
    assert {line["device_id"] for line in differing} == {name for name in names if "odd" in name}
    assert (summary["by_rules"], summary["same"]) == (10, 30)
    (group,) = summary["groups"]
    assert (group["published"], group["replayed"]) == ("installing", "downloading")
    assert group["parting"] == {"at": "push status installing", "published": "status_changed installing"}
    assert all(line["counts"] == ["ignored"] for line in differing)
    assert "Different: 10 devices" in text
    assert "first at push status installing: published status_changed installing, replayed nothing" in text


async def test_a_second_set_has_the_same_states_and_events(house: House) -> None:
    async with folding(house.settings):
        await house.tell_campaign()
        await read(house.settings, "upgrade-events", 16 * DEVICES)
    other = f"{house.settings.prefix}-second"

    code, (summary,), complaint = await house.replay("--to-prefix", other)

    assert (code, complaint) == (0, "")
    assert set(summary["written"]) == {f"{other}.upgrade-state.v1", f"{other}.upgrade-events.v1"}
    second = msgspec.structs.replace(house.settings, prefix=other)
    published = await read(house.settings, "upgrade-state", 0)
    replayed = await read(second, "upgrade-state", 0)
    assert latest(replayed) == latest(published)
    assert len(latest(replayed)) == DEVICES
    assert places(replayed) == places(published)
    published = await read(house.settings, "upgrade-events", 0)
    replayed = await read(second, "upgrade-events", 0)
    assert by_device(replayed) == by_device(published)
    assert summary["written"][f"{other}.upgrade-events.v1"] == len(replayed)


def latest(messages: list[Message]) -> dict[bytes, Any]:
    """The latest state of each device, without the time at which it was written."""
    states = {message.key() or b"": json.loads(message.value() or b"") for message in messages}
    for state in states.values():
        del state["updated_at_ms"]
    return states


def by_device(messages: list[Message]) -> dict[bytes, list[Any]]:
    events = defaultdict(list)
    for message in messages:
        events[message.key() or b""].append((message.headers(), message.value(), message.timestamp()[1]))
    return events


def places(messages: list[Message]) -> dict[bytes, int]:
    return {message.key() or b"": message.partition() or 0 for message in messages}


async def test_a_second_set_is_written_only_where_nobody_has_written(house: House) -> None:
    async with folding(house.settings):
        await produce(house.settings, [pushed("d", 1, "downloading")])
        await read(house.settings, "upgrade-events", 1)
    other = f"{house.settings.prefix}-second"
    first, _, _ = await house.replay("--to-prefix", other)
    before = await read(house.settings, "upgrade-events", 0)

    for prefix, told in (
        (other, "has been written to"),
        (house.settings.prefix, "is the bridge's own prefix"),
        ("no prefix", "cannot begin a topic's name"),
    ):
        code, lines, complaint = await house.replay("--to-prefix", prefix)
        assert (code, lines) == (2, [])
        assert told in complaint

    assert first == 0
    assert len(await read(house.settings, "upgrade-events", 0)) == len(before)


async def test_devices_from_before_the_topics_beginning_are_counted(house: House) -> None:
    names = [f"device-{number}" for number in range(20)]
    async with folding(house.settings):
        await produce(house.settings, [pushed(name, 1, "pending") for name in names])
        await read(house.settings, "upgrade-events", 20)
        await delete_observations(house.settings)
        await produce(
            house.settings,
            [
                pushed(name, at_s, "downloading")
                for name, at_s in [
                    *((name, 10) for name in names[:10]),
                    *((f"new-{n}", 20) for n in range(5)),
                ]
            ],
        )
        await read(house.settings, "upgrade-events", 35)

    code, (summary,), _ = await house.replay()
    old, _, complaint = await house.replay("--device", "device-0")
    new, _, _ = await house.replay("--device", "new-0")
    nobody, _, stranger = await house.replay("--device", "nobody")

    assert code == 0
    assert (summary["compared"], summary["same"], summary["began_earlier"]) == (5, 5, 20)
    assert (old, new, nobody) == (5, 0, 5)
    assert "could be compared" in complaint
    assert "neither the states nor the observations know 1" in stranger


async def delete_observations(settings: KafkaSettings) -> None:
    """Delete all there are, as the retention does."""
    topic = f"{settings.prefix}.observations.v1"
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(topic, number): RecordsToDelete(-1) for number in range(settings.partitions)}
        )
    finally:
        await admin.close()


async def test_states_of_a_transaction_under_way_are_waited_for(house: House) -> None:
    async with folding(house.settings):
        await produce(house.settings, [pushed("d", 1, "downloading")])
        await read(house.settings, "upgrade-events", 1)
    arguments = producer_arguments(house.settings, transactional_id=f"{house.settings.prefix}-test")
    async with AIOKafkaProducer(**arguments) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(f"{house.settings.prefix}.upgrade-state.v1", b"{}", key=b"d")
        replaying = asyncio.create_task(house.replay())
        done, _ = await asyncio.wait([replaying], timeout=6)
        assert not done
        await producer.abort_transaction()
    code, (summary,), _ = await replaying

    assert (code, summary["same"]) == (0, 1)


async def test_what_the_broker_keeps_of_transactions_that_were_not_committed_counts_for_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = iter([True, False, True, True] + [False] * 10_000)
    commit = AIOKafkaProducer.commit_transaction

    async def die_or_commit(producer: AIOKafkaProducer) -> None:
        if next(deaths):
            raise KafkaError
        await commit(producer)

    monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", die_or_commit)
    async with folding(house.settings):
        await house.tell_campaign()
        await read(house.settings, "upgrade-events", 16 * DEVICES)

    code, (summary,), _ = await house.replay()

    assert (code, summary["same"]) == (0, DEVICES)
