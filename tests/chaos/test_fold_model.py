"""The fold's stateful model, `tests/unit/fold/model/`, played five thousand times, each run with other examples."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.fold.model.machine import FoldMachine


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_the_fold_keeps_its_promises_and_ends_at_the_truth_in_five_thousand_plays() -> None:
    run_state_machine_as_test(
        FoldMachine,
        settings=settings(
            max_examples=5000,
            stateful_step_count=100,
            deadline=None,
            derandomize=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
