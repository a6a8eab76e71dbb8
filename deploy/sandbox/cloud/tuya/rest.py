"""What every REST API of Tuya's has: the door, tokens, the envelope, and nearly every error as HTTP 200 with a code."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.rest import Api, Asked, Call, RestSystem, Surroundings, Told
from deploy.sandbox.cloud.rest_faults import Refusal, Refused, Words
from deploy.sandbox.cloud.tenant import Tenant
from deploy.sandbox.cloud.tuya.account import TuyaAccount
from deploy.sandbox.cloud.tuya.door import Door, query_parameters


class TuyaRest(RestSystem):
    """Accounts of one of Tuya's APIs. A cloud lists `TOKEN_APIS` before its own."""

    words = Words(
        throttled=(
            Refusal(1110, "concurrent request over limit"),
            Refusal(1199, "your requests are too frequent"),
        ),
        retryable=(
            Refusal(500, "system error, please contact the admin"),
            Refusal(1111, "system is busy, please retry later"),
        ),
        quota=Refusal(28841004, "the trial edition quota is used up"),
    )

    def __init__(self, tenants: Sequence[Tenant], surroundings: Surroundings) -> None:
        super().__init__(tenants, surroundings)
        self._doors = {tenant.account.name: self._door(tenant) for tenant in tenants}
        self._clients = {
            tenant.account.access_id: tenant for tenant in tenants if isinstance(tenant.account, TuyaAccount)
        }

    def _door(self, tenant: Tenant) -> Door:
        assert isinstance(tenant.account, TuyaAccount)  # noqa: S101 - the registry gives each cloud its own
        return Door(tenant.account, self.now_s, lambda: self.vendor_now_s(tenant) - self.now_s())

    def door(self, call: Call) -> Door:
        """The door of the account that asks."""
        return self._doors[call.tenant.account.name]

    def recognise(self, asked: Asked) -> Tenant:
        """By `client_id`."""
        tenant = self._clients.get(asked.headers.get("client_id", ""))
        if tenant is None:
            raise Refused(1005, "clientId invalid")
        return tenant

    def admit(self, call: Call) -> int | None:
        """Check time, signature and nonce."""
        return self.door(call).check_signature(call.asked)

    def check_token(self, call: Call) -> None:
        """Check the access token."""
        self.door(call).check_token(call.asked)

    def end_token(self, tenant: Tenant) -> None:
        """End all tokens."""
        self._doors[tenant.account.name].end_token()

    def success(self, told: Told, now_s: float) -> object:
        """The envelope of a success."""
        return {"result": told.result, "success": True, **_trace(now_s)}

    def failure(self, refused: Refused, now_s: float) -> object:
        """The envelope of a refusal."""
        return {"code": refused.code, "msg": refused.text, "success": False, **_trace(now_s)}

    def unknown_operation(self) -> Refused:
        """As on the real one."""
        return Refused(1108, "uri path invalid")

    def device_of(self, call: Call, device_id: str) -> Device:
        """Return a device of the account; raise Refused as the API does."""
        device = call.tenant.fleet.find(device_id)
        if device is not None and device.listed:
            return device
        if any(t.fleet.find(device_id) for t in self.tenants if t is not call.tenant):
            raise Refused(1106, "permission deny")
        raise Refused(2010, "device not exist")

    async def login(self, call: Call) -> Told:
        """`GET /v1.0/token?grant_type=1`."""
        if query_parameters(call.asked.query).get("grant_type") != "1":
            raise Refused(1003, "grant type invalid")
        return Told(await self.log_in(call.tenant, self.door(call).login))

    async def refresh(self, call: Call) -> Told:
        """`GET /v1.0/token/{refresh_token}`."""
        return Told(await self.log_in(call.tenant, lambda: self.door(call).refresh(call.groups[0])))


TOKEN_APIS = (
    Api("token", "GET", re.compile(r"/v1\.0/token"), TuyaRest.login, needs_token=False),
    Api("token_refresh", "GET", re.compile(r"/v1\.0/token/([^/]+)"), TuyaRest.refresh, needs_token=False),
)


def _trace(now_s: float) -> dict[str, object]:
    return {"t": int(now_s * 1000), "tid": secrets.token_hex(16)}
