"""Which events a change makes: an event is the difference between what was last published and what is shown.

So no rule can change a channel without its event, nor publish a change that did not happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from schemas import Attempt, Channel, Evidence, Observation, UpgradeEvent, UpgradeState

EventType = Literal[
    "ota.upgrade.baseline",
    "ota.upgrade.status_changed",
    "ota.upgrade.progressed",
    "ota.upgrade.stalled",
    "ota.upgrade.resumed",
    "ota.upgrade.version_changed",
    "ota.device.removed",
    "ota.device.returned",
]


class TypedEvent(Struct, frozen=True, gc=False):
    """An event with its CloudEvents type."""

    type: EventType
    event: UpgradeEvent


def differences(
    before: Channel | None, after: Channel, progress_step: int
) -> Sequence[tuple[EventType, Channel]]:
    """Return the type of each event that leads from `before` to `after`, and what the channel shows in it.

    `before` None: the channel was not known. Progress is told each time it enters another step of `progress_step`
    points, and never where that is 0; a retry by the cloud always.
    """
    if before is None:
        opened = after.attempt is not None
        return (("ota.upgrade.status_changed" if opened else "ota.upgrade.baseline", after),)

    changes: list[tuple[EventType, Channel]] = []
    if before.stalled and not after.stalled and _is_open(after) and _number(before) == _number(after):
        # The stall ends first; what ended it is told by the next event.
        resumed = replace(before, stalled=False, last_evidence=after.last_evidence)
        changes.append(("ota.upgrade.resumed", resumed))

    if _status_differs(before, after):
        changes.append(("ota.upgrade.status_changed", after))
    elif after.stalled and not before.stalled:
        changes.append(("ota.upgrade.stalled", after))
    elif _progress_shows(before.attempt, after.attempt, progress_step):
        changes.append(("ota.upgrade.progressed", after))
    elif not _is_open(after) and _version_differs(before, after):
        changes.append(("ota.upgrade.version_changed", after))
    return changes


def channel_event(
    state: UpgradeState,
    before: Channel | None,
    shown: Channel,
    *,
    revision: int,
    correction: bool,
    observation: Observation | None,
    observed_at_ms: int,
    evidence: Evidence,
) -> UpgradeEvent:
    """Return the event that tells what a channel shows."""
    attempt = shown.attempt
    return UpgradeEvent(
        device_id=state.device_id,
        cloud=state.cloud,
        account=state.account,
        product_id=state.product_id,
        device=state.device,
        channel=shown.channel,
        revision=revision,
        previous_status=None if before is None else before.status,
        status=shown.status,
        claimed=shown.claimed,
        phase=shown.phase,
        stalled=shown.stalled,
        needs_confirmation=shown.needs_confirmation,
        attempt=attempt,
        progress=None if attempt is None else attempt.progress,
        current_version=shown.current_version,
        target_version=None if attempt is None else attempt.target_version,
        available_version=shown.available_version,
        outcome=shown.outcome,
        reason=shown.reason,
        confirmed=shown.confirmed,
        correction=correction,
        vendor_time_at_ms=None if observation is None else observation.vendor_time_at_ms,
        observed_at_ms=observed_at_ms,
        evidence=evidence,
    )


def _is_open(channel: Channel) -> bool:
    return channel.attempt is not None and channel.attempt.finished_at_ms is None


def _number(channel: Channel) -> int:
    return 0 if channel.attempt is None else channel.attempt.number


def _status_differs(before: Channel, after: Channel) -> bool:
    return (
        before.status != after.status
        or before.claimed != after.claimed
        or before.outcome != after.outcome
        or _number(before) != _number(after)
        or before.needs_confirmation != after.needs_confirmation
        or (after.phase == "terminal" and before.confirmed != after.confirmed)
    )


def _progress_shows(before: Attempt | None, after: Attempt | None, step: int) -> bool:
    if before is None or after is None:
        return False

    if before.retries != after.retries:
        return True

    if step == 0 or after.progress is None or before.progress == after.progress:
        return False

    return before.progress is None or after.progress // step != before.progress // step


def _version_differs(before: Channel, after: Channel) -> bool:
    moved = before.current_version is not None and before.current_version != after.current_version
    return moved or before.available_version != after.available_version
