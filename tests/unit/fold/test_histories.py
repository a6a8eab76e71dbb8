"""The short form of the simulated upgrade histories; the long one is `make chaos`."""

from __future__ import annotations

from bridge.fold.policy import Policy
from tests.chaos.histories.figures import judge_many
from tests.chaos.histories.verdict import judge
from tests.chaos.histories.weather import GOOD, STORM, WRONG_CLOCKS

HISTORIES = 500
SEED = 3


def test_in_good_weather_every_end_is_true_at_few_lookups() -> None:
    figures = judge_many(SEED, HISTORIES, GOOD)
    print(figures)

    assert not figures.wrong
    assert figures.phantoms_per_thousand <= 1
    assert figures.lookups_p50 <= 4
    assert figures.lookups_p99 <= 10


def test_clock_errors_of_ten_seconds_make_no_end_wrong() -> None:
    figures = judge_many(SEED, HISTORIES, WRONG_CLOCKS)
    print(figures)

    assert not figures.wrong
    assert figures.phantoms_per_thousand <= 3


def test_after_a_storm_every_end_is_true_that_can_be_known() -> None:
    figures = judge_many(SEED, HISTORIES, STORM)
    print(figures)

    assert not figures.wrong


def test_a_history_is_always_the_same() -> None:
    for weather in (GOOD, STORM):
        assert judge(SEED, 5, weather, Policy()) == judge(SEED, 5, weather, Policy())
