"""Hedwig's statuses of tasks, jobs and packages as data (contract: firmware APIs, 7.3).

A value without a status of ours never raises and never changes a status: it is passed on as `vendor_status`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from msgspec import Struct

from schemas import PHASES, PackageState, Reason, Status

TASK: Final[Mapping[str, Status]] = {
    "CONFIRM": "pending",
    "QUEUED": "pending",
    "NOTIFIED": "pending",
    "IN_PROGRESS": "installing",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELED": "cancelled",
    "CANCELLED": "cancelled",
}
"""By `TaskStatus` in upper case."""

UNFINISHED: Final = ("CONFIRM", "QUEUED", "NOTIFIED", "IN_PROGRESS")
"""What is asked for when a device's unfinished tasks are."""

JOB_CANCELLED: Final = frozenset({"CANCELED", "CANCELLED"})
JOB_FINISHED: Final = JOB_CANCELLED | {"COMPLETED"}
"""A completed job's tasks have all ended, well or badly; nothing of it changes any more."""

PACKAGE: Final[Mapping[int, PackageState]] = {
    -1: "usable",
    0: "unverified",
    1: "usable",
    2: "checking",
    3: "rejected",
}
"""By the package's `Status`."""

UNKNOWN_PACKAGE: Final[PackageState] = "unknown"
"""A package whose `Status` is no documented value."""

PER_CENT: Final = 100


class TaskState(Struct, frozen=True, kw_only=True):
    """What a task says of its device's upgrade."""

    status: Status | None
    undivided: bool = False
    needs_confirmation: bool | None = None
    reason: Reason | None = None


def task_state(
    told: str,
    *,
    description: str | None = None,
    progress: int | None = None,
    job_status: str | None = None,
    reports_download: bool = False,
    timeout_words: Collection[str] = (),
) -> TaskState:
    """Return what a `TaskStatus` stands for; of a cancelled job every task that has not ended is cancelled.

    `reports_download`: the device's progress is that of the download, so that below 100 it downloads.
    """
    told = told.strip().upper()
    status = TASK.get(told)
    if status is None:
        return TaskState(status=None)
    if PHASES[status] != "terminal" and (job_status or "").strip().upper() in JOB_CANCELLED:
        status = "cancelled"

    if status == "installing":
        is_download = reports_download and progress is not None and 0 <= progress < PER_CENT
        return TaskState(
            status="downloading" if is_download else "installing",
            undivided=not reports_download,
            needs_confirmation=False,
        )
    if status == "failed" and _holds_one(description, timeout_words):
        status = "timed_out"
    return TaskState(
        status=status,
        needs_confirmation=told == "CONFIRM" and status == "pending",
        reason=_reason(status, told, description),
    )


def _holds_one(description: str | None, words: Collection[str]) -> bool:
    return description is not None and any(word.casefold() in description.casefold() for word in words)


def _reason(status: Status, told: str, description: str | None) -> Reason | None:
    """A failed task says in words what happened; its status alone does not tell."""
    words = description[:200] if description else None
    if status == "timed_out":
        return Reason(code="vendor_timeout", vendor_code=told, text=words)
    if status == "cancelled":
        return Reason(code="cancelled_by_operator", vendor_code=told, text=words)
    if status == "failed" and words is not None:
        return Reason(code="unknown_error", vendor_code=told, text=words)
    return None
