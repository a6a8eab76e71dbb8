"""Loads one account's gateway for a command that needs nothing else: no Kafka, no API, perhaps no file at all.

The command's options lie over file and environment as the environment lies over the file, and pass the same checks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from bridge.clouds.registry import CLOUDS
from bridge.config.environment import FromEnvironment
from bridge.config.load import Loader
from bridge.config.settings import EvidenceSettings
from bridge.typed import typed
from consumer.settings import GatewayAccount

NEW_ALIAS: Final = "listen"
"""The name of an account that only the options describe."""


class ListenedGateway(Struct, frozen=True):
    """An account, and whether its subscription is the one that the configured daemon reads."""

    account: GatewayAccount
    is_daemons: bool


def load_gateway(
    path: Path,
    name: str | None,
    given: Mapping[str, object],
    *,
    optional_file: bool,
    environment: Mapping[str, str] | None = None,
) -> ListenedGateway:
    """Return one account's gateway.

    `given` are keys below `accounts.<name>`, such as `gateway.url`, with the values of the command's options. With an
    `access_id` among them and without a name it is an account of its own, else the named or only one that is
    configured. Raises ConfigurationError with every mistake found.
    """
    loader = Loader(path, os.environ if environment is None else environment, optional_file=optional_file)
    is_new = "access_id" in given
    if is_new and loader.missing_file is not None:
        # Nobody asked for a file.
        loader.source, loader.missing_file = "options and environment", None
    tables = loader.tables.setdefault("accounts", {})
    configured = _subscriptions(tables)
    chosen = _choose(loader, tables, name, is_new=is_new)
    if not loader.problems and _has_none(tables.get(chosen)):
        _refuse(loader, tables, chosen)
    loader.raise_problems()
    table = tables.setdefault(chosen, {"cloud": "tuya-cloud"})
    # Only the gateway is wanted: what is wrong with the API must not be in the way.
    table.pop("api", None)
    gateway = table.setdefault("gateway", {})
    if isinstance(gateway, dict):
        _lay_over(table, given)
    account = loader.account(chosen, table, EvidenceSettings())
    loader.raise_problems()
    if account is None or account.gateway is None:
        raise AssertionError("an account without a struct has a problem")
    used = (account.gateway.access_id, account.gateway.gateway.subscription)
    return ListenedGateway(account.gateway, used in configured)


def _choose(loader: Loader, tables: Any, name: str | None, *, is_new: bool) -> str:
    if not isinstance(tables, dict):
        loader.reader.problem("accounts", "is not a table", "Write each account as [accounts.<alias>]")
        return NEW_ALIAS
    if name is not None:
        if not is_new and not isinstance(tables.get(name), dict):
            known = ", ".join(sorted(tables)) or "none"
            loader.reader.problem(f"accounts.{typed(name)}", "is not configured", f"Configured: {known}")
        return name
    if is_new:
        return NEW_ALIAS
    listening = _with_gateway(tables)
    if not listening:
        what = "names no account with a gateway"
        if loader.missing_file is not None:
            # The file that nobody named: what is missing is the account, by whichever way.
            what, loader.missing_file = f"are not described: there is no {loader.source} here", None
            loader.source = "options and environment"
        loader.reader.problem(
            "accounts",
            what,
            "Say --url, --access-id, --access-key-file and --subscription, or name a configuration with -c",
        )
    elif len(listening) > 1:
        loader.reader.problem(
            "accounts", f"names several with a gateway: {', '.join(listening)}", "Choose one with --account"
        )
    return listening[0] if listening else NEW_ALIAS


def _with_gateway(tables: Mapping[str, Any]) -> list[str]:
    return sorted(
        name
        for name, table in tables.items()
        if isinstance(table, dict) and "gateway" in table and not _has_none(table)
    )


def _has_none(table: Any) -> bool:
    """Whether it is an account of a cloud that has no message gateway."""
    kind = CLOUDS.get(_text(table.get("cloud"))) if isinstance(table, dict) else None
    return kind is not None and not kind.has_gateway


def _refuse(loader: Loader, tables: Mapping[str, Any], name: str) -> None:
    others = _with_gateway(tables)
    loader.reader.problem(
        f"accounts.{typed(name)}",
        f"is an account of {_text(tables[name]['cloud'])}, which has no message gateway",
        f"Choose an account with one: {', '.join(others)}" if others else "No account here has one",
    )


def _lay_over(table: dict[str, Any], given: Mapping[str, object]) -> None:
    for path, value in given.items():
        parent, _, key = path.rpartition(".")
        target = table[parent] if parent else table
        target[key] = value
        # A key given as text replaces one that the configuration names as a file, and the other way round.
        other = key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"
        target.pop(other, None)


def _subscriptions(tables: Any) -> set[tuple[str, str]]:
    """Return access id and subscription of every configured account, as far as they can be read."""
    found = set()
    for table in tables.values() if isinstance(tables, dict) else ():
        gateway = table.get("gateway") if isinstance(table, dict) else None
        if isinstance(gateway, dict):
            found.add((_text(table.get("access_id")), _text(gateway.get("subscription"))))
    return found


def _text(value: object) -> str:
    return value.text if isinstance(value, FromEnvironment) else str(value)
