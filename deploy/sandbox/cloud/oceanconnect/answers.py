"""Operations, sub-operations and version packages as the northbound API writes them.

Pure: jobs and tasks in, JSON values out. Source: `contracts/firmware-apis.md` section 5.2. What the API leaves open is
used both ways: some operations name their package in `extendPara`, others do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from deploy.sandbox.cloud.jobs import FirmwarePackage, Job, Task
from schemas.vocabulary import Status

_WORDS: Mapping[Status, str] = {
    "pending": "wait",
    "downloading": "processing",
    "installing": "processing",
    "succeeded": "success",
    "failed": "fail",
    "timed_out": "timeout",
    "cancelled": "stop",
}
_OPEN = ("wait", "processing")
_BUCKETS = ("wait", "processing", "success", "fail", "stop", "timeout")
_UNNAMED_PACKAGE_EVERY = 4
_MANUFACTURER = "Sandbox"
_DEVICE_TYPE = "MultiSensor"

OPERATION_STATUSES = ("wait", "processing", "failed", "success", "stop")
SUB_OPERATION_STATUSES = _BUCKETS


def file_id(package: FirmwarePackage) -> str:
    """A package's `fileId`."""
    return f"{package.number:024x}"


def operation_id(job: Job) -> str:
    """A job's `operationId`."""
    return f"{job.number:024x}"


def sub_status(task: Task) -> str:
    """The word for a device's state."""
    return _WORDS[task.status]


def status_of(tasks: Sequence[Task]) -> str:
    """The word for an operation's state, made of its devices'."""
    words = {sub_status(task) for task in tasks}
    if words & set(_OPEN):
        return "wait" if words == {"wait"} else "processing"
    if words == {"stop"}:
        return "stop"
    return "failed" if words & {"fail", "timeout"} else "success"


def operation(job: Job, tasks: Sequence[Task]) -> dict[str, Any]:
    """One entry of `GET /operations`. `tasks` are those that are shown."""
    package = job.package
    status = status_of(tasks)
    counts = Counter(sub_status(task) for task in tasks)
    told: dict[str, Any] = {
        "operationId": operation_id(job),
        "createTime": written_time(job.created_at_s),
        "startTime": written_time(job.created_at_s),
        "operateType": f"{package.channel}_upgrade",
        "targets": {
            "deviceGroups": [],
            "deviceType": _DEVICE_TYPE,
            "model": package.product_id,
            "manufacturerName": _MANUFACTURER,
            "devices": [task.device_id for task in tasks],
        },
        "policy": {"executeType": "now", "startTime": None, "endTime": None, "retryType": False},
        "status": status,
        "staResult": {"total": len(tasks), **{bucket: counts[bucket] for bucket in _BUCKETS}},
        "extendPara": {},
    }
    if status not in _OPEN:
        told["stopTime"] = written_time(max(task.updated_at_s for task in tasks))
    if job.number % _UNNAMED_PACKAGE_EVERY:
        told["extendPara"] = {"fileId": file_id(package), "fileVersion": package.version}
    return told


def sub_operation(task: Task) -> dict[str, Any]:
    """One entry of `GET /operations/{operationId}/subOperations`."""
    word = sub_status(task)
    told: dict[str, Any] = {
        "subOperationId": f"{task.number:024x}",
        "createTime": written_time(task.created_at_s),
        "startTime": written_time(task.created_at_s),
        "operateType": f"{task.channel}_upgrade",
        "deviceId": task.device_id,
        "status": word,
        "detailInfo": task.reason or "",
        "extendInfo": {},
    }
    if word not in _OPEN:
        told["stopTime"] = written_time(task.updated_at_s)
    return told


def package(told: FirmwarePackage) -> dict[str, Any]:
    """`GET /category/{fileId}`. `date` is free text."""
    return {
        "fileId": file_id(told),
        "name": f"{told.product_id}-{told.channel}-{told.version}",
        "version": told.version,
        "fileType": f"{told.channel}Package",
        "deviceType": _DEVICE_TYPE,
        "model": told.product_id,
        "manufacturerName": _MANUFACTURER,
        "protocolType": "CoAP",
        "description": "",
        "date": "2015-2-2 ",
        "uploadTime": "20151212T121212Z",
    }


def written_time(at_s: float) -> str:
    """A time as the API writes it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H%M%SZ")
