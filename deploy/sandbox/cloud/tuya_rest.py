"""The Tuya OpenAPI over the fleet: token, device list, firmware, progress, and the older upgrade-infos.

The way of a request: known client → counted → time, signature, nonce → rate limit → faults → token → endpoint. As on
the real one, nearly every error is HTTP 200 with `success: false` and a code.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from deploy.sandbox.cloud import rest_faults, tuya_answers
from deploy.sandbox.cloud.faults import FaultBoard, Faults
from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.tenant import Tenant
from deploy.sandbox.cloud.tuya_door import Asked, Door, Refused, query_parameters

_METHODS = ("GET", "POST", "PUT", "DELETE")
_MOST_BODY_BYTES = 64 * 1024
_MOST_PER_PAGE = 20
_LOGIN_S = 0.03
"""A login takes a moment, so that two at once can be seen."""
_ACTIVE = (2, 5, 6, 13)
"""`upgrade_status` values from which a reader learns that an upgrade runs."""

_encode = msgspec.json.Encoder().encode


class Call(Struct, frozen=True, kw_only=True):
    """One admitted request on its way through an endpoint."""

    asked: Asked
    tenant: Tenant
    door: Door
    faults: Faults
    groups: tuple[str, ...]
    """The path's variable parts, decoded."""


class Answer(Struct, frozen=True):
    """A `result`; `tells_of`: a device whose running upgrade it shows."""

    result: object
    tells_of: Device | None = None


class Api(Struct, frozen=True):
    """One operation: the name it is counted under, its method and path, its endpoint."""

    name: str
    method: str
    path: re.Pattern[str]
    endpoint: Callable[[TuyaRest, Call], Awaitable[Answer]]
    needs_token: bool = True


class TuyaRest:
    """Serves every Tuya account. `app` is the ASGI application."""

    def __init__(
        self, tenants: Sequence[Tenant], *, faults: FaultBoard, now_s: Callable[[], float], seed: int
    ) -> None:
        self._tenants = tuple(tenants)
        self._faults = faults
        self._now_s = now_s
        self._rng = Random(f"{seed}/rest")
        self._doors = {t.account.access_id: (t, self._door(t)) for t in tenants}
        self.app = Starlette(routes=[Route("/{path:path}", self._serve, methods=list(_METHODS))])

    def _door(self, tenant: Tenant) -> Door:
        name = tenant.account.name
        return Door(tenant.account, self._now_s, lambda: self._faults.of(name).rest_clock_skew_s)

    async def _serve(self, request: Request) -> Response:
        asked = await _read(request)
        if asked is None:
            return PlainTextResponse("request entity too large", status_code=413)
        known = self._doors.get(asked.headers.get("client_id", ""))
        if known is None:
            return self._failure(Refused(1005, "clientId invalid"), self._now_s())
        tenant, door = known
        faults = self._faults.of(tenant.account.name)
        api, groups = _find_api(asked)
        tenant.requests.count(api.name if api else "unknown")
        truncated = self._rng.random() < faults.rest_truncate
        try:
            self._admit(tenant, door, asked)
            if faults.rest_slow_s:
                await asyncio.sleep(faults.rest_slow_s)
            if (instead := rest_faults.interfere(faults, self._rng)) is not None:
                return instead
            call = Call(asked=asked, tenant=tenant, door=door, faults=faults, groups=groups)
            answer = await self._answer(api, call)
        except Refused as refused:
            if refused.kind is not None:
                tenant.requests.refuse(refused.kind)
            return self._failure(refused, door.now_s())
        if answer.tells_of is not None and not truncated:
            answer.tells_of.told = True
        body = _encode({"result": answer.result, "success": True, **_trace(door.now_s())})
        if truncated:
            body = rest_faults.truncate(body, self._rng)
        return Response(body, media_type="application/json")

    def _admit(self, tenant: Tenant, door: Door, asked: Asked) -> None:
        if not tenant.requests.admit(door.check_signature(asked)):
            code, text = self._rng.choice(rest_faults.THROTTLED)
            raise Refused(code, text, "rate")

    async def _answer(self, api: Api | None, call: Call) -> Answer:
        if api is None:
            raise Refused(1108, "uri path invalid")
        if api.needs_token:
            if self._rng.random() < call.faults.rest_token_expires:
                call.door.end_token()
            call.door.check_token(call.asked)
        return await api.endpoint(self, call)

    @staticmethod
    def _failure(refused: Refused, now_s: float) -> Response:
        body = {"code": refused.code, "msg": refused.text, "success": False, **_trace(now_s)}
        return Response(_encode(body), media_type="application/json")

    async def login(self, call: Call) -> Answer:
        """`GET /v1.0/token?grant_type=1`."""
        if query_parameters(call.asked.query).get("grant_type") != "1":
            raise Refused(1003, "grant type invalid")
        return Answer(await self._log_in(call, call.door.login))

    async def refresh(self, call: Call) -> Answer:
        """`GET /v1.0/token/{refresh_token}`."""
        return Answer(await self._log_in(call, lambda: call.door.refresh(call.groups[0])))

    @staticmethod
    async def _log_in(call: Call, issue: Callable[[], dict[str, object]]) -> dict[str, object]:
        requests = call.tenant.requests
        requests.login_begins()
        try:
            await asyncio.sleep(_LOGIN_S)
            return issue()
        finally:
            requests.login_ends()

    async def devices(self, call: Call) -> Answer:
        """`GET /v2.0/cloud/thing/device`: pages of at most 20, each after the last id of the one before."""
        parameters = query_parameters(call.asked.query)
        size = parameters.get("page_size", "")
        if not size:
            raise Refused(1100, "param is empty: page_size")
        if not size.isdecimal() or not 1 <= int(size) <= _MOST_PER_PAGE:
            raise Refused(1101, f"params range invalid: page_size is 1 to {_MOST_PER_PAGE}")
        page = call.tenant.fleet.page(parameters.get("last_id"), int(size))
        if page is None:
            raise Refused(1109, "param is illegal: last_id")
        return Answer([tuya_answers.listed_device(device) for device in page])

    async def firmware(self, call: Call) -> Answer:
        """`GET /v2.0/cloud/thing/{device_id}/firmware`."""
        device = self._device(call)
        return self._told(device, tuya_answers.firmware(device, self._view(call, device)), call)

    async def progress(self, call: Call) -> Answer:
        """`GET /v2.0/cloud/thing/{device_id}/firmware/{channel}/progress`."""
        device = self._device(call)
        for channel in device.channels:
            if str(channel.number) == call.groups[1]:
                return self._told(device, tuya_answers.progress(channel, self._view(call, device)), call)
        raise Refused(1109, "param is illegal: channel")

    async def upgrade_infos(self, call: Call) -> Answer:
        """`GET /v1.0/iot-03/devices/{device_id}/upgrade-infos`, and without `iot-03`."""
        device = self._device(call)
        return self._told(device, tuya_answers.upgrade_infos(device, self._view(call, device)), call)

    def _device(self, call: Call) -> Device:
        device_id = call.groups[0]
        device = call.tenant.fleet.find(device_id)
        if device is not None and device.listed:
            return device
        if any(t.fleet.find(device_id) for t in self._tenants if t is not call.tenant):
            raise Refused(1106, "permission deny")
        raise Refused(2010, "device not exist")

    def _view(self, call: Call, device: Device) -> tuya_answers.View:
        return rest_faults.view_for(device, call.faults, self._now_s())

    def _told(self, device: Device, result: object, call: Call) -> Answer:
        view = self._view(call, device)
        running = any(view(channel).upgrade_status in _ACTIVE for channel in device.channels)
        return Answer(result, device if running else None)


_APIS = (
    Api("token", "GET", re.compile(r"/v1\.0/token"), TuyaRest.login, needs_token=False),
    Api("token_refresh", "GET", re.compile(r"/v1\.0/token/([^/]+)"), TuyaRest.refresh, needs_token=False),
    Api("devices", "GET", re.compile(r"/v2\.0/cloud/thing/device"), TuyaRest.devices),
    Api("firmware", "GET", re.compile(r"/v2\.0/cloud/thing/([^/]+)/firmware"), TuyaRest.firmware),
    Api(
        "firmware_progress",
        "GET",
        re.compile(r"/v2\.0/cloud/thing/([^/]+)/firmware/([^/]+)/progress"),
        TuyaRest.progress,
    ),
    Api(
        "upgrade_infos",
        "GET",
        re.compile(r"/v1\.0/(?:iot-03/)?devices/([^/]+)/upgrade-infos"),
        TuyaRest.upgrade_infos,
    ),
)


def _find_api(asked: Asked) -> tuple[Api | None, tuple[str, ...]]:
    for api in _APIS:
        if api.method == asked.method and (match := api.path.fullmatch(asked.path)):
            return api, tuple(unquote(group) for group in match.groups())
    return None, ()


async def _read(request: Request) -> Asked | None:
    """Take a request as it arrived; None when its body is larger than any that this API has a use for."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BODY_BYTES:
            return None
    return Asked(
        method=request.method,
        path=request.scope["raw_path"].decode("ascii"),
        query=request.scope["query_string"].decode("ascii"),
        headers=request.headers,
        body=bytes(body),
    )


def _trace(now_s: float) -> dict[str, object]:
    return {"t": int(now_s * 1000), "tid": secrets.token_hex(16)}
