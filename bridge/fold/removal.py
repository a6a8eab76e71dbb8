"""Rule R10: what a removed device leaves behind, and what counts as its return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from bridge.fold.clock import asked_at, ms, pushed_at
from bridge.fold.turn import Turn
from schemas import PHASES, Observation, Reason, UpgradeEvent

if TYPE_CHECKING:
    from bridge.fold.bookkeeping import ChannelBook
    from bridge.fold.device import Device
    from bridge.fold.events import EventType
    from bridge.fold.policy import Policy


def remove(turn: Turn, removed_at_ms: int) -> None:
    """R10: open attempts end, one event tells the removal, nothing is asked any more."""
    state, book = turn.state, turn.book
    if state.removed_at_ms is not None:
        return

    if any(_is_newer(work.book, removed_at_ms) for work in turn.all_channels()):
        # An old message about an earlier life of the device; the cloud knows.
        turn.count("old_removal")
        turn.want_lookup(turn.policy.hint_lookup_s, "hint")
        return

    for channel in turn.all_channels():
        if channel.open_attempt is not None:
            channel.settle("cancelled", removed_at_ms, confirmed=False, reason=Reason(code="device_removed"))

    state = turn.settle_channels()
    turn.state = replace(state, removed_at_ms=turn.now_ms)
    book.removed_at_ms = removed_at_ms
    book.due_at_ms = book.lookup_id = book.lookup_expires_at_ms = book.not_found_at_ms = None
    book.failed_lookups = 0
    _tell(turn, "ota.device.removed", removed_at_ms)


def _is_newer(book: ChannelBook, at_ms: int) -> bool:
    return max(book.pushed_at_ms or 0, book.answered_at_ms or 0) > at_ms


def returns(turn: Turn, observation: Observation) -> bool:
    """R10: only an observation later than the removal, in the vendor's clock, is a return.

    A list may outlive its devices: what a sweep finds in it is taken up only once a lookup has found it too, and one
    lookup that does not removes the device again.
    """
    # A hint of the bridge's own tells of a message that came earlier: the message's time counts, not the hint's.
    is_message = observation.evidence.origin in ("push", "bridge")
    at_ms = pushed_at(observation) if is_message else asked_at(observation)
    if observation.kind == "answer" or observation.lifecycle == "removed":
        return False
    if at_ms <= (turn.book.removed_at_ms or 0):
        return False

    if observation.evidence.origin == "sweep":
        turn.book.not_found_at_ms = at_ms - ms(turn.policy.removal_apart_s)
    turn.book.removed_at_ms = None
    turn.state = replace(turn.state, removed_at_ms=None)
    _tell(turn, "ota.device.returned", observation.vendor_time_at_ms)
    return True


def _tell(turn: Turn, event_type: EventType, vendor_time_at_ms: int | None) -> None:
    state = turn.state
    turn.publish(
        event_type,
        UpgradeEvent(
            device_id=state.device_id,
            cloud=state.cloud,
            account=state.account,
            product_id=state.product_id,
            device=state.device,
            revision=turn.revision + 1,
            status=state.status,
            phase=PHASES[state.status],
            stalled=False,
            needs_confirmation=False,
            confirmed=True,
            correction=False,
            vendor_time_at_ms=vendor_time_at_ms,
            observed_at_ms=turn.now_ms,
            evidence=turn.evidence,
        ),
    )


def is_tombstone_due(device: Device, now_ms: int, policy: Policy) -> bool:
    """R10: a removed device's state is deleted some time after its removal was told."""
    removed_ms = device.state.removed_at_ms
    return removed_ms is not None and now_ms >= removed_ms + ms(policy.tombstone_after_s)
