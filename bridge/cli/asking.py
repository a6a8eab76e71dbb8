"""What the commands share that ask a cloud and change nothing: which account, its client, and errors as sentences."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import uvloop
from cyclopts import Parameter

from bridge.cli.failure import CommandFailed
from bridge.cli.options import DEFAULT_CONFIG
from bridge.cli.remedies import remedy_for_command
from bridge.clouds.errors import AccountStopped, CloudError, DeviceNotFound, Misunderstood, Unanswered
from bridge.clouds.registry import kind_of, open_cloud
from bridge.clouds.settings import AnyAccount, secrets_of
from bridge.clouds.shape import Cloud, Means
from bridge.clouds.transport import HttpTransport
from bridge.config import LogSettings, load_accounts
from bridge.exit_codes import ExitCode
from bridge.logs import Redactor, configure_logs
from bridge.reconcile.limits import RequestPace
from bridge.typed import printable, typed

T = TypeVar("T")

AskedAccount = Annotated[
    str | None, Parameter(name="--account", help="Which account; needed where several have an api.")
]


def account_to_ask(config: Path, name: str | None) -> AnyAccount:
    """Return the account that is meant, and have all accounts' secrets starred in the log."""
    accounts = [
        account.api
        for account in load_accounts(config, optional_file=config == DEFAULT_CONFIG)
        if account.api is not None
    ]
    secrets = {
        secret
        for account in accounts
        for table in (account.credentials, account.api)
        for secret in secrets_of(table)
    }
    configure_logs(LogSettings(level="error"), Redactor(secrets))
    found = {account.name: account for account in accounts}
    names = ", ".join(sorted(found))
    if not found:
        raise CommandFailed(ExitCode.USAGE, "No account has an api, so no cloud can be asked.")
    if name is None:
        if len(found) > 1:
            raise CommandFailed(ExitCode.USAGE, f"Say which account with --account: {names}.")
        return next(iter(found.values()))
    if name not in found:
        raise CommandFailed(ExitCode.USAGE, f"{typed(name)} is no account with an api. There are: {names}.")
    return found[name]


def ask(account: AnyAccount, work: Callable[[Cloud], Awaitable[T]]) -> T:
    """Run what asks an account's cloud, at the account's rate. Raises CommandFailed where the cloud does not answer."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_asked(account, work))
    except CloudError as error:
        raise CommandFailed(_exit_code(error), _sentence(account, error)) from error


async def _asked(account: AnyAccount, work: Callable[[Cloud], Awaitable[T]]) -> T:
    transport = HttpTransport(account.api)
    pace = RequestPace(
        account.api.rate_per_s,
        counted_over_s=kind_of(account.cloud).rate_window_s,
        may_send=lambda: True,
        monotonic=time.monotonic,
    )
    try:
        means = Means(transport=transport, pace=pace, now_ms=lambda: time.time_ns() // 1_000_000)
        return await work(open_cloud(account, means))
    finally:
        await transport.close()


def _exit_code(error: CloudError) -> ExitCode:
    if isinstance(error, Unanswered):
        return ExitCode.UNREACHABLE
    if isinstance(error, AccountStopped) and error.api == "configuration":
        return ExitCode.USAGE
    return ExitCode.DATA if isinstance(error, Misunderstood | DeviceNotFound) else ExitCode.REFUSED


def _sentence(account: AnyAccount, error: CloudError) -> str:
    """Say what happened, and what to do where there is something."""
    told = f"{account.name}: {printable(str(error))}."
    remedy = remedy_for_command(error.remedy, account.name)
    return f"{told} Try again later." if remedy is None else f"{told} Remedy: {remedy}."
