"""`ota-bridge package ID`: what an account's cloud tells of one firmware package."""

from __future__ import annotations

from typing import Annotated, Any, Final

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from bridge.cli.asking import AskedAccount, account_to_ask, ask
from bridge.cli.console import console, write_json
from bridge.cli.failure import CommandFailed
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.clouds.registry import kind_of
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import Cloud, FirmwarePackage
from bridge.exit_codes import ExitCode
from bridge.typed import printable

_COLOURS: Final = {
    "usable": "green",
    "unverified": "yellow",
    "checking": "blue",
    "rejected": "red",
    "missing": "red",
}


def package(
    package_id: Annotated[
        str, Parameter(name="ID", help="The package's id in its cloud, as states and events name it.")
    ],
    /,
    *,
    account: AskedAccount = None,
    config: ConfigFile = DEFAULT_CONFIG,
    json: AsJson = None,
) -> int:
    """Ask a cloud what it knows of a firmware package: its name, version and state.

    The state is usable, unverified (nobody has verified it yet), checking, rejected, or missing. It says nothing about
    any device. Nothing is changed, and no link to the package is shown.

    Ends with 5 for a package that is missing, with 2 where the account's cloud tells nothing of packages, with 3 when
    it refuses, with 4 when it does not answer.
    """
    asked = account_to_ask(config, account)

    async def work(cloud: Cloud) -> FirmwarePackage | None:
        return await cloud.package(package_id)

    told = ask(asked, work)
    if told is None:
        title = kind_of(asked.cloud).title
        raise CommandFailed(ExitCode.USAGE, f"{asked.name}: {title} tells nothing of packages.")
    if wants_json(json):
        write_json(_values(asked, told))
    else:
        console().print(_table(asked, told))
    return ExitCode.DATA if told.state == "missing" else ExitCode.OK


def _values(account: AnyAccount, told: FirmwarePackage) -> dict[str, Any]:
    """What is known, under the names that records use; what is not known is left out."""
    values: dict[str, Any] = {
        "account": account.name,
        "cloud": account.cloud,
        "id": told.package_id,
        "state": told.state,
        "name": told.name,
        "version": told.version,
        "from_version": told.from_version,
        "product_id": told.product_id,
        "channel": told.channel,
        "told": dict(told.told) or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _table(account: AnyAccount, told: FirmwarePackage) -> Table:
    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows = _values(account, told)
    vendors = rows.pop("told", {})
    rows["account"] = f"{account.name} ({rows.pop('cloud')})"
    order = ("id", "state", "name", "version", "from_version", "product_id", "channel", "account")
    for name in order:
        if name in rows:
            style = _COLOURS.get(told.state, "") if name == "state" else ""
            table.add_row(name.replace("_id", "").replace("_", " "), Text(printable(str(rows[name])), style))
    # As the vendor calls it, beside what was said already.
    said = {str(value) for value in rows.values()}
    for name, value in vendors.items():
        if str(value).strip() and str(value) not in said:
            table.add_row(Text(printable(name)), Text(printable(str(value)), "dim"))
    return table
