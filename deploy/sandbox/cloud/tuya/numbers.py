"""Tuya's `upgrade_status` of what REST shows, the same in all of its APIs (contract: firmware APIs, 7.2)."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.sandbox.cloud.fleet import Shown
from schemas.vocabulary import Status

NUMBERS: Mapping[Status, int] = {
    "idle": 0,
    "available": 1,
    "pending": 5,
    "downloading": 2,
    "installing": 2,
    "succeeded": 3,
    "failed": 4,
    "timed_out": 7,
}
"""Where there are several for a status, the upgrade says which."""

RUNNING = (2, 5, 6, 13)
"""From these a reader learns that an upgrade runs."""


def number_of(shown: Shown) -> int:
    """The `upgrade_status` of what is shown."""
    return NUMBERS[shown.status] if shown.number is None else shown.number
