"""The sandbox's brokers keep the promises that everything else is tested against."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pulsar
import pytest
import trustme
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from deploy.sandbox.brokers.gateway_accounts import EVENT_PARTITIONS, derive_password

_QUIET = pulsar.ConsoleLogger(pulsar.LoggerLevel.Error)


@pytest.fixture
def opened() -> Iterator[list[pulsar.Client]]:
    clients: list[pulsar.Client] = []
    yield clients
    for client in clients:
        client.close()


@pytest.fixture
def listener(opened: list[pulsar.Client]) -> Listener:
    return Listener(opened)


class Listener:
    """Subscribes as the vendor's own SDK does."""

    def __init__(self, opened: list[pulsar.Client]) -> None:
        self._opened = opened

    def subscribe(
        self,
        account: GatewayAccount,
        *,
        key: str | None = None,
        subscription: str | None = None,
        topic: str | None = None,
        ca_file: Path | None = None,
    ) -> pulsar.Consumer:
        password = derive_password(account.access_id, key or account.access_key.reveal())
        text = json.dumps({"username": account.access_id, "password": password}, separators=(",", ":"))
        cut = text.index(":", text.index('"password"'))
        client = pulsar.Client(
            account.gateway.url,
            authentication=pulsar.AuthenticationBasic(text[:cut], text[cut + 1 :], method="auth1"),
            tls_trust_certs_file_path=str(ca_file or account.gateway.ca_file),
            tls_validate_hostname=True,
            operation_timeout_seconds=2,
            logger=_QUIET,
        )
        self._opened.append(client)
        return client.subscribe(
            topic or f"persistent://{account.access_id}/out/event",
            subscription or account.gateway.subscription,
            consumer_type=pulsar.ConsumerType.Failover,
        )


def push(brokers: Brokers, account: GatewayAccount, *payloads: bytes) -> None:
    client = pulsar.Client(
        brokers.pulsar.url,
        authentication=pulsar.AuthenticationBasic(
            brokers.pulsar.admin_username, brokers.pulsar.admin_password
        ),
        logger=_QUIET,
    )
    producer = client.create_producer(f"persistent://{account.access_id}/out/event")
    for payload in payloads:
        producer.send(payload, partition_key=payload.decode())
    client.close()


def receive(consumer: pulsar.Consumer, count: int) -> set[bytes]:
    received = set()
    for _ in range(count):
        message = consumer.receive(5000)
        consumer.acknowledge(message)
        received.add(message.data())
    return received


def test_a_subscription_begins_at_the_first_message_ever_pushed(
    brokers: Brokers, gateway_account: GatewayAccount, listener: Listener
) -> None:
    push(brokers, gateway_account, b"1", b"2", b"3")

    assert receive(listener.subscribe(gateway_account), 3) == {b"1", b"2", b"3"}


def test_a_wrong_key_is_refused(gateway_account: GatewayAccount, listener: Listener) -> None:
    with pytest.raises(pulsar.Timeout):
        listener.subscribe(gateway_account, key="0" * 32)


async def test_a_rotated_key_is_accepted_beside_the_last_one_and_the_one_before_is_refused(
    brokers: Brokers, gateway_account: GatewayAccount, listener: Listener
) -> None:
    first, second, third = gateway_account.access_key.reveal(), secrets.token_hex(16), secrets.token_hex(16)

    await brokers.pulsar.create_account(gateway_account.access_id, second)
    await brokers.pulsar.create_account(gateway_account.access_id, third)

    listener.subscribe(gateway_account, key=third)
    listener.subscribe(gateway_account, key=second)
    with pytest.raises(pulsar.Timeout):
        listener.subscribe(gateway_account, key=first)


def test_a_missing_subscription_is_not_made_on_demand(
    gateway_account: GatewayAccount, listener: Listener
) -> None:
    with pytest.raises(pulsar.Timeout):
        listener.subscribe(gateway_account, subscription=f"{gateway_account.access_id}-other")


async def test_another_accounts_topic_is_forbidden(
    brokers: Brokers, gateway_account: GatewayAccount, listener: Listener
) -> None:
    other = await brokers.pulsar.create_account(secrets.token_hex(10), secrets.token_hex(16))

    with pytest.raises(pulsar.AuthorizationError):
        listener.subscribe(gateway_account, topic=other.topic, subscription=other.subscription)


def test_a_certificate_of_another_authority_is_refused(
    gateway_account: GatewayAccount, listener: Listener, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")

    with pytest.raises(pulsar.ConnectError):
        listener.subscribe(gateway_account, ca_file=tmp_path / "other.pem")


async def test_an_account_has_the_platforms_topics_and_may_only_consume(
    brokers: Brokers, gateway_account: GatewayAccount
) -> None:
    auth = (brokers.pulsar.admin_username, brokers.pulsar.admin_password)
    tenant = gateway_account.access_id
    async with httpx.AsyncClient(base_url=f"{brokers.pulsar.admin_url}/admin/v2", auth=auth) as admin:
        partitioned = (await admin.get(f"/persistent/{tenant}/out/partitioned")).json()
        layout = (await admin.get(f"/persistent/{tenant}/out/event/partitions")).json()
        topics = (await admin.get(f"/persistent/{tenant}/out")).json()
        permissions = (await admin.get(f"/namespaces/{tenant}/out/permissions")).json()

    assert partitioned == [f"persistent://{tenant}/out/event"]
    assert layout["partitions"] == EVENT_PARTITIONS
    assert {f"persistent://{tenant}/out/{name}" for name in ("event-test", "notice")} <= set(topics)
    assert permissions == {tenant: ["consume"]}


async def test_a_short_retention_drops_what_nobody_consumed(
    brokers: Brokers, gateway_account: GatewayAccount, listener: Listener
) -> None:
    push(brokers, gateway_account, b"old")
    await asyncio.sleep(2.1)  # the broker's clock, which nobody can turn
    try:
        await brokers.pulsar.set_ttl(1)
    finally:
        await brokers.pulsar.set_ttl(7200)
    push(brokers, gateway_account, b"new")

    assert receive(listener.subscribe(gateway_account), 1) == {b"new"}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_kafka_serves_the_same_records_over_tls_with_a_login(
    brokers: Brokers, kafka_prefix: str, mechanism: str
) -> None:
    await create_topic(brokers, kafka_prefix)
    async with AIOKafkaProducer(bootstrap_servers=brokers.kafka.bootstrap_servers) as producer:
        await producer.send_and_wait(kafka_prefix, b"record")

    async with AIOKafkaConsumer(
        kafka_prefix,
        bootstrap_servers=brokers.kafka.sasl_ssl_bootstrap_servers,
        security_protocol="SASL_SSL",
        ssl_context=ssl.create_default_context(cafile=str(brokers.ca_file)),
        sasl_mechanism=mechanism,
        sasl_plain_username=brokers.kafka.username,
        sasl_plain_password=brokers.kafka.password,
        auto_offset_reset="earliest",
    ) as consumer:
        assert (await consumer.getone()).value == b"record"


@pytest.mark.restarts_brokers
@pytest.mark.parametrize("abruptly", [False, True])
async def test_pulsar_keeps_ports_accounts_and_messages_over_a_restart(
    brokers: Brokers, gateway_account: GatewayAccount, listener: Listener, *, abruptly: bool
) -> None:
    push(brokers, gateway_account, b"before")

    await brokers.pulsar.restart(abruptly=abruptly)

    push(brokers, gateway_account, b"after")
    assert receive(listener.subscribe(gateway_account), 2) == {b"before", b"after"}


@pytest.mark.restarts_brokers
@pytest.mark.parametrize("abruptly", [False, True])
async def test_kafka_keeps_ports_and_committed_transactions_over_a_restart(
    brokers: Brokers, kafka_prefix: str, *, abruptly: bool
) -> None:
    await create_topic(brokers, kafka_prefix)
    servers = brokers.kafka.bootstrap_servers
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=kafka_prefix)
    async with producer, producer.transaction():
        await producer.send_and_wait(kafka_prefix, b"before")

    await brokers.kafka.restart(abruptly=abruptly)

    async with AIOKafkaConsumer(
        kafka_prefix,
        bootstrap_servers=servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    ) as consumer:
        assert (await consumer.getone()).value == b"before"


async def create_topic(brokers: Brokers, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
