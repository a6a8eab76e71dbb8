"""A story told to a bridge that writes topics: the words of the fold's tests, and a replay of what they left behind."""

from __future__ import annotations

from bridge.fold.device import Device
from bridge.fold.policy import Policy
from bridge.fold.rules import Folded, TimerFired
from schemas import Observation
from tests.unit.fold.story import Story
from tests.unit.replay.topics import Topics

POLICY = Policy(jitter_s=0.0)


class Live(Story):
    """One device of a bridge; several may share its topics."""

    def __init__(self, topics: Topics, device_id: str = "d1") -> None:
        super().__init__(topics.policy, device_id)
        self.topics = topics

    def fold(self, given: Observation | TimerFired) -> Folded:
        if isinstance(given, TimerFired):
            folded = self.topics.fire(self.device_id, given.now_ms)
        else:
            folded = self.topics.observe(given)
        self.device: Device | None = folded.device
        return folded

    def claimed_failure(self, at_s: float = 100.0) -> None:
        """An upgrade that ends with a claim of failure; the cloud's API is asked and shows nothing definite."""
        self.answer(at_s - 100, "idle", now="1.0")
        self.wait(at_s - 96)
        self.answered(at_s - 96)
        self.push(at_s - 20, "installing")
        self.wait(at_s - 16)
        self.answered(at_s - 16)
        self.claim(at_s, "failed", "install_failed")

    def adopted_failure(self, at_s: float = 100.0, *, late_s: float = 0.2) -> None:
        """The same, with the claim adopted one minute after an answer, by a timer that is late."""
        self.claimed_failure(at_s)
        self.wait(at_s + 3.5 + late_s)
        answered_s = at_s + 4 + late_s
        self.answer(answered_s, None, now="1.0", vendor_status="100")
        self.answered(answered_s)
        self.wait(answered_s + 60 + late_s)
        assert self.status == "failed"
