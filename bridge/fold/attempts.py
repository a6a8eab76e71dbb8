"""Rules R3, R4 and R19: what opens an attempt, the order inside it, and why a rest status does not end it."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from bridge.fold import lookups, outcomes
from bridge.fold.channel import ChannelTurn
from bridge.fold.clock import ms, pushed_at
from bridge.fold.versions import lags_adopted_success, learn_versions, names_another, version_proof
from schemas import PHASES, Observation, Reason, Status

_RANK: Final[dict[Status, int]] = {"pending": 1, "downloading": 2, "installing": 3, "verifying": 4}
"""R4: inside an attempt the status only rises."""


def on_pushed_status(channel: ChannelTurn, observation: Observation, at_ms: int, *, is_late: bool) -> None:
    """A pushed status, at the vendor's time `at_ms`. A late one raises or claims in the open attempt, nothing more."""
    status = observation.status
    if status is None or PHASES[status] in ("rest", "unknown"):
        lookups.on_hint(channel.turn)
        return

    claimed = observation.claimed or (status if PHASES[status] == "terminal" else None)
    if channel.open_attempt is None:
        if channel.shown.phase == "terminal" and not _reopens(channel, claimed, at_ms):
            channel.turn.count("too_early_to_open")
            lookups.on_hint(channel.turn)
            return
        _open_by_push(channel, observation, claimed, at_ms)
    elif not is_late and names_another(channel, observation):
        outcomes.end_replaced(channel, at_ms)
        _open_by_push(channel, observation, claimed, at_ms)
    elif claimed is not None:
        channel.know()
        outcomes.on_claim(channel, claimed, observation.reason, at_ms)
    elif channel.shown.status == "verifying":
        if not follows_claim(channel, at_ms):
            channel.turn.count("after_claim")
            return
        outcomes.adopt(channel)
        channel.flush()
        _open_by_push(channel, observation, None, at_ms)
    else:
        channel.know()
        _raise(channel, observation, status, at_ms, confirmed=False)
        _progress(channel, observation.progress, may_fall=not is_late)

    book = channel.book
    book.pushed_at_ms = at_ms if book.pushed_at_ms is None else max(at_ms, book.pushed_at_ms)
    channel.not_seen()


def on_pushed_progress(channel: ChannelTurn, observation: Observation) -> None:
    """R4: progress moves no status and never falls, except when the cloud itself starts over. 100 is not success."""
    if channel.open_attempt is None:
        lookups.on_hint(channel.turn)
        return

    at_ms = pushed_at(observation)
    if precedes_attempt(channel, at_ms):
        channel.turn.count("push_before_attempt")
        return

    answered_at_ms = channel.book.answered_at_ms
    is_late = answered_at_ms is not None and at_ms < answered_at_ms
    channel.know()
    _progress(channel, observation.progress, may_fall=not is_late and channel.shown.status != "verifying")


def precedes_attempt(channel: ChannelTurn, at_ms: int) -> bool:
    """R2: whether a push speaks of an earlier attempt than the open one."""
    attempt = channel.open_attempt
    return attempt is not None and at_ms < attempt.started_at_ms - ms(channel.turn.policy.clock_margin_s)


def follows_claim(channel: ChannelTurn, at_ms: int) -> bool:
    """R3, R4: a pending or active push clearly later than the last attempt's claim belongs to the next attempt.

    Both are pushes, of one clock: no answer, whose time is known less well, comes between them.
    """
    book = channel.book
    claimed_at_ms = book.ended_by_claim_at_ms if channel.open_attempt is None else book.claimed_at_ms
    return claimed_at_ms is not None and at_ms - claimed_at_ms >= ms(channel.turn.policy.reopen_after_s)


def on_answered(channel: ChannelTurn, observation: Observation, asked_at_ms: int) -> None:
    """An answer that is not stale: its versions first, then its status, then what it tells of the attempt's package."""
    _on_answered(channel, observation, asked_at_ms)
    _learn_package(channel, observation)


def _on_answered(channel: ChannelTurn, observation: Observation, asked_at_ms: int) -> None:
    was_known = channel.is_known
    learn_versions(channel, observation)
    status = observation.status
    phase = "unknown" if status is None else PHASES[status]
    if channel.open_attempt is None and outcomes.corrects(channel, observation, asked_at_ms):
        return

    if status is None or phase == "unknown":
        if channel.open_attempt is not None:
            _progress(channel, observation.progress, may_fall=False)
            if version_proof(channel, observation):
                channel.settle("succeeded", asked_at_ms, confirmed=True)
    elif phase == "terminal":
        if channel.open_attempt is None:
            outcomes.on_unannounced(channel, observation, status, asked_at_ms, is_first=not was_known)
        else:
            outcomes.on_answered_outcome(channel, observation, status, asked_at_ms)
    elif phase == "rest":
        if channel.open_attempt is None:
            _show_rest(channel, observation, status)
        else:
            _rest_in_attempt(channel, observation, status, asked_at_ms)
    elif channel.open_attempt is None:
        _open_by_answer(channel, observation, status, asked_at_ms)
    else:
        _active_in_attempt(channel, observation, status, asked_at_ms)


def _active_in_attempt(
    channel: ChannelTurn, observation: Observation, status: Status, asked_at_ms: int
) -> None:
    """R3, R4: a pending or active answer raises the open attempt, or ends it where it names another."""
    if not names_another(channel, observation):
        if lags_adopted_success(channel, observation, asked_at_ms):
            channel.turn.want_lookup(channel.turn.policy.stale_lookup_s, "new_attempt")
            return
        channel.not_seen()
        _fill(channel, observation)
        _raise(channel, observation, status, asked_at_ms, confirmed=True)
        _progress(channel, observation.progress, may_fall=False)
        return

    if version_proof(channel, observation):
        channel.settle("succeeded", asked_at_ms, confirmed=True)
        channel.flush()
    elif outcomes.is_young_claim(channel, asked_at_ms):
        # What was claimed may be the other one's end, which this answer still lags; the claim's lookups tell.
        return
    else:
        outcomes.end_replaced(channel, asked_at_ms)
    _open(channel, observation, status, asked_at_ms)


def _reopens(channel: ChannelTurn, claimed: Status | None, at_ms: int) -> bool:
    """R3: after a terminal status a push opens an attempt once it is clearly later than what settled the last one.

    A claim equal to the shown outcome is the late word about the attempt whose end an answer already told.
    """
    settled_at_ms, policy = channel.book.settled_at_ms, channel.turn.policy
    if settled_at_ms is None or (claimed is None and follows_claim(channel, at_ms)):
        return True

    if claimed == channel.shown.outcome and at_ms - settled_at_ms <= policy.repeated_claim_s * 1000:
        return False

    return at_ms - settled_at_ms >= policy.reopen_after_s * 1000


def _open_by_push(channel: ChannelTurn, observation: Observation, claimed: Status | None, at_ms: int) -> None:
    if claimed is None:
        _open(channel, observation, observation.status or "unknown", at_ms, confirmed=False)
        return

    channel.know()
    channel.open(at_ms)
    channel.turn.want_lookup(channel.turn.policy.new_attempt_lookup_s, "new_attempt")
    outcomes.on_claim(channel, claimed, observation.reason, at_ms)


def _open_by_answer(channel: ChannelTurn, observation: Observation, status: Status, asked_at_ms: int) -> None:
    """R3: an answer opens an attempt; after a terminal status only for another task or target, or seen twice."""
    if (
        channel.shown.phase != "terminal"
        or names_another(channel, observation)
        or channel.twice("active", asked_at_ms, channel.turn.policy.twice_apart_s)
    ):
        _open(channel, observation, status, asked_at_ms)


def _open(
    channel: ChannelTurn, observation: Observation, status: Status, at_ms: int, *, confirmed: bool = True
) -> None:
    channel.know()
    channel.open(at_ms)
    channel.move(status, at_ms, confirmed=confirmed)
    _fill(channel, observation, is_answer=confirmed)
    _progress(channel, observation.progress, may_fall=False)
    attempt = channel.attempt
    if attempt is None or attempt.from_version is None or attempt.target_version is None:
        # Earlier answers would be stale (R2).
        channel.turn.want_lookup(channel.turn.policy.new_attempt_lookup_s, "new_attempt")


def _fill(channel: ChannelTurn, observation: Observation, *, is_answer: bool = True) -> None:
    """R3, versions: only an answer in a pending or active status fills the target and replaces `from_version`."""
    attempt = channel.open_attempt
    if attempt is None:
        return

    target = attempt.target_version or observation.target_version
    from_version, current = attempt.from_version, observation.current_version
    # Where no target is known, the version an active answer tells may already be the new one; a pending one's is not.
    is_before = target is not None or from_version is None or observation.status == "pending"
    if is_answer and current is not None and current != target and is_before:
        from_version = current

    channel.update_attempt(
        replace(
            attempt,
            task_id=attempt.task_id or observation.task_id,
            package=observation.package or attempt.package,
            from_version=from_version,
            target_version=target,
        )
    )
    if observation.needs_confirmation is not None:
        channel.shown = replace(channel.shown, needs_confirmation=observation.needs_confirmation)
    if observation.vendor_timeout_s is not None:
        channel.book.vendor_timeout_s = observation.vendor_timeout_s


def _learn_package(channel: ChannelTurn, observation: Observation) -> None:
    """R3, package: what an answer tells of the package of this attempt, be it over; no event follows from it alone."""
    attempt, package = channel.attempt, observation.package
    if attempt is None or package is None or package == attempt.package:
        return

    is_of_this = attempt.task_id is None or observation.task_id in (None, attempt.task_id)
    if is_of_this and not names_another(channel, observation):
        channel.update_attempt(replace(attempt, package=package))


def _raise(
    channel: ChannelTurn, observation: Observation, status: Status, at_ms: int, *, confirmed: bool
) -> None:
    """R4: a status only rises; a value that covers download and installation alike never moves between them."""
    shown = channel.shown
    is_same = status == shown.status or (
        observation.undivided and shown.status in ("downloading", "installing")
    )
    if not is_same and _RANK.get(status, 0) > _RANK.get(shown.status, 0):
        channel.move(status, at_ms, confirmed=confirmed)
    elif is_same and confirmed and not shown.confirmed:
        channel.shown = replace(channel.shown, confirmed=True)


def _progress(channel: ChannelTurn, progress: int | None, *, may_fall: bool) -> None:
    attempt = channel.open_attempt
    if attempt is None or progress is None:
        return

    if attempt.progress is None or progress > attempt.progress:
        channel.update_attempt(replace(attempt, progress=progress))
        channel.progressed()
    elif may_fall and attempt.progress - progress >= channel.turn.policy.progress_fall_points:
        channel.update_attempt(replace(attempt, progress=progress, retries=attempt.retries + 1))
        channel.progressed()


def _show_rest(channel: ChannelTurn, observation: Observation, status: Status) -> None:
    """R19, no attempt open: a rest status tells nothing after a failure, after a success only a newer version."""
    shown, offered = channel.shown, observation.target_version
    channel.not_seen()
    if shown.phase == "terminal":
        target = None if shown.attempt is None else shown.attempt.target_version
        is_news = shown.outcome == "succeeded" and status == "available"
        if not is_news or offered is None or offered in (shown.current_version, target):
            return

    channel.rest(status)
    channel.shown = replace(channel.shown, available_version=offered if status == "available" else None)


def _rest_in_attempt(
    channel: ChannelTurn, observation: Observation, status: Status, asked_at_ms: int
) -> None:
    """R19, an attempt is open: versions may prove its success; else only two rest answers end it, never confirmed."""
    shown, attempt = channel.shown, channel.attempt
    if version_proof(channel, observation):
        channel.settle("succeeded", asked_at_ms, confirmed=True)
        return

    if shown.status == "verifying" or attempt is None:
        return

    waits_for_start = shown.status == "pending" and not shown.confirmed and not shown.stalled
    if waits_for_start and status == "available":
        channel.not_seen()
        return

    # Two answers of one version: one from before the attempt and one from after its success are not the same word.
    if not channel.twice(f"rest {shown.current_version}", asked_at_ms, channel.turn.policy.twice_apart_s):
        return

    current = shown.current_version
    if attempt.from_version is None or current is None:
        channel.abandon(asked_at_ms)
    elif (
        attempt.target_version is None
        and current != attempt.from_version
        and observation.target_version in (None, current)
    ):
        channel.settle("succeeded", asked_at_ms, confirmed=False)
    else:
        channel.settle("cancelled", asked_at_ms, confirmed=False, reason=Reason(code="withdrawn"))
