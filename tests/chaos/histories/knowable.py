"""What cannot be known of an upgrade's end, whatever the rules (docs/rules.md, the last section).

Judged by what arrived: an end of which neither a push in time nor a true answer spoke may be told wrong.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from schemas import Channel
from tests.chaos.histories.history import ChannelLife, Upgrade
from tests.chaos.histories.telling import Told

_OUTCOMES: Final = {"succeeded": 3, "available": 3, "failed": 4, "timed_out": 7}
_LATE_S: Final = 60.0
"""R2: a push that is older than the last answer by more is too old to matter."""
_TWICE_S: Final = 60.0
"""R3: after an outcome an answer opens an attempt only when another one says the same."""
_ADOPTED_AFTER_S: Final = 600.0
"""R6: how long after the claim a reboot counts."""


def why_unknowable(channel: ChannelLife, told: Told, found: Channel | None) -> str | None:
    """Why the end of the channel's last upgrade could not be known, or None where it could."""
    if not channel.upgrades or found is None or found.current_version != channel.version:
        return None

    upgrade = channel.upgrades[-1]
    attempts = 0 if found.attempt is None else found.attempt.number
    is_merged = attempts < len(channel.upgrades)
    # The claim of the last but one may have been taken for the end of the one before it: hence two back.
    following = pairwise(channel.upgrades[-3:])
    if is_merged and not all(_was_told(each, told, after.began_s) for each, after in following):
        return "taken for the one before, whose end nobody told in time"

    if is_merged and not _was_noticed(upgrade, told):
        return "nothing was pushed in time or shown of the upgrade"

    if upgrade.kind == "mismatch":
        reboots = any(
            push.kind == "online" and at_s <= upgrade.ended_s + _ADOPTED_AFTER_S
            for at_s, push in told.heard.get(upgrade.number, ())
        )
        is_adopted = found.status == "succeeded" and not found.confirmed
        return "rolled back, and no push told of the reboot in time" if is_adopted and not reboots else None

    lied = told.lied.get(upgrade.number, set())
    if _OUTCOMES.get(found.status) in lied and not _is_shown_on(channel):
        return "an old outcome was told for its own, and the API forgot"

    if upgrade.status == "cancelled" and found.attempt is not None and found.attempt.from_version is None:
        return "cancelled before an answer told its versions"

    if upgrade.status in _OUTCOMES and not _was_told(upgrade, told, None):
        return "its outcome was neither pushed in time nor shown"
    return None


def _is_shown_on(channel: ChannelLife) -> bool:
    """Whether the API goes on showing an outcome."""
    return channel.views[-1].value in _OUTCOMES.values()


def _was_told(upgrade: Upgrade, told: Told, before_s: float | None) -> bool:
    """Whether a push or a true answer told that it was over."""
    outcome = _OUTCOMES.get(upgrade.status)
    heard = any(
        push.kind == "claim" and at_s <= (upgrade.ended_s + _LATE_S if before_s is None else before_s)
        for at_s, push in told.heard.get(upgrade.number, ())
    )
    ends = {0, 1} if outcome is None else {outcome}
    seen = any(
        value in ends and (before_s is None or asked_s <= before_s)
        for asked_s, value in told.seen.get(upgrade.number, ())
    )
    return heard or seen


def _was_noticed(upgrade: Upgrade, told: Told) -> bool:
    """Whether anything told that it ran: a pushed status in time, or two answers that did not show it at rest."""
    heard = any(
        push.kind in ("status", "claim") and at_s <= push.at_s + _LATE_S
        for at_s, push in told.heard.get(upgrade.number, ())
    )
    seen = [asked_s for asked_s, value in told.seen.get(upgrade.number, ()) if value not in (0, 1)]
    return heard or (len(seen) > 1 and seen[-1] - seen[0] >= _TWICE_S)
