"""Reading Hedwig's answers, whose names `names.py` has made one. Pure.

Sources: contract, firmware APIs 4.3 and 4.4. Ids are strings: a job's exceeds what a double holds.
"""

from __future__ import annotations

from typing import Any, Final

import structlog
from msgspec import Struct

from bridge.clouds.errors import SchemaMismatch
from bridge.clouds.hedwig.status import PACKAGE, PER_CENT, UNKNOWN_PACKAGE
from bridge.clouds.shape import FirmwarePackage
from bridge.clouds.values import number, text

log = structlog.get_logger(__name__)

TASK_FIELDS: Final = frozenset(
    {
        "destVersion",
        "deviceName",
        "firmwareId",
        "iotId",
        "jobId",
        "jobStatus",
        "moduleName",
        "moduleVersion",
        "productKey",
        "productName",
        "progress",
        "srcVersion",
        "taskDesc",
        "taskId",
        "taskStatus",
        "timeout",
        "utcCreate",
        "utcModified",
    }
)
"""Kept as evidence of a task or of a module's version; nothing in these answers is secret."""

PACKAGE_FIELDS: Final = (
    "destVersion",
    "firmwareDesc",
    "firmwareId",
    "firmwareName",
    "firmwareSize",
    "moduleName",
    "productKey",
    "productName",
    "srcVersion",
    "status",
    "type",
    "utcCreate",
    "utcModified",
    "verifyProgress",
)
"""Shown of a package. Never `firmwareUrl`, which leads to it, nor `firmwareSign` and `udi`."""

_SECONDS_A_MINUTE: Final = 60


class Page(Struct, frozen=True, kw_only=True):
    """One page of a list, and what it says about the others."""

    entries: list[dict[str, Any]]
    page_count: int | None
    total: int | None
    page_size: int | None


class Module(Struct, frozen=True, kw_only=True):
    """A module's running version; a device that never told one has no such entry."""

    name: str
    version: str | None
    device_name: str | None
    product_key: str | None
    raw: dict[str, Any]


class Firmware(Struct, frozen=True, kw_only=True):
    """A package, as the list of packages tells it."""

    firmware_id: str
    module: str | None
    product_key: str | None


class Job(Struct, frozen=True, kw_only=True):
    """A roll-out of a package: the vendor calls it a batch."""

    job_id: str
    firmware_id: str
    status: str
    created: str

    @property
    def age_order(self) -> tuple[str, int, str]:
        """Sorts jobs by age. Where no time of creation is told, ids rise with time."""
        return (self.created, number(self.job_id) or 0, self.job_id)


class Task(Struct, frozen=True, kw_only=True):
    """One device's upgrade in a job."""

    task_id: str
    device_id: str
    device_name: str | None
    product_key: str | None
    job_id: str | None
    firmware_id: str | None
    status: str
    description: str | None
    progress: int | None
    target_version: str | None
    timeout_s: int | None
    created: str
    raw: dict[str, Any]


def page_of(result: dict[str, Any], field: str, *, api: str) -> Page:
    """Read a page's list, `field`, which Alibaba's originals wrap once more in an object with its type's name."""
    entries = result.get(field)
    if isinstance(entries, dict) and len(entries) == 1:
        (entries,) = entries.values()
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise SchemaMismatch(f"{field} is a {type(entries).__name__}, not a list", api=api)
    return Page(
        entries=[entry for entry in entries if isinstance(entry, dict)],
        page_count=number(result.get("pageCount")),
        total=number(result.get("total")),
        page_size=number(result.get("pageSize")),
    )


def module_of(entry: dict[str, Any]) -> Module | None:
    """Read an entry of ListOTAModuleVersionsByDevice; None where it names no module."""
    name = text(entry.get("moduleName"))
    if name is None:
        log.warning("module_unreadable", remedy="report this answer's field names", fields=sorted(entry))
        return None
    return Module(
        name=name,
        version=text(entry.get("moduleVersion")),
        device_name=text(entry.get("deviceName")),
        product_key=text(entry.get("productKey")),
        raw=entry,
    )


def firmware_of(entry: dict[str, Any]) -> Firmware | None:
    """Read an entry of ListOTAFirmware; None where it has no id."""
    firmware_id = _id(entry.get("firmwareId"))
    if firmware_id is None:
        return None
    return Firmware(
        firmware_id=firmware_id,
        module=text(entry.get("moduleName")),
        product_key=text(entry.get("productKey")),
    )


def job_of(entry: dict[str, Any], firmware_id: str) -> Job | None:
    """Read an entry of ListOTAJobByFirmware; None where it has no id."""
    job_id = _id(entry.get("jobId"))
    if job_id is None:
        return None
    return Job(
        job_id=job_id,
        firmware_id=_id(entry.get("firmwareId")) or firmware_id,
        status=(text(entry.get("jobStatus")) or "").upper(),
        created=_time(entry.get("utcCreate")),
    )


def task_of(entry: dict[str, Any]) -> Task | None:
    """Read a task; None where it does not say whose it is, or which."""
    task_id, device_id = _id(entry.get("taskId")), _id(entry.get("iotId"))
    if task_id is None or device_id is None:
        log.warning("task_unreadable", remedy="report this answer's field names", fields=sorted(entry))
        return None
    progress, timeout_min = number(entry.get("progress")), number(entry.get("timeout"))
    return Task(
        task_id=task_id,
        device_id=device_id,
        device_name=text(entry.get("deviceName")),
        product_key=text(entry.get("productKey")),
        job_id=_id(entry.get("jobId")),
        firmware_id=_id(entry.get("firmwareId")),
        status=(text(entry.get("taskStatus")) or "")[:64],
        description=text(entry.get("taskDesc")),
        progress=progress if progress is not None and 0 <= progress <= PER_CENT else None,
        target_version=text(entry.get("destVersion")),
        timeout_s=timeout_min * _SECONDS_A_MINUTE if timeout_min is not None and timeout_min > 0 else None,
        created=_time(entry.get("utcCreate")),
        raw=entry,
    )


def package_of(result: dict[str, Any], package_id: str, *, api: str) -> FirmwarePackage:
    """Read QueryOTAFirmware's answer."""
    told = result.get("firmwareInfo")
    if not isinstance(told, dict):
        raise SchemaMismatch("no firmwareInfo in the answer", api=api)
    value = number(told.get("status"))
    return FirmwarePackage(
        package_id=package_id,
        state=UNKNOWN_PACKAGE if value is None else PACKAGE.get(value, UNKNOWN_PACKAGE),
        version=text(told.get("destVersion")),
        from_version=text(told.get("srcVersion")),
        name=text(told.get("firmwareName")),
        product_id=text(told.get("productKey")),
        channel=text(told.get("moduleName")),
        told={
            field: told[field] for field in PACKAGE_FIELDS if isinstance(told.get(field), str | int | float)
        },
    )


def _id(value: Any) -> str | None:
    """Ids are documented as strings; one that came as a number is its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value)


def _time(value: Any) -> str:
    """Return a time that compares as text does; one of the documentation's samples has a space before its T."""
    return (text(value) or "").replace(" ", "")
