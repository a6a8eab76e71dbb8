"""The simulated clouds as one thing that starts and ends: fleets, gateways onto the real Pulsar, REST, control API.

Each cloud's REST system is a server of its own over its accounts; `systems.py` lists them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.sandbox.brokers import Brokers
from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.broker_actions import BrokerActions
from deploy.sandbox.cloud.control import Control
from deploy.sandbox.cloud.faults import FaultBoard
from deploy.sandbox.cloud.fleet import Fleet
from deploy.sandbox.cloud.gateway import Gateway, NoGateway
from deploy.sandbox.cloud.publisher import PulsarPublisher, PulsarTarget
from deploy.sandbox.cloud.reader_progress import SubscriptionProgress
from deploy.sandbox.cloud.request_log import RequestLog
from deploy.sandbox.cloud.rest import Surroundings
from deploy.sandbox.cloud.server import AppServer
from deploy.sandbox.cloud.systems import SYSTEMS
from deploy.sandbox.cloud.tenant import Tenant
from deploy.sandbox.cloud.timeline import Timeline
from deploy.sandbox.cloud.tuya.account import TuyaAccount


class SimulatedCloud:
    """The clouds of `accounts`, living in the running loop inside `async with`.

    Gateway accounts are created on the brokers' Pulsar. `speed` runs the lives of upgrades faster than the 10 to 30 s
    they take; everything else keeps its time. `directory` takes the logs of the Pulsar client; the brokers' own when
    absent.
    """

    def __init__(
        self,
        brokers: Brokers,
        accounts: Sequence[SimulatedAccount],
        *,
        directory: Path | None = None,
        seed: int = 1,
        speed: float = 1.0,
    ) -> None:
        unknown = sorted({account.cloud for account in accounts} - set(SYSTEMS))
        if unknown:
            raise ValueError(f"no simulated cloud {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
        self.accounts = tuple(accounts)
        self.control_url = ""
        """Set once it runs."""
        self.tenants: dict[str, Tenant] = {}
        """By account name, once it runs: for who wants to see more than the control API tells."""
        self._rest_urls: dict[str, str] = {}
        self._brokers = brokers
        self._directory = directory or brokers.ca_file.parent
        self._seed = seed
        self._speed = speed
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start, and return once everything answers."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(exception_type, exception, traceback)

    def rest_url(self, account: str) -> str:
        """Base URL of the REST system that serves an account."""
        return self._rest_urls[account]

    async def _start(self, stack: AsyncExitStack) -> None:
        timeline = Timeline()
        faults = FaultBoard(tuple(account.name for account in self.accounts))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for account in self.accounts:
            self.tenants[account.name] = await self._admit(account, timeline, faults, stack, group)
        stack.callback(group.create_task(timeline.run()).cancel)

        servers = self._rest_servers(Surroundings(faults=faults, now_s=timeline.now_s, seed=self._seed))
        actions = BrokerActions(self._brokers.pulsar, self._brokers.kafka, group)
        control = Control(
            self.tenants,
            faults=faults,
            timeline=timeline,
            brokers=actions,
            speed=self._speed,
        )
        control_server = AppServer(control.app)
        for server in (*servers.values(), control_server):
            group.create_task(server.run())
            stack.callback(server.stop)
            await server.answering()
        self._rest_urls = {
            account.name: f"https://localhost:{servers[account.cloud].port}" for account in self.accounts
        }
        self.control_url = f"http://127.0.0.1:{control_server.port}"

    def _rest_servers(self, surroundings: Surroundings) -> dict[str, AppServer]:
        """One server for each cloud that has an account."""
        certificate = self._brokers.server_certificate
        servers: dict[str, AppServer] = {}
        for cloud, system in SYSTEMS.items():
            tenants = [tenant for tenant in self.tenants.values() if tenant.account.cloud == cloud]
            if tenants:
                servers[cloud] = AppServer(
                    system.serve(tenants, surroundings).app,
                    cert_file=certificate.cert_file,
                    key_file=certificate.key_file,
                    client_ca_file=self._brokers.ca_file if system.client_certificates else None,
                )
        return servers

    async def _admit(
        self,
        account: SimulatedAccount,
        timeline: Timeline,
        faults: FaultBoard,
        stack: AsyncExitStack,
        group: asyncio.TaskGroup,
    ) -> Tenant:
        system = SYSTEMS[account.cloud]
        fleet = Fleet(account=account.name, cloud=account.cloud, seed=self._seed, manner=system.manner)
        gateway: Gateway | NoGateway = NoGateway(
            lambda: timeline.now_s() + faults.of(account.name).rest_clock_skew_s
        )
        if system.has_gateway and isinstance(account, TuyaAccount):
            gateway = await self._open_gateway(
                account, fleet, timeline=timeline, faults=faults, stack=stack, group=group
            )
        return Tenant(
            account=account,
            fleet=fleet,
            gateway=gateway,
            requests=RequestLog(account.rate_per_s, account.rate_window_s),
            can_express=system.endings,
        )

    async def _open_gateway(
        self,
        account: TuyaAccount,
        fleet: Fleet,
        *,
        timeline: Timeline,
        faults: FaultBoard,
        stack: AsyncExitStack,
        group: asyncio.TaskGroup,
    ) -> Gateway:
        pulsar = self._brokers.pulsar
        await pulsar.create_account(account.access_id, account.access_key, subscription=account.subscription)
        target = PulsarTarget(
            url=pulsar.url,
            username=pulsar.admin_username,
            password=pulsar.admin_password,
            topic=f"persistent://{account.access_id}/out/event",
            log_file=self._directory / f"gateway-{account.name}.log",
        )
        publisher = PulsarPublisher(target)
        stack.push_async_callback(publisher.close)
        await publisher.open()
        reader = SubscriptionProgress(
            admin_url=pulsar.admin_url,
            auth=(pulsar.admin_username, pulsar.admin_password),
            topic=target.topic,
            subscription=account.subscription,
            expires=lambda: faults.ttl_s is not None,
        )
        stack.callback(group.create_task(reader.run()).cancel)
        return Gateway(account, fleet, timeline=timeline, faults=faults, publisher=publisher, reader=reader)
