"""The tables of the configuration file that are the daemon's own, and the whole configuration as it hands it out."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from bridge.clouds.settings import AnyAccount, secrets_of
from bridge.fold.policy import Policy
from bridge.kafka.settings import KafkaSettings
from consumer.secret import Secret
from consumer.settings import GatewayAccount, RawEvidence


class HttpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[http]` table: health and status, read-only."""

    host: str = "127.0.0.1"
    """Address to bind; the pages have no login, so anything wider belongs behind something that has."""
    port: int = 8080
    """0 takes any free port; the log names it (`http_listening`)."""
    status: bool = True
    """Serve `/status`; `/livez` and `/metrics` are always there."""


class LogSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[log]` table. Logs go to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    format: Literal["auto", "json", "human"] = "auto"
    """`auto`: for people on a terminal, one JSON object a line elsewhere."""


class EventSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[events]` table: thins the public log of changes, never the state table."""

    include: tuple[str, ...] = ()
    """Event types to publish, such as `ota.upgrade.status_changed`; empty publishes all."""
    exclude: tuple[str, ...] = ()
    """Event types to leave out."""
    progress_step: int = 10
    """Points of progress between two `ota.upgrade.progressed` events; 0 publishes none."""


class EvidenceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[evidence]` table: what observations keep of what the clouds said."""

    raw: RawEvidence = "redacted"
    """`redacted` keeps the fields of each message and answer that are on an allow-list, without tokens, keys and
    owners; `none` keeps nothing but their names and positions. Dead letters hold their message in either case."""


class AccountSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an `[accounts.<alias>]` table says first: it decides which other keys the table has."""

    cloud: str
    """Which cloud the account belongs to."""


class Configuration(Struct, frozen=True, kw_only=True):
    """Everything the daemon needs, checked."""

    kafka: KafkaSettings
    http: HttpSettings
    log: LogSettings
    policy: Policy
    gateways: tuple[GatewayAccount, ...]
    apis: tuple[AnyAccount, ...]
    warnings: tuple[str, ...] = ()
    """Protections that the configuration switches off by name: logged at every start, shown under `/status`."""

    def account_names(self) -> tuple[str, ...]:
        """Return the aliases of all accounts, sorted."""
        gateways = {account.name for account in self.gateways}
        return tuple(sorted(gateways | {account.name for account in self.apis}))

    def secrets(self) -> frozenset[Secret]:
        """Return everything that must never be shown."""
        secrets = secrets_of(self.kafka)
        for gateway in self.gateways:
            secrets |= secrets_of(gateway)
        for api in self.apis:
            secrets |= secrets_of(api.credentials) | secrets_of(api.api)
        return secrets
