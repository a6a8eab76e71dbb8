"""A bridge's client against its simulated cloud, without brokers, sockets and waiting: where a new cloud begins.

Time stands still but for `simulation.advance`, and for the client's own waits, which pass at once.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from bridge.clouds.registry import open_cloud
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Cloud, Means
from bridge.clouds.wire import Answer, Request
from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.system import Place, SimulatedSystem, Tables
from deploy.sandbox.cloud.systems import SYSTEMS, new_account
from tests.unit.sandbox.simulation import Simulation

PLACE = Place(
    rest_url="https://localhost:1",
    ca_file=ssl.get_default_verify_paths().openssl_cafile,
    client_cert_file="client.pem",
    client_key_file="client.key",
    short_periods={},
)


class SimulatedApi:
    """One account with its client, and its transport; `cloud` is the bridge's, `simulation` and `rest` the vendor's."""

    def __init__(self, cloud: str, *, seed: int = 1, **api: Any) -> None:
        self.system: SimulatedSystem = SYSTEMS[cloud]
        account: SimulatedAccount = new_account(f"{cloud}-test", cloud)
        self.simulation = Simulation(account=account, seed=seed)
        self.tables: Tables = self.system.tables(account, PLACE)
        self.requests: list[Request] = []
        self.turns = 0
        self.rest = self.system.serve([self.simulation.tenant], self.simulation.surroundings)
        self._http = httpx.ASGITransport(self.rest.app)
        self.account = ApiAccount(
            name=account.name,
            cloud=cloud,
            credentials=self.tables.credentials,
            api=type(self.tables.api)(
                **{name: getattr(self.tables.api, name) for name in self.tables.api.__struct_fields__} | api
            ),
        )
        self.cloud: Cloud = open_cloud(
            self.account,
            Means(transport=self, pace=self, now_ms=self.now_ms, sleep=self.sleep, jitter=lambda: 1.0),
        )

    def now_ms(self) -> int:
        return int(self.simulation.now_s * 1000)

    async def sleep(self, seconds: float) -> None:
        self.simulation.advance(seconds)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A pace that only keeps the requests of one second apart, as the account's rate demands."""
        self.turns += 1
        rate_per_s = self.simulation.tenant.account.rate_per_s
        self.simulation.advance(1.01 / rate_per_s)
        yield

    async def send(self, request: Request) -> Answer:
        self.requests.append(request)
        url = httpx.URL("https://localhost:1").copy_with(raw_path=request.target.encode("ascii"))
        response = await self._http.handle_async_request(
            httpx.Request(request.method, url, headers=dict(request.headers), content=request.body or None)
        )
        body = await response.aread()
        return Answer(
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=body,
        )
