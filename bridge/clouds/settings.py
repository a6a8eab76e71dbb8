"""How to reach one account's firmware API: what all clouds have in common. Each adds its own keys to these structs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Struct

from consumer.secret import Secret
from consumer.settings import RawEvidence

Values = Mapping[str, Any]
"""A table's valid values, defaults included; a required key that is missing or any key with a mistake is absent.

So a check still runs beside other mistakes: it says what it can about the rest.
"""

Report = Callable[[str, str, str], None]
"""Takes path, what is wrong, and the remedy."""

Check = Callable[[str, Values, Report], None]
"""Looks at the values of the table at a dotted path, and reports what is wrong with and between them."""


SecretForm = Callable[[str], tuple[str, str] | None]
"""Looks at a secret; returns what is wrong with it, without repeating it, and the remedy."""


class Credentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[accounts.<name>]` table beside `cloud`, `gateway` and `api`: who the account is at its cloud."""


class ApiSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[accounts.<name>.api]` table."""

    url: str
    """Base URL of the deployment, `https://host[:port]`; never guessed."""
    ca_file: str | None = None
    """PEM file of the authority that signed the API's certificate; the system's own when absent."""
    client_cert_file: str | None = None
    """PEM file of the certificate that the bridge shows, with its chain; for APIs that ask for one."""
    client_key_file: str | None = None
    """PEM file of that certificate's key, without a password."""
    tls_verify: bool = True
    """false lets anyone on the way read and change the answers; said at every start."""
    verify_hostname: bool = True
    """false takes a certificate of `ca_file`'s authority for another host as well; said at every start."""
    timeout_s: float = 10.0
    """How long one request may take."""
    max_answer_bytes: int = 4 * 1024 * 1024
    """A longer answer is not read."""
    rate_per_s: float = 4.0
    """Requests a second to this account's API, all calls together."""
    circuit_open_s: float = 1800.0
    """How long the account is left alone after it was refused (`forbidden`, `quota`)."""
    discovery: Literal["api", "file", "off"] = "api"
    """How devices are found that never pushed: by the API's own lists, a file, or not at all."""
    discovery_file: str | None = None
    """For `file`: one device id a line."""
    discovery_period_s: float = 86400.0
    """Time between two discoveries; the first is at start."""
    sweep_period_s: float = 300.0
    """Time between two readings of the lists of clouds that push nothing; longer where the rate asks for it."""


CredentialsT_co = TypeVar("CredentialsT_co", bound=Credentials, covariant=True)
ApiT_co = TypeVar("ApiT_co", bound=ApiSettings, covariant=True)


class ApiAccount(Struct, Generic[CredentialsT_co, ApiT_co], frozen=True, kw_only=True):
    """One account's way to its firmware API: who it is, and the endpoint."""

    name: str
    """The operator's alias, `[a-z0-9-]{1,40}`; never an id of the cloud's."""
    cloud: str
    credentials: CredentialsT_co
    api: ApiT_co
    evidence_raw: RawEvidence = "redacted"


AnyAccount = ApiAccount[Credentials, ApiSettings]
"""An account of whichever cloud."""


def secrets_of(table: Struct) -> frozenset[Secret]:
    """Return every secret that a settings struct holds."""
    values = (getattr(table, field.name) for field in msgspec.structs.fields(table))
    return frozenset(value for value in values if isinstance(value, Secret))
