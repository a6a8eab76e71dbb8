"""20,000 upgrade histories in virtual time, in each weather (docs/rules.md, "How they were tried")."""

from __future__ import annotations

import pytest

from tests.chaos.histories.figures import Figures, judge_many
from tests.chaos.histories.weather import GOOD, STORM, WRONG_CLOCKS

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

HISTORIES = 20_000
SEED = 1


@pytest.fixture(scope="module")
def good() -> Figures:
    figures = judge_many(SEED, HISTORIES, GOOD)
    print(figures)
    return figures


def test_in_good_weather_every_end_is_true(good: Figures) -> None:
    assert not good.wrong


def test_in_good_weather_hardly_any_attempt_is_told_that_no_device_began(good: Figures) -> None:
    assert good.phantoms_per_thousand <= 1


def test_in_good_weather_an_upgrade_costs_few_lookups(good: Figures) -> None:
    assert good.lookups_p50 <= 4
    assert good.lookups_p99 <= 10


def test_in_good_weather_only_ends_that_nothing_told_stay_unknown(good: Figures) -> None:
    traceless = {"silent", "silent_failed", "cancelled", "withdrawn", "cancelled_pending"}
    for each in good.judged:
        assert not each.unknowable or traceless & set(each.upgrades)
    assert good.unknowable <= 0.02 * good.upgrades


def test_clock_errors_of_ten_seconds_cost_at_most_three_times_as_much() -> None:
    figures = judge_many(SEED, HISTORIES, WRONG_CLOCKS)
    print(figures)

    assert not figures.wrong
    assert figures.phantoms_per_thousand <= 3
    assert figures.lookups_p50 <= 3 * 4
    assert figures.lookups_p99 <= 3 * 10


def test_after_a_storm_every_end_is_true_that_can_be_known() -> None:
    figures = judge_many(SEED, HISTORIES, STORM)
    print(figures)

    assert not figures.wrong
    assert figures.unknowable <= 0.035 * figures.upgrades
