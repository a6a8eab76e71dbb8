"""Rules R9, R14, R15, R16 and R18: when a device's cloud is asked about it, and what the end of a lookup means."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from bridge.fold import removal
from bridge.fold.clock import asked_at, ms
from bridge.fold.turn import Turn
from schemas import Channel, LookupRequest, Observation, UpgradeState

if TYPE_CHECKING:
    from bridge.fold.bookkeeping import Bookkeeping, ChannelBook
    from bridge.fold.channel import ChannelTurn
    from bridge.fold.policy import Policy

_BACKGROUND: Final = ("gap", "periodic")
GAP_RANKS: Final = 3
"""R15: open attempts, what changed lately, the others."""
_PERIOD_SPREAD: Final = 0.1
"""Periodic lookups of devices that became known together drift apart by up to this share of the period."""


def introduce(turn: Turn) -> None:
    """A device without any lookup ahead has just become known: ask about it."""
    if turn.book.due_at_ms is None and turn.book.lookup_id is None:
        turn.want_lookup(turn.policy.hint_lookup_s, "hint")


def on_hint(turn: Turn) -> None:
    """R9: something happened that only the cloud's API can tell."""
    turn.want_lookup(turn.policy.hint_lookup_s, "hint")


def on_online(turn: Turn) -> None:
    """R9: online with an open attempt is often the reboot after flashing: ask soon."""
    turn.want_lookup(turn.policy.online_lookup_s + turn.policy.jitter_s * _spread(turn), "online")


def on_unclaimed_end(channel: ChannelTurn, asked_at_ms: int) -> None:
    """R4: an answer ended an attempt that no push ended; a push just before may have been of the next one: ask."""
    pushed_at_ms, policy = channel.book.pushed_at_ms, channel.turn.policy
    if pushed_at_ms is not None and asked_at_ms - pushed_at_ms < ms(policy.early_answer_s):
        channel.turn.want_lookup(policy.early_answer_s, "hint")


def on_gap(turn: Turn) -> None:
    """R15: pushes were lost: ask, at the account's pace. A lookup that somebody waits for comes by itself."""
    if turn.book.due_at_ms is None or turn.book.due_cause in _BACKGROUND:
        # A millisecond apart, so that reminders and turns come in the order of the ranks.
        turn.want_lookup(gap_rank(turn.state, turn.now_ms, turn.policy) / 1000, "gap")


def gap_rank(state: UpgradeState, now_ms: int, policy: Policy) -> int:
    """R15: which devices are asked about first after a gap."""
    if any(
        channel.attempt is not None and channel.attempt.finished_at_ms is None for channel in state.channels
    ):
        return 0

    recent_ms = now_ms - ms(policy.gap_recent_s)
    return 1 if any(channel.changed_at_ms > recent_ms for channel in state.channels) else 2


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
        removal.remove(turn, asked_at(observation))
    else:
        _ask_again(turn)


def arm_period(turn: Turn) -> None:
    """R18: open attempts and young unconfirmed outcomes are asked about often, every known device now and then."""
    policy = turn.policy
    watched = is_watched((channel.shown for channel in turn.all_channels()), turn.now_ms, policy)
    period_s = policy.open_period_s if watched else policy.refresh_period_s
    turn.want_lookup(period_s * (1 - _PERIOD_SPREAD * _spread(turn)), "periodic")


def on_due(turn: Turn, *, asks_in_background: bool) -> None:
    """R14: ask again for a lookup that expired, and ask for what is due; one is outstanding at a time."""
    book = turn.book
    if not asks_in_background and wants_in_background(book):
        return

    if book.lookup_id is not None:
        if turn.now_ms < (book.lookup_expires_at_ms or 0):
            return
        turn.count("lookup_expired")
        book.lookup_id = book.lookup_expires_at_ms = None
        _ask_again(turn)

    if book.due_at_ms is not None and turn.now_ms >= book.due_at_ms:
        _ask(turn, book.due_at_ms)


def wants_in_background(book: Bookkeeping) -> bool:
    """R14: whether the lookup that is wanted next is one nobody waits for, to be paced at the account's rate."""
    return book.lookup_id is None and book.due_at_ms is not None and book.due_cause in _BACKGROUND


def is_due_in_background(book: Bookkeeping, now_ms: int) -> bool:
    """R14: whether such a lookup is due, and has to wait for its turn."""
    return wants_in_background(book) and book.due_at_ms is not None and book.due_at_ms <= now_ms


def is_watched(channels: Iterable[Channel], now_ms: int, policy: Policy) -> bool:
    """R18: whether a device has an open attempt or a young unconfirmed outcome, and so is asked about often."""
    young_ms = now_ms - ms(policy.unconfirmed_for_s)
    return any(
        (channel.attempt is not None and channel.attempt.finished_at_ms is None)
        or (channel.phase == "terminal" and not channel.confirmed and channel.changed_at_ms > young_ms)
        for channel in channels
    )


def _on_ok_answer(turn: Turn, asked_at_ms: int) -> None:
    policy = turn.policy
    for channel in turn.all_channels():
        book = channel.book
        if channel.shown.status != "verifying" or book.claimed_at_ms is None:
            continue
        if asked_at_ms >= book.claimed_at_ms and book.claim_answered_at_ms is None:
            book.claim_answered_at_ms = turn.now_ms
        turn.want_lookup(_until_claim_lookup(book, turn.now_ms, policy), "claim")

    arm_period(turn)


def _until_claim_lookup(book: ChannelBook, now_ms: int, policy: Policy) -> float:
    """R5: seconds until the claim's next lookup: the listed times after the claim, then one a period."""
    since_s = (now_ms - (book.claim_observed_at_ms or now_ms)) / 1000
    for at_s in policy.claim_lookups_s:
        if at_s > since_s:
            return at_s - since_s

    return policy.claim_lookup_period_s


def _ask(turn: Turn, due_at_ms: int) -> None:
    """R14: ask the owner of the account; one lookup is outstanding until its answer or its expiry."""
    book = turn.book
    expires_at_ms = turn.now_ms + ms(turn.policy.lookup_expiry_s)
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

    return asked_at_ms - book.not_found_at_ms >= ms(turn.policy.removal_apart_s)


def _spread(turn: Turn) -> float:
    """A fixed share between 0 and 1: a hash of device and revision, so that a replay gives the same (R17)."""
    return zlib.crc32(f"{turn.state.device_id}/{turn.revision}".encode()) / 2**32
