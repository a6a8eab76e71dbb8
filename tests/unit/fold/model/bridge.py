"""The fold under test, driven as its worker drives it: observations, lookups asked and answered, timers when due.

Every fold is checked by `invariants.py` and recorded, so that a replay can be compared byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.fold.device import Device
from bridge.fold.encoding import encode_device, encode_event, pack, unpack
from bridge.fold.policy import Policy
from bridge.fold.rules import Folded, TimerFired, fold
from bridge.fold.waiting import next_timer_at
from schemas import Attempt, Channel, LookupRequest, Observation
from tests.unit.fold.model.invariants import Invariants


class Bridge:
    """One device in the fold. `ask` is told of every lookup that the fold asks for."""

    def __init__(self, policy: Policy, ask: Callable[[LookupRequest], None]) -> None:
        self.policy = policy
        self.device: Device | None = None
        self.is_sound = True
        """Whether every fold so far kept the invariants: what comes after a broken one says nothing."""
        self._ask = ask
        self._invariants = Invariants()
        self._inputs: list[Observation | TimerFired] = []
        self._outputs: list[bytes] = []

    def fold(self, given: Observation | TimerFired) -> Folded:
        before, self.is_sound = self.device, False
        folded = fold(before, given, self.policy)
        self._inputs.append(given)
        self._outputs.append(written(folded, self.policy))
        self._invariants.check(before, given, folded)
        self.device, self.is_sound = folded.device, True
        if folded.lookup is not None:
            self._ask(folded.lookup)
        return folded

    def fold_timer(self, now_ms: int) -> None:
        self.fold(TimerFired(now_ms))

    def timer_at_ms(self) -> int | None:
        return None if self.device is None else next_timer_at(self.device, self.policy)

    def channel(self, name: str) -> Channel | None:
        if self.device is None:
            return None
        return next((shown for shown in self.device.state.channels if shown.channel == name), None)

    def shows_open(self, name: str) -> bool:
        attempt = self.attempt(name)
        return attempt is not None and attempt.finished_at_ms is None

    def attempt(self, name: str) -> Attempt | None:
        """The channel's latest attempt, open or ended."""
        shown = self.channel(name)
        return None if shown is None else shown.attempt

    def answered_at_ms(self, name: str) -> int:
        """The vendor's time of the last answer applied to the channel."""
        if self.device is None:
            return 0
        book = next((book for book in self.device.book.channels if book.channel == name), None)
        return 0 if book is None else book.answered_at_ms or 0

    def check_replay(self) -> None:
        """R17: the same inputs give the same states and events, byte for byte.

        The replay takes each state as the store gives it, decoded afresh: what is written is all there is.
        """
        device: Device | None = None
        for given, output in zip(self._inputs, self._outputs, strict=True):
            folded = fold(device, given, self.policy)
            assert written(folded, self.policy) == output, f"a replay differs at {given}"
            device = folded.device
            if device is not None:
                decoded = unpack(pack(*encode_device(device, None)))
                assert decoded == device, "a state does not decode to itself"
                device = decoded


def written(folded: Folded, policy: Policy) -> bytes:
    """Everything a fold leads to, as it is written."""
    parts: list[object] = [encode_event(typed) for typed in folded.events]
    if folded.device is not None:
        parts.append(encode_device(folded.device, next_timer_at(folded.device, policy)))
    return repr((parts, folded.lookup, folded.dead_letter, folded.counts)).encode()
