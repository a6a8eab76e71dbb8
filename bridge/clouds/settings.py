"""How to reach one account's firmware API."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from consumer.secret import Secret
from consumer.settings import RawEvidence


class ApiSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[accounts.<name>.api]` table."""

    url: str
    """Base URL of the deployment, `https://host[:port]`; never guessed."""
    ca_file: str | None = None
    """PEM file of the authority that signed the API's certificate; the system's own when absent."""
    tls_verify: bool = True
    """false lets anyone on the way read and change the answers; said at every start."""
    sign_version: Literal["current", "legacy"] = "current"
    """`legacy`: Tuya projects made before 2021-06-30 may still sign the old way."""
    timeout_s: float = 10.0
    """How long one request may take."""
    max_answer_bytes: int = 4 * 1024 * 1024
    """A longer answer is not read."""
    rate_per_s: float = 4.0
    """Requests a second to this account's API, all calls together."""
    circuit_open_s: float = 1800.0
    """How long the account is left alone after it was refused (`forbidden`, `quota`)."""
    discovery: Literal["api", "file", "off"] = "api"
    """How devices are found that never pushed: the API's device list, a file, or not at all."""
    discovery_file: str | None = None
    """For `file`: one device id a line."""
    discovery_period_s: float = 86400.0
    """Time between two discoveries; the first is at start."""
    sweep_period_s: float = 300.0
    """Time between two readings of the lists of clouds that push nothing."""


class ApiAccount(Struct, frozen=True, kw_only=True):
    """One account's way to its firmware API: who it is, and the endpoint."""

    name: str
    cloud: str
    access_id: str
    access_key: Secret
    api: ApiSettings
    evidence_raw: RawEvidence = "redacted"
