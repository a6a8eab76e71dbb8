"""What the commands share that change something at a cloud: which account, the question before, and how it went.

Nothing else of the program changes anything there. 1. Find the account. 2. Say what would happen, and ask. 3. Send it
once: nobody knows what a lost answer said, so nothing is repeated.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import uvloop
from cyclopts import Parameter

from bridge.cli.failure import CommandFailed
from bridge.cli.options import DEFAULT_CONFIG
from bridge.cli.remedies import remedy_for_command
from bridge.clouds.errors import CloudError, DeviceNotFound, SchemaMismatch, Throttled, Unanswered
from bridge.clouds.settings import AnyAccount, secrets_of
from bridge.clouds.shape import Means
from bridge.clouds.transport import HttpTransport
from bridge.config import LogSettings, load_accounts
from bridge.exit_codes import ExitCode
from bridge.logs import Redactor, configure_logs
from bridge.reconcile.limits import RequestPace
from bridge.typed import printable, typed

T = TypeVar("T")

OfOneAccount = Annotated[
    str | None, Parameter(name="--account", help="Which account; needed where several are of that cloud.")
]
Yes = Annotated[bool, Parameter(name="--yes", help="Do not ask before acting.", negative=())]

NOTHING_DONE: Final = "Nothing was done."
NOT_KNOWN: Final = "It is not known whether it was done: look before you repeat it."


def account_of(config: Path, cloud: str, name: str | None) -> AnyAccount:
    """1. Return the account of a cloud that is meant, and have its secrets starred in the log."""
    accounts = load_accounts(config, optional_file=config == DEFAULT_CONFIG)
    secrets = {
        secret
        for each in accounts
        if each.api is not None
        for table in (each.api.credentials, each.api.api)
        for secret in secrets_of(table)
    }
    configure_logs(LogSettings(level="error"), Redactor(secrets))
    found = {each.name: each.api for each in accounts if each.api is not None and each.api.cloud == cloud}
    names = ", ".join(sorted(found))
    if not found:
        raise CommandFailed(
            ExitCode.USAGE, f'No account with an api has cloud = "{cloud}", which this is for.'
        )
    if name is None and len(found) > 1:
        raise CommandFailed(ExitCode.USAGE, f"Say which account with --account: {names}.")
    if name is not None and name not in found:
        raise CommandFailed(ExitCode.USAGE, f'{typed(name)} is no account of cloud = "{cloud}": {names}.')
    return found[name] if name is not None else next(iter(found.values()))


def agreed(what: str, *, yes: bool) -> bool:
    """2. Say what would happen, and ask; nobody is asked who said yes beforehand."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise CommandFailed(
            ExitCode.USAGE, f"{what} Nobody can be asked here: confirm with --yes. {NOTHING_DONE}"
        )
    try:
        print(f"{what} Go on? [y/N] ", end="", file=sys.stderr, flush=True)
        return input().strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


def act(account: AnyAccount, work: Callable[[Means], Awaitable[T]], *, acting: str) -> T:
    """3. Send it. `acting` is the name of the call that changes something.

    Raises CommandFailed, which says whether anything was done.
    """
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_with_means(account, work))
    except CloudError as error:
        raise _failure(account, error, acting) from error


async def _with_means(account: AnyAccount, work: Callable[[Means], Awaitable[T]]) -> T:
    transport = HttpTransport(account.api)
    pace = RequestPace(account.api.rate_per_s, may_send=lambda: True, monotonic=time.monotonic)
    try:
        return await work(Means(transport=transport, pace=pace, now_ms=lambda: time.time_ns() // 1_000_000))
    finally:
        await transport.close()


def _failure(account: AnyAccount, error: CloudError, acting: str) -> CommandFailed:
    was_sent = error.api == acting
    said = f"{account.name}: {printable(str(error))}."
    told = remedy_for_command(error.remedy, account.name)
    remedy = "" if told is None else f" Remedy: {told}."
    if isinstance(error, Unanswered | SchemaMismatch):
        code = ExitCode.UNREACHABLE if isinstance(error, Unanswered) else ExitCode.DATA
        return CommandFailed(code, f"{said} {NOT_KNOWN if was_sent else NOTHING_DONE + remedy}")
    if isinstance(error, Throttled):
        return CommandFailed(ExitCode.REFUSED, f"{said} {NOTHING_DONE} Try again in a minute.")
    code = ExitCode.DATA if isinstance(error, DeviceNotFound) else ExitCode.REFUSED
    return CommandFailed(code, f"{said} {NOTHING_DONE}{remedy}")
