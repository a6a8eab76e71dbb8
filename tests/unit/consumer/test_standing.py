"""How far a source partition is acknowledged, in time, whoever reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.backlog import Backlog
from consumer.standing import Standing

_NOTHING = (-1, -1)


def _backlog(last: tuple[int, int], done: tuple[int, int]) -> Backlog:
    return Backlog("event/3", last, done)


def test_what_is_empty_is_acknowledged_up_to_the_question_and_rests_from_the_second_on() -> None:
    standing = Standing()

    assert standing.told(1000, _backlog((7, 5), (7, 5))) == 1000
    assert not standing.rests
    assert standing.told(2000, _backlog((7, 5), (7, 5))) == 2000
    assert standing.rests


def test_a_topic_that_never_had_a_message_rests() -> None:
    standing = Standing()
    assert standing.told(1000, _backlog(_NOTHING, (7, -1))) == 1000
    assert standing.told(2000, _backlog(_NOTHING, (7, -1))) == 2000
    assert standing.rests


def test_what_flows_is_acknowledged_up_to_the_question_whose_last_entry_was_reached() -> None:
    standing = Standing()
    assert standing.told(1000, _backlog((7, 100), (7, 90))) is None
    assert standing.told(2000, _backlog((7, 200), (7, 150))) == 1000
    assert standing.told(3000, _backlog((7, 300), (7, 290))) == 2000
    assert not standing.rests


def test_what_stands_still_is_never_called_acknowledged_however_long_it_is_asked() -> None:
    standing = Standing()
    for minute in range(3000):
        assert standing.told(minute * 60_000, _backlog((7, minute), (7, -1))) is None


def test_what_is_dropped_for_its_age_lags_by_that_age() -> None:
    standing = Standing()
    reached = [
        standing.told(minute * 60_000, _backlog((7, minute), (7, minute - 120))) for minute in range(240)
    ]

    assert reached[-1] == (239 - 120) * 60_000


def test_a_platform_that_was_rebuilt_or_emptied_is_followed() -> None:
    for last, done in (((2, 10), (2, 10)), (_NOTHING, (9, -1))):
        standing = Standing()
        standing.told(1000, _backlog((7, 100), (7, 90)))
        assert standing.told(2000, _backlog(last, done)) == 2000


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_nothing_unacknowledged_is_ever_called_acknowledged(steps: list[tuple[int, int]]) -> None:
    """Entry n is published at n: what is reached lies at or before the first entry that waits."""
    standing, last, done = Standing(), 0, 0
    asked_at: dict[int, int] = {}
    for number, (published, acknowledged) in enumerate(steps, 1):
        last += published
        done = min(last, done + acknowledged)
        asked_at[number] = last
        reached = standing.told(number, _backlog((1, last), (1, done)))
        known = [at for at, last_then in asked_at.items() if last_then <= done]
        assert reached is None or reached in known
        if done == last:
            assert reached == number


def test_it_stands_still_only_while_something_waits_and_nothing_is_acknowledged_or_worked_on() -> None:
    standing = Standing()
    waiting = _backlog((7, 9), (7, 3))
    assert [standing.still_for_s(waiting, now_s) for now_s in (0.0, 10.0)] == [0.0, 10.0]
    assert standing.still_for_s(_backlog((7, 9), (7, 4)), 20.0) == 0.0
    assert standing.still_for_s(_backlog((7, 12), (7, 4)), 30.0) == 10.0
    standing.moves()
    assert standing.still_for_s(_backlog((7, 12), (7, 4)), 40.0) == 0.0
    assert standing.still_for_s(_backlog((7, 12), (7, 12)), 50.0) == 0.0
    assert standing.still_for_s(waiting, 60.0) == 0.0
