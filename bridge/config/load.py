"""Loads a configuration: file, environment over it, tables into structs, then the checks between them."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from bridge.clouds.kind import CloudKind
from bridge.clouds.registry import CLOUDS
from bridge.clouds.settings import AnyAccount, ApiAccount, Check, Credentials
from bridge.clouds.tuya.settings import TuyaCredentials
from bridge.config import checks
from bridge.config.environment import overlay
from bridge.config.problems import ConfigurationError, Problem
from bridge.config.reader import Reader
from bridge.config.settings import (
    AccountSettings,
    Configuration,
    EventSettings,
    EvidenceSettings,
    HttpSettings,
    LogSettings,
)
from bridge.fold.policy import Policy
from bridge.kafka.settings import KafkaSettings
from bridge.typed import typed_file
from consumer.settings import GatewayAccount, GatewaySettings

T = TypeVar("T", bound=msgspec.Struct)

ALIAS: Final = re.compile(r"(?!observations$)[a-z0-9-]{1,40}")
"""`observations/…` is how the fold names the places of its own dead letters."""

TABLES: Final = ("kafka", "http", "log", "policy", "events", "evidence", "accounts")


def load(path: Path, environment: Mapping[str, str] | None = None) -> Configuration:
    """Return the checked configuration of the daemon.

    Raises ConfigurationError with every mistake found.
    """
    loader = Loader(path, os.environ if environment is None else environment)
    kafka = loader.table(KafkaSettings, "kafka", checks.check_kafka)
    http = loader.table(HttpSettings, "http", checks.check_http)
    log = loader.table(LogSettings, "log", checks.check_numbers)
    events = loader.table(EventSettings, "events", checks.check_events)
    evidence = loader.table(EvidenceSettings, "evidence", checks.check_numbers)
    accounts = loader.accounts(evidence or EvidenceSettings())
    policy = loader.policy(events or EventSettings(), accounts)
    loader.unknown_tables()
    gateways = tuple(account.gateway for account in accounts if account.gateway is not None)
    apis = tuple(account.api for account in accounts if account.api is not None)
    checks.check_subscriptions(gateways, loader.reader.problem)
    loader.raise_problems()
    if kafka is None or http is None or log is None or policy is None:
        raise AssertionError("a table without a struct has a problem")
    return Configuration(
        kafka=kafka,
        http=http,
        log=log,
        policy=policy,
        gateways=gateways,
        apis=apis,
        warnings=checks.warnings(http, gateways, apis),
    )


def load_kafka(
    path: Path, environment: Mapping[str, str] | None = None, *, optional_file: bool = False
) -> KafkaSettings:
    """Return only the `[kafka]` table, for commands that read topics: other tables may be missing or wrong.

    With `optional_file` the file may be missing, provided that the environment says what is needed.
    """
    loader = Loader(path, os.environ if environment is None else environment, optional_file=optional_file)
    kafka = loader.table(KafkaSettings, "kafka", checks.check_kafka)
    loader.raise_problems()
    if kafka is None:
        raise AssertionError("a table without a struct has a problem")
    return kafka


def load_accounts(
    path: Path, environment: Mapping[str, str] | None = None, *, optional_file: bool = False
) -> list[Account]:
    """Return only the accounts, for commands that need their keys: other tables may be missing or wrong."""
    loader = Loader(path, os.environ if environment is None else environment, optional_file=optional_file)
    accounts = loader.accounts(EvidenceSettings())
    loader.raise_problems()
    return accounts


class Account(msgspec.Struct, frozen=True):
    """One account: its gateway, its API, or both."""

    name: str
    gateway: GatewayAccount | None
    api: AnyAccount | None


class Loader:
    """A configuration's tables, read one by one; the mistakes found on the way are raised together."""

    def __init__(self, path: Path, environment: Mapping[str, str], *, optional_file: bool = False) -> None:
        self.source = typed_file(path)
        self.missing_file: Problem | None = None
        """Why nothing was read from a file that need not be there."""
        self.problems: list[Problem] = []
        self.reader = Reader(path.parent.absolute(), self.problems)
        self.tables = overlay(self._file(path, optional=optional_file), environment, self.problems)

    def _file(self, path: Path, *, optional: bool) -> dict[str, Any]:
        what, remedy = (
            "does not exist",
            "Start one with `ota-bridge config example > ota-bridge.toml`, or name another with -c",
        )
        try:
            with path.open("rb") as file:
                return tomllib.load(file)
        except FileNotFoundError:
            if optional:
                self.missing_file = Problem(self.source, what, remedy)
                return {}
        except OSError as error:
            what, remedy = f"cannot be read: {error.strerror}", "Check the path and its permissions"
        except UnicodeDecodeError:
            what, remedy = "is not UTF-8 text", "Save it as UTF-8"
        except tomllib.TOMLDecodeError as error:
            what, remedy = f"is not TOML: {error}", "Correct that line"
        raise ConfigurationError(self.source, [Problem(self.source, what, remedy)])

    def table(self, kind: type[T], name: str, check: Check) -> T | None:
        """Return a table's struct, or None where it has a mistake."""
        return self.reader.read(kind, self.tables.get(name, {}), name, check)

    def policy(self, events: EventSettings, accounts: list[Account]) -> Policy | None:
        """The `[policy]` table with what the fold is told from the other tables."""
        return self.reader.read(
            Policy,
            self.tables.get("policy", {}),
            "policy",
            checks.check_policy,
            given={
                "progress_step": events.progress_step,
                "events_include": events.include,
                "events_exclude": events.exclude,
                "accounts_without_api": tuple(account.name for account in accounts if account.api is None),
            },
        )

    def accounts(self, evidence: EvidenceSettings) -> list[Account]:
        """Return every account without a mistake."""
        tables = self.tables.get("accounts", {})
        if not isinstance(tables, dict):
            self.reader.problem("accounts", "is not a table", "Write each account as [accounts.<alias>]")
            return []
        if not tables:
            self.reader.problem(
                "accounts", "names no account", "Write an [accounts.<alias>] table for each cloud project"
            )
        found = (self.account(name, tables[name], evidence) for name in tables)
        return [account for account in found if account is not None]

    def account(self, name: str, table: object, evidence: EvidenceSettings) -> Account | None:
        """Return one account, or None where its own table has a mistake."""
        path = f"accounts.{name}"
        if not ALIAS.fullmatch(name):
            self.reader.problem(
                path,
                "is not an alias",
                "Use 1 to 40 of a-z, 0-9 and -, not 'observations'; it is on every record",
            )
        if not isinstance(table, dict):
            self.reader.problem(path, "is not a table", f"Write it as [{path}]")
            return None
        # The cloud decides which keys there are: of a cloud that is not known, nothing more can be said.
        own = self.reader.read(
            AccountSettings,
            {key: value for key, value in table.items() if key == "cloud"},
            path,
            checks.check_cloud,
        )
        if own is None:
            return None
        kind = CLOUDS[own.cloud]
        credentials: Credentials | None = self.reader.read(
            kind.credentials,
            table,
            path,
            kind.check_credentials,
            elsewhere=("cloud", "gateway", "api"),
            forms=kind.secret_forms,
        )
        gateway = self._gateway(kind, own.cloud, table, path)
        api = None
        if "api" in table:
            api = self.reader.read(kind.api, table["api"], f"{path}.api", checks.check_api_of(kind))
        if credentials is None:
            return None
        return Account(
            name,
            None
            if gateway is None or not isinstance(credentials, TuyaCredentials)
            else GatewayAccount(
                name=name,
                cloud=own.cloud,
                access_id=credentials.access_id,
                access_key=credentials.access_key,
                previous_access_key=credentials.previous_access_key,
                gateway=gateway,
                evidence_raw=evidence.raw,
            ),
            None
            if api is None
            else ApiAccount(
                name=name,
                cloud=own.cloud,
                credentials=credentials,
                api=api,
                evidence_raw=evidence.raw,
            ),
        )

    def _gateway(
        self, kind: CloudKind[Any, Any], cloud: str, table: Mapping[str, Any], path: str
    ) -> GatewaySettings | None:
        """Return the gateway's settings, where the cloud has one and the account names it."""
        if not kind.has_gateway:
            if "gateway" in table:
                self.reader.problem(
                    f"{path}.gateway", f"is not for {cloud}, which has no message gateway", "Leave it out"
                )
            if "api" not in table:
                self.reader.problem(path, "has no api", f"Write [{path}.api]")
            return None
        if "gateway" not in table and "api" not in table:
            self.reader.problem(
                path, "has neither a gateway nor an api", f"Write [{path}.gateway], [{path}.api] or both"
            )
        if "gateway" not in table:
            return None
        return self.reader.read(GatewaySettings, table["gateway"], f"{path}.gateway", checks.check_gateway)

    def unknown_tables(self) -> None:
        """Note the tables that nobody reads."""
        for name, value in self.tables.items():
            if name not in TABLES:
                self.reader.unknown("table", name, name, value, TABLES)

    def raise_problems(self) -> None:
        """Raise ConfigurationError where there were mistakes."""
        if self.problems:
            # What the environment leaves open would have stood in the file: that is the mistake to tell first.
            told = [] if self.missing_file is None else [self.missing_file]
            raise ConfigurationError(self.source, [*told, *self.problems])
