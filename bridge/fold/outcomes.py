"""Rules R5, R6, R7 and R13: how an attempt ends, who is believed, and when an end that was told is corrected."""

from __future__ import annotations

from typing import Final, cast

from msgspec.structs import replace

from bridge.fold.channel import ChannelTurn
from bridge.fold.versions import (
    contradicts,
    contradicts_success,
    denies_itself,
    names_another,
    runs_another,
    still_runs,
    version_proof,
)
from schemas import Evidence, Observation, Reason, Status


def on_claim(channel: ChannelTurn, claimed: Status, reason: Reason | None, at_ms: int) -> None:
    """R5: a pushed outcome is a claim; a second, different one replaces the first unless it is older.

    Where the account's cloud cannot be asked, nothing could ever settle it: it is adopted at once, unconfirmed.
    """
    turn, book = channel.turn, channel.book
    if channel.shown.status == "verifying" and channel.shown.claimed is not None:
        if claimed == channel.shown.claimed:
            turn.count("repeated_claim")
            return
        if book.claimed_at_ms is not None and at_ms < book.claimed_at_ms:
            turn.count("older_claim")
            return
        book.only_claimed = False

    channel.claim(claimed, reason, at_ms)
    if turn.state.account in turn.policy.accounts_without_api:
        adopt(channel)
    else:
        turn.want_lookup(turn.policy.claim_lookups_s[0], "claim")


def on_answered_outcome(
    channel: ChannelTurn, observation: Observation, status: Status, asked_at_ms: int
) -> None:
    """R5: a terminal status in an answer, while an attempt is open."""
    turn, policy, attempt = channel.turn, channel.turn.policy, channel.open_attempt
    if attempt is None:
        return

    is_claimed = channel.shown.status == "verifying"
    repeats = _repeats_previous(channel, status, asked_at_ms)
    # With the target unknown only a moved version is proof, and the last attempt's own may still be told late.
    if version_proof(channel, observation) and not (repeats and attempt.target_version is None):
        is_next = status != "succeeded" and names_another(channel, observation)
        channel.settle("succeeded", asked_at_ms, confirmed=True)
        if is_next:
            # Its version proves this one; the failure is that of the other one that the answer names.
            channel.flush()
            _open_and_close(channel, observation, status, asked_at_ms)
    elif repeats:
        # A cloud shows the last attempt's outcome for a while after the next one began.
        if status != channel.shown.claimed:
            left_s = policy.early_answer_s - (asked_at_ms - attempt.started_at_ms) / 1000
            turn.want_lookup(policy.contrary_lookup_s if is_claimed else max(left_s, 0.0), "hint")
    elif names_another(channel, observation) and not denies_itself(observation):
        # A version that neither ran before nor was to come proves itself; anything else may be an old outcome.
        is_proven = status == "succeeded" and runs_another(channel, observation)
        if is_proven or channel.twice(f"other {status}", asked_at_ms, policy.twice_apart_s):
            end_replaced(channel, asked_at_ms)
            _open_and_close(channel, observation, status, asked_at_ms)
    elif is_claimed:
        _settle_claim(channel, observation, status, asked_at_ms)
    elif status == "succeeded" and contradicts_success(channel, observation):
        _contradicted_success(channel, observation, asked_at_ms)
    else:
        channel.settle(status, asked_at_ms, confirmed=True, reason=observation.reason)


def on_deadline(channel: ChannelTurn) -> None:
    """R5, R6: nothing settled the claim in time: it is adopted, unconfirmed.

    Except a claim of success whose old version was still running when the cloud was asked after the claim, although
    the device had come online since: that is a failure, reason `version_mismatch`.
    """
    shown, book = channel.shown, channel.book
    channel.turn.evidence = Evidence(origin="bridge", name="claim_deadline")
    now_ms = channel.turn.now_ms
    claimed_at_ms = now_ms if book.claimed_at_ms is None else book.claimed_at_ms
    waited_ms = now_ms - (book.claim_observed_at_ms or now_ms)
    was_told = (
        book.version_at_ms is not None
        and book.claimed_at_ms is not None
        and book.version_at_ms > book.claimed_at_ms
    )
    still_old = still_runs(channel, shown.current_version)
    if shown.claimed == "succeeded" and was_told and still_old and book.online_after_claim:
        channel.settle("failed", claimed_at_ms, confirmed=False, reason=Reason(code="version_mismatch"))
    else:
        adopt(channel)
    # A repeat of the claim may come for as long as it was waited for: the waiting's end is what settles it.
    book.settled_at_ms = claimed_at_ms + waited_ms


_KEPT: Final = "claim "


def keep_claim(channel: ChannelTurn, claimed: Status, at_ms: int) -> None:
    """R3: a claim contrary to an outcome that was told hardly before is a first word about the next attempt."""
    channel.book.seen, channel.book.seen_at_ms = _KEPT + claimed, at_ms


def kept_claim(channel: ChannelTurn, asked_at_ms: int) -> tuple[Status, int] | None:
    """The claim that waits for an answer about its attempt, while it is young."""
    seen, seen_at_ms = channel.book.seen, channel.book.seen_at_ms
    if seen is None or seen_at_ms is None or not seen.startswith(_KEPT):
        return None
    if asked_at_ms - seen_at_ms >= channel.turn.policy.early_answer_s * 1000:
        return None

    return cast("Status", seen.removeprefix(_KEPT)), seen_at_ms


def is_young_claim(channel: ChannelTurn, asked_at_ms: int) -> bool:
    """R5: whether an answer contrary to the claim may still be the cloud's lag."""
    claimed_at_ms, policy = channel.book.claimed_at_ms, channel.turn.policy
    return claimed_at_ms is not None and asked_at_ms - claimed_at_ms < policy.early_answer_s * 1000


def is_past_claim(channel: ChannelTurn, asked_at_ms: int) -> bool:
    """R4: whether the cloud's API, and the clock by which it is asked, can no longer lag the claim."""
    claimed_at_ms, policy = channel.book.claimed_at_ms, channel.turn.policy
    return claimed_at_ms is not None and asked_at_ms - claimed_at_ms >= 2 * policy.api_lag_s * 1000


def adopt(channel: ChannelTurn) -> None:
    """Believe the claim without proof."""
    shown, book = channel.shown, channel.book
    at_ms = channel.turn.now_ms if book.claimed_at_ms is None else book.claimed_at_ms
    channel.settle(shown.claimed or "unknown", at_ms, confirmed=False, reason=shown.reason)


def end_replaced(channel: ChannelTurn, at_ms: int) -> None:
    """R3: another attempt has begun; this one ends with its claim, else withdrawn. Its end is published first."""
    if channel.shown.claimed is not None:
        adopt(channel)
    else:
        channel.settle("cancelled", at_ms, confirmed=False, reason=Reason(code="withdrawn"))
    channel.flush()


def corrects(channel: ChannelTurn, observation: Observation, asked_at_ms: int) -> bool:
    """R7: version proof turns a published failure into the success that it was. Return whether it did."""
    if channel.shown.status not in ("failed", "timed_out", "cancelled") or not version_proof(
        channel, observation
    ):
        return False

    channel.settle("succeeded", asked_at_ms, confirmed=True, correction=True)
    return True


def on_unannounced(
    channel: ChannelTurn, observation: Observation, status: Status, asked_at_ms: int, *, is_first: bool
) -> None:
    """R3, R7: a terminal status in an answer, with no attempt open.

    First knowledge is a baseline. A confirmed outcome replaces an unconfirmed one. Otherwise an attempt that nobody
    announced ran its whole course: opened and closed in one step, with one event.
    """
    shown, policy = channel.shown, channel.turn.policy
    if is_first or (shown.status == "unknown" and shown.attempt is None):
        channel.rest(status, outcome=status)
        channel.book.settled_at_ms = asked_at_ms
        return

    if denies_itself(observation):
        channel.not_seen()
        return

    is_other = names_another(channel, observation) or runs_another(channel, observation)
    if shown.phase != "terminal":
        if _restores_success(channel, observation, status, is_other=is_other):
            channel.settle(status, asked_at_ms, confirmed=True)
            channel.shown = replace(channel.shown, available_version=None)
        elif not _repeats_outcome(channel, observation, status, is_other=is_other):
            _open_and_close(channel, observation, status, asked_at_ms)
        return

    if not is_other and status == "succeeded" and contradicts(channel, observation):
        # The version from before still runs: no other attempt, and nothing that the outcome shown did not know.
        if not _never_began(channel, status):
            channel.not_seen()
        elif channel.twice("never began", asked_at_ms, policy.mismatch_apart_s):
            channel.settle(status, asked_at_ms, confirmed=True, correction=True)
    elif not is_other and not shown.confirmed and not contradicts(channel, observation):
        channel.settle(
            status,
            asked_at_ms,
            confirmed=True,
            reason=observation.reason or (shown.reason if status == shown.status else None),
            correction=status != shown.status,
        )
    elif is_other or status != shown.status:
        what = f"{status} {observation.task_id} {observation.target_version} {observation.current_version}"
        kept = kept_claim(channel, asked_at_ms)
        is_claimed = kept is not None and kept[0] == status
        if is_claimed or channel.twice(what, asked_at_ms, policy.twice_apart_s):
            _open_and_close(channel, observation, status, asked_at_ms)
    else:
        channel.not_seen()


def _settle_claim(channel: ChannelTurn, observation: Observation, status: Status, asked_at_ms: int) -> None:
    """A definite answer settles a claim; one contrary to a young claim may be the cloud's lag, so ask again soon."""
    turn = channel.turn
    is_contrary = status != channel.shown.claimed
    if is_contrary and is_young_claim(channel, asked_at_ms):
        turn.want_lookup(turn.policy.contrary_lookup_s, "claim")
    elif not contradicts(channel, observation):
        reason = observation.reason or (None if is_contrary else channel.shown.reason)
        channel.settle(status, asked_at_ms, confirmed=True, reason=reason)


def _contradicted_success(channel: ChannelTurn, observation: Observation, asked_at_ms: int) -> None:
    """R5: nobody claimed this success and its versions deny it: believed only when seen twice, and never confirmed."""
    attempt, current, policy = channel.attempt, observation.current_version, channel.turn.policy
    if attempt is None:
        return

    target, from_version = attempt.target_version or observation.target_version, attempt.from_version
    has_moved = from_version is not None and current != from_version
    if has_moved or target is None or current == target:
        if channel.twice("success", asked_at_ms, policy.twice_apart_s):
            channel.settle("succeeded", asked_at_ms, confirmed=False)
    elif channel.twice("mismatch", asked_at_ms, policy.mismatch_apart_s):
        channel.settle("failed", asked_at_ms, confirmed=False, reason=Reason(code="version_mismatch"))


def _open_and_close(channel: ChannelTurn, observation: Observation, status: Status, asked_at_ms: int) -> None:
    before = None if channel.published is None else channel.published.current_version
    current = observation.current_version
    is_success = status == "succeeded"
    channel.open(asked_at_ms)
    attempt = channel.attempt
    if attempt is not None:
        channel.update_attempt(
            replace(
                attempt,
                task_id=observation.task_id,
                package=observation.package,
                from_version=(before if before != current else None) if is_success else current,
                target_version=observation.target_version or (current if is_success else None),
            )
        )
    channel.book.assumes_from = False
    channel.settle(status, asked_at_ms, confirmed=True, reason=observation.reason)


def _never_began(channel: ChannelTurn, status: Status) -> bool:
    """R7: whether one unconfirmed claim of failure is all that told of the latest attempt, after this outcome."""
    shown, book = channel.shown, channel.book
    is_claim_alone = book.only_claimed and not shown.confirmed and shown.outcome in ("failed", "timed_out")
    return is_claim_alone and book.previous_outcome == status


def _repeats_previous(channel: ChannelTurn, status: Status, asked_at_ms: int) -> bool:
    """R5: in the first time of an attempt, an answer equal to the previous attempt's outcome."""
    attempt = channel.attempt
    return (
        attempt is not None
        and channel.book.previous_outcome in (status, "unknown")
        and asked_at_ms - attempt.started_at_ms < channel.turn.policy.early_answer_s * 1000
    )


def _repeats_outcome(
    channel: ChannelTurn, observation: Observation, status: Status, *, is_other: bool
) -> bool:
    """A cloud that first offered the next version and then tells the last outcome again tells nothing new."""
    before = None if channel.published is None else channel.published.current_version
    return status == channel.shown.outcome and not is_other and observation.current_version in (None, before)


def _restores_success(
    channel: ChannelTurn, observation: Observation, status: Status, *, is_other: bool
) -> bool:
    """A cloud that once showed the version from before, and now the target of the last success again, lagged or lied.

    Its outcome is still the last attempt's; another one never began.
    """
    attempt, before = channel.attempt, channel.published
    return (
        attempt is not None
        and before is not None
        and status == "succeeded" == channel.shown.outcome
        and not is_other
        and observation.current_version is not None
        and observation.current_version == attempt.target_version != before.current_version
    )
