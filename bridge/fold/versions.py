"""Versions as evidence: opaque strings, compared for equality only. What proves a success, and what contradicts one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from bridge.fold.clock import asked_at, ms
from schemas import Observation

if TYPE_CHECKING:
    from bridge.fold.channel import ChannelTurn


_LAG_WITH_CLOCKS: Final = 1.5
"""Times the API's lag: the clocks that compare an answer with a push disagree as well, seldom by all they may."""


def learn_versions(channel: ChannelTurn, observation: Observation) -> None:
    """Take over the running version an answer tells; R13's event follows from the difference.

    A version that is first offered, or no longer, is learned with the rest status that says so.
    """
    channel.know()
    current, told_at_ms = observation.current_version, channel.book.version_at_ms
    if current is None or (told_at_ms is not None and asked_at(observation) < told_at_ms):
        return

    channel.book.version_at_ms = asked_at(observation)
    attempt = channel.open_attempt
    if attempt is not None and current == attempt.from_version:
        # Beside an outcome it may as well be the version that the attempt installed.
        is_told = observation.status not in ("succeeded", "failed", "timed_out") or denies_itself(observation)
        channel.book.assumes_from = channel.book.assumes_from and not is_told
    if current != channel.shown.current_version:
        channel.shown = replace(channel.shown, current_version=current)


def has_moved(channel: ChannelTurn) -> bool:
    """Whether another version runs than that known to run before the open attempt."""
    attempt, current = channel.attempt, channel.shown.current_version
    if attempt is None or None in (attempt.from_version, current) or channel.book.assumes_from:
        return False

    return current != attempt.from_version


def version_proof(channel: ChannelTurn, observation: Observation) -> bool:
    """Whether the answer's versions prove that the latest attempt succeeded. Never without `from_version`."""
    attempt, current = channel.attempt, observation.current_version
    if attempt is None or attempt.from_version is None or current is None or current == attempt.from_version:
        return False

    if attempt.target_version is not None:
        return current == attempt.target_version

    if observation.status == "succeeded" and observation.target_version in (None, current):
        return True

    return channel.shown.claimed == "succeeded" and observation.status in ("idle", "available", "succeeded")


def contradicts_success(channel: ChannelTurn, observation: Observation) -> bool:
    """Whether an answered success is denied by its versions: another than the target runs, or still the old."""
    attempt, current = channel.attempt, observation.current_version
    if attempt is None or current is None:
        return False

    if attempt.target_version is not None and current != attempt.target_version:
        return True

    if denies_itself(observation) and (attempt.from_version is None or channel.book.assumes_from):
        return True

    return still_runs(channel, current)


def still_runs(channel: ChannelTurn, current: str | None) -> bool:
    """Whether this is for certain the version that ran before the latest attempt."""
    attempt, book = channel.attempt, channel.book
    if attempt is None or attempt.from_version is None or book.assumes_from or book.doubts_from:
        return False

    return current == attempt.from_version


def denies_itself(observation: Observation) -> bool:
    """Whether a success names another version than the running one: one on offer, or one that did not come to run."""
    named, current = observation.target_version, observation.current_version
    return observation.status == "succeeded" and named is not None and named != current


def contradicts(channel: ChannelTurn, observation: Observation) -> bool:
    """Whether an answered terminal status is contradicted by the versions it came with."""
    if observation.status == "succeeded":
        return contradicts_success(channel, observation)

    return version_proof(channel, observation)


def names_another(channel: ChannelTurn, observation: Observation) -> bool:
    """Whether an answer names another task or target than the latest attempt, both known."""
    attempt = channel.attempt
    if attempt is None:
        return False

    if None not in (attempt.task_id, observation.task_id) and attempt.task_id != observation.task_id:
        return True

    target, before = attempt.target_version, channel.published
    if target is None and before is not None and before.status == "succeeded" and before.confirmed:
        # It was never named, but it is what runs since.
        target = before.current_version
    return None not in (target, observation.target_version) and target != observation.target_version


def runs_another(channel: ChannelTurn, observation: Observation) -> bool:
    """Whether an answer shows a running version that is neither of the latest attempt's two, both known."""
    attempt, current = channel.attempt, observation.current_version
    if attempt is None or None in (current, attempt.from_version, attempt.target_version):
        return False

    return current not in (attempt.from_version, attempt.target_version)


def tells_foreign_version(channel: ChannelTurn, observation: Observation) -> bool:
    """R3: whether an answer shows neither the version that answers showed before nor the latest attempt's target.

    An answer about another attempt that does so may be an old one.
    """
    before, attempt, current = channel.published, channel.attempt, observation.current_version
    if before is None or attempt is None or None in (before.current_version, current):
        return False

    return current not in (before.current_version, attempt.target_version)


def lags_adopted_success(channel: ChannelTurn, observation: Observation, asked_at_ms: int) -> bool:
    """R3, versions: a young attempt that begins where an adopted success ended is not the one that leads there.

    Where that success never named its target, any answer that the API's lag may delay can be about it, unless the
    version has moved since.
    """
    attempt = channel.open_attempt
    if attempt is None or attempt.target_version is not None:
        return False

    if asked_at_ms - attempt.started_at_ms >= ms(_LAG_WITH_CLOCKS * channel.turn.policy.api_lag_s):
        return False

    if attempt.from_version is None:
        before = None if channel.published is None else channel.published.current_version
        return channel.book.previous_outcome == "succeeded" and observation.current_version == before

    return attempt.from_version == observation.target_version
