"""Found by the simulated histories (tests/chaos/histories): clouds that keep, repeat or lag their own word."""

from __future__ import annotations

from tests.unit.fold.story import Story, upgrading


def test_a_success_that_its_version_denies_opens_no_attempt_after_a_version_mismatch() -> None:
    story = upgrading()
    story.claim(200, "succeeded")
    story.online(210)
    story.run_timers(214)
    story.answer(215, "succeeded", now="1.0", offer="1.1")
    story.answered(215)
    story.run_timers(900)
    assert (story.status, story.channel().reason.code) == ("failed", "version_mismatch")

    for at_s in (1000, 1070, 1140, 90_000):
        story.answer(at_s, "succeeded", now="1.0", offer="1.1")

    assert story.status == "failed"
    assert story.known.state.channels[0].attempt.number == 1


def test_the_last_success_told_late_with_its_old_version_is_no_proof_of_the_next() -> None:
    story = upgrading()
    story.claim(200, "succeeded")
    story.push(208, "installing")
    assert story.channel().attempt.from_version == "1.1"

    story.answer(212, "succeeded", now="1.0")
    assert story.status == "installing"

    story.answer(220, "installing", now="1.1", offer="1.2")
    story.claim(300, "succeeded")
    story.answer(305, "succeeded", now="1.2")
    attempts = [event.attempt.number for _, event in story.events if event.attempt is not None]
    assert (story.status, max(attempts)) == ("succeeded", 2)


def test_a_success_still_shows_at_once_where_the_last_outcome_was_another() -> None:
    story = Story()
    story.answer(0, "failed", now="1.0")
    story.push(100, "installing")
    story.answer(110, "succeeded", now="1.1")

    assert (story.status, story.channel().confirmed) == ("succeeded", True)


def test_a_push_that_clearly_follows_the_claim_opens_the_next_attempt_whatever_was_answered_since() -> None:
    story = upgrading()
    story.claim(200, "succeeded")
    story.answer(212, "available", now="1.1", offer="1.2")
    assert story.status == "succeeded"

    # Sent 10 s after the claim, in the same clock; asked at "212" by a clock that is known less well.
    story.push(210, "pending")

    assert (story.status, story.channel().attempt.number) == ("pending", 2)


def test_a_push_that_hardly_follows_the_claim_opens_nothing() -> None:
    story = upgrading()
    story.claim(200, "succeeded")
    story.answer(206, "succeeded", now="1.1")

    story.push(203, "installing")

    assert (story.status, story.channel().attempt.number) == ("succeeded", 1)


def test_an_answer_that_precedes_the_next_attempts_push_does_not_hold_the_claim_open() -> None:
    story = upgrading()
    story.claim(200, "failed")
    story.answer(209, "installing", now="1.0", offer="1.1")

    story.push(208, "pending")

    assert story.statuses[-2:] == ["failed", "pending"]


def test_an_old_answer_does_not_take_a_young_claim_from_its_attempt() -> None:
    story = upgrading(target="1.1")
    story.claim(200, "timed_out")

    story.answer(205, "installing", now="1.0", offer="1.2")
    story.answer(215, "timed_out", now="1.0")

    assert (story.status, story.channel().attempt.number) == ("timed_out", 1)


def test_an_attempt_after_an_adopted_success_takes_no_target_from_the_last_ones_lag() -> None:
    story = upgrading()
    story.claim(200, "succeeded")
    story.push(208, "installing")

    story.answer(212, "installing", now="1.0", offer="1.1")
    assert story.channel().attempt.target_version is None
    assert story.due_in_s is not None

    story.claim(300, "failed")
    story.answer(310, "failed", now="1.1")
    assert (story.status, story.channel().attempt.from_version) == ("failed", "1.1")


def test_a_success_beside_an_offer_is_not_an_unannounced_one() -> None:
    story = upgrading()
    story.claim(200, "succeeded")
    story.answer(210, "succeeded", now="1.1", offer="1.1")

    for at_s in (1000, 1070, 90_000):
        story.answer(at_s, "succeeded", now="1.1", offer="1.2")

    assert (story.status, story.channel().attempt.number) == ("succeeded", 1)


def test_an_answered_success_whose_own_target_does_not_run_is_a_mismatch_after_ten_minutes() -> None:
    story = upgrading(target=None)
    story.answer(300, "succeeded", now="1.0", offer="1.1")
    story.answer(400, "succeeded", now="1.0", offer="1.1")
    assert story.status == "installing"

    story.answer(901, "succeeded", now="1.0", offer="1.1")

    assert (story.status, story.channel().reason.code) == ("failed", "version_mismatch")


def test_a_failure_that_nobody_announced_is_told_where_the_last_success_still_runs() -> None:
    story = upgrading()
    story.claim(200, "succeeded")
    story.answer(210, "succeeded", now="1.1")

    story.answer(5000, "failed", now="1.1")
    story.answer(5061, "failed", now="1.1")

    assert (story.status, story.channel().attempt.number) == ("failed", 2)


def test_rest_answers_of_two_versions_are_not_the_same_word_twice() -> None:
    story = upgrading(target=None)
    story.answer(104, "available", now="1.0", offer="1.1")
    story.answer(165, "available", now="1.1", offer="1.2")
    assert story.status == "installing"

    story.claim(166, "succeeded")
    story.answer(170, "available", now="1.1", offer="1.2")

    assert (story.status, story.channel().attempt.number) == ("succeeded", 1)


def test_another_targets_success_that_does_not_run_takes_no_attempts_place() -> None:
    story = upgrading(target="1.1")
    story.claim(200, "succeeded")
    story.online(205)
    for at_s in (210, 280, 350):
        story.run_timers(at_s - 1)
        story.answer(at_s, "succeeded", now="1.0", offer="1.2")
        story.answered(at_s)
    story.run_timers(1000)

    assert (story.status, story.channel().attempt.number) == ("failed", 1)


def test_a_success_adopted_in_error_does_not_deny_the_one_that_installs_the_same_version() -> None:
    story = upgrading(target="1.1")
    story.claim(200, "succeeded")
    story.answer(204, "succeeded", now="1.0", offer="1.1")
    story.push(220, "installing")

    story.claim(260, "succeeded")
    story.answer(330, "succeeded", now="1.1", offer="1.1")

    assert (story.status, story.channel().confirmed, story.channel().attempt.number) == ("succeeded", True, 2)


def test_an_outcome_equal_to_the_last_and_to_the_claim_is_asked_for_at_the_claims_own_pace() -> None:
    story = upgrading(target=None)
    story.claim(120, "failed")
    story.answer(130, "failed", now="1.0")
    story.push(140, "installing")
    story.claim(150, "failed")
    story.run_timers(154)

    story.answer(154, "failed", now="1.0")
    story.answered(154)

    assert (story.status, story.due_in_s) == ("verifying", 160)
