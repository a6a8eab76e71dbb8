"""Asking a cloud from this process: with the account's own rate and credentials, and without Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from bridge.cli.failure import CommandFailed
from bridge.cli.lookup_answer import Answered
from bridge.cli.remedies import remedy_for_command
from bridge.clouds.errors import CloudError
from bridge.clouds.registry import kind_of, open_cloud
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import Means
from bridge.clouds.transport import HttpTransport
from bridge.exit_codes import ExitCode
from bridge.reconcile.limits import RequestPace
from bridge.reconcile.packages import Packages

T = TypeVar("T")


def run_direct(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's work."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def ask_cloud(account: AnyAccount, device_id: str, *, within_s: float) -> Answered:
    """Look a device up, and the packages that the answer names."""
    try:
        transport = HttpTransport(account.api)
    except CloudError as error:
        return _failed(account, device_id, error)
    try:
        async with asyncio.timeout(within_s):
            return await _asked(account, device_id, transport)
    except CloudError as error:
        return _failed(account, device_id, error)
    except TimeoutError:
        raise CommandFailed(
            ExitCode.UNREACHABLE,
            f"{account.name} did not answer within {within_s:g} s. A longer --timeout may help where the cloud asks for"
            " a pause.",
        ) from None
    finally:
        await transport.close()


async def _asked(account: AnyAccount, device_id: str, transport: HttpTransport) -> Answered:
    pace = RequestPace(
        account.api.rate_per_s,
        counted_over_s=kind_of(account.cloud).rate_window_s,
        may_send=lambda: True,
        monotonic=time.monotonic,
    )
    means = Means(transport=transport, pace=pace, now_ms=lambda: time.time_ns() // 1_000_000)
    cloud = open_cloud(account, means)
    looked = await cloud.lookup(device_id)
    packages = Packages(account, cloud, monotonic=time.monotonic)
    return Answered(
        device_id=device_id,
        account=account.name,
        cloud=account.cloud,
        via="direct",
        api=looked.api,
        asked_at_ms=looked.asked_at_ms,
        outcome="ok",
        observations=tuple(await packages.fill(looked.observations)),
    )


def _failed(account: AnyAccount, device_id: str, error: CloudError) -> Answered:
    return Answered(
        device_id=device_id,
        account=account.name,
        cloud=account.cloud,
        via="direct",
        api=error.api,
        asked_at_ms=error.asked_at_ms,
        outcome="not_found" if error.error == "not_found" else "unavailable",
        error=error.error,
        code=error.code,
        text=error.text,
        remedy=remedy_for_command(error.remedy, account.name),
    )
