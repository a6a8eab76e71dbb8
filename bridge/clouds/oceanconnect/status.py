"""OceanConnect's words for an upgrade's state as data (contract: firmware APIs, 7.4).

A word without a status of ours never raises and never changes a status: it is passed on as `vendor_status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bridge.clouds.values import text
from schemas import PHASES, Reason, Status

SUB_OPERATION: Final[Mapping[str, Status]] = {
    "wait": "pending",
    "processing": "installing",
    "success": "succeeded",
    "fail": "failed",
    "failed": "failed",
    "stop": "cancelled",
    "timeout": "timed_out",
}
"""One device in an operation. `timeout` is documented only as a counter, `failed` only as an operation's own word."""

UNDIVIDED: Final = frozenset({"processing"})
"""In progress, download and installation alike."""

FINAL: Final = frozenset({"success", "failed", "fail", "stop"})
"""An operation's own words for: over. What became of each device only its sub-operations tell."""

STOPPED: Final = "stop"

FIRMWARE_STEPS: Final[Mapping[str, Status]] = {
    "0": "idle",
    "1": "downloading",
    "2": "downloading",
    "3": "installing",
}
"""`step` of `fwUpgradeStateChangeNotify`; the same numbers as the LwM2M firmware object's state."""

SOFTWARE_STEPS: Final[Mapping[str, Status]] = {
    "otacreated": "pending",
    "requestdownload": "pending",
    "downloading": "downloading",
    "downloaded": "downloading",
    "updating": "installing",
    "idle": "idle",
}
"""`stepDesc` of `swUpgradeStateChangeNotify`, in lower case."""

RESULTS: Final[Mapping[str, Status]] = {"success": "succeeded", "fail": "failed"}
"""Result notices, in lower case."""

DETAIL_CHARACTERS: Final = 200
"""Of the free text `detailInfo`."""


def word_of(value: Any) -> str:
    """Return a status as the tables have it; an empty text where there is none."""
    return (text(value) or "").lower()


def device_status(word: str, *, operation: str) -> Status | None:
    """Return the status of a device whose sub-operation says `word`, in an operation that says `operation`.

    A stopped operation ends what had not ended by itself.
    """
    status = SUB_OPERATION.get(word)
    if status is not None and operation == STOPPED and PHASES[status] != "terminal":
        return "cancelled"
    return status


def reason_of(status: Status | None, word: str, detail: str | None) -> Reason | None:
    """Return why an upgrade did not succeed, as far as it is told: `detailInfo` is free text."""
    if status == "timed_out":
        return Reason(code="vendor_timeout", vendor_code=word, text=detail)
    if status == "cancelled":
        return Reason(code="cancelled_by_operator", vendor_code=word, text=detail)
    if status == "failed" and detail is not None:
        return Reason(code="unknown_error", vendor_code=word, text=detail)
    return None


def notice_status(notice: Mapping[str, Any]) -> Status | None:
    """Return the status that a notification tells, None where it tells none."""
    kind = word_of(notice.get("notifyType"))
    if kind == "fwupgradestatechangenotify":
        return FIRMWARE_STEPS.get(word_of(notice.get("step")))
    if kind == "swupgradestatechangenotify":
        return SOFTWARE_STEPS.get(word_of(notice.get("stepDesc")))
    if kind == "fwupgraderesultnotify":
        return RESULTS.get(word_of(notice.get("status", notice.get("Status"))))
    if kind == "swupgraderesultnotify":
        return RESULTS.get(word_of(notice.get("swUpgradeResult")))
    return None
