"""What a reading of an EnOS device says, as an observation. Pure."""

from __future__ import annotations

from typing import Final

from bridge.clouds.enos.answers import Job
from bridge.clouds.enos.reading import Reading
from bridge.clouds.evidence import evidence
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import UNTOLD
from schemas import Observation, Package

CHANNEL: Final = "firmware"

EVIDENCE_FIELDS: Final = frozenset(
    {
        "desc",
        "firmwareVersion",
        "fromVersion",
        "isUpgrading",
        "jobId",
        "productKey",
        "progress",
        "status",
        "taskId",
        "toVersion",
        "updateTime",
    }
)
"""Kept as evidence. Never `orgId`, and not `deviceKey`, which often is a serial number or a MAC address."""


def observation(
    reading: Reading, job: Job | None, *, account: AnyAccount, origin: str, api: str, observed_at_ms: int
) -> Observation:
    """Return the one observation of a device's only channel."""
    row, task = reading.row, reading.task
    package_id = None if job is None else job.firmware_id
    return Observation(
        device_id=row.asset_id,
        cloud=account.cloud,
        account=account.name,
        product_id=row.product_key,
        channel=CHANNEL,
        kind="versions" if reading.status is None else "status",
        status=reading.status,
        vendor_status=reading.vendor_status,
        undivided=reading.undivided,
        progress=reading.progress,
        current_version=row.version,
        target_version=None if task is None else task.to_version,
        task_id=None if task is None else task.task_id,
        package=None if package_id is None else Package(id=package_id, state=UNTOLD),
        vendor_timeout_s=None if job is None else job.timeout_s,
        reason=reading.reason,
        asked_at_ms=reading.asked_at_ms,
        observed_at_ms=observed_at_ms,
        evidence=evidence(
            origin, api, dict(row.raw) | ({} if task is None else dict(task.raw)), EVIDENCE_FIELDS
        ),
    )
