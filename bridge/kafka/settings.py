"""How to reach Kafka, and the shape of our topics on it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from consumer.secret import Secret


class KafkaSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[kafka]` table."""

    bootstrap_servers: str
    prefix: str = "ota"
    """Begins every topic, consumer group and transactional id."""
    partitions: int = 12
    """Of observations, upgrade-events and upgrade-state. For life: to change it take a new prefix and `baseline`."""
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    ca_file: str | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    password: Secret | None = None
    session_timeout_s: float = 30.0
    transaction_timeout_s: float = 15.0
