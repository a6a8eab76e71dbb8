"""The gateway is asked to go back as long as something is missing, less and less often."""

from __future__ import annotations

import itertools

from consumer.questions import COMING_PAUSE_S, FIRST_PAUSE_S, LONGEST_PAUSE_S, Questions


def ask(questions: Questions, now: float, *, missing: bool = True, breaks: int = 1, let_go: int = 1) -> bool:
    return questions.is_to_ask(now, are_missing=missing, breaks=breaks, let_go=let_go)


def waiting_in_vain(*, until: float) -> Questions:
    questions = Questions()
    for tenth in range(int(until * 10)):
        ask(questions, tenth / 10)
    return questions


def test_nothing_is_asked_while_nothing_is_missing() -> None:
    assert not ask(Questions(), 1e9, missing=False)


def test_source_partitions_that_begin_together_are_one_question() -> None:
    questions = Questions()
    assert not ask(questions, 100.0)
    assert not ask(questions, 100.0 + FIRST_PAUSE_S / 2, breaks=2, let_go=2)
    assert ask(questions, 100.0 + FIRST_PAUSE_S, breaks=2, let_go=2)
    assert not ask(questions, 100.0 + FIRST_PAUSE_S, breaks=2, let_go=2)


def test_an_unanswered_question_is_repeated_for_ever_and_less_often() -> None:
    questions = Questions()
    milliseconds = range(0, 600_000, 10)
    asked = [ms / 1000 for ms in milliseconds if ask(questions, ms / 1000)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert len([at for at in asked if at < 2]) >= 4, "a broker that waits for a second is asked soon after"
    assert pauses == sorted(pauses)
    assert pauses[-1] >= LONGEST_PAUSE_S


def test_the_next_one_is_asked_as_soon_as_the_first() -> None:
    questions = waiting_in_vain(until=100.0)
    ask(questions, 100.0, missing=False)
    assert not ask(questions, 200.0, breaks=2)
    assert ask(questions, 200.0 + FIRST_PAUSE_S, breaks=2)


def test_one_that_waits_in_vain_makes_no_other_wait() -> None:
    questions = waiting_in_vain(until=100.0)
    assert not ask(questions, 100.0, breaks=2, let_go=2)
    assert ask(questions, 100.0 + FIRST_PAUSE_S, breaks=2, let_go=2)


def test_while_more_comes_and_is_let_go_the_pauses_stay_short() -> None:
    questions = Questions()
    hundredths = range(100 * 60)
    asked = [at / 100 for at in hundredths if ask(questions, at / 100, let_go=at)]
    assert max(later - earlier for earlier, later in itertools.pairwise(asked)) <= COMING_PAUSE_S + 0.02
    assert len(asked) < 60, "each question costs a repetition of all that is worked on"


def test_a_source_partition_that_comes_back_after_a_long_wait_is_asked_about_at_once() -> None:
    questions = waiting_in_vain(until=100.0)
    assert ask(questions, 100.0, let_go=2)
