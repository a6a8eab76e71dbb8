"""Tuya's numeric upgrade statuses as data (contract: firmware APIs, 7.2), one table per place where they appear.

A value without a status of ours never raises and never changes a status: it is passed on as `vendor_status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas import Reason, Status

AVAILABLE_WHEN_OFFERED: Final = 1
"""In an information answer 1 means "the device is ready": `available`, but only where another version is offered."""

UNDIVIDED: Final = frozenset({2})
"""In progress, download and installation alike."""

INFORMATION: Final[Mapping[int, Status]] = {
    0: "idle",
    2: "installing",
    3: "succeeded",
    4: "failed",
    5: "pending",
    6: "downloading",
    7: "timed_out",
    13: "pending",
}
"""Get Update Information, and its legacy predecessors. 100 is an app's own and has no status here."""

PROGRESS: Final[Mapping[int, Status]] = {
    1: "pending",
    2: "installing",
    3: "succeeded",
    4: "failed",
    5: "pending",
    6: "downloading",
    7: "timed_out",
    13: "pending",
}
"""Get Update Progress: 1 is "hardware ready", 0 is not documented."""

REASONS: Final[Mapping[int, Reason]] = {7: Reason(code="vendor_timeout", vendor_code="7")}
"""Only what the value itself says: 4 tells that something went wrong, not what."""


def information_status(value: int | None, *, current: str | None, target: str | None) -> Status | None:
    """Return the status an information answer's value stands for, None where it stands for none."""
    if value == AVAILABLE_WHEN_OFFERED:
        return "available" if target is not None and target != current else None
    return None if value is None else INFORMATION.get(value)
