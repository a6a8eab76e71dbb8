"""Hedwig over the fleet: packages, their jobs, the jobs' tasks, and what a device runs. One path, many actions.

Answers are spelled as the vendor's samples or as its tables, by chance, because both were seen.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from starlette.responses import Response

from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.hedwig import answers
from deploy.sandbox.cloud.hedwig.account import HedwigAccount
from deploy.sandbox.cloud.hedwig.door import COMMON, Door, parameters_of
from deploy.sandbox.cloud.jobs import FirmwarePackage, Job, Task
from deploy.sandbox.cloud.rest import Api, Asked, Call, RestSystem, Surroundings, Told
from deploy.sandbox.cloud.rest_faults import Refusal, Refused, Words
from deploy.sandbox.cloud.tenant import Tenant

_MOST_PAGES_TIMES_SIZE = 100_000
"""Alibaba's original gives no task behind this one of a job."""
_STATUSES = frozenset({"CONFIRM", "QUEUED", "NOTIFIED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "CANCELED"})
_UNFINISHED = frozenset({"CONFIRM", "QUEUED", "NOTIFIED", "IN_PROGRESS"})
_LISTED_STATUSES: Final = re.compile(r"TaskStatusList\.[1-9]\d?")
_LISTED_NAMES: Final = re.compile(r"DeviceNames\.[1-9]\d?")

T = TypeVar("T")


class HedwigRest(RestSystem):
    """Serves every account of Hedwig."""

    words = Words(
        throttled=(
            Refusal("Throttling.User", "Request was denied due to user flow control.", status=400),
            Refusal("Throttling", "Request was denied due to request throttling."),
        ),
        retryable=(
            Refusal("iot.system.SystemException", "system exception"),
            Refusal("InternalError", "The request processing has failed due to some unknown error."),
        ),
    )

    def __init__(self, tenants: Sequence[Tenant], surroundings: Surroundings) -> None:
        super().__init__(tenants, surroundings)
        self._doors: dict[str, Door] = {}
        self._keys: dict[str, Tenant] = {}
        for tenant in tenants:
            assert isinstance(tenant.account, HedwigAccount)  # noqa: S101 - the registry gives each cloud its own
            self._doors[tenant.account.name] = self._door(tenant.account, tenant)
            self._keys[tenant.account.access_key_id] = tenant

    def _door(self, account: HedwigAccount, tenant: Tenant) -> Door:
        return Door(account, self.now_s, lambda: self.vendor_now_s(tenant) - self.now_s())

    def recognise(self, asked: Asked) -> Tenant:
        """By AccessKeyId."""
        tenant = self._keys.get(parameters_of(asked).get("AccessKeyId", ""))
        if tenant is None:
            raise Refused("InvalidAccessKeyId.NotFound", "Specified access key is not found.", status=404)
        return tenant

    def action_of(self, asked: Asked) -> str | None:
        """`Action`."""
        return parameters_of(asked).get("Action")

    def unknown_operation(self) -> Refused:
        """As the gateway says it."""
        return Refused("InvalidAction.NotFound", "Specified api is not found.", status=404)

    def admit(self, call: Call) -> int | None:
        """Check the common parameters; the time is signed to the second."""
        self._doors[call.tenant.account.name].check(call.asked)
        return None

    def check_token(self, call: Call) -> None:
        """There are none."""

    def end_token(self, tenant: Tenant) -> None:
        """There are none."""

    def success(self, told: Told, now_s: float) -> object:  # noqa: ARG002 - no answer tells the time
        """The envelope of a success."""
        if isinstance(told.result, Response):
            return told.result
        return self._spelled({"code": "", **told.result, "requestId": str(uuid.uuid4()), "success": True})

    def failure(self, refused: Refused, now_s: float) -> object:  # noqa: ARG002 - no answer tells the time
        """What the platform refuses, and what the gateway does."""
        request_id = str(uuid.uuid4())
        if str(refused.code).startswith("iot."):
            told = {
                "code": refused.code,
                "errorMessage": refused.text,
                "requestId": request_id,
                "success": False,
            }
            return self._spelled(told)
        return {"Code": refused.code, "Message": refused.text, "RequestId": request_id}

    async def firmware(self, call: Call) -> Told:
        """`QueryOTAFirmware`."""
        parameters = self._own(call, "FirmwareId")
        package = self._package(call, parameters)
        return _in_format(call, Told({"firmwareInfo": answers.firmware(package)}))

    async def firmwares(self, call: Call) -> Told:
        """`ListOTAFirmware`."""
        parameters = self._own(call, "CurrentPage", "PageSize", "ProductKey", "DestVersion")
        packages = [
            answers.simple_firmware(package)
            for package in call.tenant.fleet.jobs.packages
            if parameters.get("ProductKey") in (None, package.product_id)
            and parameters.get("DestVersion") in (None, package.version)
        ]
        page = _page(parameters, packages, most=100)
        return _in_format(call, Told({"firmwareInfo": page.pop("data"), **page}))

    async def jobs(self, call: Call) -> Told:
        """`ListOTAJobByFirmware`."""
        parameters = self._own(call, "FirmwareId", "CurrentPage", "PageSize")
        package = self._package(call, parameters)
        jobs = [answers.job(job) for job in reversed(call.tenant.fleet.jobs.jobs) if job.package is package]
        return _in_format(call, Told(_page(parameters, jobs, most=200)))

    async def tasks(self, call: Call) -> Told:
        """`ListOTATaskByJob`: what was made stays in the list, also of a device that is not there any more."""
        parameters = self._own(call, "JobId", "TaskStatus", "CurrentPage", "PageSize", repeated=_LISTED_NAMES)
        job = self._job(call, parameters)
        names = {value for name, value in parameters.items() if _LISTED_NAMES.fullmatch(name)}
        wanted = _statuses(parameters, _STATUSES)
        devices = {task.number: self._device(call, task) for task in job.tasks if task.is_shown}
        tasks = [
            task
            for task in job.tasks
            if task.is_shown
            and (not names or devices[task.number].name in names)
            and (not wanted or answers.task_status(task) in wanted)
            and (not call.faults.rest_lie or task in self._tasks_of(call, devices[task.number]))
        ]
        page = _page({"CurrentPage": "1", "PageSize": "10"} | parameters, tasks, most=100)
        told = self._told_tasks(call, page)
        # A whole job is also read for its devices' ids alone: who does learns nothing of an upgrade.
        return _in_format(call, told if names else Told(told.result))

    async def unfinished(self, call: Call) -> Told:
        """`ListOTAUnfinishedTaskByDevice`; Alibaba's original wants one of the two ways to name statuses."""
        parameters = self._own(
            call, "ModuleName", "TaskStatus", "IotId", "ProductKey", "DeviceName", repeated=_LISTED_STATUSES
        )
        wanted = _statuses(parameters, _UNFINISHED)
        if not wanted:
            raise Refused("MissingTaskStatus", "TaskStatus is mandatory for this action.", status=400)
        device = self._asked_device(call, parameters)
        tasks = [
            task
            for task in self._tasks_of(call, device)
            if answers.task_status(task) in wanted
            and parameters.get("ModuleName") in (None, task.job.package.channel)
        ]
        return _in_format(call, self._told_tasks(call, {"data": tasks}))

    async def modules(self, call: Call) -> Told:
        """`ListOTAModuleVersionsByDevice`."""
        parameters = self._own(call, "CurrentPage", "PageSize", "IotId", "ProductKey", "DeviceName")
        device = self._asked_device(call, parameters)
        told = answers.modules(device, self.view(call, device))
        return _in_format(call, Told(_page(parameters, told, most=200)))

    def _own(self, call: Call, *names: str, repeated: re.Pattern[str] | None = None) -> dict[str, str]:
        """The action's own parameters; one that it does not have is a mistake of the client's, often of case."""
        parameters = parameters_of(call.asked)
        own = {name: value for name, value in parameters.items() if name not in COMMON}
        for name in own:
            if name not in names and not (repeated and repeated.fullmatch(name)):
                raise Refused("UnsupportedParameter", f"The parameter {name} is not supported.", status=400)
        return own

    def _package(self, call: Call, parameters: dict[str, str]) -> FirmwarePackage:
        return _found(
            _required(parameters, "FirmwareId"),
            call.tenant.fleet.jobs.packages,
            answers.firmware_id,
            "Firmware",
        )

    def _job(self, call: Call, parameters: dict[str, str]) -> Job:
        return _found(_required(parameters, "JobId"), call.tenant.fleet.jobs.jobs, answers.job_id, "Job")

    def _device(self, call: Call, task: Task) -> Device:
        device = call.tenant.fleet.find(task.device_id)
        assert device is not None  # noqa: S101 - tasks are made for devices of the fleet
        return device

    def _asked_device(self, call: Call, parameters: dict[str, str]) -> Device:
        if "IotId" in parameters:
            device = call.tenant.fleet.find(parameters["IotId"])
        else:
            product, name = _required(parameters, "ProductKey"), _required(parameters, "DeviceName")
            device = next(
                (one for one in call.tenant.fleet if (one.product_id, one.name) == (product, name)), None
            )
        if device is None or not device.listed:
            raise Refused("iot.device.NotExistedDevice", "the device does not exist")
        return device

    def _tasks_of(self, call: Call, device: Device) -> Sequence[Task]:
        return self.view(call, device).tasks(call.tenant.fleet, device)

    def _told_tasks(self, call: Call, page: dict[str, Any]) -> Told:
        shown = [(task, self._device(call, task)) for task in page["data"]]
        running = [device for task, device in shown if answers.is_unfinished(task)]
        return Told({**page, "data": [answers.task(task, device) for task, device in shown]}, running)

    def _spelled(self, content: object) -> object:
        return answers.as_in_the_tables(content) if self.rng.random() < 1 / 2 else content

    apis = (
        Api("QueryOTAFirmware", "GET", re.compile("/"), firmware, "QueryOTAFirmware"),
        Api("ListOTAFirmware", "GET", re.compile("/"), firmwares, "ListOTAFirmware"),
        Api("ListOTAJobByFirmware", "GET", re.compile("/"), jobs, "ListOTAJobByFirmware"),
        Api("ListOTATaskByJob", "GET", re.compile("/"), tasks, "ListOTATaskByJob"),
        Api(
            "ListOTAUnfinishedTaskByDevice",
            "GET",
            re.compile("/"),
            unfinished,
            "ListOTAUnfinishedTaskByDevice",
        ),
        Api(
            "ListOTAModuleVersionsByDevice", "GET", re.compile("/"), modules, "ListOTAModuleVersionsByDevice"
        ),
    )


def _in_format(call: Call, told: Told) -> Told:
    """XML where JSON was not asked for: it is the documented default."""
    parameters = parameters_of(call.asked)
    if parameters.get("Format", "XML") == "JSON":
        return told
    name = f"{parameters['Action']}Response"
    text = f'<?xml version="1.0" encoding="UTF-8"?><{name}><Success>true</Success></{name}>'
    return Told(Response(text, media_type="application/xml"))


def _required(parameters: dict[str, str], name: str) -> str:
    if not parameters.get(name):
        raise Refused(f"Missing{name}", f"{name} is mandatory for this action.", status=400)
    return parameters[name]


def _found(wanted: str, among: Sequence[T], id_of: Callable[[T], str], what: str) -> T:
    for one in among:
        if id_of(one) == wanted:
            return one
    raise Refused(f"iot.ota.{what}NotExist", f"the {what.lower()} does not exist")


def _statuses(parameters: dict[str, str], known: frozenset[str]) -> set[str]:
    """The statuses that are asked for, by one name or by a list."""
    asked = {
        value
        for name, value in parameters.items()
        if name == "TaskStatus" or _LISTED_STATUSES.fullmatch(name)
    }
    if asked - known:
        raise Refused("InvalidParameter", "Specified parameter TaskStatus is not valid.", status=400)
    return asked


def _page(parameters: dict[str, str], entries: Sequence[Any], *, most: int) -> dict[str, Any]:
    """One page of a list, and what it says about the others."""
    number, size = _required(parameters, "CurrentPage"), _required(parameters, "PageSize")
    is_valid = number.isascii() and number.isdecimal() and size.isascii() and size.isdecimal()
    if (
        not is_valid
        or int(number) < 1
        or not 1 <= int(size) <= most
        or int(number) * int(size) > _MOST_PAGES_TIMES_SIZE
    ):
        raise Refused("iot.common.InvalidPageParams", "the page size or page number is invalid")
    first = (int(number) - 1) * int(size)
    return {
        "currentPage": int(number),
        "data": list(entries[first : first + int(size)]),
        "pageCount": -(-len(entries) // int(size)),
        "pageSize": int(size),
        "total": len(entries),
    }
