"""Nothing of a source partition is worked on out of order or twice, whatever the gateway gives first."""

from __future__ import annotations

from consumer.courses import Course, Place, Verdict

NEW, CAME_BEFORE, TOO_EARLY = Verdict


def give(course: Course, *entries: int, ledger: int = 7, published_at_ms: int = 1) -> list[Verdict]:
    """Give entries of one message each; the gateway was asked by then."""
    course.asked()
    return give_unasked(course, *entries, ledger=ledger, published_at_ms=published_at_ms)


def give_unasked(course: Course, *entries: int, ledger: int = 7, published_at_ms: int = 1) -> list[Verdict]:
    verdicts = []
    for entry in entries:
        place: Place = (ledger, entry, -1)
        verdicts.append(course.judge(place, published_at_ms))
        if verdicts[-1] is NEW:
            course.add(place, published_at_ms)
    return verdicts


def began(*entries: int) -> Course:
    course = Course()
    for _ in range(2):
        give(course, entries[0])
    assert give(course, *entries) == [NEW] * len(entries)
    return course


def test_a_course_begins_when_its_first_entry_comes_again_after_a_second_question() -> None:
    course = Course()
    assert give(course, 5, 6, 7) == [TOO_EARLY] * 3
    assert give(course, 5, 6, 7) == [TOO_EARLY] * 3, "who was not the owner yet has asked in vain"
    assert course.is_broken_off
    assert give(course, 5, 6, 7, 8) == [NEW] * 4
    assert not course.is_broken_off


def test_a_course_that_began_too_late_goes_back() -> None:
    course = Course()
    assert give(course, 8, 9) == [TOO_EARLY] * 2
    for _ in range(2):
        assert give(course, 5, 6, 7, 8, 9) == [TOO_EARLY] * 5, "this may have begun too late as well"
    assert give(course, 5, 6, 7, 8, 9, 10) == [NEW] * 6


def test_what_follows_is_new_and_what_comes_again_came_before() -> None:
    course = began(1, 2, 3)
    assert give(course, 4, 5) == [NEW] * 2
    assert give(course, 2, 3, 4, 5, 6) == [CAME_BEFORE] * 4 + [NEW]


def test_behind_a_hole_nothing_is_worked_on_until_the_gateway_went_back() -> None:
    course = began(1, 2, 3)
    assert give(course, 6, 7) == [TOO_EARLY] * 2
    assert give(course, 8) == [TOO_EARLY]
    assert give(course, 3, 4, 5, 6, 7, 8, 9) == [CAME_BEFORE] + [NEW] * 6


def test_a_hole_that_is_still_there_when_the_gateway_went_back_stays() -> None:
    course = began(1, 2, 3)
    assert give(course, 6) == [TOO_EARLY]
    assert give(course, 3, 6, 7) == [CAME_BEFORE, TOO_EARLY, TOO_EARLY]
    assert give(course, 3, 6, 7) == [CAME_BEFORE, NEW, NEW]
    for _ in range(2):
        assert give(course, 9) == [TOO_EARLY], "the next one is another"
    assert give(course, 9, 10) == [NEW, NEW]


def test_what_another_copy_did_meanwhile_does_not_come_again() -> None:
    course = began(1, 2, 3)
    assert give(course, 6, 7) == [TOO_EARLY] * 2
    assert give(course, 50, 51) == [TOO_EARLY] * 2, "lost to another copy, and got back"
    for _ in range(2):
        assert give(course, 50, 51) == [TOO_EARLY] * 2, "it may have begun too late here too"
    assert give(course, 50, 51, 52) == [NEW] * 3


def test_what_comes_twice_unasked_is_no_proof_of_what_it_begins_with() -> None:
    course = began(1, 2, 3)
    assert give(course, 6, 7, 8) == [TOO_EARLY] * 3
    assert give_unasked(course, 7, 8, 9) == [TOO_EARLY] * 3, "the broker read twice at a time"
    assert give(course, 6, 7, 8, 9) == [TOO_EARLY] * 4
    assert give(course, 4, 5, 6, 7, 8, 9) == [NEW] * 6, "so 4 and 5 are in order"


def test_an_old_break_does_not_vouch_for_the_beginning_of_another_turn() -> None:
    course = began(1, 2, 3)
    assert give(course, 50, 51, 60) == [TOO_EARLY] * 3, "lost to another copy before the gateway went back"
    assert give(course, 40, 41) == [TOO_EARLY] * 2, (
        "it took 30 to 39 to its grave: the newest come first again"
    )
    for _ in range(2):
        assert give(course, 30, 31) == [TOO_EARLY] * 2
    assert give(course, 30, 31, 32) == [NEW] * 3


def test_what_follows_what_came_needs_no_question() -> None:
    course = began(1, 2, 3)
    assert give_unasked(course, 6, 7) == [TOO_EARLY] * 2
    assert give_unasked(course, 2, 3, 4, 5) == [CAME_BEFORE] * 2 + [NEW] * 2
    assert course.is_broken_off
    assert give_unasked(course, 6, 7, 8) == [NEW] * 3
    assert not course.is_broken_off


def test_holes_that_stay_are_asked_about_one_by_one() -> None:
    course = began(1)
    assert give(course, 9) == [TOO_EARLY]
    for _ in range(2):
        assert give(course, 3, 9, 10) == [TOO_EARLY] * 3
    assert give(course, 3, 9, 10) == [NEW, TOO_EARLY, TOO_EARLY]
    assert give(course, 3, 9, 10) == [CAME_BEFORE, TOO_EARLY, TOO_EARLY]
    assert give(course, 3, 9, 10) == [CAME_BEFORE, NEW, NEW]


def test_another_ledger_may_hide_a_hole() -> None:
    course = began(1)
    for _ in range(2):
        assert give(course, 0, ledger=8) == [TOO_EARLY]
    assert give(course, 0, 1, ledger=8) == [NEW, NEW]


def test_a_platform_that_counts_from_the_start_again_begins_anew() -> None:
    course = began(5, 6)
    assert give(course, 5, 6, published_at_ms=1) == [CAME_BEFORE] * 2
    for _ in range(2):
        assert give(course, 5, 6, published_at_ms=2) == [TOO_EARLY] * 2, "it may have begun too late"
    assert give(course, 5, 6, 7, published_at_ms=2) == [NEW] * 3
    assert give(course, 3, 4, ledger=1, published_at_ms=3) == [TOO_EARLY] * 2
    for _ in range(2):
        assert give(course, 0, 1, 2, 3, ledger=1, published_at_ms=3) == [TOO_EARLY] * 4
    assert give(course, 0, 1, 2, 3, 4, ledger=1, published_at_ms=3) == [NEW] * 5
    assert give(course, 7, ledger=1, published_at_ms=4) == [TOO_EARLY], "its holes are seen"


def test_what_was_passed_over_for_good_may_still_come_if_it_is_not_younger() -> None:
    course = began(1)
    for _ in range(2):
        assert give(course, 5, published_at_ms=9) == [TOO_EARLY]
    assert give(course, 5, 6, published_at_ms=9) == [NEW] * 2
    assert give(course, 3, published_at_ms=9) == [NEW]
    assert give(course, 7, published_at_ms=9) == [NEW], "what came is still known"


def test_an_old_hole_that_is_filled_by_a_clock_ahead_costs_a_question_and_loses_nothing() -> None:
    course = began(1)
    for _ in range(2):
        assert give(course, 5) == [TOO_EARLY]
    assert give(course, 5, 6) == [NEW] * 2
    for _ in range(2):
        assert give(course, 3, 5, 6, published_at_ms=2) == [TOO_EARLY] * 3
    assert give(course, 3, published_at_ms=2) == [NEW]
    assert give(course, 5, 6) == [TOO_EARLY] * 2
    assert give(course, 3, published_at_ms=2) == [CAME_BEFORE]
    assert give(course, 5, 6, 7) == [TOO_EARLY] * 3
    assert give(course, 5, 6, 7) == [NEW] * 3


def test_many_holes_are_not_remembered_for_ever() -> None:
    course = began(0)
    for entry in range(10, 300, 10):
        for _ in range(3):
            give(course, entry)
    assert give(course, 290) == [CAME_BEFORE]
    assert give(course, 0) == [NEW], (
        "it came before, and is worked on again: the place in the record is the same"
    )


def test_what_came_before_and_waited_in_the_clients_queue_is_no_proof_that_the_gateway_went_back() -> None:
    course = began(1, 2, 3)
    assert give(course, 6, 7) == [TOO_EARLY] * 2
    assert give(course, 2, 3, 8) == [CAME_BEFORE] * 2 + [TOO_EARLY]
    assert give(course, 4, 5, 6) == [NEW] * 3, "they were only late"
