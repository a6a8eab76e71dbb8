"""Rules R8 to R10, R14, R16 and R18: what time does to a device, and when its cloud is asked about it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from bridge.fold import outcomes
from bridge.fold.clock import asked_at, pushed_at
from bridge.fold.turn import ChannelTurn, Device, Turn
from schemas import (
    PHASES,
    Channel,
    DeviceLabel,
    Evidence,
    LookupRequest,
    Observation,
    Reason,
    UpgradeEvent,
)

if TYPE_CHECKING:
    from bridge.fold.bookkeeping import ChannelBook
    from bridge.fold.policy import Policy

_BACKGROUND: Final = ("gap", "periodic")
_PERIOD_SPREAD: Final = 0.1
"""Periodic lookups of devices that became known together drift apart by up to this share of the period."""


def introduce(turn: Turn) -> None:
    """A device without any lookup ahead has just become known: ask about it."""
    if turn.book.due_at_ms is None and turn.book.lookup_id is None:
        turn.want_lookup(turn.policy.hint_lookup_s, "hint")


def on_hint(turn: Turn) -> None:
    """R9: something happened that only the cloud's API can tell."""
    turn.want_lookup(turn.policy.hint_lookup_s, "hint")


def on_lifecycle(turn: Turn, observation: Observation) -> None:
    """R9: online with an open attempt is often the reboot after flashing: ask soon. Offline is only recorded."""
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
        _remove(turn, pushed_at(observation))
    else:
        turn.count("unknown_lifecycle")


def on_answer(turn: Turn, observation: Observation) -> None:
    """R14, R16: a lookup ended. A refusal says nothing about the upgrade: only the next lookup waits longer."""
    book, outcome = turn.book, observation.outcome
    if observation.lookup_id is None or observation.lookup_id != book.lookup_id:
        turn.count("foreign_answer")
        return

    book.lookup_id = book.lookup_expires_at_ms = None
    turn.count(f"answer_{outcome}")
    if outcome == "ok":
        book.failed_lookups = 0
        book.not_found_at_ms = None
        _on_ok_answer(turn, asked_at(observation))
    elif outcome == "not_found" and _is_gone(turn, asked_at(observation)):
        _remove(turn, asked_at(observation))
    else:
        _ask_again(turn)


def on_timer(turn: Turn) -> None:
    """What is due on the bridge's clock: claims to adopt, stalls, lookups that expired, lookups to ask for."""
    for channel in turn.all_channels():
        claim_ms = claim_deadline(channel.shown, channel.book, turn.policy)
        if claim_ms is not None and turn.now_ms >= claim_ms:
            outcomes.on_deadline(channel)
            _arm_period(turn)
            continue

        stall_ms = _stall_deadline(channel.shown, channel.book, turn.policy)
        if stall_ms is not None and turn.now_ms >= stall_ms:
            _on_stall(channel)

        local_ms = _local_deadline(channel.shown, channel.book, turn.policy)
        if local_ms is not None and turn.now_ms >= local_ms:
            turn.evidence = Evidence(origin="bridge", name="local_deadline")
            channel.settle("timed_out", turn.now_ms, confirmed=False, reason=Reason(code="local_deadline"))

    book = turn.book
    if book.lookup_id is not None:
        if turn.now_ms < (book.lookup_expires_at_ms or 0):
            return
        turn.count("lookup_expired")
        book.lookup_id = book.lookup_expires_at_ms = None
        _ask_again(turn)

    if book.due_at_ms is not None and turn.now_ms >= book.due_at_ms:
        _ask(turn, book.due_at_ms)


def next_timer_at(device: Device, policy: Policy) -> int | None:
    """When the device's timer is due, on the bridge's clock; None where nothing is awaited."""
    book = device.book
    if device.state.removed_at_ms is not None:
        return device.state.removed_at_ms + _ms(policy.tombstone_after_s)

    due_ms = book.due_at_ms if book.lookup_id is None else book.lookup_expires_at_ms
    books = book.channels
    for position, channel in enumerate(device.state.channels):
        if channel.attempt is None or channel.attempt.finished_at_ms is not None:
            continue
        for at_ms in (
            claim_deadline(channel, books[position], policy),
            _stall_deadline(channel, books[position], policy),
            _local_deadline(channel, books[position], policy),
        ):
            if at_ms is not None and (due_ms is None or at_ms < due_ms):
                due_ms = at_ms

    return due_ms


def is_background(device: Device, now_ms: int) -> bool:
    """R14: whether all that is due is a lookup nobody waits for, to be paced at the account's rate."""
    book = device.book
    return (
        book.lookup_id is None
        and book.due_cause in _BACKGROUND
        and book.due_at_ms is not None
        and book.due_at_ms <= now_ms
    )


def is_tombstone_due(device: Device, now_ms: int, policy: Policy) -> bool:
    """R10: a removed device's state is deleted some time after its removal was told."""
    removed_ms = device.state.removed_at_ms
    return removed_ms is not None and now_ms >= removed_ms + _ms(policy.tombstone_after_s)


def returns(turn: Turn, observation: Observation) -> bool:
    """R10: only an observation later than the removal, in the vendor's clock, is a return."""
    is_push = observation.evidence.origin == "push"
    at_ms = pushed_at(observation) if is_push else asked_at(observation)
    if observation.kind == "answer" or observation.lifecycle == "removed":
        return False
    if at_ms <= (turn.book.removed_at_ms or 0):
        return False

    turn.book.removed_at_ms = None
    turn.state = replace(turn.state, removed_at_ms=None)
    return True


def claim_deadline(channel: Channel, book: ChannelBook, policy: Policy) -> int | None:
    """R5: when a claim is adopted: some time after the first ok answer that followed it, with an upper bound."""
    if channel.status != "verifying" or book.claim_observed_at_ms is None:
        return None

    latest_ms = book.claim_observed_at_ms + _ms(policy.claim_deadline_s)
    if book.claim_answered_at_ms is None:
        return latest_ms

    wait_s = policy.success_deadline_s if channel.claimed == "succeeded" else policy.failure_deadline_s
    return min(latest_ms, book.claim_answered_at_ms + _ms(wait_s))


def _on_online(turn: Turn, observation: Observation) -> None:
    turn.state = replace(turn.state, online=True)
    for channel in turn.all_channels():
        if channel.open_attempt is None:
            continue
        claimed_at_ms = channel.book.claimed_at_ms
        if claimed_at_ms is not None and pushed_at(observation) > claimed_at_ms:
            channel.book.online_after_claim = True
        turn.want_lookup(turn.policy.online_lookup_s + turn.policy.jitter_s * _spread(turn), "online")


def _on_ok_answer(turn: Turn, asked_at_ms: int) -> None:
    policy = turn.policy
    for channel in turn.all_channels():
        book = channel.book
        if channel.shown.status != "verifying" or book.claimed_at_ms is None:
            continue
        if asked_at_ms >= book.claimed_at_ms and book.claim_answered_at_ms is None:
            book.claim_answered_at_ms = turn.now_ms
        turn.want_lookup(_until_claim_lookup(book, turn.now_ms, policy), "claim")

    _arm_period(turn)


def _until_claim_lookup(book: ChannelBook, now_ms: int, policy: Policy) -> float:
    """R5: seconds until the claim's next lookup: the listed times after the claim, then one a period."""
    since_s = (now_ms - (book.claim_observed_at_ms or now_ms)) / 1000
    for at_s in policy.claim_lookups_s:
        if at_s > since_s:
            return at_s - since_s

    return policy.claim_lookup_period_s


def _arm_period(turn: Turn) -> None:
    """R18: open attempts and young unconfirmed outcomes are asked about often, every known device now and then."""
    policy = turn.policy
    young_ms = turn.now_ms - _ms(policy.unconfirmed_for_s)
    is_watched = any(
        channel.open_attempt is not None
        or (
            channel.shown.phase == "terminal"
            and not channel.shown.confirmed
            and channel.shown.changed_at_ms > young_ms
        )
        for channel in turn.all_channels()
    )
    period_s = policy.open_period_s if is_watched else policy.refresh_period_s
    turn.want_lookup(period_s * (1 - _PERIOD_SPREAD * _spread(turn)), "periodic")


def _ask(turn: Turn, due_at_ms: int) -> None:
    """R14: ask the owner of the account; one lookup is outstanding until its answer or its expiry."""
    book = turn.book
    expires_at_ms = turn.now_ms + _ms(turn.policy.lookup_expiry_s)
    book.lookup_id = f"{turn.state.device_id}/{turn.now_ms}"
    book.lookup_cause = book.due_cause
    book.lookup_expires_at_ms = expires_at_ms
    book.due_at_ms = None
    book.due_cause = "periodic"
    turn.count(f"lookup_{book.lookup_cause}")
    turn.lookup = LookupRequest(
        lookup_id=book.lookup_id,
        device_id=turn.state.device_id,
        account=turn.state.account,
        cause=book.lookup_cause,
        due_at_ms=due_at_ms,
        expires_at_ms=expires_at_ms,
    )


def _ask_again(turn: Turn) -> None:
    """R14: a lookup without an ok answer is asked again, each time later."""
    policy, book = turn.policy, turn.book
    wait_s = min(policy.lookup_backoff_s * 2 ** min(book.failed_lookups, 16), policy.lookup_backoff_max_s)
    book.failed_lookups += 1
    turn.want_lookup(wait_s, book.lookup_cause)


def _is_gone(turn: Turn, asked_at_ms: int) -> bool:
    """R10: not found in two lookups far apart, with no ok answer between."""
    book = turn.book
    if book.not_found_at_ms is None:
        book.not_found_at_ms = asked_at_ms
        return False

    return asked_at_ms - book.not_found_at_ms >= _ms(turn.policy.removal_apart_s)


def _remove(turn: Turn, removed_at_ms: int) -> None:
    """R10: open attempts end, one event tells the removal, nothing is asked any more."""
    state, book = turn.state, turn.book
    if state.removed_at_ms is not None:
        return

    for channel in turn.all_channels():
        if channel.open_attempt is not None:
            channel.settle("cancelled", removed_at_ms, confirmed=False, reason=Reason(code="device_removed"))

    state = turn.settle_channels()
    turn.state = replace(state, removed_at_ms=turn.now_ms)
    book.removed_at_ms = removed_at_ms
    book.due_at_ms = book.lookup_id = book.lookup_expires_at_ms = None
    turn.publish(
        "ota.device.removed",
        UpgradeEvent(
            device_id=state.device_id,
            cloud=state.cloud,
            account=state.account,
            product_id=state.product_id,
            device=state.device,
            revision=0,
            status=state.status,
            phase=PHASES[state.status],
            stalled=False,
            needs_confirmation=False,
            confirmed=True,
            correction=False,
            vendor_time_at_ms=removed_at_ms,
            observed_at_ms=turn.now_ms,
            evidence=turn.evidence,
        ),
    )


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

    return book.moved_at_ms + _ms(wait_s)


def _local_deadline(channel: Channel, book: ChannelBook, policy: Policy) -> int | None:
    if policy.local_deadline_s is None or not channel.stalled or book.moved_at_ms is None:
        return None

    return book.moved_at_ms + _ms(policy.local_deadline_s)


def _spread(turn: Turn) -> float:
    """A fixed share between 0 and 1: a hash of device and revision, so that a replay gives the same (R17)."""
    return zlib.crc32(f"{turn.state.device_id}/{turn.state.revision}".encode()) / 2**32


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
