"""Rule R8 and the passing of time: claims to adopt, stalls, online and offline, and when a device's timer is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from bridge.fold import lookups, outcomes, removal
from bridge.fold.channel import ChannelTurn
from bridge.fold.clock import ms, pushed_at
from bridge.fold.device import Device
from bridge.fold.turn import Turn
from schemas import Channel, DeviceLabel, Evidence, Observation, Reason

if TYPE_CHECKING:
    from bridge.fold.bookkeeping import ChannelBook
    from bridge.fold.policy import Policy


def on_lifecycle(turn: Turn, observation: Observation) -> None:
    """A device came online, went offline, was renamed or removed."""
    lifecycle = observation.lifecycle
    if lifecycle == "online":
        _on_online(turn, observation)
    elif lifecycle == "offline":
        turn.state = replace(turn.state, online=False)
    elif lifecycle == "renamed":
        if turn.policy.device_names and observation.name is not None:
            label = turn.state.device or DeviceLabel()
            turn.state = replace(turn.state, device=replace(label, name=observation.name))
    elif lifecycle == "removed":
        removal.remove(turn, pushed_at(observation))
    else:
        turn.count("unknown_lifecycle")


def on_timer(turn: Turn, *, asks_in_background: bool) -> None:
    """What is due on the bridge's clock: claims to adopt, stalls, lookups that expired, lookups to ask for."""
    for channel in turn.all_channels():
        _on_channel_timer(channel)
        # What the next channel's timer does has an evidence of its own.
        channel.flush()

    lookups.on_due(turn, asks_in_background=asks_in_background)


def _on_channel_timer(channel: ChannelTurn) -> None:
    turn = channel.turn
    claim_ms = claim_deadline(channel.shown, channel.book, turn.policy)
    if claim_ms is not None and turn.now_ms >= claim_ms:
        outcomes.on_deadline(channel)
        lookups.arm_period(turn)
        return

    stall_ms = _stall_deadline(channel.shown, channel.book, turn.policy)
    if stall_ms is not None and turn.now_ms >= stall_ms:
        _on_stall(channel)

    local_ms = _local_deadline(channel.shown, channel.book, turn.policy)
    if local_ms is not None and turn.now_ms >= local_ms:
        turn.evidence = Evidence(origin="bridge", name="local_deadline")
        channel.settle("timed_out", turn.now_ms, confirmed=False, reason=Reason(code="local_deadline"))


def next_timer_at(device: Device, policy: Policy, *, with_background: bool = True) -> int | None:
    """When the device's timer is due, on the bridge's clock; None where nothing is awaited.

    With `with_background` False a lookup that nobody waits for is left out: its turn comes at the account's pace.
    """
    book = device.book
    if device.state.removed_at_ms is not None:
        return device.state.removed_at_ms + ms(policy.tombstone_after_s)

    due_ms = book.due_at_ms if book.lookup_id is None else book.lookup_expires_at_ms
    if not with_background and lookups.wants_in_background(book):
        due_ms = None
    change_ms = next_change_at(device, policy)
    if due_ms is None or (change_ms is not None and change_ms < due_ms):
        return change_ms

    return due_ms


def next_change_at(device: Device, policy: Policy) -> int | None:
    """When a timer next changes what is shown of the device, where others only ask for a lookup."""
    if device.state.removed_at_ms is not None:
        return device.state.removed_at_ms + ms(policy.tombstone_after_s)

    change_ms: int | None = None
    books = device.book.channels
    for position, channel in enumerate(device.state.channels):
        if channel.attempt is None or channel.attempt.finished_at_ms is not None:
            continue
        for at_ms in (
            claim_deadline(channel, books[position], policy),
            _stall_deadline(channel, books[position], policy),
            _local_deadline(channel, books[position], policy),
        ):
            if at_ms is not None and (change_ms is None or at_ms < change_ms):
                change_ms = at_ms

    return change_ms


def claim_deadline(channel: Channel, book: ChannelBook, policy: Policy) -> int | None:
    """R5: when a claim is adopted: some time after the first ok answer that followed it, with an upper bound."""
    if channel.status != "verifying" or book.claim_observed_at_ms is None:
        return None

    latest_ms = book.claim_observed_at_ms + ms(policy.claim_deadline_s)
    if book.claim_answered_at_ms is None:
        return latest_ms

    wait_s = policy.success_deadline_s if channel.claimed == "succeeded" else policy.failure_deadline_s
    return min(latest_ms, book.claim_answered_at_ms + ms(wait_s))


def _on_online(turn: Turn, observation: Observation) -> None:
    turn.state = replace(turn.state, online=True)
    for channel in turn.all_channels():
        if channel.open_attempt is None:
            continue
        book, at_ms = channel.book, pushed_at(observation)
        book.online_at_ms = max(at_ms, book.online_at_ms or 0)
        if book.claimed_at_ms is not None and at_ms > book.claimed_at_ms:
            book.online_after_claim = True
        lookups.on_online(turn)


def _on_stall(channel: ChannelTurn) -> None:
    turn = channel.turn
    turn.evidence = Evidence(origin="bridge", name="stalled")
    channel.shown = replace(channel.shown, stalled=True)
    turn.want_lookup(0.0, "stalled")


def _stall_deadline(channel: Channel, book: ChannelBook, policy: Policy) -> int | None:
    """R8: when no real progress becomes a stall; the vendor's own timeout counts where it gave one."""
    if channel.stalled or book.moved_at_ms is None or channel.phase not in ("pending", "active"):
        return None

    if channel.status == "verifying":
        return None

    if book.vendor_timeout_s is not None and channel.status != "pending":
        wait_s = book.vendor_timeout_s + policy.vendor_timeout_margin_s
    elif channel.status == "pending":
        wait_s = policy.pending_stall_s
    elif channel.status == "downloading":
        wait_s = policy.downloading_stall_s
    else:
        wait_s = policy.installing_stall_s

    return book.moved_at_ms + ms(wait_s)


def _local_deadline(channel: Channel, book: ChannelBook, policy: Policy) -> int | None:
    if policy.local_deadline_s is None or not channel.stalled or book.moved_at_ms is None:
        return None

    return book.moved_at_ms + ms(policy.local_deadline_s)
