"""Reading EnOS's answers: pages of devices, tasks and jobs, and a firmware package. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog
from msgspec import Struct

from bridge.clouds.errors import SchemaMismatch
from bridge.clouds.shape import FirmwarePackage
from bridge.clouds.values import number, text

log = structlog.get_logger(__name__)

PER_CENT: Final = 100

PACKAGE_FIELDS: Final = frozenset(
    {"createTime", "desc", "fileSize", "firmwareId", "productKey", "signMethod", "updateTime", "version"}
)
"""Kept of a package. Never `fileUrl` and `sign`: they lead to the file."""


class Page(Struct, frozen=True, kw_only=True):
    """One page of a list; `total` is how many entries all pages have, where the answer tells it."""

    entries: list[dict[str, Any]]
    total: int | None


class DeviceRow(Struct, frozen=True, kw_only=True):
    """One device, as searchDeviceUpgrade tells it."""

    asset_id: str
    product_key: str | None
    device_key: str | None
    version: str | None
    is_upgrading: bool | None
    raw: Mapping[str, Any]


class Task(Struct, frozen=True, kw_only=True):
    """One device's part of a job, as searchTask tells it."""

    task_id: str
    asset_id: str | None
    product_key: str | None
    device_key: str | None
    job_id: str | None
    from_version: str | None
    to_version: str | None
    status: str
    progress: int | None
    description: str
    updated_at_ms: int
    raw: Mapping[str, Any]


class Job(Struct, frozen=True, kw_only=True):
    """What a job says about its tasks."""

    job_id: str
    firmware_id: str | None
    timeout_s: int | None


def page_of(body: Any, *, api: str) -> Page:
    """Read one page. Raises SchemaMismatch where `data` is no list; none at all is an empty one."""
    data = body.get("data") if isinstance(body, dict) else None
    if data is None:
        data = []
    if not isinstance(data, list):
        raise SchemaMismatch(f"data is a {type(data).__name__}, not a list", api=api)

    pagination = body.get("pagination")
    total = number(pagination.get("totalSize")) if isinstance(pagination, dict) else None
    return Page(
        entries=[entry for entry in data if isinstance(entry, dict)],
        total=total if total is not None and total >= 0 else None,
    )


def row_of(entry: Mapping[str, Any]) -> DeviceRow | None:
    """Read a device; None, and a line in the log, where it has no id."""
    asset_id = _id(entry.get("assetId"))
    if asset_id is None:
        log.warning("device_without_id", fields=sorted(entry)[:20], remedy="report these field names")
        return None

    return DeviceRow(
        asset_id=asset_id,
        product_key=_id(entry.get("productKey")),
        device_key=_id(entry.get("deviceKey")),
        version=text(entry.get("firmwareVersion")),
        is_upgrading=_flag(entry.get("isUpgrading")),
        raw=entry,
    )


def task_of(entry: Mapping[str, Any]) -> Task | None:
    """Read a task; None, and a line in the log, where it has no id."""
    task_id = _id(entry.get("taskId"))
    if task_id is None:
        log.warning("task_without_id", fields=sorted(entry)[:20], remedy="report these field names")
        return None

    return Task(
        task_id=task_id,
        asset_id=_id(entry.get("assetId")),
        product_key=_id(entry.get("productKey")),
        device_key=_id(entry.get("deviceKey")),
        job_id=_id(entry.get("jobId")),
        from_version=text(entry.get("fromVersion")),
        to_version=text(entry.get("toVersion")),
        status=_id(entry.get("status")) or "",
        progress=_progress(entry.get("progress")),
        description=text(entry.get("desc")) or "",
        updated_at_ms=number(entry.get("updateTime")) or 0,
        raw=entry,
    )


def job_of(entry: Any) -> Job | None:
    """Read a job; None where it has no id."""
    job_id = _id(entry.get("jobId")) if isinstance(entry, dict) else None
    if job_id is None:
        return None

    timeout_s = number(entry.get("upgradeTimeout"))
    return Job(
        job_id=job_id,
        firmware_id=_id(entry.get("firmwareId")),
        timeout_s=timeout_s if timeout_s is not None and timeout_s > 0 else None,
    )


def package_of(package_id: str, entry: Any) -> FirmwarePackage:
    """Read a firmware package: there or not, since EnOS tells no state of it."""
    if not isinstance(entry, dict) or not entry:
        return FirmwarePackage(package_id=package_id, state="missing")

    return FirmwarePackage(
        package_id=package_id,
        state="usable",
        version=text(entry.get("version")) or text(entry.get("firmwareVersion")),
        name=_name(entry.get("name")),
        product_id=_id(entry.get("productKey")),
        channel="firmware",
        told={
            field: value
            for field, value in entry.items()
            if field in PACKAGE_FIELDS and isinstance(value, str | int | float | bool)
        },
    )


def _id(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value)


def _flag(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _progress(value: Any) -> int | None:
    """Any negative number means a failure; above 100 there is no per cent."""
    progress = number(value)
    return progress if progress is not None and progress <= PER_CENT else None


def _name(value: Any) -> str | None:
    """A name is a text, or one in several languages."""
    if isinstance(value, dict):
        value = value.get("defaultValue")
    return text(value)
