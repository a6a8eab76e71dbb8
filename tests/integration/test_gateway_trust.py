"""A gateway whose certificate is wrong is refused, with the reason, before anything is sent to it."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import trustme

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics
from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.integration.consumer_under_load import account_of
from tests.integration.fold_topics import until
from tests.integration.gateway_house import Discarding, Platform, RunningIngest
from tests.integration.running_bridge import RunningBridge
from tests.integration.tcp_proxy import proxied

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
TRUSTED = trustme.CA()
RIGHT = TRUSTED.issue_cert("localhost")
EXPIRED = TRUSTED.issue_cert("localhost", not_before=LONG_AGO, not_after=LONG_AGO.replace(year=2021))
WRONG = {
    "comes from an authority not trusted here": trustme.CA().issue_cert("localhost"),
    "is for another host name": TRUSTED.issue_cert("elsewhere.example"),
    "has expired": EXPIRED,
}


@pytest.fixture
def trusting(brokers: Brokers, gateway_account: GatewayAccount, tmp_path: Path) -> GatewayAccount:
    """The account with a message waiting; it trusts the authority of these tests and, for look-ups, the broker's."""
    platform = Platform(brokers, gateway_account)
    platform.push_statuses("d", [1])
    platform.flush()
    platform.close()
    ca_file = tmp_path / "trusted.pem"
    ca_file.write_bytes(brokers.ca_file.read_bytes() + TRUSTED.cert_pem.bytes())
    gateway = msgspec.structs.replace(gateway_account.gateway, ca_file=str(ca_file))
    return msgspec.structs.replace(gateway_account, gateway=gateway)


def at(account: GatewayAccount, port: int, *, tls_verify: bool = True) -> GatewayAccount:
    """The account with its gateway at another port."""
    url = f"pulsar+ssl://localhost:{port}"
    gateway = msgspec.structs.replace(account.gateway, url=url, tls_verify=tls_verify)
    return msgspec.structs.replace(account, gateway=gateway)


def shown(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def plain_port(brokers: Brokers) -> int:
    return urlsplit(brokers.pulsar.url).port or 0


@pytest.mark.parametrize("fault", WRONG)
async def test_a_wrong_certificate_is_refused_and_its_fault_is_told(
    brokers: Brokers, trusting: GatewayAccount, fault: str
) -> None:
    async with proxied(0, plain_port(brokers), certificate=shown(WRONG[fault])) as proxy:
        running = RunningIngest([at(trusting, proxy.port)], Discarding())
        await until(lambda: running.account().message is not None)
        account = running.account()
        await running.close()

    assert (account.state, account.received) == ("connecting", 0)
    assert f"the certificate of localhost:{proxy.port} {fault}: " in (account.message or "")
    assert proxy.to_target_bytes == 0, "something was said to a gateway that nobody trusts"


async def test_the_right_certificate_at_the_same_place_is_accepted(
    brokers: Brokers, trusting: GatewayAccount
) -> None:
    async with proxied(0, plain_port(brokers), certificate=shown(RIGHT)) as proxy:
        running = RunningIngest([at(trusting, proxy.port)], Discarding())
        await running.until_acknowledged(1)
        await running.close()


async def test_verification_is_never_off_in_silence(
    brokers: Brokers, trusting: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    kafka = KafkaSettings(
        bootstrap_servers=brokers.kafka.bootstrap_servers, prefix=kafka_prefix, partitions=4
    )
    await ensure_topics(kafka)
    async with proxied(0, plain_port(brokers), certificate=shown(EXPIRED)) as proxy:
        careless = at(trusting, proxy.port, tls_verify=False)
        async with RunningBridge(
            tmp_path, careless, kafka.bootstrap_servers, kafka_prefix, "--stage", "consumer", partitions=4
        ) as bridge:
            for _ in range(2):
                status = await bridge.status(lambda status: account_of(status).get("state") == "running")
                assert account_of(status)["tls_verified"] is False
                assert any("tls_verify = false" in warning for warning in status["warnings"])
                (said,) = bridge.log("gateway_tls_unverified")
                assert (said["level"], said["account"]) == ("warning", careless.name)
                assert await bridge.child.stop(30) == 0
                bridge.start()
