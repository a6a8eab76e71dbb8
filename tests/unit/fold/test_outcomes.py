"""R5, R6, R7, R13: how an attempt ends, who is believed, and when an end that was told is corrected."""

from __future__ import annotations

import pytest

from bridge.fold.policy import Policy
from tests.unit.fold.story import Story, upgrading

POLICY = Policy()
YOUNG_S = POLICY.early_answer_s


def claimed(outcome: str, *, target: str | None = "1.1", at_s: float = 200) -> Story:
    """An attempt from 1.0, opened at 100 s, with a claim at `at_s` and a lookup under way."""
    story = upgrading(target=target)
    story.claim(at_s, outcome)
    return story


def ok_answer(story: Story, at_s: float) -> None:
    """A lookup that is asked and answered without news."""
    story.run_timers(at_s)
    story.answered(at_s)


# What R5 promises on claims.


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "timed_out"])
def test_a_pushed_outcome_is_a_claim_that_waits_for_its_proof(outcome: str) -> None:
    story = claimed(outcome)

    assert (story.status, story.channel().claimed, story.channel().outcome) == ("verifying", outcome, None)
    assert not story.channel().confirmed


def test_lookups_follow_a_claim_ever_more_slowly() -> None:
    story = upgrading()
    story.run_timers(150)
    story.answered(150)
    story.claim(200, "succeeded")

    due = []
    for _ in range(7):
        due.append(story.due_in_s)
        story.run_timers(story.due_in_s)
        story.answered((story.known.book.lookup_expires_at_ms - 600_000) / 1000 - 1_700_000_000)

    assert due == [203.5, 210, 230, 260, 380, 620, 860]


def test_version_proof_settles_a_claim_of_success() -> None:
    story = claimed("succeeded")

    story.answer(210, "succeeded", now="1.1")

    assert (story.status, story.channel().confirmed, story.channel().claimed) == ("succeeded", True, None)


def test_version_proof_settles_even_a_claim_of_failure_as_success() -> None:
    story = claimed("failed")

    story.answer(210, "failed", now="1.1")

    assert (story.status, story.channel().confirmed) == ("succeeded", True)


@pytest.mark.parametrize("status", ["idle", "available", "succeeded"])
def test_without_a_target_a_moved_version_proves_a_claimed_success(status: str) -> None:
    story = claimed("succeeded", target=None)

    story.answer(210, status, now="1.1", offer="1.2" if status == "available" else None)

    assert (story.status, story.channel().confirmed) == ("succeeded", True)


def test_without_from_version_nothing_is_proof() -> None:
    story = Story()
    story.claim(200, "succeeded")

    story.answer(210, "idle", now="1.1")

    assert story.status == "verifying"


def test_a_definite_answer_settles_a_claim_of_failure_and_keeps_its_reason() -> None:
    story = upgrading()
    story.claim(200, "failed", "no_space")

    story.answer(210, "failed", now="1.0")

    assert (story.status, story.channel().confirmed) == ("failed", True)
    assert story.channel().reason.code == "no_space"


def test_an_answered_success_whose_versions_deny_it_does_not_settle_a_claim() -> None:
    story = claimed("succeeded")

    story.answer(300, "succeeded", now="1.0", offer="1.1")

    assert story.status == "verifying"


def test_an_answer_contrary_to_a_young_claim_settles_nothing_and_is_asked_again_soon() -> None:
    story = claimed("succeeded")
    story.known.book.due_at_ms = None

    story.answer(210, "failed", now="1.0")

    assert (story.status, story.due_in_s) == ("verifying", 215)


def test_an_answer_contrary_to_an_old_claim_settles_it() -> None:
    story = claimed("succeeded")

    story.answer(200 + YOUNG_S, "failed", now="1.0")

    assert (story.status, story.channel().confirmed) == ("failed", True)


def test_a_young_attempts_answer_equal_to_the_previous_outcome_settles_nothing() -> None:
    story = upgrading()
    story.answer(150, "failed", now="1.0")
    story.push(300, "installing")
    story.known.book.due_at_ms = None

    story.answer(310, "failed", now="1.0")

    assert (story.status, story.due_in_s) == ("installing", 300 + YOUNG_S)


def test_an_old_attempts_answer_equal_to_the_previous_outcome_settles_it() -> None:
    story = upgrading()
    story.answer(150, "failed", now="1.0")
    story.push(300, "installing")

    story.answer(300 + YOUNG_S, "failed", now="1.0")

    assert (story.status, story.channel().confirmed, story.channel().attempt.number) == ("failed", True, 2)


def test_a_second_different_claim_replaces_the_first() -> None:
    story = claimed("succeeded")

    story.claim(203, "failed")

    assert story.channel().claimed == "failed"


def test_a_second_different_claim_that_is_older_does_not() -> None:
    story = claimed("succeeded")

    story.claim(199, "failed")

    assert story.channel().claimed == "succeeded"


def test_a_failure_claim_is_adopted_a_minute_after_the_first_answer_that_followed_it() -> None:
    story = claimed("failed")
    ok_answer(story, 250)
    story.wait(250 + POLICY.failure_deadline_s - 1)
    before = story.status

    story.wait(250 + POLICY.failure_deadline_s)

    assert (before, story.status, story.channel().confirmed) == ("verifying", "failed", False)
    assert story.last_event.evidence.name == "claim_deadline"


def test_a_success_claim_is_adopted_ten_minutes_after_the_first_answer_that_followed_it() -> None:
    story = claimed("succeeded", target=None)
    ok_answer(story, 250)
    story.wait(250 + POLICY.failure_deadline_s)
    before = story.status

    story.wait(250 + POLICY.success_deadline_s)

    assert (before, story.status, story.channel().confirmed) == ("verifying", "succeeded", False)


def test_without_any_answer_a_claim_is_adopted_after_half_an_hour() -> None:
    story = claimed("failed")
    story.wait(200 + POLICY.claim_deadline_s - 1)
    before = story.status

    story.wait(200 + POLICY.claim_deadline_s)

    assert (before, story.status) == ("verifying", "failed")


def test_an_adopted_outcome_is_looked_up_on() -> None:
    story = claimed("failed")
    ok_answer(story, 250)
    story.run_timers(2000)

    assert story.status == "failed"
    assert story.known.book.lookup_id is not None or story.due_in_s is not None


def test_where_the_cloud_cannot_be_asked_a_claim_is_adopted_at_once() -> None:
    story = Story(Policy(accounts_without_api=("home",)))
    story.push(100, "installing")

    story.claim(200, "succeeded")

    assert (story.status, story.channel().confirmed) == ("succeeded", False)
    assert story.lookups == []
    assert story.due_in_s is None


@pytest.mark.parametrize("status", ["failed", "timed_out", "cancelled"])
def test_without_a_claim_an_answered_failure_is_definite_by_itself(status: str) -> None:
    story = upgrading()

    story.answer(200, status, now="1.0")

    assert (story.status, story.channel().confirmed) == (status, True)


def test_an_answered_success_without_versions_is_definite() -> None:
    story = Story()
    story.push(100, "installing")

    story.answer(200, "succeeded")

    assert (story.status, story.channel().confirmed) == ("succeeded", True)


def test_an_unclaimed_success_with_another_version_than_both_is_taken_unconfirmed_when_seen_twice() -> None:
    story = upgrading(target="1.1")

    story.answer(200, "succeeded", now="1.0.9")
    after_one = story.status
    story.answer(260, "succeeded", now="1.0.9")

    assert (after_one, story.status, story.channel().confirmed) == ("installing", "succeeded", False)


def test_an_unclaimed_success_that_never_moved_fails_when_seen_ten_minutes_apart() -> None:
    story = upgrading(target="1.1")

    story.answer(200, "succeeded", now="1.0")
    story.answer(200 + POLICY.mismatch_apart_s - 1, "succeeded", now="1.0")
    before = story.status
    story.answer(200 + POLICY.mismatch_apart_s, "succeeded", now="1.0")

    assert (before, story.status) == ("installing", "failed")
    assert (story.channel().confirmed, story.channel().reason.code) == (False, "version_mismatch")


def test_while_verifying_a_rest_answer_without_proof_decides_nothing() -> None:
    story = claimed("succeeded")

    story.answer(300, "idle", now="1.0")
    story.answer(400, "idle", now="1.0")

    assert story.status == "verifying"


# What R6 promises on versions that deny a claim.


def test_a_claim_of_success_with_the_old_version_still_running_after_a_reboot_fails() -> None:
    story = claimed("succeeded")
    story.online(210)
    story.answer(250, "succeeded", now="1.0", offer="1.1")
    ok_answer(story, 250)

    story.wait(250 + POLICY.success_deadline_s)

    assert (story.status, story.channel().confirmed) == ("failed", False)
    assert story.channel().reason.code == "version_mismatch"


def test_without_an_online_push_after_the_claim_it_is_adopted_instead() -> None:
    story = claimed("succeeded")
    story.online(190)
    story.answer(250, "succeeded", now="1.0", offer="1.1")
    ok_answer(story, 250)

    story.wait(250 + POLICY.success_deadline_s)

    assert (story.status, story.channel().confirmed) == ("succeeded", False)


def test_without_an_answer_after_the_claim_it_is_adopted_instead() -> None:
    story = claimed("succeeded")
    story.online(210)

    story.wait(200 + POLICY.claim_deadline_s)

    assert (story.status, story.channel().confirmed) == ("succeeded", False)


def test_an_answer_after_the_claim_that_tells_no_version_denies_nothing() -> None:
    story = claimed("succeeded")
    story.online(210)
    story.answer(250, "idle")
    ok_answer(story, 250)

    story.wait(250 + POLICY.success_deadline_s)

    assert (story.status, story.channel().confirmed) == ("succeeded", False)


# What R7 promises on outcomes that were told.


@pytest.mark.parametrize("outcome", ["failed", "timed_out", "cancelled"])
def test_version_proof_corrects_a_failure_into_the_success_that_it_was(outcome: str) -> None:
    story = upgrading()
    story.answer(200, outcome, now="1.0")

    story.answer(300, "idle", now="1.1")

    assert (story.status, story.last_event.correction, story.last_event.confirmed) == (
        "succeeded",
        True,
        True,
    )
    assert story.channel().attempt.number == 1


def test_a_confirmed_outcome_replaces_an_unconfirmed_one() -> None:
    story = claimed("failed")
    story.wait(200 + POLICY.claim_deadline_s)

    story.answer(2100, "timed_out", now="1.0")

    assert (story.status, story.channel().confirmed) == ("timed_out", True)
    assert story.last_event.correction
    assert story.channel().attempt.number == 1


def test_the_same_outcome_confirmed_later_is_told_and_is_no_correction() -> None:
    story = claimed("failed")
    story.wait(200 + POLICY.claim_deadline_s)

    story.answer(2100, "failed", now="1.0")

    assert (story.status, story.channel().confirmed) == ("failed", True)
    assert (story.last_event.confirmed, story.last_event.correction) == (True, False)


def succeeded_then(*, claim_at_s: float = 300) -> Story:
    """A success without a target, to 1.1, and later a claim of failure of which nothing else had told."""
    story = claimed("succeeded", target=None)
    story.answer(220, "succeeded", now="1.1")
    story.claim(claim_at_s, "failed")
    return story


def told_success(story: Story, *, now: str = "1.1") -> tuple[str, bool]:
    """What is shown after the API has told a success for an hour, with a version that never moved."""
    for at_s in (400, 900, 1001, 2000, 4000):
        story.answer(at_s, "succeeded", now=now)
    return story.status, story.channel().confirmed


def denied(story: Story) -> tuple[str, bool]:
    """What is shown after the API has told the success before it for an hour, with a version that never moved."""
    ok_answer(story, 320)
    story.run_timers(400)
    assert (story.status, story.channel().confirmed) == ("failed", False)
    return told_success(story)


def test_an_attempt_that_nothing_but_a_claim_told_of_is_denied_by_the_outcome_before_it_seen_twice() -> None:
    story = succeeded_then()
    ok_answer(story, 304)
    story.run_timers(370)
    assert (story.status, story.channel().confirmed) == ("failed", False)
    story.answer(400, "succeeded", now="1.1")
    story.answer(900, "succeeded", now="1.1")
    assert story.status == "failed"

    story.answer(1001, "succeeded", now="1.1")
    assert (story.status, story.channel().confirmed, story.last_event.correction) == ("succeeded", True, True)
    attempt = story.channel().attempt
    assert attempt is not None
    assert attempt.from_version == story.channel().current_version


def test_a_push_of_its_beginning_that_comes_after_its_claim_makes_a_failure_more_than_a_claim() -> None:
    story = succeeded_then()
    story.push(301, "installing")
    assert denied(story) == ("failed", False)


def test_progress_makes_a_failure_more_than_a_claim() -> None:
    story = succeeded_then()
    story.progress(301, 90)
    assert denied(story) == ("failed", False)


def test_an_answer_that_showed_it_running_makes_a_failure_more_than_a_claim() -> None:
    story = succeeded_then()
    story.answer(304, "installing", now="1.1", offer="3.0")
    assert denied(story) == ("failed", False)


def test_a_second_claim_makes_a_failure_more_than_a_claim() -> None:
    story = succeeded_then()
    story.claim(310, "timed_out")
    ok_answer(story, 320)
    story.run_timers(400)
    assert told_success(story) == ("timed_out", False)


def test_a_claim_alone_that_an_answer_confirmed_stays() -> None:
    story = succeeded_then()
    story.answer(365, "failed", now="1.1")
    assert told_success(story) == ("failed", True)


def test_an_attempt_after_one_that_nothing_but_a_claim_told_of_is_another() -> None:
    story = succeeded_then()
    assert denied(story) == ("succeeded", True)
    story.push(5000, "installing")
    story.claim(5010, "failed")
    story.run_timers(7000)
    for at_s in (7000, 7700, 8400):
        story.answer(at_s, "succeeded", now="1.1")
    assert (story.status, story.channel().confirmed) == ("failed", False)


def test_a_failure_after_another_outcome_than_the_one_told_stays() -> None:
    story = claimed("failed", target=None)
    story.answer(265, "failed", now="1.0")
    story.claim(300, "timed_out")
    ok_answer(story, 320)
    story.run_timers(400)
    assert told_success(story, now="1.0") == ("timed_out", False)


def test_a_confirmed_outcome_is_not_replaced_by_a_claim() -> None:
    story = upgrading()
    story.answer(200, "failed", now="1.0")

    story.claim(203, "succeeded")

    assert story.status == "failed"


def test_a_confirmed_outcome_told_again_changes_nothing_that_is_published() -> None:
    story = upgrading()
    story.answer(200, "failed", now="1.0")
    count = len(story.events)

    story.answer(300, "failed", now="1.0")
    story.answer(400, "failed", now="1.0")

    assert len(story.events) == count


def test_a_claim_repeated_soon_after_it_was_adopted_opens_nothing() -> None:
    story = claimed("failed")
    ok_answer(story, 206)
    story.wait(206 + POLICY.failure_deadline_s)

    story.claim(290, "failed")

    assert (story.status, story.channel().attempt.number) == ("failed", 1)


def test_an_attempt_finishes_once_however_often_its_end_is_confirmed() -> None:
    story = claimed("failed")
    story.wait(200 + POLICY.claim_deadline_s)
    finished = story.channel().attempt.finished_at_ms

    story.answer(5000, "failed", now="1.0")

    assert story.channel().confirmed
    assert story.channel().attempt.finished_at_ms == finished


# What R13 promises on versions without an attempt.


def test_a_version_that_changes_without_an_attempt_is_told() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")

    story.answer(100, "idle", now="1.1")

    assert story.types == ["baseline", "version_changed"]
    assert story.last_event.current_version == "1.1"


def test_a_version_that_is_first_known_is_no_change() -> None:
    story = Story()
    story.answer(0, "idle")

    story.answer(100, "idle", now="1.0")

    assert story.types == ["baseline"]


def test_a_claim_of_failure_stands_against_a_success_that_denies_itself_where_nothing_ran_before() -> None:
    """What runs may be the old version, or a third one: the same is told of both, so this cannot be known."""
    story = Story()
    story.push(100, "pending")
    story.claim(200, "failed")
    story.online(205)
    for at_s in (210, 300, 2000):
        story.run_timers(at_s)
        story.answer(at_s, "succeeded", now="1.2", offer="1.1")
    story.run_timers(8000)

    assert (story.status, story.channel().confirmed) == ("failed", False)
