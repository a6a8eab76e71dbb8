"""Simulated upgrade histories under a bridge whose timers are late, as they are: its work comes first, it restarts."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Final

from bridge.fold.policy import Policy
from bridge.fold.rules import TimerFired
from schemas import Observation
from tests.chaos.histories.plan import plan_history
from tests.chaos.histories.telling import START_MS, Telling, Told
from tests.chaos.histories.weather import Arrival, Weather
from tests.unit.replay.topics import Topics

ON_ITS_WAY_S: Final = 0.05
"""From the making of an observation until it is folded: a timer may fire in between."""
Lateness = Callable[[Random], float]


def restarting(chance: Random) -> float:
    """Mostly within a fifth of a second, sometimes after a take-over or a restart."""
    return chance.uniform(0, 0.2) if chance.random() < 0.9 else chance.uniform(0, 40)


def tell_late(
    seed: int, number: int, weather: Weather, policy: Policy, lateness: Lateness = restarting
) -> Topics:
    """Return the topics that a bridge wrote about one device's history."""
    topics = Topics(policy)
    history, rng = plan_history(seed, number), Random(f"{seed}/{number}/{weather.name}")
    _LateTelling(topics, lateness, history, weather, rng, policy).run()
    return topics


class _LateTelling(Telling):
    def __init__(self, topics: Topics, lateness: Lateness, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self._topics = topics
        self._lateness = lateness
        self._chance = Random(self.history.device_id)
        self._late_ms: dict[int, int] = {}

    def run(self) -> Told:
        self._plan()
        until_s = self.history.until_s
        while True:
            fires_ms = self._fires_ms()
            fires_s = until_s + 1 if fires_ms is None else (fires_ms - START_MS) / 1000
            next_s = self._queue[0][0] + ON_ITS_WAY_S if self._queue else until_s + 1
            if min(fires_s, next_s) > until_s:
                return self.told
            if fires_ms is not None and fires_s < next_s:
                self._fold(fires_s, TimerFired(fires_ms))
                continue
            at_s, _, what = heapq.heappop(self._queue)
            if isinstance(what, Arrival):
                self._push(at_s, what)
            else:
                for observation in (what,) if isinstance(what, Observation) else what[1]:
                    self._fold(at_s, observation)

    def _fires_ms(self) -> int | None:
        due_ms = self._topics.timer_at_ms(self.history.device_id)
        if due_ms is None:
            return None
        if due_ms not in self._late_ms:
            self._late_ms[due_ms] = round(1000 * self._lateness(self._chance))
        return due_ms + self._late_ms[due_ms]

    def _fold(self, at_s: float, given: Observation | TimerFired) -> None:
        if isinstance(given, TimerFired):
            folded = self._topics.fire(self.history.device_id, given.now_ms)
        else:
            folded = self._topics.observe(given)
        self.told.device = folded.device
        if folded.lookup is not None:
            self._ask(at_s, folded.lookup.lookup_id)
