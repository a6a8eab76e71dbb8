"""Many simulated histories: replayed by the same rules they show nothing, whatever the timers did; by others they do.

The timers of a first replay fire when they are due, those of the bridge fired later: some states differ by that.
"""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec.structs import replace

from bridge.fold.policy import Policy
from tests.chaos.histories.weather import GOOD, STORM, Weather
from tests.unit.replay.late_histories import tell_late

SEED = 3
POLICY = Policy()


@pytest.mark.parametrize(("weather", "histories"), [(GOOD, 120), (STORM, 80)], ids=["good", "storm"])
async def test_by_the_same_rules_no_history_differs_but_by_its_timers(
    weather: Weather, histories: int
) -> None:
    causes: Counter[str] = Counter()
    for number in range(histories):
        found = await tell_late(SEED, number, weather, POLICY).replay()
        causes.update(same=found.same, timers=found.by_timers, rules=found.by_rules)
    print(causes)

    assert causes["rules"] == 0
    assert causes["same"] + causes["timers"] == histories
    assert causes["timers"] > 0


async def test_timers_that_are_on_time_make_no_difference() -> None:
    for number in range(50):
        found = await tell_late(SEED, number, GOOD, POLICY, lateness=lambda _: 0.0).replay()
        assert (found.same, found.by_timers, found.by_rules) == (1, 0, 0)


async def test_another_policy_differs_and_is_told_from_the_timers() -> None:
    impatient = replace(POLICY, downloading_stall_s=300.0, installing_stall_s=300.0)
    partings: Counter[str | None] = Counter()
    for number in range(60):
        found = await tell_late(SEED, number, GOOD, POLICY).replay(impatient)
        partings.update(group.parting.replayed for group in found.groups if group.cause == "rules")
    print(partings)

    assert partings.total() > 0
    assert set(partings) <= {"stalled downloading (timer)", "stalled installing (timer)"}


async def test_the_size_of_the_batches_does_not_matter() -> None:
    topics = tell_late(SEED, 7, STORM, POLICY)
    patient = replace(POLICY, failure_deadline_s=300.0, installing_stall_s=600.0)
    found = []
    for batch in (1, 7, 1000):
        topics.batch = batch
        found.append((await topics.replay(patient)).examples)

    assert found[0] == found[1] == found[2]
