"""Stage one on the real brokers: everything pushed arrives, in order, and bad input costs nothing but itself."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import trustme
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics
from bridge.kafka.writer import KafkaWriter
from consumer.errors import NoAccountLeft
from consumer.secret import Secret
from consumer.settings import GatewayAccount
from consumer.sink import OutgoingRecord
from deploy.sandbox.brokers import Brokers
from tests.gateway_messages import backlog_notice, compact, envelope, sealed, upgrade_status
from tests.integration.fold_topics import read, until
from tests.integration.gateway_house import Platform, RunningIngest, records, statuses

DEVICES = [f"bf{number:018d}" for number in range(40)]


@pytest.fixture
async def settings(brokers: Brokers, kafka_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(
        bootstrap_servers=brokers.kafka.bootstrap_servers, prefix=kafka_prefix, partitions=4
    )
    await ensure_topics(settings)
    return settings


@pytest.fixture
def platform(brokers: Brokers, gateway_account: GatewayAccount) -> Iterator[Platform]:
    platform = Platform(brokers, gateway_account)
    yield platform
    platform.close()


@pytest.fixture
async def writer(settings: KafkaSettings) -> AsyncIterator[KafkaWriter]:
    async with KafkaWriter(settings) as writer:
        yield writer


def _changed(account: GatewayAccount, **changes: object) -> GatewayAccount:
    """An account with other fields; those of its gateway table go there."""
    gateway = {key: changes.pop(key) for key in list(changes) if key in account.gateway.__struct_fields__}
    return msgspec.structs.replace(
        account, gateway=msgspec.structs.replace(account.gateway, **gateway), **changes
    )


async def test_every_status_arrives_in_the_order_of_its_device(
    settings: KafkaSettings, platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    running = RunningIngest([gateway_account], writer)
    for number in range(50):
        for device in DEVICES:
            platform.push_statuses(device, [number])
    platform.flush()
    await running.until_acknowledged(2000)

    assert await statuses(settings, 2000) == {device: list(range(50)) for device in DEVICES}
    account = running.account()
    assert account.state == "running"
    assert (account.received, account.acknowledged) == (2000, 2000)
    assert (account.unconfirmed_messages, account.unconfirmed_bytes) == (0, 0)
    assert account.oldest_unacknowledged_age_s is None
    assert (account.signatures, account.keys) == ({"all_fields": 2000}, {"current": 2000})
    await running.close()


async def test_data_point_reports_are_counted_and_done(
    platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    running = RunningIngest([gateway_account], writer)
    report = sealed({"devId": "d", "status": []}, key=gateway_account.access_key.reveal(), protocol=4)
    for number in range(500):
        platform.push(report, device=f"d{number}")
    platform.flush()
    await running.until_acknowledged(500)

    assert running.account().filtered == {"4": 500}
    assert running.account().observations == {}
    await running.close()


async def test_each_bad_message_is_one_dead_letter_and_no_good_one_suffers(
    settings: KafkaSettings, platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    key = gateway_account.access_key.reveal()
    good = envelope(upgrade_status("d"), key=key)
    bad: dict[str, tuple[bytes, str]] = {
        "too_large": (b"x" * (1024 * 1024 + 1), "aes_gcm"),
        "malformed_envelope": (b"\x00not json", "aes_gcm"),
        "duplicate_key": (compact(good)[:-1] + b',"t":1}', "aes_gcm"),
        "missing_signature": (compact({k: v for k, v in good.items() if k != "sign"}), "aes_gcm"),
        "bad_signature": (compact(good | {"t": 1}), "aes_gcm"),
        "unknown_encryption": (compact(good), "aes_xyz"),
        "undecryptable": (compact(good), "aes_ecb"),
        "malformed_body": (sealed(b"[]", key=key), "aes_gcm"),
        "unknown_shape": (sealed({"bizCode": "upgradeStatus"}, key=key), "aes_gcm"),
        "id_conflict": (sealed({**upgrade_status("inner"), "devId": "outer"}, key=key), "aes_gcm"),
    }
    running = RunningIngest([gateway_account], writer)
    for number, (payload, em) in enumerate(bad.values()):
        platform.push_statuses("good", [2 * number])
        platform.push(payload, device="good", em=em)
        platform.push_statuses("good", [2 * number + 1])
    platform.flush()
    await running.until_acknowledged(3 * len(bad))
    await running.close()

    letters = {letter["reason"]: letter for letter in await records(settings, "dead-letters", len(bad))}
    assert sorted(letters) == sorted(bad)
    for reason, (payload, em) in bad.items():
        assert base64.b64decode(letters[reason]["payload"]) == payload[: 256 * 1024]
        assert letters[reason]["payload_bytes"] == len(payload)
        assert letters[reason]["properties"]["em"] == em
        assert key not in json.dumps(letters[reason])
    assert await statuses(settings, 22) == {"good": list(range(20))}
    hints = [
        seen["device_id"] for seen in await records(settings, "observations", 22) if seen["kind"] == "hint"
    ]
    assert sorted(hints) == ["inner", "outer"]
    assert running.account().dead_letters == dict.fromkeys(bad, 1)


class Gate:
    """A sink that confirms nothing until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.taken: list[OutgoingRecord] = []

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        await self.opened.wait()
        self.taken += [record for record in records if record.topic != "ingest-progress"]
        return ()


async def test_nothing_is_acknowledged_before_it_was_confirmed(
    platform: Platform, gateway_account: GatewayAccount
) -> None:
    for device in DEVICES:
        platform.push_statuses(device, [1, 2])
    platform.flush()
    closed = RunningIngest([gateway_account], Gate(), close_deadline_s=1.0)
    await until(lambda: closed.account().received == 80)
    await asyncio.sleep(0.3)
    assert closed.account().acknowledged == 0
    assert closed.account().unconfirmed_messages == 80
    assert (closed.account().oldest_unacknowledged_age_s or 0) > 0
    await closed.close()

    gate = Gate()
    gate.opened.set()
    opened = RunningIngest([gateway_account], gate)
    await opened.until_acknowledged(80)
    await opened.close()
    assert len(gate.taken) == 80


async def test_the_pump_pauses_while_too_much_is_unconfirmed(
    platform: Platform, gateway_account: GatewayAccount
) -> None:
    for device in DEVICES:
        platform.push_statuses(device, range(50))
    platform.flush()
    gate = Gate()
    running = RunningIngest([_changed(gateway_account, max_unconfirmed_messages=300)], gate)
    await until(lambda: running.account().paused)
    await asyncio.sleep(0.3)
    # One more batch may have been received when the cap was reached.
    assert 300 <= running.account().received <= 1300
    gate.opened.set()
    await running.until_acknowledged(2000)
    assert not running.account().paused
    await running.close()


async def test_a_stop_sends_every_acknowledgement(
    platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    for device in DEVICES:
        platform.push_statuses(device, range(10))
    platform.flush()
    running = RunningIngest([gateway_account], writer)
    await running.until_acknowledged(400)
    await running.close()

    again = RunningIngest([gateway_account], writer)
    await until(lambda: again.account().state == "running")
    platform.push_statuses("last", [0])
    platform.flush()
    await again.until_acknowledged(1)
    await again.close()
    assert again.account().received == 1


async def test_a_message_that_kafka_refuses_as_too_large_becomes_a_dead_letter(
    settings: KafkaSettings, platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    await _take_at_most(settings, 8000)
    key = gateway_account.access_key.reveal()
    running = RunningIngest([gateway_account], writer)
    platform.push_statuses("d", range(5))
    platform.push(sealed(upgrade_status("d", description=secrets.token_hex(20_000)), key=key), device="d")
    platform.push_statuses("d", range(5, 10))
    platform.flush()
    await running.until_acknowledged(11)
    await running.close()

    (letter,) = await records(settings, "dead-letters", 1)
    assert letter["reason"] == "too_large"
    assert letter["payload_bytes"] > 40_000
    assert await statuses(settings, 10) == {"d": list(range(10))}


async def test_a_topic_that_takes_small_batches_only_is_written_in_such_batches(
    settings: KafkaSettings, writer: KafkaWriter
) -> None:
    await _take_at_most(settings, 16_000)
    # Of now: what is older than the topic keeps, Kafka drops at its next look.
    now_ms = time.time_ns() // 1_000_000
    large = OutgoingRecord("observations", b"d", secrets.token_hex(20_000).encode(), now_ms)
    # The broker confirms a setting before it holds.
    await until(lambda: _is_refused(writer, large))
    values = [f"{number:04}{secrets.token_hex(300)}".encode() for number in range(2000)]
    records = [OutgoingRecord("observations", b"d", value, now_ms) for value in values]

    assert await writer.write(records) == []
    learned = writer.statistics()
    assert await writer.write(records) == []
    then = writer.statistics()

    # 600 bytes each: half of what the topic takes is a dozen of them.
    assert then.batches - learned.batches <= 2000 / 12
    assert (then.producers, then.problem) == (learned.producers, None)
    written = [message.value() or b"" for message in await read(settings, "observations", 4000)]
    assert [int(value[:4]) for value in written if value != large.value] == [*range(2000)] * 2


async def _is_refused(writer: KafkaWriter, record: OutgoingRecord) -> bool:
    return await writer.write([record]) == [0]


async def _take_at_most(settings: KafkaSettings, size_bytes: int) -> None:
    """Let the topics refuse batches above this size."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    for topic in ("observations", "dead-letters"):
        name = f"{settings.prefix}.{topic}.v1"
        changed = {"max.message.bytes": str(size_bytes)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, changed)])
    await admin.close()


async def test_progress_is_written_for_every_source_partition_also_without_messages(
    settings: KafkaSettings, platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    began_at_ms = time.time_ns() // 1_000_000
    # Each three seconds: reading below ends with a second in which nothing came.
    running = RunningIngest([_changed(gateway_account, retention_margin_s=30.0)], writer)
    platform.push_statuses("d", [1])
    platform.flush()
    await running.until_acknowledged(1)
    progress = {}
    for entry in await records(settings, "ingest-progress", 11):
        progress[entry["source_partition"]] = entry
    await running.close()

    assert set(progress) == {f"event/{number}" for number in range(11)}
    assert sum("position" in entry for entry in progress.values()) == 1
    assert all(
        began_at_ms - 1000 <= entry["alive_at_ms"] <= time.time_ns() // 1_000_000
        for entry in progress.values()
    )


async def test_several_topics_of_an_account_are_read_together_and_a_backlog_alert_is_shown(
    brokers: Brokers, settings: KafkaSettings, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    account = _changed(
        gateway_account, access_id=secrets.token_hex(10), topics=("event", "event-test", "notice")
    )
    account = _changed(account, subscription=f"{account.access_id}-sub")
    key = account.access_key.reveal()
    await brokers.pulsar.create_account(account.access_id, key, topics=account.gateway.topics)
    platform = Platform(brokers, account)
    running = RunningIngest([account], writer)
    for topic in account.gateway.topics:
        platform.push(
            sealed(upgrade_status(f"of-{topic}", description="1"), key=key), device="d", topic=topic
        )
    alert = backlog_notice(subscription=account.gateway.subscription, backLogNum=2345)
    platform.push(sealed(alert, key=key, protocol=10000), topic="notice")
    platform.flush()
    await running.until_acknowledged(4)
    told = running.account()
    await running.close()
    platform.close()

    assert (told.source_partitions, told.notices) == (3, {"pulsar_backlog_notice": 1})
    assert told.backlog_alert is not None
    assert (told.backlog_alert.backlog_messages, told.backlog_alert.own_subscription) == (2345, True)

    seen = await records(settings, "observations", 3)
    partitions = {entry["device_id"]: entry["evidence"]["position"]["partition"] for entry in seen}
    assert partitions.pop("of-event").startswith("event/")
    assert partitions == {"of-event-test": "event-test", "of-notice": "notice"}


async def test_the_previous_key_is_read_while_a_key_is_rotated(
    platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    old = secrets.token_hex(16)
    running = RunningIngest([_changed(gateway_account, previous_access_key=Secret(old))], writer)
    platform.push(sealed(upgrade_status("d", description="1"), key=old))
    platform.push(sealed(upgrade_status("d", description="2"), key=gateway_account.access_key.reveal()))
    platform.flush()
    await running.until_acknowledged(2)
    assert running.account().keys == {"previous": 1, "current": 1}
    await running.close()


async def test_refused_accounts_stop_with_one_clear_message_each_and_the_others_go_on(
    brokers: Brokers, platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    other_id = secrets.token_hex(10)
    await brokers.pulsar.create_account(other_id, secrets.token_hex(16))
    wrong = secrets.token_hex(16)
    refused = {
        "wrong-key": _changed(gateway_account, name="wrong-key", access_key=Secret(wrong)),
        "no-subscription": _changed(gateway_account, name="no-subscription", subscription="nobody-made-this"),
        "not-ours": _changed(gateway_account, name="not-ours", topics=(f"{other_id}/out/event",)),
    }
    running = RunningIngest([*refused.values(), gateway_account], writer)
    began = time.monotonic()
    await until(lambda: all(running.account(name).state == "stopped" for name in refused))
    assert time.monotonic() - began < 15.0

    told = {name: running.account(name).message or "" for name in refused}
    where = brokers.pulsar.tls_url.removeprefix("pulsar+ssl://")
    assert all(where in message for message in told.values())
    assert f"refuses the access key of {gateway_account.access_id}" in told["wrong-key"]
    assert "accounts.wrong-key.access_key_file" in told["wrong-key"]
    assert "accounts.no-subscription.gateway.subscription" in told["no-subscription"]
    assert "accounts.not-ours.gateway.topics" in told["not-ours"]
    assert "no subscription nobody-made-this" in told["no-subscription"]
    assert f"does not let {gateway_account.access_id} read persistent://{other_id}" in told["not-ours"]
    assert not any(
        key in message for message in told.values() for key in (wrong, gateway_account.access_key.reveal())
    )
    platform.push_statuses("d", [1])
    platform.flush()
    await running.until_acknowledged(1)
    await running.close()


async def test_with_no_account_left_the_stage_says_so(
    gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    running = RunningIngest([_changed(gateway_account, access_key=Secret(secrets.token_hex(16)))], writer)
    async with asyncio.timeout(15):
        with pytest.raises(NoAccountLeft, match=gateway_account.name):
            await running.task


async def test_a_gateway_that_is_not_trusted_is_told_and_never_talked_to(
    platform: Platform, gateway_account: GatewayAccount, writer: KafkaWriter, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    nobody = "pulsar+ssl://localhost:1"
    accounts = {
        "wrong-ca": _changed(gateway_account, name="wrong-ca", ca_file=str(stranger)),
        "system-ca": _changed(gateway_account, name="system-ca", ca_file=None),
        "nobody": _changed(gateway_account, name="nobody", url=nobody),
    }
    platform.push_statuses("d", [1])
    platform.flush()
    running = RunningIngest([*accounts.values()], writer)
    await until(lambda: all(running.account(name).message for name in accounts))

    for name in ("wrong-ca", "system-ca"):
        assert "an authority not trusted here" in (running.account(name).message or "")
    assert "cannot be reached" in (running.account("nobody").message or "")
    assert {running.account(name).state for name in accounts} == {"connecting"}
    assert sum(running.account(name).received for name in accounts) == 0
    await running.close()


async def _started(arguments: list[str]) -> asyncio.subprocess.Process:
    script = Path(__file__).with_name("ingest_process.py")
    root = script.parents[2]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(script), *arguments),
        stdout=subprocess.PIPE,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )


async def _acknowledging(process: asyncio.subprocess.Process, at_least: int) -> None:
    """Return when the process says that it has acknowledged this many."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while int(await process.stdout.readline() or b"0") < at_least:
            assert process.returncode is None


@pytest.fixture
def process_arguments(
    brokers: Brokers, settings: KafkaSettings, gateway_account: GatewayAccount, tmp_path: Path
) -> list[str]:
    key_file = tmp_path / "key"
    key_file.write_text(gateway_account.access_key.reveal())
    return [
        settings.bootstrap_servers,
        settings.prefix,
        gateway_account.access_id,
        str(key_file),
        gateway_account.gateway.url,
        str(brokers.ca_file),
    ]


async def test_killing_the_process_loses_nothing(
    settings: KafkaSettings, platform: Platform, process_arguments: list[str]
) -> None:
    pushing = asyncio.create_task(_push_for_a_while(platform, rounds=60))
    for _ in range(3):
        process = await _started(process_arguments)
        await _acknowledging(process, 100)
        process.kill()
        await process.wait()
    process = await _started(process_arguments)
    await pushing
    platform.flush()
    await until(lambda: _all_there(settings, rounds=60))
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0

    for device, numbers in (await statuses(settings, 2400)).items():
        assert _without_repeats(numbers) == list(range(60)), device


async def test_a_terminated_process_leaves_nothing_unacknowledged(
    platform: Platform, gateway_account: GatewayAccount, process_arguments: list[str], writer: KafkaWriter
) -> None:
    for device in DEVICES:
        platform.push_statuses(device, range(5))
    platform.flush()
    process = await _started(process_arguments)
    await _acknowledging(process, 200)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0

    running = RunningIngest([gateway_account], writer)
    await until(lambda: running.account().state == "running")
    platform.push_statuses("last", [0])
    platform.flush()
    await running.until_acknowledged(1)
    await running.close()
    assert running.account().received == 1


async def _push_for_a_while(platform: Platform, *, rounds: int) -> None:
    for number in range(rounds):
        for device in DEVICES:
            platform.push_statuses(device, [number])
        await asyncio.sleep(0.1)


async def _all_there(settings: KafkaSettings, *, rounds: int) -> bool:
    told = await statuses(settings, 1)
    return all(rounds - 1 in told.get(device, []) for device in DEVICES)


def _without_repeats(numbers: Sequence[int]) -> list[int]:
    """Drop what came again; a redelivery repeats a stretch of the past, in order."""
    kept: list[int] = []
    for number in numbers:
        if not kept or number > kept[-1]:
            kept.append(number)
    return kept


@pytest.mark.restarts_brokers
async def test_kafka_may_be_away_and_nothing_is_lost_or_acknowledged_meanwhile(
    brokers: Brokers,
    settings: KafkaSettings,
    platform: Platform,
    gateway_account: GatewayAccount,
    writer: KafkaWriter,
) -> None:
    running = RunningIngest([gateway_account], writer)
    platform.push_statuses("before", range(10))
    platform.flush()
    await running.until_acknowledged(10)

    away = asyncio.create_task(brokers.kafka.down(8))
    await asyncio.sleep(1)
    for device in DEVICES:
        platform.push_statuses(device, range(20))
    platform.flush()
    await until(lambda: running.account().received == 810)
    assert running.account().acknowledged == 10
    await until(lambda: writer.statistics().problem is not None)
    assert running.account().state == "running"
    await away

    await running.until_acknowledged(810)
    told = await statuses(settings, 810)
    assert all(_without_repeats(told[device]) == list(range(20)) for device in DEVICES)
    assert writer.statistics().problem is None
    await running.close()


@pytest.mark.restarts_brokers
async def test_a_gateway_that_restarts_is_connected_again_and_nothing_is_lost(
    brokers: Brokers,
    settings: KafkaSettings,
    platform: Platform,
    gateway_account: GatewayAccount,
    writer: KafkaWriter,
) -> None:
    running = RunningIngest([gateway_account], writer)
    for device in DEVICES:
        platform.push_statuses(device, range(10))
    platform.flush()
    await until(lambda: running.account().received > 0)

    await brokers.pulsar.restart()
    for device in DEVICES:
        platform.push_statuses(device, range(10, 20))
    platform.flush()

    await until(lambda: running.account().state == "running")
    await running.until_acknowledged(800, within_s=60.0)
    await until(lambda: _all_there(settings, rounds=20))
    told = await statuses(settings, 800)
    assert all(_without_repeats(told[device]) == list(range(20)) for device in DEVICES)
    await running.close()


@pytest.mark.restarts_brokers
async def test_a_stop_ends_by_its_deadline_though_the_gateway_hangs(
    brokers: Brokers, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    running = RunningIngest([gateway_account], writer, close_deadline_s=2.0)
    await until(lambda: running.account().state == "running")
    brokers.pulsar.pause()
    try:
        async with asyncio.timeout(10):
            await running.close()
    finally:
        brokers.pulsar.proceed()
