"""What the consumer is told: one gateway connection per account."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from consumer.secret import Secret

RawEvidence = Literal["redacted", "none"]
"""What of the cloud's own JSON goes with an observation: the fields on an allow-list, or nothing."""


class GatewaySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[accounts.<name>.gateway]` table. The service URL and the subscription's name have no defaults:

    guessing a host sends credentials to strangers, and connecting to a subscription that another program uses takes
    its partitions away.
    """

    url: str
    """Service URL, `pulsar+ssl://host:7285`; plain `pulsar://` is refused unless `tls_verify = false`."""
    subscription: str
    """The subscription made for the bridge alone: one that another program uses would lose its messages."""
    topics: tuple[str, ...] = ("event",)
    """Channels of the account: `event`, `event-test`, `notice`; one with a slash is a full topic name."""
    ca_file: str | None = None
    """PEM file of the authority that signed the gateway's certificate; the system's own when absent."""
    tls_verify: bool = True
    """false lets anyone on the way read and change the messages; said at every start."""
    sign_policy: Literal["require", "warn"] = "require"
    """`warn` takes messages with a wrong signature and counts them: for the first look at a project only."""
    filter_protocols: tuple[int, ...] = (4, 1000)
    """Protocol numbers that are counted and dropped before any cryptography: data-point reports."""
    max_message_bytes: int = 1024 * 1024
    """A larger message becomes a dead letter."""
    retention_s: float = 7200.0
    """How long the gateway keeps an unconsumed message."""
    retention_margin_s: float = 600.0
    """A gap is assumed this much before `retention_s` has passed. A copy that Kafka confirms nothing to for half of it
    leaves its source partitions to others."""
    max_unconfirmed_messages: int = 4000
    """Received and not yet confirmed by Kafka: the pump pauses above it."""
    max_unconfirmed_bytes: int = 32 * 1024 * 1024
    """As `max_unconfirmed_messages`, in bytes."""
    receive_ahead_messages: int = 1000
    """Fetched ahead by the client per topic, shared by its source partitions, before the pump and so beyond its caps.
    An entry of the gateway counts once, however many messages it holds. More of it takes memory, less costs throughput
    where the gateway is far away: at 100 ms a thousand are some 5,000 entries a second."""
    silence_timeout_s: float = 900.0
    """Nothing received for this long, or something waits in a source partition and nobody takes it: subscribe anew (a
    starved consumer looks connected)."""
    client_log_file: str | None = None
    """Errors of the Pulsar client library, for a support case; one file for the whole process, the first named."""


class GatewayAccount(Struct, frozen=True, kw_only=True):
    """One account's way to its gateway: who it is, and the connection."""

    name: str
    """The operator's alias, `[a-z0-9-]{1,40}`; never the access id."""
    cloud: str
    access_id: str
    access_key: Secret
    previous_access_key: Secret | None = None
    evidence_raw: RawEvidence = "redacted"
    gateway: GatewaySettings
