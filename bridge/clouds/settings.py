"""How to reach one account's firmware API."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from consumer.secret import Secret


class ApiSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[accounts.<name>.api]` table."""

    url: str
    """Base URL of the deployment, `https://host[:port]`; never guessed."""
    ca_file: str | None = None
    tls_verify: bool = True
    sign_version: Literal["current", "legacy"] = "current"
    """`legacy`: Tuya projects made before 2021-06-30 may still sign the old way."""
    timeout_s: float = 10.0
    max_answer_bytes: int = 4 * 1024 * 1024
    rate_per_s: float = 4.0
    """Requests a second to this account's API, all calls together."""
    circuit_open_s: float = 1800.0
    """How long the account is left alone after it was refused (`forbidden`, `quota`)."""
    discovery: Literal["api", "file", "off"] = "api"
    discovery_file: str | None = None
    """For `file`: one device id a line."""
    discovery_period_s: float = 86400.0
    sweep_period_s: float = 300.0


class ApiAccount(Struct, frozen=True, kw_only=True):
    """One account's way to its firmware API: who it is, and the endpoint."""

    name: str
    cloud: str
    access_id: str
    access_key: Secret
    api: ApiSettings
