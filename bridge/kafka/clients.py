"""The arguments every Kafka client of the bridge is made with: where the brokers are, TLS, SASL, and our guarantees.

Written once here so that no consumer reads uncommitted records and no producer loses one by a forgotten option.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

from bridge.kafka.settings import KafkaSettings

PRODUCER_BATCH_BYTES: Final = 512 * 1024
"""Room of one `create_batch`: half of Kafka's 1 MB limit, because what counts there is the batch as it was sent."""

TRANSACTION_RETRY_MS: Final = 5
"""The broker answers the first record of each transaction with a retriable error while it verifies the transaction;
the library's default sleeps 100 ms there."""

HEARTBEAT_MS: Final = 1000
"""By its heartbeat a member learns that others come or go, and until the last one knows, those that know stand still.
Shorter sessions have shorter ones: three may be lost before the group takes a member for dead."""


def client_arguments(settings: KafkaSettings, *, client_id: str = "ota-bridge") -> dict[str, Any]:
    """Return what aiokafka's consumer, producer and admin client all take. TLS is always verified.

    Raises OSError or ssl.SSLError where `ca_file` cannot be read.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "client_id": client_id,
        "security_protocol": settings.security.upper(),
    }
    if settings.security in ("ssl", "sasl_ssl"):
        arguments["ssl_context"] = ssl.create_default_context(cafile=settings.ca_file)
    if settings.security in ("sasl_plaintext", "sasl_ssl"):
        if settings.username is None or settings.password is None:
            raise ValueError(f"security = {settings.security!r} needs a username and a password")
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        arguments["sasl_plain_username"] = settings.username
        arguments["sasl_plain_password"] = settings.password.reveal()
    return arguments


def consumer_arguments(
    settings: KafkaSettings, *, group: str | None = None, client_id: str = "ota-bridge"
) -> dict[str, Any]:
    """Return a consumer's arguments: only committed records, offsets committed by us alone, from the log's start.

    `group` is the part after the prefix: `fold` becomes the group `ota-fold`. Without a group the caller assigns.
    """
    arguments = client_arguments(settings, client_id=client_id) | {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
    }
    if group is not None:
        session_timeout_ms = round(settings.session_timeout_s * 1000)
        arguments |= {
            "group_id": group_name(settings, group),
            "session_timeout_ms": session_timeout_ms,
            "heartbeat_interval_ms": min(HEARTBEAT_MS, session_timeout_ms // 4),
        }
    return arguments


def producer_arguments(
    settings: KafkaSettings, *, transactional_id: str | None = None, client_id: str = "ota-bridge"
) -> dict[str, Any]:
    """Return a producer's arguments: all replicas confirm, idempotent, zstd.

    `transactional_id` is the whole id: the caller begins it with the prefix.
    """
    arguments = client_arguments(settings, client_id=client_id) | {
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": "zstd",
        "max_batch_size": PRODUCER_BATCH_BYTES,
    }
    if transactional_id is not None:
        arguments |= {
            "transactional_id": transactional_id,
            "transaction_timeout_ms": round(settings.transaction_timeout_s * 1000),
            "retry_backoff_ms": TRANSACTION_RETRY_MS,
        }
    return arguments


def group_name(settings: KafkaSettings, group: str) -> str:
    """Return the consumer group's full name, `<prefix>-<group>`."""
    return f"{settings.prefix}-{group}"
