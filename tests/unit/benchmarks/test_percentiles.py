"""Percentiles are figures that occurred, and the one that is asked for."""

from __future__ import annotations

import pytest

from tests.benchmarks.percentiles import percentile


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    values = [float(value) for value in range(100, 0, -1)]

    assert [percentile(values, percent) for percent in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]


def test_the_median_of_three_is_the_middle_one() -> None:
    assert percentile([7.0, 1.0, 5.0], 50) == 5.0


def test_the_99th_percentile_of_few_values_is_the_worst_of_them() -> None:
    assert percentile([1.0, 2.0, 9.0], 99) == 9.0


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)
