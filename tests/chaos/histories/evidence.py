"""What the bridge had to go on, of one upgrade: the pushes that count by R1 and R2, and the true answers.

Nothing here looks at what the fold made of it.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tests.chaos.histories.history import Upgrade
from tests.chaos.histories.telling import Heard, Seen, Told

OUTCOMES: Final = {"succeeded": 3, "failed": 4, "timed_out": 7}
"""Tuya's number for an outcome."""
_SUCCESS: Final = 3
REST: Final = (0, 1)
_ACTIVE: Final = (2, 5, 13)
_TWICE_S: Final = 60.0
"""Two answers count as two when asked this far apart."""
_EVER: Final = float("inf")


class Evidence(Struct, frozen=True):
    """Of one upgrade."""

    upgrade: Upgrade
    told: Told

    def pushes(self, *kinds: str) -> list[Heard]:
        """What arrived, late or not."""
        return [heard for heard in self.told.heard.get(self.upgrade.number, ()) if heard.push.kind in kinds]

    def answers(self, *values: int) -> list[Seen]:
        """True answers that showed it so."""
        return [seen for seen in self.told.seen.get(self.upgrade.number, ()) if seen.shown.value in values]

    @property
    def is_noticed(self) -> bool:
        """Whether anything told that it ran: a push in time, or two answers that a lie or an old word does not explain.

        R3: one answer alone opens nothing after an outcome. A success that another version than the running one is
        named with tells as well of the attempt before, beside the next offer.
        """
        if any(not heard.is_late for heard in self.pushes("status", "claim")):
            return True
        seen = [*self.answers(*_ACTIVE), *self.answers(4, 7)]
        seen += [each for each in self.answers(3) if each.shown.target in (None, each.shown.current)]
        asked = sorted(each.asked_s for each in seen)
        return len(asked) > 1 and asked[-1] - asked[0] >= _TWICE_S

    def names_target(self, since_s: float) -> bool:
        """Whether an answer told what it installs (R3: only one about a pending or active attempt does)."""
        return any(each.asked_s >= since_s for each in self.answers(*_ACTIVE))

    def tells_end(self, before_s: float = _EVER) -> bool:
        """Whether its outcome was pushed in time, or shown, by then."""
        claimed = any(heard.at_s <= before_s and self._counts(heard) for heard in self.pushes("claim"))
        if self.upgrade.status == "cancelled":
            # R19: two answers at rest, but to end what began after it too.
            asked = [each.asked_s for each in self.answers(*REST) if each.asked_s <= before_s < _EVER]
            return claimed or (len(asked) > 1 and asked[-1] - asked[0] >= _TWICE_S)
        value = OUTCOMES.get(self.upgrade.status)
        shown = [] if value is None else self.answers(value)
        if value == _SUCCESS:
            # R5: a success without its version is denied by it.
            shown = [each for each in shown if each.shown.current == self.upgrade.target]
        return claimed or any(each.asked_s <= before_s for each in shown)

    def tells_reboot(self, within_s: float) -> bool:
        """Whether an online push told that the device was back, at the latest so long after the claim."""
        claims = [heard.at_s for heard in self.pushes("claim")]
        return any(heard.at_s <= min(claims, default=_EVER) + within_s for heard in self.pushes("online"))

    def _counts(self, claim: Heard) -> bool:
        """R2: one that is older than an answer already folded moves nothing, but in an attempt that is still open."""
        if not claim.is_late:
            return True
        earlier = [each for each in self.answers(*_ACTIVE) if each.answered_s < claim.at_s]
        pushed = [each for each in self.pushes("status") if each.at_s < claim.at_s and not each.is_late]
        return bool(earlier or pushed) and not self._is_over(claim.at_s)

    def _is_over(self, at_s: float) -> bool:
        """R5, R19: whether answers, true or not, ended the attempt by then: an outcome, or two at rest."""
        upgrade = self.upgrade
        told = [
            each
            for each in self.told.answers.get(upgrade.channel, ())
            if each.asked_s >= upgrade.began_s and each.answered_s < at_s
        ]
        rests = [each.asked_s for each in told if each.shown.value in REST]
        is_withdrawn = len(rests) > 1 and rests[-1] - rests[0] >= _TWICE_S
        return is_withdrawn or any(each.shown.value in OUTCOMES.values() for each in told)
