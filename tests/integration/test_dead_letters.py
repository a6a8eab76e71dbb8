"""`ota-bridge dead-letters` on a real broker: listed, shown, and replayed as hints that the fold will ask by."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from bridge.kafka.clients import producer_arguments
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics, partition_of, topic_name
from bridge.kafka.writer import KafkaWriter
from consumer.secret import Secret
from consumer.sink import OutgoingRecord
from consumer.statistics import Counters
from consumer.translation import Translator
from deploy.sandbox.brokers import Brokers
from schemas import DeadLetter, Observation, ObservedEvidence
from tests.gateway_messages import ACCESS_KEY, Received, account, sealed, translated, upgrade_status
from tests.integration.fold_topics import STARTED_AT_MS, read

EXECUTABLE = Path(sys.executable).with_name("ota-bridge")
NEW_KEY = "newAccessKeytesttesttesttesttest"
BEGAN_AT_MS = STARTED_AT_MS
"""Kafka deletes records that are older than the topic keeps them, whenever it looks."""


def by_wrong_key(number: int, device: str) -> OutgoingRecord:
    """The dead letter of a message that came while only another key was configured."""
    payload = sealed(upgrade_status(device, "3"), key=NEW_KEY)
    then = msgspec.structs.replace(account(), access_key=Secret(ACCESS_KEY))
    received = Received(payload, at=(7, number, -1))
    (record,) = translated(Translator(then, Counters()), received, at_ms=BEGAN_AT_MS + number)
    return record


def as_record(letter: DeadLetter) -> OutgoingRecord:
    return OutgoingRecord(
        "dead-letters", letter.source_position.encode(), msgspec.json.encode(letter), letter.received_at_ms
    )


def of_the_fold(device: str) -> OutgoingRecord:
    seen = Observation(
        device_id=device,
        cloud="tuya-cloud",
        account="tuya-test",
        kind="status",
        status="failed",
        observed_at_ms=BEGAN_AT_MS,
        evidence=ObservedEvidence(origin="push", name="upgradeStatus"),
    )
    payload = msgspec.json.encode(seen)
    return as_record(letter("internal_error", "observations/1:5", payload, len(payload)))


def letter(reason: str, position: str, payload: bytes, payload_bytes: int) -> DeadLetter:
    return DeadLetter(
        reason=reason,
        detail="for the test",
        source_position=position,
        account="tuya-test",
        received_at_ms=BEGAN_AT_MS + 100,
        payload=payload,
        payload_bytes=payload_bytes,
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        properties={"em": "aes_gcm"},
    )


class House:
    """Topics with dead letters, and a configuration that knows the new key."""

    def __init__(self, settings: KafkaSettings, folder: Path) -> None:
        self.settings = settings
        self.config = folder / "ota-bridge.toml"
        (folder / "key.txt").write_text(NEW_KEY)
        self.config.write_text(
            f"[kafka]\nbootstrap_servers = '{settings.bootstrap_servers}'\nprefix = '{settings.prefix}'\n"
            # The topic's own count is what places a device's records, whatever stands here.
            "partitions = 7\n"
            "[accounts.tuya-test]\ncloud = 'tuya-cloud'\naccess_id = 'id'\naccess_key_file = 'key.txt'\n"
            "gateway.url = 'pulsar+ssl://localhost:1'\ngateway.subscription = 's'\napi.url = 'https://localhost:1'\n"
        )

    async def run(self, *arguments: str) -> tuple[int | None, list[dict[str, Any]], str]:
        """Run a command; return exit code, its JSON lines, and what it complained."""
        process = await asyncio.create_subprocess_exec(
            EXECUTABLE,
            "dead-letters",
            *arguments,
            "-c",
            self.config,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ,
        )
        out, complaint = await process.communicate()
        print(complaint.decode())
        assert NEW_KEY.encode() not in out + complaint
        return process.returncode, [json.loads(line) for line in out.splitlines()], complaint.decode()

    async def hints(self, count: int) -> dict[str, dict[str, Any]]:
        """By device, the observations that a replay wrote; each stands where the fold expects it."""
        found = {}
        for message in await read(self.settings, "observations", count):
            seen = json.loads(message.value() or b"")
            assert message.partition() == partition_of(seen["device_id"].encode(), self.settings.partitions)
            assert seen["device_id"] not in found
            found[seen["device_id"]] = seen
        return found


@pytest.fixture
async def house(brokers: Brokers, kafka_prefix: str, tmp_path: Path) -> House:
    settings = KafkaSettings(
        bootstrap_servers=brokers.kafka.bootstrap_servers, prefix=kafka_prefix, partitions=4
    )
    await ensure_topics(settings)
    async with KafkaWriter(settings) as writer:
        await writer.write(
            [
                *(by_wrong_key(number, f"d{number % 3}") for number in range(10)),
                of_the_fold("folded"),
                as_record(letter("too_large", "tuya-test/event/3:9:1:-1", b"x" * 10, 2_000_000)),
                as_record(letter("malformed_envelope", "tuya-test/event/3:9:2:-1", b"not json", 8)),
            ]
        )
    return House(settings, tmp_path)


async def test_list_counts_all_and_shows_the_latest_that_were_committed(house: House) -> None:
    arguments = producer_arguments(house.settings, transactional_id=f"{house.settings.prefix}-test")
    async with AIOKafkaProducer(**arguments) as producer:
        await producer.begin_transaction()
        aborted = by_wrong_key(99, "never")
        topic = topic_name(house.settings.prefix, "dead-letters")
        await producer.send(topic, value=aborted.value, key=aborted.key)
        await producer.abort_transaction()

    code, lines, complaint = await house.run("list", "--limit", "5")

    assert (code, complaint) == (0, "")
    *listed, summary = lines
    assert summary["by_reason"] == {
        "bad_signature": 10,
        "internal_error": 1,
        "too_large": 1,
        "malformed_envelope": 1,
    }
    assert summary["remedies"].keys() == summary["by_reason"].keys()
    assert (summary["matching"], summary["listed"]) == (13, 5)
    assert [entry["received_at_ms"] - BEGAN_AT_MS for entry in listed] == [8, 9, 100, 100, 100]
    assert {entry["source_position"] for entry in listed if entry["is_cut"]} == {"tuya-test/event/3:9:1:-1"}
    assert not any("payload" in entry for entry in listed)


async def test_list_takes_those_of_a_reason_an_account_and_a_time(house: House) -> None:
    since = ("--since", datetime.fromtimestamp((BEGAN_AT_MS + 5) / 1000, UTC).isoformat())

    for options, count in (
        (("--reason", "bad_signature"), 10),
        (("--reason", "bad_signature", "--reason", "too_large"), 11),
        (("--account", "tuya-test"), 13),
        (since, 8),
        (("--reason", "bad_signature", *since), 5),
    ):
        _, lines, _ = await house.run("list", *options)
        assert lines[-1]["matching"] == count, options


async def test_a_reason_or_account_that_does_not_exist_is_told_what_does(house: House) -> None:
    for command in (["list"], ["replay", "--yes"]):
        code, lines, complaint = await house.run(*command, "--reason", "nonsense")
        assert (code, lines) == (2, [])
        assert "--reason nonsense does not exist. Known: bad_signature" in complaint

    code, (summary,), complaint = await house.run("list", "--reason", "duplicate_key")
    assert (code, summary["matching"]) == (0, 0)
    assert "There are: bad_signature 10" in complaint

    code, _, complaint = await house.run("list", "--account", "nobody")
    assert (code, "Known: tuya-test" in complaint) == (2, True)


async def test_show_gives_the_record_that_decrypt_takes(house: House) -> None:
    code, (record,), _ = await house.run("show", "tuya-test/event/3:7:4:-1")

    assert code == 0
    assert record["reason"] == "bad_signature"
    process = await asyncio.create_subprocess_exec(
        EXECUTABLE,
        "decrypt",
        "-c",
        house.config,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(json.dumps(record).encode())
    assert process.returncode == 0
    told = json.loads(out)
    assert (told["body"]["devId"], told["signature"]["account"]) == ("d1", "tuya-test")

    code, lines, complaint = await house.run("show", "tuya-test/event/3:1:1:-1")
    assert (code, lines) == (5, [])
    assert "There is no dead letter tuya-test/event/3:1:1:-1" in complaint


async def test_replay_of_all_writes_one_hint_per_device_and_leaves_the_rest(house: House) -> None:
    code, (report,), complaint = await house.run("replay", "--all", "--yes")

    assert (code, complaint) == (0, "")
    assert (report["letters"], report["devices"], report["hints_written"]) == (13, 4, 4)
    assert report["left"] == {"cut": 1, "malformed_envelope": 1}
    assert {left["source_position"] for left in report["left_letters"]} == {
        "tuya-test/event/3:9:1:-1",
        "tuya-test/event/3:9:2:-1",
    }
    hints = await house.hints(4)
    assert set(hints) == {"d0", "d1", "d2", "folded"}
    for hint in hints.values():
        assert (hint["kind"], hint["account"], hint["evidence"]["origin"]) == ("hint", "tuya-test", "bridge")
        assert "status" not in hint
        assert "position" not in hint["evidence"]
        assert hint["vendor_time_at_ms"] <= BEGAN_AT_MS < hint["observed_at_ms"]
    assert hints["folded"]["evidence"]["raw"] == {"dead_letter": "observations/1:5"}


async def test_replay_of_one_and_of_a_reason_take_only_those(house: House) -> None:
    _, (one,), _ = await house.run("replay", "tuya-test/event/3:7:4:-1", "--yes")
    assert (one["letters"], one["hints_written"]) == (1, 1)
    assert set(await house.hints(1)) == {"d1"}

    _, (some,), _ = await house.run("replay", "--reason", "internal_error", "--yes")
    assert (some["letters"], some["hints_written"]) == (1, 1)
    assert set(await house.hints(2)) == {"d1", "folded"}


async def test_replay_writes_nothing_unasked_and_tells_what_cannot_be_replayed(house: House) -> None:
    for arguments, expected, told in (
        (["--all"], 2, "4 hints would be written"),
        (["tuya-test/event/3:9:1:-1", "--yes"], 5, "only 10 of its 2000000 bytes were kept"),
        (["tuya-test/event/3:9:2:-1", "--yes"], 5, "malformed_envelope: not JSON"),
        (["tuya-test/event/3:1:1:-1", "--yes"], 5, "There is no dead letter"),
    ):
        code, lines, complaint = await house.run("replay", *arguments)
        assert (code, lines) == (expected, []), arguments
        assert told in complaint
    assert await house.hints(0) == {}


async def test_replay_stops_at_its_limit_and_says_so(house: House) -> None:
    _, (report,), _ = await house.run("replay", "--all", "--limit", "2", "--yes")

    assert (report["letters"], report["limit_reached"]) == (2, True)
