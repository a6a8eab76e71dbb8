"""The gateway is asked to go back as long as something is missing, less and less often."""

from __future__ import annotations

import itertools

from consumer.questions import FIRST_PAUSE_S, LONGEST_PAUSE_S, Questions


def test_nothing_is_asked_while_nothing_is_missing() -> None:
    assert not Questions().is_to_ask(1e9, are_missing=False)


def test_source_partitions_that_begin_together_are_one_question() -> None:
    questions = Questions()
    assert not questions.is_to_ask(100.0, are_missing=True)
    assert not questions.is_to_ask(100.0 + FIRST_PAUSE_S / 2, are_missing=True)
    assert questions.is_to_ask(100.0 + FIRST_PAUSE_S, are_missing=True)
    assert not questions.is_to_ask(100.0 + FIRST_PAUSE_S, are_missing=True)


def test_an_unanswered_question_is_repeated_for_ever_and_less_often() -> None:
    questions = Questions()
    milliseconds = range(0, 600_000, 10)
    asked = [ms / 1000 for ms in milliseconds if questions.is_to_ask(ms / 1000, are_missing=True)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert len([at for at in asked if at < 2]) >= 4, "a broker that waits for a second is asked soon after"
    assert pauses == sorted(pauses)
    assert pauses[-1] >= LONGEST_PAUSE_S


def test_the_next_one_is_asked_as_soon_as_the_first() -> None:
    questions = Questions()
    for second in range(100):
        questions.is_to_ask(float(second), are_missing=True)
    questions.is_to_ask(100.0, are_missing=False)
    assert not questions.is_to_ask(200.0, are_missing=True)
    assert questions.is_to_ask(200.0 + FIRST_PAUSE_S, are_missing=True)
