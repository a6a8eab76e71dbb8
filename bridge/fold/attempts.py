"""Rules R3, R4 and R19: what opens an attempt, the order inside it, and why a rest status does not end it."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from bridge.fold import lookups, outcomes
from bridge.fold.channel import ChannelTurn
from bridge.fold.clock import asked_at, ms, pushed_at
from bridge.fold.versions import (
    has_moved,
    lags_adopted_success,
    learn_versions,
    names_another,
    runs_another,
    tells_foreign_version,
    version_proof,
)
from schemas import PHASES, Attempt, Observation, Reason, Status

_SUCCESS_TOLD: Final = ("success", "mismatch")
"""R5: a success was answered once, without its version."""
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
            if claimed is not None and claimed != channel.shown.outcome:
                outcomes.keep_claim(channel, claimed, at_ms)
            return
        _open_by_push(channel, observation, claimed, at_ms)
    elif not is_late and names_another(channel, observation):
        outcomes.end_replaced(channel, at_ms)
        _open_by_push(channel, observation, claimed, at_ms)
    elif claimed is not None:
        channel.know()
        outcomes.on_claim(channel, claimed, observation.reason, at_ms)
    elif channel.shown.status == "verifying":
        channel.book.only_claimed = False
        if not follows_claim(channel, at_ms):
            channel.turn.count("after_claim")
            return
        outcomes.adopt(channel)
        channel.flush()
        _open_by_push(channel, observation, None, at_ms)
    else:
        channel.know()
        if not _raise(channel, observation, status, at_ms, confirmed=False):
            _may_be_another(channel, at_ms)
        _progress(channel, observation.progress, may_fall=not is_late)

    book = channel.book
    book.pushed_at_ms = at_ms if book.pushed_at_ms is None else max(at_ms, book.pushed_at_ms)
    channel.not_seen()


def on_pushed_progress(channel: ChannelTurn, observation: Observation) -> None:
    """R4: progress moves no status and never falls, except when the cloud itself starts over. 100 is not success."""
    attempt = channel.open_attempt
    if attempt is None:
        lookups.on_hint(channel.turn)
        return

    at_ms = pushed_at(observation)
    if precedes_attempt(channel, at_ms):
        channel.turn.count("push_before_attempt")
        return

    answered_at_ms = channel.book.answered_at_ms
    is_late = answered_at_ms is not None and at_ms < answered_at_ms
    channel.book.only_claimed = False
    channel.know()
    _progress(channel, observation.progress, may_fall=not is_late and channel.shown.status != "verifying")
    if channel.shown.attempt is not None and channel.shown.attempt.retries > attempt.retries:
        _may_be_another(channel, at_ms)


def precedes_attempt(channel: ChannelTurn, at_ms: int) -> bool:
    """R2: whether a push speaks of an earlier attempt than the open one."""
    attempt, pushed_at_ms, policy = channel.open_attempt, channel.book.pushed_at_ms, channel.turn.policy
    if attempt is None:
        return False

    # One that an answer opened began before it was asked; nothing begins so soon after an earlier one's end (R3).
    is_answered = pushed_at_ms is None or pushed_at_ms < attempt.started_at_ms
    margin_s = policy.reopen_after_s if is_answered else policy.clock_margin_s
    return at_ms < attempt.started_at_ms - ms(margin_s)


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
    attempt = channel.open_attempt
    channel.book.only_claimed = False
    if attempt is not None and not names_another(channel, observation):
        if lags_adopted_success(channel, observation, asked_at_ms):
            channel.turn.want_lookup(channel.turn.policy.stale_lookup_s, "new_attempt")
            return
        if outcomes.is_past_claim(channel, asked_at_ms):
            # What runs so long after the claim is another attempt, of the same target or of none that was named.
            if channel.twice("active", asked_at_ms, channel.turn.policy.twice_apart_s):
                outcomes.end_replaced(channel, asked_at_ms)
                _open(channel, observation, status, asked_at_ms)
            return
        if not _denies_from_version(channel, observation):
            channel.not_seen()
        elif channel.twice(
            f"from {observation.current_version}", asked_at_ms, channel.turn.policy.twice_apart_s
        ):
            if observation.status == "downloading":
                channel.update_attempt(replace(attempt, from_version=observation.current_version))
            else:
                # It may be the new version already.
                channel.book.doubts_from = True
        _fill(channel, observation)
        _raise(channel, observation, status, asked_at_ms, confirmed=True)
        _progress(channel, observation.progress, may_fall=False)
        return

    if version_proof(channel, observation):
        shown, claimed_at_ms = channel.shown, channel.book.claimed_at_ms
        channel.settle("succeeded", asked_at_ms, confirmed=True)
        channel.flush()
        if shown.claimed in ("failed", "timed_out") and claimed_at_ms is not None:
            # Its version proves this one: the failure that was claimed is the other one's.
            _open(channel, observation, status, claimed_at_ms)
            outcomes.on_claim(channel, shown.claimed, shown.reason, claimed_at_ms)
            return
    elif tells_foreign_version(channel, observation) and not channel.twice(
        f"other {observation.target_version}", asked_at_ms, channel.turn.policy.twice_apart_s
    ):
        return
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
    channel.book.only_claimed = True


def _open_by_answer(channel: ChannelTurn, observation: Observation, status: Status, asked_at_ms: int) -> None:
    """R3: an answer opens an attempt; after a terminal status only for another task or target, or seen twice."""
    kept = outcomes.kept_claim(channel, asked_at_ms)
    if (
        channel.shown.phase != "terminal"
        or kept is not None
        or (names_another(channel, observation) and not tells_foreign_version(channel, observation))
        or channel.twice("active", asked_at_ms, channel.turn.policy.twice_apart_s)
    ):
        _open(channel, observation, status, asked_at_ms if kept is None else kept[1])
        if kept is not None:
            outcomes.on_claim(channel, kept[0], None, kept[1])


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
        channel.book.doubts_from = False

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


def _denies_from_version(channel: ChannelTurn, observation: Observation) -> bool:
    """R3, versions: whether another version runs than the one taken for the old one, though nothing was claimed yet.

    Of an attempt without a target: nothing else would ever correct it, and its success would look like a mismatch.
    """
    attempt, current = channel.open_attempt, observation.current_version
    if attempt is None or attempt.target_version is not None or observation.target_version is not None:
        return False
    if channel.book.doubts_from:
        return False

    is_under_way = observation.status in ("downloading", "installing") and channel.shown.claimed is None
    return is_under_way and None not in (attempt.from_version, current) and current != attempt.from_version


def _learn_package(channel: ChannelTurn, observation: Observation) -> None:
    """R3, package: what an answer tells of the package of this attempt, be it over; no event follows from it alone."""
    attempt, package = channel.attempt, observation.package
    if attempt is None or package is None or package == attempt.package:
        return

    is_of_this = attempt.task_id is None or observation.task_id in (None, attempt.task_id)
    if is_of_this and not names_another(channel, observation):
        channel.update_attempt(replace(attempt, package=package))


def _learn_from_version(channel: ChannelTurn, observation: Observation, attempt: Attempt) -> None:
    """R3, R19: an `available` that is pending tells as a pending answer does what runs before, not what is to come."""
    current = observation.current_version
    if channel.book.assumes_from or current in (None, observation.target_version, attempt.target_version):
        return

    channel.update_attempt(replace(attempt, from_version=current))


def _raise(
    channel: ChannelTurn, observation: Observation, status: Status, at_ms: int, *, confirmed: bool
) -> bool:
    """R4: a status only rises; a value that covers download and installation alike never moves between them.

    Return whether it rose.
    """
    shown = channel.shown
    is_same = status == shown.status or (
        observation.undivided and shown.status in ("downloading", "installing")
    )
    if not is_same and _RANK.get(status, 0) > _RANK.get(shown.status, 0):
        channel.move(status, at_ms, confirmed=confirmed)
        return True

    if is_same and confirmed and not shown.confirmed:
        channel.shown = replace(channel.shown, confirmed=True)
    return False


def _may_be_another(channel: ChannelTurn, at_ms: int) -> None:
    """R4: what does not rise may be a retry, or the next attempt after an end that nobody told: ask, past the lag.

    Not while a push or an answer is young: a device that repeats itself is asked about rarely.
    """
    book, policy = channel.book, channel.turn.policy
    if book.pushed_at_ms is not None and at_ms - book.pushed_at_ms < ms(policy.reopen_after_s):
        return
    is_asked = book.answered_at_ms is not None and at_ms - book.answered_at_ms < ms(policy.early_answer_s)
    if is_asked and book.seen not in _SUCCESS_TOLD:
        return

    channel.turn.want_lookup(policy.api_lag_s, "new_attempt")


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
    shown, last, offered = channel.shown, channel.shown.attempt, observation.target_version
    if shown.phase != "terminal":
        channel.not_seen()
    else:
        # Where neither of the last attempt's versions runs, even its target is news.
        target = None if last is None or runs_another(channel, observation) else last.target_version
        is_news = shown.outcome == "succeeded" and status == "available"
        if not is_news or offered is None or offered in (shown.current_version, target):
            channel.not_seen()
            return
        # After a success the version from before may be an old answer's.
        is_back = last is not None and shown.current_version == last.from_version
        apart_s = channel.turn.policy.twice_apart_s
        if is_back and not channel.twice("back", asked_at(observation), apart_s):
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
        _learn_from_version(channel, observation, attempt)
        return

    current, told = shown.current_version, channel.book.seen or ""
    # A success that an answer told without its target running, before the cloud forgot it.
    was_success = told in _SUCCESS_TOLD and has_moved(channel)
    # Two answers of one version: one from before the attempt and one from after its success are not the same word.
    what = told if was_success else f"rest {current}"
    if not channel.twice(what, asked_at_ms, channel.turn.policy.twice_apart_s):
        return

    if attempt.from_version is None or current is None:
        channel.abandon(asked_at_ms)
    elif was_success or (
        attempt.target_version is None
        and has_moved(channel)
        and observation.target_version in (None, current)
    ):
        channel.settle("succeeded", asked_at_ms, confirmed=False)
    else:
        channel.settle("cancelled", asked_at_ms, confirmed=False, reason=Reason(code="withdrawn"))
