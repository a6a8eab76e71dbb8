"""A device as the fold keeps it, and the one status that stands for all its channels."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from bridge.fold.bookkeeping import Bookkeeping
from schemas import Channel, Status, UpgradeState

DEVICE_STATUS_ORDER: Final[tuple[Status, ...]] = (
    "installing",
    "verifying",
    "downloading",
    "pending",
    "failed",
    "timed_out",
    "cancelled",
    "unknown",
    "available",
    "succeeded",
    "idle",
)
"""The most telling first: what is under way, then what went wrong, then what could be done."""

_RANK: Final = {status: rank for rank, status in enumerate(DEVICE_STATUS_ORDER)}


class Device(Struct, frozen=True, gc=False):
    """The public state and the bookkeeping behind it. Never changed in place."""

    state: UpgradeState
    book: Bookkeeping


def device_status(channels: tuple[Channel, ...]) -> Status:
    """Return the status of the most telling channel; `unknown` while no channel is known."""
    if len(channels) == 1:
        return channels[0].status
    if not channels:
        return "unknown"

    return min((channel.status for channel in channels), key=_RANK.__getitem__)
