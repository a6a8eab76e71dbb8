"""What cannot be known of an upgrade's end: docs/rules.md, the last section, as predicates on what arrived.

Each names another truth that would have given the bridge the very same, and what the bridge shows is true of that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from schemas import Channel
from tests.chaos.histories.evidence import OUTCOMES, REST, Evidence
from tests.chaos.histories.history import ChannelLife, Upgrade
from tests.chaos.histories.telling import Told

_EARLY_S: Final = 60.0
"""R3, R5: the first time of an attempt, in which an answer may be about the one before."""
_ADOPTED_AFTER_S: Final = 600.0
"""R6: how long after the claim a reboot counts."""


class Case(Struct, frozen=True):
    """A channel, what was told of its first `count` upgrades, and what the bridge shows."""

    channel: ChannelLife
    count: int
    told: Told
    found: Channel

    @property
    def upgrade(self) -> Upgrade:
        return self.channel.upgrades[self.count - 1]

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.upgrade, self.told)

    @property
    def evidence_before(self) -> Evidence | None:
        """Of the upgrade before it."""
        return None if self.count < 2 else Evidence(self.channel.upgrades[self.count - 2], self.told)

    @property
    def rests(self) -> bool:
        """Whether the API goes on without any outcome of it: at rest, or a success beside another version's offer."""
        shown = self.channel.views[-1]
        return shown.value in REST or (shown.value == 3 and shown.target not in (None, shown.current))

    @property
    def lies(self) -> set[int]:
        """Tuya's numbers in the answers from before it."""
        return {seen.shown.value for seen in self.told.lied.get(self.upgrade.number, ())}

    @property
    def was_withdrawn(self) -> bool:
        """R19: what an attempt becomes whose end nobody told."""
        return self.found.status == "cancelled" and not self.found.confirmed

    @property
    def fits_without(self) -> bool:
        """Whether what is shown is right, or cannot be known better, had this upgrade never been."""
        before = Case(self.channel, self.count - 1, self.told, self.found)
        if before.count == 0:
            return self.found.phase == "rest"
        status = before.upgrade.status
        if self.found.status == status or unknowable(before) is not None:
            return True
        return status in ("succeeded", "available") and self.found.status in (
            "succeeded",
            "available",
            "idle",
        )


def why_unknowable(channel: ChannelLife, told: Told, found: Channel | None) -> str | None:
    """Why the end of the channel's last upgrade could not be known, or None where it could."""
    if not channel.upgrades or found is None or found.current_version != channel.version:
        return None
    return unknowable(Case(channel, len(channel.upgrades), told, found))


def unknowable(case: Case) -> str | None:
    """The name of the first class that the case is of."""
    return next((predicate.__name__ for predicate in CLASSES if predicate(case)), None)


def left_no_trace(case: Case) -> bool:
    """Pushes all lost, and the API forgot it. The other truth: it never was, and its version came by itself."""
    evidence = case.evidence
    return not evidence.is_noticed and not evidence.pushes("status", "claim") and case.fits_without


def ended_like_a_cancel(case: Case) -> bool:
    """No push and no answer told its end, and no version proves it. The other truth: it was cancelled."""
    return not case.evidence.pushes("claim") and _ended_for_all_that_is_known(case)


def was_told_too_late(case: Case) -> bool:
    """R2: its pushes are older than answers that came before. The other truth: they are of an attempt before that."""
    if not any(heard.is_late for heard in case.evidence.pushes("status", "claim")):
        return False
    return _ended_for_all_that_is_known(case) or (not case.evidence.is_noticed and case.fits_without)


def _ended_for_all_that_is_known(case: Case) -> bool:
    """Withdrawn by R19, while nothing that counts told of another end, nor of the version it was to end with."""
    if not (case.was_withdrawn and case.rests) or case.evidence.tells_end():
        return False
    if case.channel.views[-1].value not in REST and not case.lies & set(REST):
        return False
    if case.upgrade.status not in ("succeeded", "available"):
        return True
    before, since_s = case.evidence_before, case.upgrade.began_s
    if before is not None and before.pushes("claim") and before.upgrade.target == case.upgrade.target:
        # A success of the same target was claimed: in its first time what an answer names is that one's.
        since_s += _EARLY_S
    return not case.evidence.names_target(since_s)


def merged_with_the_one_before(case: Case) -> bool:
    """Neither's end was told in time. The other truth: there was one, with the end that is shown."""
    before = case.evidence_before
    if before is None or before.tells_end(case.upgrade.began_s) or case.evidence.tells_end():
        return False
    return case.fits_without


def ended_beside_the_proof_of_the_one_before(case: Case) -> bool:
    """The version of the one before, whose end was not told, runs beside this failure. The other truth: one, proven."""
    before = case.evidence_before
    if before is None or before.tells_end(case.upgrade.began_s):
        return False
    is_failure = case.upgrade.status in ("failed", "timed_out")
    is_proof = before.upgrade.status in ("succeeded", "available")
    is_named = case.evidence.names_target(case.upgrade.began_s)
    return is_failure and is_proof and not is_named and case.fits_without


def rolled_back_unseen(case: Case) -> bool:
    """R6: success was claimed, no reboot told. The other truth: the API still shows what the device reported before."""
    found = case.found
    # R19: after it a lie about an offer may be shown.
    is_adopted = found.outcome == "succeeded" and not (found.status == "succeeded" and found.confirmed)
    evidence = case.evidence
    return (
        case.upgrade.kind == "mismatch"
        and is_adopted
        and bool(evidence.pushes("claim"))
        and not evidence.tells_reboot(_ADOPTED_AFTER_S)
    )


def had_the_end_that_was_told(case: Case) -> bool:
    """The API told an old outcome as its own, and none later. The other truth: that was its outcome."""
    is_told = OUTCOMES.get(case.found.status) in case.lies
    return is_told and case.rests and not case.evidence.tells_end()


def began_from_an_unknown_version(case: Case) -> bool:
    """R19: no answer told what ran before it. The other truth: what runs is what it installed."""
    before = case.evidence_before
    since_s = 0.0 if before is None else before.upgrade.ended_s
    answers = case.told.answers.get(case.channel.name, ())
    is_unknown = not any(since_s <= each.asked_s <= case.upgrade.began_s for each in answers)
    is_left = case.found.status == "unknown" or case.found.phase == "rest"
    return is_unknown and is_left and case.rests and not case.evidence.tells_end()


CLASSES: Final[tuple[Callable[[Case], bool], ...]] = (
    left_no_trace,
    ended_like_a_cancel,
    was_told_too_late,
    merged_with_the_one_before,
    ended_beside_the_proof_of_the_one_before,
    rolled_back_unseen,
    had_the_end_that_was_told,
    began_from_an_unknown_version,
)
