"""The sandbox as one thing: brokers, simulated clouds, and the two files that tell others how to use them.

`Sandbox` starts everything and, once everything answers, writes `sandbox.json` in one step; both `make sandbox` and
the demo run it. One at a time per directory; nothing of an earlier run is kept.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from consumer.settings import GatewaySettings
from deploy.sandbox.brokers import Brokers
from deploy.sandbox.cloud import SimulatedAccount, SimulatedCloud, demo_accounts
from deploy.sandbox.cloud.system import Place
from deploy.sandbox.cloud.systems import SYSTEMS
from deploy.sandbox.cloud.tuya.account import TuyaAccount
from deploy.sandbox.configuration import SHORT_PERIODS, ConfiguredAccount, write_configuration

PROJECT = Path(__file__).parents[2]
_WATCH_PERIOD_S = 0.5

DEMO_ACCOUNT = "tuya-demo"
"""The account with a gateway that is always there; the other clouds have one each, `<cloud>-demo`."""


class AlreadyRunning(Exception):
    """Another sandbox uses the same directory; nothing was started. The message says which process it is."""


class Sandbox:
    """Brokers and clouds, described in `directory/sandbox.json` while everything answers; `speed` is the cloud's."""

    def __init__(
        self, directory: Path, *, announce: Callable[[str], None] = lambda _: None, speed: float = 1.0
    ) -> None:
        self._directory = directory.absolute()
        self._own = self._directory / "sandbox"
        self._announce = announce
        self._speed = speed
        self._exit_stack = AsyncExitStack()
        self.description_file = self._directory / "sandbox.json"
        self.config_file = self._directory / "ota-bridge.toml"
        self.brokers: Brokers
        self.cloud: SimulatedCloud
        self.description: dict[str, Any] = {}
        """What `sandbox.json` holds."""

    async def __aenter__(self) -> Self:
        """Start everything. Raises AlreadyRunning, MissingTools, JarsNotFetched or ChildFailed."""
        async with AsyncExitStack() as stack:
            self._own.mkdir(parents=True, exist_ok=True)
            stack.enter_context(self._lock())
            self._remove_description()
            for log in self._own.glob("*.log"):
                log.unlink()
            stack.callback(self._remove_description)
            self.brokers = await stack.enter_async_context(Brokers(self._own, announce=self._announce))
            accounts = demo_accounts()
            self.cloud = await stack.enter_async_context(
                SimulatedCloud(self.brokers, accounts, directory=self._own, speed=self._speed)
            )
            self._configure(accounts)
            self._describe(accounts)
            self._exit_stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # First of all nobody should find it any more.
        self.description_file.unlink(missing_ok=True)
        await self._exit_stack.aclose()

    async def watch(self) -> None:
        """Run for ever; raise ChildFailed when a broker ends by itself."""
        while True:
            self.brokers.check()
            await asyncio.sleep(_WATCH_PERIOD_S)

    def _configure(self, accounts: tuple[SimulatedAccount, ...]) -> None:
        write_configuration(
            self.config_file,
            self._own / "secrets",
            bootstrap_servers=self.brokers.kafka.bootstrap_servers,
            accounts=[self._configured(account) for account in accounts],
        )

    def _configured(self, account: SimulatedAccount) -> ConfiguredAccount:
        ca_file, shown = str(self.brokers.ca_file), self.brokers.client_certificate
        tables = SYSTEMS[account.cloud].tables(
            account,
            Place(
                rest_url=self.cloud.rest_url(account.name),
                ca_file=ca_file,
                client_cert_file=str(shown.cert_file),
                client_key_file=str(shown.key_file),
                short_periods=SHORT_PERIODS,
            ),
        )
        gateway = None
        if SYSTEMS[account.cloud].has_gateway and isinstance(account, TuyaAccount):
            gateway = GatewaySettings(
                url=self.brokers.pulsar.tls_url, subscription=account.subscription, ca_file=ca_file
            )
        return ConfiguredAccount(
            name=account.name,
            cloud=account.cloud,
            credentials=tables.credentials,
            gateway=gateway,
            api=tables.api,
        )

    def _describe(self, accounts: tuple[SimulatedAccount, ...]) -> None:
        pulsar, kafka, ca_file = self.brokers.pulsar, self.brokers.kafka, str(self.brokers.ca_file)
        self.description = {
            # After a kill -9 the file stays; who finds no such process knows that its addresses are dead.
            "pid": os.getpid(),
            "pulsar": {
                "url": pulsar.url,
                "tls_url": pulsar.tls_url,
                "admin_url": pulsar.admin_url,
                "admin": {"username": pulsar.admin_username, "password": pulsar.admin_password},
                "ca_file": ca_file,
            },
            "kafka": {
                "bootstrap_servers": kafka.bootstrap_servers,
                "sasl_ssl": {
                    "bootstrap_servers": kafka.sasl_ssl_bootstrap_servers,
                    "ca_file": ca_file,
                    "username": kafka.username,
                    "password": kafka.password,
                },
            },
            "control_url": self.cloud.control_url,
            "config_file": _from_project(self.config_file),
            "accounts": {
                account.name: {
                    **account.describe(),
                    "rest_url": self.cloud.rest_url(account.name),
                    "ca_file": ca_file,
                    **self._shown_certificate(account),
                }
                for account in accounts
            },
        }
        temporary = self.description_file.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(self.description, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.description_file)

    def _shown_certificate(self, account: SimulatedAccount) -> dict[str, str]:
        if not SYSTEMS[account.cloud].client_certificates:
            return {}
        shown = self.brokers.client_certificate
        return {"client_cert": str(shown.cert_file), "client_key": str(shown.key_file)}

    def _remove_description(self) -> None:
        for file in (self.description_file, self.config_file):
            file.unlink(missing_ok=True)
        shutil.rmtree(self._own / "secrets", ignore_errors=True)

    def _lock(self) -> IO[str]:
        """Held by the open file, so it ends with us in whatever way we end."""
        lock = (self._own / "lock").open("a+", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
            lock.close()
            raise AlreadyRunning(
                f"A sandbox runs in {self._directory} already (process {owner}); stop that one first."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock


def _from_project(file: Path) -> str:
    return str(file.relative_to(PROJECT)) if file.is_relative_to(PROJECT) else str(file)
