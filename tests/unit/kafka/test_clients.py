"""No Kafka client is made without our guarantees."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from bridge.kafka.clients import client_arguments, consumer_arguments, producer_arguments
from bridge.kafka.settings import KafkaSettings
from consumer.secret import Secret

PLAIN = KafkaSettings(bootstrap_servers="kafka-1:9092, kafka-2:9092")


def test_several_brokers_may_be_given() -> None:
    assert client_arguments(PLAIN)["bootstrap_servers"] == ["kafka-1:9092", "kafka-2:9092"]


@pytest.mark.parametrize("security", ["ssl", "sasl_ssl"])
def test_tls_is_verified_against_the_given_authority(security: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = KafkaSettings(
        bootstrap_servers="kafka:9093",
        security=security,  # type: ignore[arg-type]
        ca_file=str(tmp_path / "ca.pem"),
        username="bridge",
        password=Secret("hunter2"),
    )

    context = client_arguments(settings)["ssl_context"]

    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_credentials_go_only_where_sasl_is_asked_for() -> None:
    settings = KafkaSettings(
        bootstrap_servers="kafka:9093",
        security="sasl_plaintext",
        username="bridge",
        password=Secret("hunter2"),
    )

    assert client_arguments(settings)["sasl_plain_password"] == "hunter2"
    assert not any(name.startswith("sasl") for name in client_arguments(PLAIN))


def test_sasl_without_credentials_is_refused() -> None:
    with pytest.raises(ValueError, match="username"):
        client_arguments(KafkaSettings(bootstrap_servers="kafka:9093", security="sasl_ssl"))


def test_consumers_read_only_what_was_committed_and_commit_nothing_by_themselves() -> None:
    arguments = consumer_arguments(PLAIN, group="fold")

    assert arguments["isolation_level"] == "read_committed"
    assert arguments["enable_auto_commit"] is False
    assert arguments["group_id"] == "ota-fold"


@pytest.mark.parametrize("session_timeout_s", [6.0, 30.0, 120.0])
def test_several_heartbeats_fit_into_a_session(session_timeout_s: float) -> None:
    settings = KafkaSettings(bootstrap_servers="kafka:9092", session_timeout_s=session_timeout_s)

    arguments = consumer_arguments(settings, group="fold")

    assert arguments["session_timeout_ms"] == session_timeout_s * 1000
    assert arguments["heartbeat_interval_ms"] * 3 < arguments["session_timeout_ms"]


def test_consumer_without_a_group_joins_none() -> None:
    assert "group_id" not in consumer_arguments(PLAIN)


@pytest.mark.parametrize("transactional_id", [None, "ota-fold-3"])
def test_producers_lose_and_repeat_nothing(transactional_id: str | None) -> None:
    arguments = producer_arguments(PLAIN, transactional_id=transactional_id)

    assert arguments["acks"] == "all"
    assert arguments["enable_idempotence"] is True
    assert arguments.get("transactional_id") == transactional_id
