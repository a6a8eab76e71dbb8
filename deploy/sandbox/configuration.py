"""The bridge's configuration for this sandbox: what a user would write, with periods short enough to watch.

Everything is expressed in the bridge's own settings structs, so a renamed key or a wrong type fails the type checker
and not the first start. Secrets are files that the configuration names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bridge.clouds.settings import ApiSettings, Credentials
from bridge.config import HttpSettings
from bridge.fold.policy import Policy
from bridge.kafka.settings import KafkaSettings
from consumer.secret import Secret
from consumer.settings import GatewaySettings
from deploy.sandbox.brokers.certificates import write_private

_POLICY = Policy(
    # Open attempts and unconfirmed outcomes, and every device.
    open_period_s=5.0,
    refresh_period_s=20.0,
    # Lookups that were refused or got lost.
    lookup_expiry_s=10.0,
    lookup_backoff_s=2.0,
    lookup_backoff_max_s=10.0,
    # Claims.
    success_deadline_s=10.0,
    failure_deadline_s=5.0,
    claim_deadline_s=30.0,
    claim_lookups_s=(3.5, 7.0, 15.0, 30.0),
    claim_lookup_period_s=5.0,
    # What is a minute or ten between two readings or two pushes.
    twice_apart_s=5.0,
    repeated_claim_s=5.0,
    early_answer_s=5.0,
    mismatch_apart_s=5.0,
    # A simulated upgrade takes 10 to 30 s.
    pending_stall_s=15.0,
    downloading_stall_s=15.0,
    installing_stall_s=15.0,
    removal_apart_s=30.0,
)


SHORT_PERIODS: Mapping[str, Any] = {
    "circuit_open_s": 5.0,
    "discovery_period_s": 10.0,
    "sweep_period_s": 5.0,
}
"""Keys of every account's `api` table."""


class ConfiguredAccount(Struct, frozen=True, kw_only=True):
    """One account of the sandbox, as the bridge has to know it. Files are absolute paths."""

    name: str
    cloud: str
    credentials: Credentials
    gateway: GatewaySettings | None
    api: ApiSettings


def write_configuration(
    file: Path,
    secrets_directory: Path,
    *,
    bootstrap_servers: str,
    accounts: Sequence[ConfiguredAccount],
) -> None:
    """Write `file` and the secrets it names, in place of those of an earlier run.

    Paths inside it are relative to its folder, which is how the bridge reads them.
    """
    shutil.rmtree(secrets_directory, ignore_errors=True)
    secrets_directory.mkdir(mode=0o700, parents=True)
    folder = file.parent.absolute()
    tables: list[tuple[str, Mapping[str, object]]] = [
        ("kafka", _set_values(KafkaSettings(bootstrap_servers=bootstrap_servers, session_timeout_s=6.0))),
        # Any free port, so that several bridges run from this file; the log names it.
        ("http", _set_values(HttpSettings(port=0))),
        ("policy", _set_values(_POLICY)),
    ]
    for account in accounts:
        table = f"accounts.{account.name}"
        tables.append((table, {"cloud": account.cloud, **_credentials(account, secrets_directory, folder)}))
        if account.gateway is not None:
            tables.append((f"{table}.gateway", _relative(_set_values(account.gateway), folder)))
        tables.append((f"{table}.api", _relative(_set_values(account.api), folder)))
    text = "# A bridge for the sandbox that wrote this file; it goes away with it.\n"
    for name, settings in tables:
        lines = "".join(f"{key} = {_toml(value)}\n" for key, value in settings.items())
        text += f"\n[{name}]\n{lines}"
    file.write_text(text, encoding="utf-8")


def _credentials(account: ConfiguredAccount, secrets_directory: Path, folder: Path) -> dict[str, object]:
    """Return the account's own keys; each secret is written to a file, which its key names."""
    values: dict[str, object] = {}
    for key, value in _relative(_set_values(account.credentials), folder).items():
        if isinstance(value, Secret):
            file = secrets_directory / f"{account.name}.{key.replace('_', '-')}"
            write_private(file, f"{value.reveal()}\n".encode())
            values[f"{key}_file"] = os.path.relpath(file, folder)
        else:
            values[key] = value
    return values


def _relative(values: Mapping[str, object], folder: Path) -> dict[str, object]:
    """Return the values with files relative to the configuration's folder."""
    return {
        key: os.path.relpath(value, folder) if key.endswith("_file") and isinstance(value, str) else value
        for key, value in values.items()
    }


def _set_values(settings: Struct) -> dict[str, object]:
    """Return what differs from the defaults: the part that a user would write."""
    return {
        field.name: value
        for field in msgspec.structs.fields(settings)
        if (value := getattr(settings, field.name)) != field.default
    }


def _toml(value: object) -> str:
    """Write one value; JSON's texts, numbers, booleans and lists are TOML's as well."""
    return json.dumps(value, ensure_ascii=False)
