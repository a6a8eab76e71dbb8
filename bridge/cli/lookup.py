"""`ota-bridge lookup DEVICE`: what the device's cloud says now, in our words and in its own.

By default the running bridge asks: it owns the account's rate and, where a cloud allows one login at a time, its token.
`--direct` asks from this process, needs no Kafka, and tells nobody else what it learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from cyclopts import Parameter, validators

from bridge.cli.console import console, write_json
from bridge.cli.failure import CommandFailed
from bridge.cli.kafka import kafka_settings, run_with_kafka
from bridge.cli.looked_lines import looked_tables
from bridge.cli.lookup_answer import Answered
from bridge.cli.lookup_direct import ask_cloud, run_direct
from bridge.cli.lookup_request import ask_bridge
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.clouds.settings import AnyAccount, secrets_of
from bridge.config import LogSettings, load_accounts
from bridge.exit_codes import ExitCode
from bridge.logs import Redactor, configure_logs
from bridge.typed import printable, typed

_EXIT_CODES: Final[Mapping[str, ExitCode]] = {
    "auth_fatal": ExitCode.REFUSED,
    "config_fatal": ExitCode.REFUSED,
    "forbidden": ExitCode.REFUSED,
    "quota": ExitCode.REFUSED,
    "clock_skew": ExitCode.UNREACHABLE,
    "retry": ExitCode.UNREACHABLE,
    "throttled": ExitCode.UNREACHABLE,
    "token": ExitCode.UNREACHABLE,
}
"""By class of error; any other is about the device or its answer."""


def lookup(
    device: Annotated[str, Parameter(help="The device's id in its cloud.")],
    /,
    *,
    account: Annotated[
        str | None, Parameter(help="The account it belongs to; not needed where only one has an API.")
    ] = None,
    direct: Annotated[
        bool, Parameter(help="Ask from this process instead of the running bridge.", negative=())
    ] = False,
    timeout: Annotated[
        float, Parameter(help="Seconds to wait for the answer.", validator=validators.Number(gt=0))
    ] = 60.0,
    config: ConfigFile = DEFAULT_CONFIG,
    json: AsJson = None,
) -> int:
    """Ask the cloud now about one device, and show what it answers beside its own values.

    The running bridge asks, within the account's rate, and writes what it learned, so that states and events follow.
    `--direct` asks from here, for when no bridge runs: nothing is written, its requests come on top of a bridge's, and
    where a cloud allows one login at a time the two log each other out until this ends.

    Ends with 3 when the cloud refuses the account, with 4 when no answer comes, with 5 when it has none about the
    device.
    """
    asked = _account(account, load_accounts_with_api(config))
    if direct:
        configure_logs(
            LogSettings(level="error"), Redactor(secrets_of(asked.credentials) | secrets_of(asked.api))
        )
        answered = run_direct(ask_cloud(asked, device, within_s=timeout))
    else:
        settings = kafka_settings(config)
        configure_logs(LogSettings(level="error"), Redactor(secrets_of(settings)))
        answered = run_with_kafka(settings, ask_bridge(settings, asked, device, within_s=timeout))
    code = ExitCode.OK if answered.error is None else _EXIT_CODES.get(answered.error, ExitCode.DATA)
    if wants_json(json):
        write_json(answered)
        return code
    if answered.error is not None:
        raise CommandFailed(code, _sentence(answered))
    screen = console()
    for part in looked_tables(answered):
        screen.print(part)
    return code


def load_accounts_with_api(config: ConfigFile) -> Mapping[str, AnyAccount]:
    """Return the accounts that can be asked, by alias."""
    accounts = load_accounts(config, optional_file=config == DEFAULT_CONFIG)
    return {each.name: each.api for each in accounts if each.api is not None}


def _account(name: str | None, accounts: Mapping[str, AnyAccount]) -> AnyAccount:
    known = ", ".join(sorted(accounts)) or "none"
    if name is None and len(accounts) == 1:
        return next(iter(accounts.values()))
    if name is None:
        raise CommandFailed(
            ExitCode.USAGE, f"Say whose device it is with --account. Accounts with an API: {known}."
        )
    if name not in accounts:
        raise CommandFailed(
            ExitCode.USAGE, f"No account {typed(name)} has an API here. Accounts with an API: {known}."
        )
    return accounts[name]


def _sentence(answered: Answered) -> str:
    told = ": ".join(filter(None, (answered.error, answered.text)))
    code = f" (code {answered.code})" if answered.code else ""
    remedy = f" Remedy: {answered.remedy}." if answered.remedy else ""
    device = typed(answered.device_id)
    return (
        f"{answered.account} has no answer about device {device}: {printable(told)}{printable(code)}.{remedy}"
    )
