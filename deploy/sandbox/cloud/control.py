"""The control API of the sandbox: truth, campaigns, faults, firehose, requests, as SANDBOX.md's table has them.

Wrong bodies get 400, unknown ids 404, each with one sentence in `error`; nothing is done then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from deploy.sandbox.cloud.campaign import Campaign, CampaignOrder, DeviceOrder
from deploy.sandbox.cloud.faults import Actions, FaultBoard, FaultError, parse_faults
from deploy.sandbox.cloud.firehose import Firehose, FirehoseOrder
from deploy.sandbox.cloud.fleet import MAX_DEVICES, Device
from deploy.sandbox.cloud.gateway import NoGateway
from deploy.sandbox.cloud.tenant import Tenant
from deploy.sandbox.cloud.timeline import Timeline

_SLICE = 500
"""Devices handled before the servers on the same loop get their turn."""
_DEFAULT_TTL_S = 7200.0

_encode = msgspec.json.Encoder().encode
_Order = TypeVar("_Order", CampaignOrder, DeviceOrder, FirehoseOrder)


class BrokerFaults(Protocol):
    """What the control API does to the brokers."""

    def act(self, actions: Actions) -> None:
        """Begin to do what is asked; return at once."""
        ...

    async def set_ttl(self, seconds: float) -> None:
        """Set the gateway's retention of unconsumed messages."""
        ...


class Wrong(Exception):
    """The request cannot be served; the answer is this status and sentence."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


class Control:
    """Serves the control API. `app` is the ASGI application."""

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        *,
        faults: FaultBoard,
        timeline: Timeline,
        brokers: BrokerFaults,
        speed: float = 1.0,
    ) -> None:
        self._tenants = tenants
        self._faults = faults
        self._timeline = timeline
        self._brokers = brokers
        self._speed = speed
        self._campaigns: dict[str, Campaign] = {}
        self._ordering = asyncio.Lock()
        self._ttl_s = _DEFAULT_TTL_S
        routes = (
            ("/truth", "GET", self._truth),
            ("/devices", "POST", self._order_devices),
            ("/campaigns", "POST", self._order_campaign),
            ("/campaigns/{id}", "GET", self._campaign),
            ("/faults", "PUT", self._put_faults),
            ("/firehose", "POST", self._order_firehose),
            ("/requests", "GET", self._requests),
        )
        self.app = Starlette(
            routes=[Route(path, _guarded(serve), methods=[method]) for path, method, serve in routes]
        )

    async def _truth(self, request: Request) -> Response:
        name = request.query_params.get("account")
        tenants = list(self._tenants.values()) if name is None else [self._tenant(name)]

        async def lines() -> AsyncIterator[bytes]:
            for tenant in tenants:
                for first in range(0, len(tenant.fleet), _SLICE):
                    last = min(first + _SLICE, len(tenant.fleet))
                    yield b"".join(
                        _encode(tenant.fleet.truth(tenant.fleet[number])) + b"\n"
                        for number in range(first, last)
                    )
                    await asyncio.sleep(0)

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def _order_devices(self, request: Request) -> Response:
        order = await _read(request, DeviceOrder)
        tenant = self._tenant(order.account)
        async with self._ordering:
            await self._take_devices(tenant, order.devices)
        return _json({"devices": len(tenant.fleet)})

    async def _order_campaign(self, request: Request) -> Response:
        order = await _read(request, CampaignOrder)
        tenant = self._tenant(order.account)
        # One at a time: a campaign takes its devices in slices, and no other may take them in between.
        async with self._ordering:
            devices = await self._take_devices(tenant, order.devices, new=order.new_devices)
            campaign_id = f"campaign-{len(self._campaigns) + 1}"
            campaign = Campaign(
                campaign_id,
                order,
                devices,
                fleet=tenant.fleet,
                can_express=tenant.can_express,
                timeline=self._timeline,
                gateway=tenant.gateway,
                speed=self._speed,
            )
            self._campaigns[campaign_id] = campaign
        campaign.start()
        return _json({"id": campaign_id})

    async def _take_devices(self, tenant: Tenant, wanted: int, *, new: bool = False) -> list[Device]:
        """Return so many devices, idle ones first unless all are to be new; create what is missing."""
        devices = [
            device for device, _ in zip(tenant.fleet.idle(), range(0 if new else wanted), strict=False)
        ]
        missing = wanted - len(devices)
        if len(tenant.fleet) + missing > MAX_DEVICES:
            raise Wrong(
                f"account {tenant.account.name} has {len(tenant.fleet)} devices, {len(devices)} of them idle: "
                f"{missing} more would be over {MAX_DEVICES}"
            )
        for number in range(missing):
            devices.append(tenant.fleet.create())
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        return devices

    async def _campaign(self, request: Request) -> Response:
        campaign = self._campaigns.get(request.path_params["id"])
        if campaign is None:
            raise Wrong(f"no campaign {request.path_params['id']!r}", status=404)
        return _json(campaign.report())

    async def _put_faults(self, request: Request) -> Response:
        body = await _read_object(request)
        account = body.pop("account", None)
        try:
            knobs, actions = parse_faults(body)
            if account is not None:
                self._tenant(account)
                if actions != Actions():
                    raise Wrong("the brokers serve all accounts: leave `account` out")
            answer = self._faults.replace(knobs, account)
        except FaultError as error:
            raise Wrong(str(error)) from error
        ttl_s = _DEFAULT_TTL_S if self._faults.ttl_s is None else self._faults.ttl_s
        if ttl_s != self._ttl_s:
            await self._brokers.set_ttl(ttl_s)
            self._ttl_s = ttl_s
        self._brokers.act(actions)
        return _json(answer)

    async def _order_firehose(self, request: Request) -> Response:
        order = await _read(request, FirehoseOrder)
        tenant = self._tenant(order.account)
        if isinstance(tenant.gateway, NoGateway):
            raise Wrong(f"account {order.account} has no gateway: its cloud pushes nothing")
        Firehose(order, tenant.fleet, tenant.gateway, self._timeline).start()
        return _json({"messages": int(order.rate_per_s * order.seconds)})

    async def _requests(self, request: Request) -> Response:
        names = list(self._tenants)
        name = request.query_params.get("account") or (names[0] if len(names) == 1 else None)
        if name is None:
            raise Wrong(f"say which account: {', '.join(names)}")
        return _json(self._tenant(name).requests.report())

    def _tenant(self, name: object) -> Tenant:
        tenant = self._tenants.get(name) if isinstance(name, str) else None
        if tenant is None:
            raise Wrong(f"unknown account {name!r}; known are {', '.join(self._tenants)}")
        return tenant


def _guarded(serve: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        try:
            return await serve(request)
        except Wrong as wrong:
            return _json({"error": wrong.text}, wrong.status)

    return guarded


async def _read(request: Request, kind: type[_Order]) -> _Order:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.DecodeError as error:
        raise Wrong(str(error)) from error


async def _read_object(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Wrong(str(error)) from error


def _json(content: object, status: int = 200) -> Response:
    return Response(_encode(content), status_code=status, media_type="application/json")
