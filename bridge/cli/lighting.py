"""Which lighting account and which of its projects a command is about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

from cyclopts import Parameter

from bridge.cli.acting import account_of
from bridge.cli.failure import CommandFailed
from bridge.clouds.illume.settings import IllumeApi
from bridge.clouds.settings import ApiAccount
from bridge.clouds.tuya.settings import TuyaCredentials
from bridge.exit_codes import ExitCode
from bridge.typed import printable

LightingAccount = ApiAccount[TuyaCredentials, IllumeApi]

OfProject = Annotated[
    str | None,
    Parameter(name="--project", help="Which lighting project; needed where the account names several."),
]


def lighting_account(config: Path, name: str | None) -> LightingAccount:
    """Return the lighting account that is meant."""
    # The registry gives each cloud its own tables.
    return cast("LightingAccount", account_of(config, "illume", name))


def project_of(account: LightingAccount, project: str | None) -> str:
    """Return the project that was named, or the account's only one. One that the configuration lacks may be named."""
    projects = account.api.project_ids
    if project is not None:
        return project
    if len(projects) == 1:
        return projects[0]
    named = f": {printable(', '.join(projects))}" if projects else ""
    raise CommandFailed(ExitCode.USAGE, f"Say which project with --project{named}.")
