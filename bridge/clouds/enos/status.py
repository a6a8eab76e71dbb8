"""What EnOS's words stand for, as data (contract: firmware APIs, 7.5): a task's status, and `isUpgrading` without one.

A value without a status of ours never raises and never changes a status: it is passed on as `vendor_status`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from schemas import Reason, Status

TASKS: Final[Mapping[str, Status]] = {
    "init": "pending",
    "published": "pending",
    "upgrading": "installing",
    "succeeded": "succeeded",
    "failed": "failed",
}
"""A cancelled task has no status that is documented; it is expected to be gone, or `failed`."""

UNDIVIDED: Final = frozenset({"upgrading"})
"""In progress, download and installation alike."""

WAITING: Final = frozenset({"init", "published"})
"""The device has not begun."""

FLAGS: Final[Mapping[bool, Status]] = {True: "installing", False: "idle"}
"""`isUpgrading` of a device without a task. True is weak: it covers waiting, download and installation."""


def task_status(
    value: str, progress: int | None, description: str, timed_out: Sequence[str]
) -> Status | None:
    """Return the status of a task, None where its value stands for none.

    A negative progress is a failure whatever the value says. `timed_out` are texts by which the description of a failed
    task tells that it took too long.
    """
    status = "failed" if progress is not None and progress < 0 else TASKS.get(value.lower())
    if status == "failed" and any(word.lower() in description.lower() for word in timed_out):
        return "timed_out"
    return status


def reason_of(status: Status | None, progress: int | None, description: str) -> Reason | None:
    """Return why a task did not succeed: the device's own number, where it told one, and the vendor's text."""
    if status not in ("failed", "timed_out"):
        return None
    return Reason(
        code="vendor_timeout" if status == "timed_out" else "unknown_error",
        vendor_code=str(progress) if progress is not None and progress < 0 else None,
        text=description[:200] or None,
    )
