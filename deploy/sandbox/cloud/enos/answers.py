"""What EnOS tells of devices, tasks, jobs and firmwares. Pure: the fleet in, JSON values out.

Source: `contracts/firmware-apis.md` section 6.2.
"""

from __future__ import annotations

from collections.abc import Mapping

from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.jobs import FirmwarePackage, Job, Task
from deploy.sandbox.cloud.view import View
from schemas.vocabulary import Status

_STATUSES: Mapping[Status, str] = {
    "downloading": "upgrading",
    "installing": "upgrading",
    "succeeded": "succeeded",
    "failed": "failed",
    "timed_out": "failed",
}
RUNNING = ("init", "published", "upgrading")
_TIMED_OUT = "upgrade timeout"
_ODD_FAILURES = 5
"""One failure of so many is told by a negative progress alone: the status stays as it was."""
UPGRADE_TIMEOUT_S = 1800


def device_firmware(device: Device, org_id: str, view: View) -> dict[str, object]:
    """One entry of searchDeviceUpgrade."""
    shown = view(device.channels[0])
    return {
        "orgId": org_id,
        "assetId": device.device_id,
        "productKey": device.product_id,
        "deviceKey": device.uuid,
        "firmwareVersion": shown.current_version,
        "isUpgrading": shown.status in ("pending", "downloading", "installing"),
    }


def task_info(task: Task, device: Device, org_id: str, skew_s: float) -> dict[str, object] | None:
    """One entry of searchTask; None for a task that was cancelled: it is there no more."""
    if task.status == "cancelled":
        return None
    status, progress, description = _told(task)
    return {
        "taskId": f"t{task.number}",
        "orgId": org_id,
        "assetId": device.device_id,
        "productKey": device.product_id,
        "deviceKey": device.uuid,
        "jobId": job_id(task.job),
        "fromVersion": task.from_version,
        "toVersion": task.target_version,
        "progress": progress,
        "desc": description,
        "status": status,
        "updateTime": int((task.updated_at_s + skew_s) * 1000),
    }


def job_info(job: Job, skew_s: float) -> dict[str, object]:
    """One entry of the list of jobs, and the answer about one."""
    return {
        "jobId": job_id(job),
        "name": {"defaultValue": f"Roll-out {job.number}", "i18nValue": {}},
        "firmwareId": firmware_id(job.package),
        "firmwareVersion": job.package.version,
        "firmwareName": {"defaultValue": f"Firmware {job.package.version}", "i18nValue": {}},
        "type": "upgrade",
        "enableUpgradeRequest": False,
        "upgradePolicy": "snapshot",
        "upgradeTimeout": UPGRADE_TIMEOUT_S,
        "maximumConcurrency": 1000,
        "status": "started",
        "createTime": int((job.created_at_s + skew_s) * 1000),
    }


def firmware_info(package: FirmwarePackage, org_id: str) -> dict[str, object]:
    """The answer about one firmware."""
    return {
        "firmwareId": firmware_id(package),
        "orgId": org_id,
        "productKey": package.product_id,
        "name": {"defaultValue": f"Firmware {package.version}", "i18nValue": {}},
        "version": package.version,
        "signMethod": "md5",
        "sign": "0" * 32,
        "fileUrl": f"https://files.example.test/{package.number}.bin?token=sandbox",
        "fileSize": 524288,
    }


def job_id(job: Job) -> str:
    """The id of a job."""
    return f"j{job.number}"


def firmware_id(package: FirmwarePackage) -> str:
    """The id of a firmware."""
    return f"f{package.number}"


def _told(task: Task) -> tuple[str, int, str]:
    """A task's status, progress and description."""
    if task.status == "pending":
        return ("init", "published")[task.number % 2], 0, ""
    if task.status == "timed_out":
        return "failed", task.progress, _TIMED_OUT
    if task.status == "failed":
        odd = task.number % _ODD_FAILURES == 0
        return "upgrading" if odd else "failed", -1 - task.number % 4, "the device reported an error"
    progress = 100 if task.status == "succeeded" else task.progress
    return _STATUSES[task.status], progress, ""
