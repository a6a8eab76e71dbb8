"""Hedwig's answers about packages, jobs, tasks and modules. Pure: fleet in, JSON values out, named as in the samples.

Sources: `contracts/firmware-apis.md` section 4 and the vendor's pages.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.jobs import FirmwarePackage, Job, Task
from deploy.sandbox.cloud.view import View
from schemas.vocabulary import PHASES, Status

_JOBS_FROM = 1_836_340_779_212_660_000
_TASKS_FROM = 1_936_340_779_212_660_000
"""Larger than a double holds exactly, as the vendor's are."""
_FIRMWARES_FROM = 130
TIMEOUT_MIN: Final = 60

_TASK_STATUS: Final[dict[Status, str]] = {
    "downloading": "IN_PROGRESS",
    "installing": "IN_PROGRESS",
    "succeeded": "SUCCEEDED",
    "failed": "FAILED",
    "timed_out": "FAILED",
    "cancelled": "CANCELED",
}
_PENDING: Final = ("CONFIRM", "QUEUED", "NOTIFIED")
_PACKAGE_STATUS: Final = {"usable": (1, -1), "unverified": (0,), "checking": (2,), "rejected": (3,)}
_TIMED_OUT: Final = ("Upgrade timeout", "升级超时")


def firmware_id(package: FirmwarePackage) -> str:
    """A package's id."""
    return str(_FIRMWARES_FROM + package.number)


def job_id(job: Job) -> str:
    """A job's id."""
    return str(_JOBS_FROM + job.number)


def task_id(task: Task) -> str:
    """A task's id."""
    return str(_TASKS_FROM + task.number)


def task_status(task: Task) -> str:
    """A task's `TaskStatus`; devices wait in one of three ways."""
    return _TASK_STATUS.get(task.status) or _PENDING[task.number % len(_PENDING)]


def is_unfinished(task: Task) -> bool:
    """Whether a task is one of those that ListOTAUnfinishedTaskByDevice tells."""
    return PHASES[task.status] in ("pending", "active")


def task(shown: Task, device: Device) -> dict[str, Any]:
    """A SimpleOTATaskInfo."""
    return {
        "destVersion": shown.target_version,
        "deviceName": device.name,
        "firmwareId": firmware_id(shown.job.package),
        "iotId": device.device_id,
        "jobId": job_id(shown.job),
        "productKey": device.product_id,
        "productName": device.product_name,
        "progress": str(shown.progress),
        "srcVersion": shown.from_version,
        "taskDesc": _description(shown),
        "taskId": task_id(shown),
        "taskStatus": task_status(shown),
        "timeout": str(TIMEOUT_MIN),
        "utcCreate": _time(shown.created_at_s),
        "utcModified": _time(shown.updated_at_s),
    }


def job(job: Job) -> dict[str, Any]:
    """A SimpleOTAJobInfo. A job without a task yet is planned; one whose tasks have all ended is completed."""
    shown = [task for task in job.tasks if task.is_shown]
    status = "IN_PROGRESS" if any(map(is_unfinished, shown)) or len(shown) < len(job.tasks) else "COMPLETED"
    return {
        "firmwareId": firmware_id(job.package),
        "jobId": job_id(job),
        "jobStatus": status if shown else "PLANNED",
        "jobType": "UPGRADE_FIRMWARE",
        "productKey": job.package.product_id,
        "targetSelection": "SPECIFIC",
        "utcCreate": _time(job.created_at_s),
    }


def simple_firmware(package: FirmwarePackage) -> dict[str, Any]:
    """A SimpleFirmwareInfo."""
    told = firmware(package)
    return {name: told[name] for name in told if name not in ("firmwareUrl", "udi", "verifyProgress")}


def firmware(package: FirmwarePackage) -> dict[str, Any]:
    """A FirmwareInfo, with the signed URL that must not get around."""
    number = firmware_id(package)
    statuses = _PACKAGE_STATUS[package.state]
    return {
        "destVersion": package.version,
        "firmwareDesc": "",
        "firmwareId": number,
        "firmwareName": f"{package.channel}-{package.version}",
        "firmwareSign": f"{package.number:032x}",
        "firmwareSize": 1_152_925,
        "firmwareUrl": f"https://oss.example.com/ota/firmware/{number}.bin?Expires=1732099448&OSSAccessKeyId=LTAI"
        "5tHeD8bf&Signature=AFe6U0xck5jy",
        "moduleName": package.channel,
        "productKey": package.product_id,
        "productName": package.product_id,
        "signMethod": "MD5",
        "status": statuses[package.number % len(statuses)],
        "type": 0,
        "udi": "",
        "utcCreate": "2024-09-18T09:32:00.937Z",
        "utcModified": "2024-09-18T09:32:00.937Z",
        "verifyProgress": 50 if package.state == "checking" else 0,
    }


def modules(device: Device, view: View) -> list[dict[str, Any]]:
    """The running version of each module."""
    return [
        {
            "deviceName": device.name,
            "iotId": device.device_id,
            "moduleName": channel.name,
            "moduleVersion": view(channel).current_version,
            "productKey": device.product_id,
        }
        for channel in device.channels
    ]


def as_in_the_tables(value: Any) -> Any:
    """The same answer as the vendor's tables spell it: `FirmwareInfo`, `FirmwareID`, `JobID`, but `IotId`."""
    if isinstance(value, dict):
        return {_pascal(name): as_in_the_tables(inner) for name, inner in value.items()}
    return [as_in_the_tables(inner) for inner in value] if isinstance(value, list) else value


def _pascal(name: str) -> str:
    return re.sub(r"^(Firmware|Job|Request)Id$", r"\1ID", name[0].upper() + name[1:])


def _description(shown: Task) -> str:
    if shown.status == "timed_out":
        return _TIMED_OUT[shown.number % len(_TIMED_OUT)]
    if shown.status == "cancelled":
        return "canceled by operator"
    # A download that took too long is no timeout of the task, and would be taken for one by its words.
    reason = (shown.reason or "upgrade_failed").replace("timeout", "failed")
    return reason.replace("_", " ") if shown.status == "failed" else ""


def _time(at_s: float) -> str:
    return (
        datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(at_s * 1000) % 1000:03d}Z"
    )
