"""The whole rule set at once: a stateful model of a device, its cloud and an adversary, `model/machine.py`.

And the proof that it can fail: without each of the rules it is there for, it finds the mistake. `make chaos` plays it
five thousand times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from bridge.fold import attempts, rules
from bridge.fold.channel import ChannelTurn
from bridge.fold.clock import asked_at
from schemas import Observation
from tests.unit.fold.model.machine import FoldMachine


def play(examples: int, **more: Any) -> None:
    suppressed = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        FoldMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=100,
            suppress_health_check=suppressed,
            **more,
        ),
    )


@pytest.mark.timeout(600)
def test_the_fold_keeps_its_promises_and_ends_at_the_truth() -> None:
    play(300)


# The seeded mistakes.


def _never(*_: object) -> bool:
    return False


def _answered_whenever_asked(channel: ChannelTurn, observation: Observation) -> None:
    """Without R2's two conditions on answers."""
    channel.book.answered_at_ms = asked_at(observation)
    attempts.on_answered(channel, observation, asked_at(observation))


def _answered_despite_a_push(channel: ChannelTurn, observation: Observation) -> None:
    """Without the second of them: the cloud lags its own pushes."""
    last_ms = channel.book.answered_at_ms
    if last_ms is None or asked_at(observation) >= last_ms:
        _answered_whenever_asked(channel, observation)


def _rest_shown_after_an_outcome(channel: ChannelTurn, _: Observation, status: Any) -> None:
    channel.not_seen()
    channel.rest(status)


def _corrected_at_any_word(channel: ChannelTurn, observation: Observation, asked_at_ms: int) -> bool:
    told = observation.status
    if channel.shown.phase != "terminal" or told in (None, channel.shown.status, "idle", "available"):
        return False
    channel.settle(told, asked_at_ms, confirmed=True)  # type: ignore[arg-type]
    return True


def _moved_either_way(
    channel: ChannelTurn, _: Observation, status: Any, at_ms: int, *, confirmed: bool
) -> None:
    if status != channel.shown.status:
        channel.move(status, at_ms, confirmed=confirmed)


def _progress_either_way(channel: ChannelTurn, progress: int | None, *, may_fall: bool) -> None:
    attempt = channel.open_attempt
    if attempt is not None and progress is not None:
        assert isinstance(may_fall, bool)
        channel.update_attempt(rules.replace(attempt, progress=progress))


@pytest.mark.parametrize(
    ("where", "name", "mistake"),
    [
        pytest.param(rules, "_came_before", _never, id="R1 duplicates count"),
        pytest.param(rules, "_on_answered", _answered_whenever_asked, id="R2 stale answers count"),
        pytest.param(rules, "_on_answered", _answered_despite_a_push, id="R2 early answers count"),
        pytest.param(
            attempts, "_show_rest", _rest_shown_after_an_outcome, id="R7 a rest status ends an outcome"
        ),
        pytest.param(
            attempts.outcomes, "corrects", _corrected_at_any_word, id="R7 any word corrects an outcome"
        ),
        pytest.param(attempts, "_raise", _moved_either_way, id="R4 a status falls"),
        pytest.param(attempts, "_progress", _progress_either_way, id="R4 progress falls"),
    ],
)
def test_a_rule_left_out_is_found(
    where: object, name: str, mistake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, name, mistake)

    # Nothing is made smaller: that it is found is enough.
    with pytest.raises(AssertionError):
        play(300, phases=(Phase.generate,))
