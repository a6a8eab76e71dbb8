"""How to reach Kafka, and the shape of our topics on it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from consumer.secret import Secret


class KafkaSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[kafka]` table."""

    bootstrap_servers: str
    """Brokers to begin with, `host:port`, several with commas."""
    prefix: str = "ota"
    """Begins every topic, consumer group and transactional id."""
    partitions: int = 12
    """Of observations, upgrade-events and upgrade-state. For life: to change it take a new prefix and `baseline`."""
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    """How to connect. With `ssl` and `sasl_ssl` the brokers' certificates are verified, always."""
    ca_file: str | None = None
    """PEM file of the authority that signed the brokers' certificates; the system's own when absent."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """For `sasl_plaintext` and `sasl_ssl`, with username and password."""
    username: str | None = None
    """The bridge's user at the brokers."""
    password: Secret | None = None
    """That user's password."""
    session_timeout_s: float = 30.0
    """A copy that is silent for this long is replaced by another; the brokers allow 6 s to 30 min."""
    transaction_timeout_s: float = 15.0
    """A transaction left open by a copy that died is ended by the brokers after this; they allow up to 15 min."""
