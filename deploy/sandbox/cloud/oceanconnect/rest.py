"""The northbound API over the fleet: logins, version packages, operations and their sub-operations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from deploy.sandbox.cloud.jobs import Job, Task
from deploy.sandbox.cloud.oceanconnect import answers
from deploy.sandbox.cloud.oceanconnect.account import OceanConnectAccount
from deploy.sandbox.cloud.oceanconnect.door import LOGIN_PATH, REFRESH_PATH, Door, fields_of
from deploy.sandbox.cloud.rest import Api, Asked, Call, RestSystem, Surroundings, Told, query_pairs
from deploy.sandbox.cloud.rest_faults import Refusal, Refused, Words
from deploy.sandbox.cloud.tenant import Tenant

_BASE = "/iodm/northbound/v1.5.0"
_MOST_PER_PAGE = 100
_PAGE = ("pageNo", "pageSize")
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class OceanConnectRest(RestSystem):
    """Serves every application. TLS with a client's certificate is the server's business."""

    words: ClassVar[Words] = Words(
        throttled=(Refusal("1010009", "app throttle exceed.", 403),),
        retryable=(
            Refusal("50252", "Server error.", 200),
            Refusal("100023", "Database error.", 500),
            Refusal("100220", "Get AppKey failed.", 500),
        ),
    )

    def __init__(self, tenants: Sequence[Tenant], surroundings: Surroundings) -> None:
        super().__init__(tenants, surroundings)
        self._doors: dict[str, Door] = {}
        self._applications: dict[str, Tenant] = {}
        for tenant in tenants:
            assert isinstance(tenant.account, OceanConnectAccount)  # noqa: S101 - the registry gives each cloud its own
            self._doors[tenant.account.name] = self._door(tenant, tenant.account)
            self._applications[tenant.account.app_id] = tenant

    def _door(self, tenant: Tenant, account: OceanConnectAccount) -> Door:
        return Door(account, lambda: self.vendor_now_s(tenant))

    def door(self, call: Call) -> Door:
        """The door of the application that asks."""
        return self._doors[call.tenant.account.name]

    def recognise(self, asked: Asked) -> Tenant:
        """By `app_key`; by `appId` where a token is asked for."""
        if asked.path in (LOGIN_PATH, REFRESH_PATH):
            app_id = fields_of(asked).get("appId")
            if app_id is None:
                raise Refused("102202", "Required Parameter is null or empty.", "form", status=400)
            unknown = Refused("100208", "AppId or secret is not right.", status=401)
        else:
            app_id = asked.headers.get("app_key")
            unknown = Refused("1010005", "App_key or access_token is invalid.", status=403)
        tenant = self._applications.get(app_id or "")
        if tenant is None:
            raise unknown
        return tenant

    def admit(self, call: Call) -> int | None:
        """Check the secret of a login, the headers of everything else; nothing is signed with a time."""
        door = self.door(call)
        if call.asked.path in (LOGIN_PATH, REFRESH_PATH):
            door.check_login(call.asked)
        else:
            door.check_headers(call.asked)
        return None

    def check_token(self, call: Call) -> None:
        """Check the access token."""
        self.door(call).check_token(call.asked)

    def end_token(self, tenant: Tenant) -> None:
        """End the token."""
        self._doors[tenant.account.name].end_token()

    def success(self, told: Told, now_s: float) -> object:  # noqa: ARG002 - the time is told in a header
        """Nothing is wrapped around a result."""
        return told.result

    def failure(self, refused: Refused, now_s: float) -> object:  # noqa: ARG002 - the time is told in a header
        """Two texts."""
        return {"error_code": str(refused.code), "error_desc": refused.text}

    async def login(self, call: Call) -> Told:
        """`POST /iocm/app/sec/v1.1.0/login`."""
        return Told(await self.log_in(call.tenant, self.door(call).log_in))

    async def refresh(self, call: Call) -> Told:
        """`POST /iocm/app/sec/v1.1.0/refreshToken`."""
        return Told(await self.log_in(call.tenant, lambda: self.door(call).refresh(call.asked)))

    async def package(self, call: Call) -> Told:
        """`GET /category/{fileId}`."""
        _parameters(call, ())
        if not _ID.fullmatch(call.groups[0]):
            raise Refused("120015", "Bad request error.", status=400)
        for package in call.tenant.fleet.jobs.packages:
            if answers.file_id(package) == call.groups[0]:
                return Told(answers.package(package))
        raise _not_found()

    async def packages(self, call: Call) -> Told:
        """`GET /category`, by exact values."""
        wanted = _parameters(call, ("fileType", "deviceType", "model", "manufacturerName", "version", *_PAGE))
        _check_word(wanted, "fileType", ("firmwarePackage", "softwarePackage"))
        told = [answers.package(package) for package in call.tenant.fleet.jobs.packages]
        return Told(_paged(_matching(told, wanted), wanted))

    async def operations(self, call: Call) -> Told:
        """`GET /operations`, the newest first; by exact values, and by a device that is in them."""
        names = ("operationType", "operationStatus", "deviceType", "manufacturerName", "model", "deviceId")
        wanted = _parameters(call, (*names, *_PAGE))
        _check_word(wanted, "operationType", ("firmware_upgrade", "software_upgrade"))
        _check_word(wanted, "operationStatus", answers.OPERATION_STATUSES)
        device_id = wanted.get("deviceId")
        if device_id is not None:
            device = call.tenant.fleet.find(device_id)
            if device is None or not device.listed:
                raise _not_found()
        told = []
        for job in reversed(call.tenant.fleet.jobs.jobs):
            tasks = self._shown(call, job)
            if tasks and (device_id is None or any(task.device_id == device_id for task in tasks)):
                operation = answers.operation(job, tasks)
                flat = {
                    **operation["targets"],
                    "operationType": operation["operateType"],
                    "operationStatus": operation["status"],
                }
                if all(flat[name] == wanted[name] for name in names[:-1] if name in wanted):
                    told.append(operation)
        return Told(_paged(told, wanted))

    async def operation(self, call: Call) -> Told:
        """`GET /operations/{operationId}`."""
        _parameters(call, ())
        job, tasks = self._job(call)
        return Told(answers.operation(job, tasks))

    async def sub_operations(self, call: Call) -> Told:
        """`GET /operations/{operationId}/subOperations`."""
        wanted = _parameters(call, ("subOperationStatus", *_PAGE))
        _check_word(wanted, "subOperationStatus", answers.SUB_OPERATION_STATUSES)
        _, tasks = self._job(call)
        word = wanted.get("subOperationStatus")
        chosen = [task for task in tasks if word in (None, answers.sub_status(task))]
        result = _paged([answers.sub_operation(task) for task in chosen], wanted)
        on_page = {entry["deviceId"] for entry in result["data"] if entry["status"] in ("wait", "processing")}
        devices = (call.tenant.fleet.find(device_id) for device_id in on_page)
        return Told(result, [device for device in devices if device is not None])

    def _job(self, call: Call) -> tuple[Job, Sequence[Task]]:
        for job in call.tenant.fleet.jobs.jobs:
            if answers.operation_id(job) == call.groups[0]:
                tasks = self._shown(call, job)
                if tasks:
                    return job, tasks
        raise _not_found()

    def _shown(self, call: Call, job: Job) -> list[Task]:
        """The tasks of a job that the API shows, of devices that it knows."""
        shown = []
        fleet = call.tenant.fleet
        for task in job.tasks:
            device = fleet.find(task.device_id)
            if device is None or not device.listed or not task.is_shown:
                continue
            if task in self.view(call, device).tasks(fleet, device):
                shown.append(task)
        return shown

    apis = (
        Api("login", "POST", re.compile(re.escape(LOGIN_PATH)), login, needs_token=False),
        Api("refresh_token", "POST", re.compile(re.escape(REFRESH_PATH)), refresh, needs_token=False),
        Api("category", "GET", re.compile(rf"{_BASE}/category/([^/]+)"), package),
        Api("category_list", "GET", re.compile(rf"{_BASE}/category"), packages),
        Api("operations", "GET", re.compile(rf"{_BASE}/operations"), operations),
        Api("operation", "GET", re.compile(rf"{_BASE}/operations/([^/]+)"), operation),
        Api(
            "sub_operations", "GET", re.compile(rf"{_BASE}/operations/([^/]+)/subOperations"), sub_operations
        ),
    )


def _not_found() -> Refused:
    return Refused("123002", "Device or package file not found.", status=404)


def _parameters(call: Call, allowed: Sequence[str]) -> dict[str, str]:
    """Names and values of the query; a name that the API does not have, or one twice, is refused."""
    found: dict[str, str] = {}
    for name, value in query_pairs(call.asked.query):
        if name not in allowed or name in found or not value:
            raise Refused("120015", f"Bad request error: {name}", "form", status=400)
        found[name] = value
    return found


def _check_word(wanted: Mapping[str, str], name: str, words: Sequence[str]) -> None:
    if wanted.get(name, words[0]) not in words:
        raise Refused("120015", f"Bad request error: {name}", status=400)


def _matching(told: Sequence[dict[str, Any]], wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    names = [name for name in wanted if name not in _PAGE]
    return [entry for entry in told if all(entry[name] == wanted[name] for name in names)]


def _paged(told: Sequence[dict[str, Any]], wanted: Mapping[str, str]) -> dict[str, Any]:
    """A page: `pageNo` counts from 0, `pageSize` is 1 to 100."""
    number, size = wanted.get("pageNo", "0"), wanted.get("pageSize", "10")
    if not number.isdecimal() or not size.isdecimal() or not 1 <= int(size) <= _MOST_PER_PAGE:
        raise Refused("123029", "pageNo or pageSize is out of range.", status=400)
    first = int(number) * int(size)
    return {
        "data": list(told[first : first + int(size)]),
        "pageNo": int(number),
        "pageSize": int(size),
        "totalCount": len(told),
    }
