"""EnOS's token service and Connection Service over the fleet: devices, tasks, jobs, firmwares."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from deploy.sandbox.cloud.enos import answers
from deploy.sandbox.cloud.enos.account import EnosAccount
from deploy.sandbox.cloud.enos.door import Door, body_of, parameters_of
from deploy.sandbox.cloud.enos.queries import INVALID_ARGUMENT, Query, query_of
from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.rest import (
    Api,
    Asked,
    Call,
    RestSystem,
    Surroundings,
    Told,
    query_pairs,
)
from deploy.sandbox.cloud.rest_faults import Refusal, Refused, Words
from deploy.sandbox.cloud.tenant import Tenant

_TOKENS = "/apim-token-service/v2.0/token/"
_GATEWAY_CODES = range(1001, 1205)
_MISSPELT_SHARE = 0.2
"""Of answers about tokens: `stauts`, as in the vendor's samples."""
_DEVICE_OPERATORS = {"productKey": ("=", "in"), "firmwareVersion": ("=", "in"), "isUpgrading": ("=",)}
_TASK_OPERATORS = dict.fromkeys(
    ("jobId", "deviceKey", "fromVersion", "toVersion", "status", "desc"), ("=", "in")
)


class _Business(Struct, frozen=True, kw_only=True):
    """What a business call is answered: `pagination` beside a list."""

    data: Any
    pagination: Mapping[str, object] | None = None


class EnosRest(RestSystem):
    """Serves every account of EnOS."""

    words = Words(
        throttled=(
            Refusal(429, "too many requests", status=429),
            Refusal(503, "service unavailable", status=503),
        ),
        retryable=(Refusal(24500, "OTA internal error"), Refusal(1005, "internal exception")),
    )

    def __init__(self, tenants: Sequence[Tenant], surroundings: Surroundings) -> None:
        super().__init__(tenants, surroundings)
        self._doors: dict[str, Door] = {}
        self._by_org: dict[str, Tenant] = {}
        self._by_app: dict[str, Tenant] = {}
        self._by_key: dict[str, dict[str, list[Device]]] = {}
        for tenant in tenants:
            account = _account(tenant)
            self._doors[account.name] = Door(account, lambda tenant=tenant: self.vendor_now_s(tenant))  # type: ignore[misc]
            self._by_org[account.org_id] = tenant
            self._by_app[account.app_key] = tenant
            self._by_key[account.name] = {}

    def recognise(self, asked: Asked) -> Tenant:
        """By the application's key where a token is asked for, else by the organization."""
        if asked.path.startswith(_TOKENS):
            tenant = self._by_app.get(str(body_of(asked).get("appKey", "")))
            if tenant is None:
                raise Refused(1002, "the appKey does not exist")
            return tenant
        tenant = self._by_org.get(parameters_of(asked).get("orgId", ""))
        if tenant is None:
            raise Refused(INVALID_ARGUMENT, "invalid argument: orgId", status=400)
        return tenant

    def admit(self, call: Call) -> int | None:
        """Check what proves who asks."""
        door = self._doors[call.tenant.account.name]
        if call.asked.path.startswith(_TOKENS):
            return door.check_encryption(call.asked)
        return door.check_signature(call.asked)

    def check_token(self, call: Call) -> None:
        """Check the access token."""
        self._doors[call.tenant.account.name].check_token(call.asked)

    def end_token(self, tenant: Tenant) -> None:
        """End the token."""
        self._doors[tenant.account.name].end_token()

    def action_of(self, asked: Asked) -> str | None:
        """The operation is the parameter `action`."""
        return dict(query_pairs(asked.query)).get("action")

    def success(self, told: Told, now_s: float) -> object:  # noqa: ARG002 - the shape's
        """The service's envelope, or the gateway's for tokens."""
        if not isinstance(told.result, _Business):
            status = "stauts" if self.rng.random() < _MISSPELT_SHARE else "status"
            return {status: 0, "msg": "SUCCESS", "business": "apim-token-service", "data": told.result}
        body: dict[str, object] = {
            "code": 0,
            "msg": "OK",
            "requestId": _request_id(),
            "data": told.result.data,
        }
        if told.result.pagination is not None:
            body["pagination"] = told.result.pagination
        return body

    def failure(self, refused: Refused, now_s: float) -> object:  # noqa: ARG002 - the shape's
        """The gateway's refusals have a status, the service's a code."""
        if refused.code in _GATEWAY_CODES:
            return {"status": refused.code, "msg": refused.text}
        return {"code": refused.code, "msg": refused.text, "requestId": _request_id(), "data": None}

    async def get_token(self, call: Call) -> Told:
        """`POST /apim-token-service/v2.0/token/get`."""
        return Told(await self.log_in(call.tenant, self._doors[call.tenant.account.name].login))

    async def refresh_token(self, call: Call) -> Told:
        """`POST /apim-token-service/v2.0/token/refresh`."""
        door = self._doors[call.tenant.account.name]
        return Told(await self.log_in(call.tenant, lambda: door.refresh(call.asked)))

    async def search_device_upgrade(self, call: Call) -> Told:
        """`POST /connect-service/v2.1/ota-firmwares?action=searchDeviceUpgrade`."""
        query = _query(call, _DEVICE_OPERATORS)
        org_id = _account(call.tenant).org_id
        rows = (
            answers.device_firmware(device, org_id, self.view(call, device))
            for device in call.tenant.fleet
            if device.listed
        )
        data, pagination = query.page([row for row in rows if query.accepts(row)])
        return Told(_Business(data=data, pagination=pagination))

    async def search_task(self, call: Call) -> Told:
        """`POST /connect-service/v2.1/ota-jobs?action=searchTask`."""
        query = _query(call, _TASK_OPERATORS)
        org_id = _account(call.tenant).org_id
        skew_s = self.vendor_now_s(call.tenant) - self.now_s()
        tasks = [
            (entry, device)
            for device in self._asked_for(call.tenant, query)
            if device.listed
            for task in self.view(call, device).tasks(call.tenant.fleet, device)
            if (entry := answers.task_info(task, device, org_id, skew_s)) and query.accepts(entry)
        ]
        page, pagination = query.page(tasks)
        running = [device for entry, device in page if entry["status"] in answers.RUNNING]
        return Told(_Business(data=[entry for entry, _device in page], pagination=pagination), running)

    async def search_job(self, call: Call) -> Told:
        """`POST /connect-service/v2.1/ota-jobs?action=search`."""
        query = _query(call, {})
        skew_s = self.vendor_now_s(call.tenant) - self.now_s()
        jobs = [answers.job_info(job, skew_s) for job in call.tenant.fleet.jobs.jobs]
        data, pagination = query.page(jobs)
        return Told(_Business(data=data, pagination=pagination))

    async def get_job(self, call: Call) -> Told:
        """`GET /connect-service/v2.1/ota-jobs?action=get&jobId=`."""
        wanted = _parameter(call, "jobId")
        skew_s = self.vendor_now_s(call.tenant) - self.now_s()
        for job in call.tenant.fleet.jobs.jobs:
            if answers.job_id(job) == wanted:
                return Told(_Business(data=answers.job_info(job, skew_s)))
        raise Refused(24404, "the job is not found")

    async def get_firmware(self, call: Call) -> Told:
        """`GET /connect-service/v2.1/ota-firmwares?action=get&firmwareId=`."""
        wanted = _parameter(call, "firmwareId")
        org_id = _account(call.tenant).org_id
        for package in call.tenant.fleet.jobs.packages:
            if answers.firmware_id(package) == wanted:
                return Told(_Business(data=answers.firmware_info(package, org_id)))
        return Told(_Business(data=None))

    def unknown_operation(self) -> Refused:
        """No such action."""
        return Refused(404, "not found", status=404)

    def _asked_for(self, tenant: Tenant, query: Query) -> Iterable[Device]:
        """The devices that a question for tasks concerns; found by their keys where it names some."""
        keys = query.wanted.get("deviceKey")
        if keys is None:
            return tenant.fleet
        index = self._by_key[tenant.account.name]
        known = sum(len(devices) for devices in index.values())
        for number in range(known, len(tenant.fleet)):
            device = tenant.fleet[number]
            index.setdefault(device.uuid, []).append(device)
        return [device for key in sorted(map(str, keys)) for device in index.get(key, ())]

    apis = (
        Api("token", "POST", re.compile(f"{_TOKENS}get"), get_token, needs_token=False),
        Api("token_refresh", "POST", re.compile(f"{_TOKENS}refresh"), refresh_token, needs_token=False),
        Api(
            "search_device_upgrade",
            "POST",
            re.compile(r"/connect-service/v2\.1/ota-firmwares"),
            search_device_upgrade,
            action="searchDeviceUpgrade",
        ),
        Api(
            "get_firmware",
            "GET",
            re.compile(r"/connect-service/v2\.1/ota-firmwares"),
            get_firmware,
            action="get",
        ),
        Api(
            "search_task",
            "POST",
            re.compile(r"/connect-service/v2\.1/ota-jobs"),
            search_task,
            action="searchTask",
        ),
        Api(
            "search_job", "POST", re.compile(r"/connect-service/v2\.1/ota-jobs"), search_job, action="search"
        ),
        Api("get_job", "GET", re.compile(r"/connect-service/v2\.1/ota-jobs"), get_job, action="get"),
    )


def _account(tenant: Tenant) -> EnosAccount:
    assert isinstance(tenant.account, EnosAccount)  # noqa: S101 - the registry gives each cloud its own
    return tenant.account


def _query(call: Call, operators: Mapping[str, Sequence[str]]) -> Query:
    _only(call, {"action", "orgId"})
    return query_of(body_of(call.asked), operators)


def _parameter(call: Call, name: str) -> str:
    _only(call, {"action", "orgId", name})
    value = parameters_of(call.asked).get(name, "")
    if not value:
        raise Refused(INVALID_ARGUMENT, f"invalid argument: {name}", status=400)
    return value


def _only(call: Call, names: set[str]) -> None:
    unknown = sorted(set(parameters_of(call.asked)) - names)
    if unknown:
        raise Refused(INVALID_ARGUMENT, f"invalid argument: {', '.join(unknown)}", status=400)


def _request_id() -> str:
    return secrets.token_hex(16)
