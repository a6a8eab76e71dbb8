"""Several accounts in one process: whatever is wrong with one is its own affair. And an account's two keys."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics
from bridge.kafka.writer import KafkaWriter
from consumer import stopped
from consumer.secret import Secret
from consumer.settings import GatewayAccount
from consumer.sink import OutgoingRecord, Sink, TopicName
from deploy.sandbox.brokers import Brokers
from tests.gateway_messages import compact, envelope, sealed, upgrade_status
from tests.integration.fold_topics import until
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
async def writer(settings: KafkaSettings) -> AsyncIterator[KafkaWriter]:
    async with KafkaWriter(settings) as writer:
        yield writer


class SlowFor:
    """A sink that confirms nothing of one account until it is let go."""

    def __init__(self, sink: Sink, account: str) -> None:
        self._sink = sink
        self._mark = f'"account":"{account}"'.encode()
        self.let_go = asyncio.Event()

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        if any(self._mark in record.value for record in records):
            await self.let_go.wait()
        return await self._sink.write(records)

    def partitions(self, topic: TopicName) -> int:
        return self._sink.partitions(topic)


def changed(account: GatewayAccount, **changes: object) -> GatewayAccount:
    gateway = {key: changes.pop(key) for key in list(changes) if key in account.gateway.__struct_fields__}
    return msgspec.structs.replace(
        account, gateway=msgspec.structs.replace(account.gateway, **gateway), **changes
    )


@asynccontextmanager
async def silent_gateway() -> AsyncIterator[str]:
    """Takes every connection and never says a word."""
    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
    try:
        yield f"pulsar://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for connection in connections:
            connection.close()


async def test_a_refused_a_slow_and_a_silent_account_hold_nobody_up(
    brokers: Brokers,
    settings: KafkaSettings,
    gateway_account: GatewayAccount,
    writer: KafkaWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopped, "FIRST_PAUSE_S", 2.0)
    slow_id, slow_key = secrets.token_hex(10), secrets.token_hex(16)
    address = await brokers.pulsar.create_account(slow_id, slow_key)
    slow = changed(
        gateway_account,
        name="slow",
        access_id=slow_id,
        access_key=Secret(slow_key),
        subscription=address.subscription,
        max_unconfirmed_messages=100,
    )
    refused = changed(gateway_account, name="refused", access_key=Secret(secrets.token_hex(16)))
    platform, slow_platform = Platform(brokers, gateway_account), Platform(brokers, slow)
    sink = SlowFor(writer, "slow")
    async with silent_gateway() as url:
        silent = changed(gateway_account, name="silent", url=url, tls_verify=False, ca_file=None)
        running = RunningIngest([refused, silent, slow, gateway_account], sink)
        for number in range(50):
            for device in DEVICES:
                platform.push_statuses(device, [number])
                if number < 10:
                    slow_platform.push_statuses(f"slow-{device}", [number])
            await asyncio.sleep(0.02)
        platform.flush()
        slow_platform.flush()

        await running.until_acknowledged(2000)
        await until(lambda: running.account("slow").paused)
        await until(lambda: running.account("refused").state == "stopped")
        await until(lambda: running.account("silent").message is not None)

        healthy = running.account()
        assert (healthy.state, healthy.received) == ("running", 2000)
        assert running.account("slow").acknowledged == 0
        assert "refuses the access key" in (running.account("refused").message or "")
        assert "does not answer" in (running.account("silent").message or "")
        told = await statuses(settings, 2000)
        assert told == {device: list(range(50)) for device in DEVICES}

        sink.let_go.set()
        await until(lambda: running.account("slow").acknowledged == 400)

        # Whatever was refused is mended at the platform: nobody has to start anything anew.
        key = refused.access_key.reveal()
        await brokers.pulsar.create_account(refused.access_id, key)
        await until(lambda: running.account("refused").state == "running")
        assert running.account("refused").asked_again_in_s is None
        await running.close()
    platform.close()
    slow_platform.close()
    told = await statuses(settings, 2400)
    assert {device: told[f"slow-{device}"] for device in DEVICES} == {
        device: list(range(10)) for device in DEVICES
    }


async def test_keys_rules_and_encryptions_may_change_from_message_to_message(
    brokers: Brokers, settings: KafkaSettings, gateway_account: GatewayAccount, writer: KafkaWriter
) -> None:
    keys = {"current": gateway_account.access_key.reveal(), "previous": secrets.token_hex(16)}
    ways = list(itertools.product(keys, ("all_fields", "core_fields"), ("aes_gcm", "aes_ecb", None)))
    platform = Platform(brokers, gateway_account)
    running = RunningIngest([changed(gateway_account, previous_access_key=Secret(keys["previous"]))], writer)
    for number in range(10 * len(ways)):
        key, rule, em = ways[number % len(ways)]
        fields = envelope(upgrade_status("d", description=str(number)), key=keys[key], em=em or "aes_ecb")
        # A field that is not in the signature is what the second rule allows.
        extra = {"encryptVersion": "v2"} if rule == "core_fields" else {}
        platform.push(compact(fields | extra), device="d", em=em)
    platform.flush()
    await running.until_acknowledged(10 * len(ways))
    told = running.account()
    await running.close()
    platform.close()

    assert await statuses(settings, 10 * len(ways)) == {"d": list(range(10 * len(ways)))}
    assert told.keys == {"current": 60, "previous": 60}
    assert told.signatures == {"all_fields": 60, "core_fields": 60}
    assert told.dead_letters == {}


@pytest.mark.parametrize("policy", ["require", "warn"])
async def test_the_sign_policy_decides_about_wrong_signatures(
    policy: str,
    brokers: Brokers,
    settings: KafkaSettings,
    gateway_account: GatewayAccount,
    writer: KafkaWriter,
) -> None:
    current, previous = gateway_account.access_key.reveal(), secrets.token_hex(16)
    platform = Platform(brokers, gateway_account)
    account = changed(gateway_account, sign_policy=policy, previous_access_key=Secret(previous))
    running = RunningIngest([account], writer)
    body = upgrade_status("d", description="0")
    platform.push(sealed(body, key=current), device="d")
    for sign in ("0" * 32, ""):
        for key in (current, previous):
            platform.push(compact(envelope(body, key=key) | {"sign": sign}), device="d")
    # A stranger's key: whatever the policy, nothing can be made of it.
    platform.push(sealed(body, key=secrets.token_hex(16)), device="d")
    platform.flush()
    await running.until_acknowledged(6)
    told = running.account()
    await running.close()
    platform.close()

    letters = Counter(letter["reason"] for letter in await records(settings, "dead-letters", 1))
    if policy == "require":
        assert (told.observations, told.signatures) == ({"status": 1}, {"all_fields": 1})
        assert letters == {"bad_signature": 3, "missing_signature": 2}
    else:
        assert (told.observations, told.signatures) == ({"status": 5}, {"all_fields": 1, "unverified": 5})
        assert letters == {"undecryptable": 1}
    assert told.dead_letters == letters
