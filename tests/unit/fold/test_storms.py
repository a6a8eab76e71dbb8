"""Found by the simulated storms (tests/chaos/histories): lost ends, and what the next attempt tells of them."""

from __future__ import annotations

from tests.unit.fold.story import Story, upgrading


def attempts(story: Story) -> int:
    attempt = story.channel().attempt
    return 0 if attempt is None else attempt.number


def rolled_back(story: Story, at_s: float) -> None:
    """The API tells a success whose version does not run, until the deadline is over."""
    for asked_s in (at_s, at_s + 300, at_s + 700):
        story.run_timers(asked_s - 1)
        story.answer(asked_s, "succeeded", now="1.0", offer="1.1")
        story.answered(asked_s)
    story.run_timers(at_s + 1000)


# R6.


def test_a_reboot_that_was_told_before_the_claim_it_follows_makes_a_version_mismatch() -> None:
    story = upgrading()
    story.online(210)
    story.claim(200, "succeeded", late_s=20)

    rolled_back(story, 230)

    assert (story.status, story.channel().reason.code) == ("failed", "version_mismatch")


def test_a_reboot_before_the_claimed_end_is_none_of_its_rollback() -> None:
    story = upgrading()
    story.online(190)
    story.claim(200, "succeeded")

    rolled_back(story, 230)

    assert (story.status, story.channel().confirmed) == ("succeeded", False)


# R3: an attempt whose end was lost, and the next.


def test_a_failure_claimed_where_the_version_proves_the_attempt_is_the_next_ones() -> None:
    story = upgrading()
    story.claim(300, "failed", "no_space")

    story.answer(305, "installing", now="1.1", offer="1.2")
    assert story.statuses[-2:] == ["succeeded", "verifying"]
    story.answer(310, "failed", now="1.1", offer="1.2")

    assert (story.status, attempts(story)) == ("failed", 2)
    assert story.channel().reason.code == "no_space"


def test_a_failure_answered_for_another_target_leaves_the_proof_to_the_attempt_before() -> None:
    story = upgrading()

    story.answer(300, "failed", now="1.1", offer="1.2")

    assert story.statuses[-2:] == ["succeeded", "failed"]
    assert attempts(story) == 2


def test_another_version_that_runs_as_named_ends_the_attempt_at_once() -> None:
    story = upgrading()

    story.answer(300, "succeeded", now="1.2", offer="1.2")

    assert story.statuses[-2:] == ["cancelled", "succeeded"]
    assert (story.channel().confirmed, attempts(story)) == (True, 2)


def test_a_pushed_status_that_does_not_rise_is_asked_about_once_the_api_can_show_it() -> None:
    story = upgrading()
    story.answered(104)
    story.known.book.due_at_ms = None

    story.push(400, "pending")
    assert story.due_in_s == 410

    story.answer(410, "pending", now="1.1", offer="1.2")
    assert story.statuses[-2:] == ["succeeded", "pending"]


def test_a_device_that_repeats_its_status_is_not_asked_about_each_time() -> None:
    story = upgrading()
    story.run_timers(390)
    story.answer(390, "installing", now="1.0", offer="1.1")
    story.answered(390)
    due_in_s = story.due_in_s

    for at_s in (400, 420, 440):
        story.push(at_s, "installing")

    assert story.due_in_s == due_in_s


def test_a_pushed_fall_of_progress_is_asked_about() -> None:
    story = upgrading()
    story.progress(300, 80)
    story.known.book.due_at_ms = None

    story.progress(400, 10)

    assert (story.channel().attempt.retries, story.due_in_s) == (1, 410)


def test_a_push_just_before_an_end_that_nobody_claimed_is_asked_about_again() -> None:
    story = upgrading()
    story.push(400, "pending")
    story.run_timers(412)

    story.answer(412, "succeeded", now="1.1")
    story.answered(412)

    assert (story.status, story.due_in_s) == ("succeeded", 472)


# R3, R4: what an old answer or a late push may not do.


def test_a_late_push_opens_nothing_where_a_later_answer_would_have_shown_its_attempt() -> None:
    story = upgrading()
    story.claim(200, "succeeded")
    story.answer(230, "idle", now="1.1")

    story.push(207, "installing", late_s=300)

    assert (story.status, attempts(story)) == ("succeeded", 1)


def test_an_answer_about_another_attempt_with_an_older_version_running_counts_only_twice() -> None:
    story = upgrading()
    story.claim(200, "succeeded")
    story.answer(230, "idle", now="1.1")

    story.answer(1000, "installing", now="1.0", offer="1.05")
    assert (story.status, attempts(story)) == ("succeeded", 1)
    story.answer(1061, "installing", now="1.0", offer="1.05")

    assert (story.status, attempts(story)) == ("installing", 2)


def test_an_older_answer_about_another_attempt_takes_no_claim_from_its_own() -> None:
    story = Story()
    story.answer(0, "idle", now="1.1")
    story.push(100, "installing")
    story.answer(104, "installing", now="1.1", offer="1.2")
    story.claim(200, "succeeded")

    story.answer(380, "installing", now="1.0", offer="1.1")

    assert (story.status, attempts(story)) == ("verifying", 1)


def test_a_version_offered_by_an_answer_that_shows_the_old_one_running_is_no_news() -> None:
    story = upgrading(target=None)
    story.claim(200, "succeeded")
    story.answer(230, "succeeded", now="1.1")

    story.answer(1000, "available", now="1.0", offer="1.1")
    story.answer(2000, "idle", now="1.1")

    assert story.status == "succeeded"


def test_the_next_attempt_does_not_start_from_a_version_that_only_an_old_answer_showed_again() -> None:
    story = upgrading()
    story.claim(200, "succeeded")
    story.answer(230, "succeeded", now="1.1")
    story.answer(1000, "available", now="1.0", offer="1.1")

    story.push(2000, "installing")
    story.answer(4000, "idle", now="1.1")
    story.answer(4061, "idle", now="1.1")

    assert (story.status, attempts(story)) == ("cancelled", 2)


def test_an_adopted_success_without_a_target_begat_the_version_that_runs_since() -> None:
    story = upgrading(target=None)
    story.claim(200, "succeeded")
    story.run_timers(2100)
    story.answer(2200, None, now="1.1")
    assert (story.status, story.channel().confirmed) == ("succeeded", False)

    story.push(3000, "installing")

    assert story.channel().attempt.from_version == "1.1"


def test_an_early_answer_fills_no_target_after_an_adopted_success_that_named_none() -> None:
    story = upgrading(target=None)
    story.claim(200, "succeeded")
    story.push(208, "installing")

    story.answer(213, "installing", now="1.0", offer="1.1")
    assert story.channel().attempt.target_version is None
    story.answer(230, "installing", now="1.1", offer="1.2")

    assert (story.channel().attempt.from_version, story.channel().attempt.target_version) == ("1.1", "1.2")


# R5, R19: outcomes that are told early, once or in part.


def test_a_young_attempts_failure_may_be_the_untold_end_of_the_one_that_was_withdrawn() -> None:
    story = upgrading()
    for at_s in (300, 361):
        story.answer(at_s, "available", now="1.0", offer="1.1")
    assert (story.status, story.channel().confirmed) == ("cancelled", False)
    story.push(1000, "installing")
    story.run_timers(1004)

    story.answer(1004, "failed", now="1.0")
    assert (story.status, story.due_in_s) == ("installing", 1060)

    story.answer(1060, "failed", now="1.0")
    assert (story.status, attempts(story)) == ("failed", 2)


def test_a_success_that_was_told_counts_where_its_version_runs_once_the_cloud_forgot_it() -> None:
    story = upgrading()
    story.answer(300, "succeeded", now="1.2")
    story.answer(361, "idle", now="1.2")

    assert (story.status, story.channel().confirmed) == ("succeeded", False)


def test_a_success_that_was_told_counts_for_nothing_where_the_old_version_runs() -> None:
    story = upgrading()
    story.answer(300, "succeeded", now="1.0")
    for at_s in (361, 422):
        story.answer(at_s, "idle", now="1.0")

    assert (story.status, story.channel().confirmed) == ("cancelled", False)


def test_a_success_beside_another_target_is_denied_where_the_version_before_is_only_assumed() -> None:
    story = upgrading(target="1.1")
    story.claim(200, "succeeded")
    story.push(220, "installing")

    story.answer(300, "succeeded", now="1.0", offer="1.1")

    assert (story.status, attempts(story)) == ("installing", 2)


def test_a_claim_too_early_to_open_an_attempt_is_that_of_the_attempt_an_answer_then_shows() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.answer(100, "succeeded", now="1.0")
    story.claim(102, "failed")
    assert (story.status, attempts(story)) == ("succeeded", 1)

    story.answer(106, "installing", now="1.0", offer="1.1")
    assert (story.status, story.channel().claimed) == ("verifying", "failed")
    story.answer(116, "failed", now="1.0")

    assert (story.status, attempts(story)) == ("failed", 2)


def test_a_claim_too_early_to_open_an_attempt_is_confirmed_by_one_answer() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.answer(100, "succeeded", now="1.0")
    story.claim(102, "failed")

    story.answer(110, "failed", now="1.0")

    assert (story.status, attempts(story), story.channel().confirmed) == ("failed", 2, True)


def test_the_target_of_the_last_attempt_is_news_where_another_version_runs() -> None:
    story = upgrading(target="1.2")
    story.claim(200, "succeeded")
    story.run_timers(2100)
    assert (story.status, story.channel().confirmed) == ("succeeded", False)

    story.answer(2200, "available", now="1.1", offer="1.2")

    assert (story.status, story.channel().available_version) == ("available", "1.2")


def test_a_success_that_never_named_its_target_is_told_apart_by_the_version_it_runs() -> None:
    story = upgrading(target=None)
    story.claim(200, "succeeded")
    story.answer(230, "succeeded", now="1.1")

    story.answer(1000, "installing", now="1.1", offer="1.2")

    assert (story.status, attempts(story)) == ("installing", 2)


def test_answers_that_show_it_running_long_after_a_claim_are_of_the_next_attempt() -> None:
    story = upgrading()
    story.claim(200, "succeeded")

    story.answer(230, "pending", now="1.0", offer="1.1")
    assert story.status == "verifying"
    story.answer(291, "installing", now="1.0", offer="1.1")

    assert story.statuses[-2:] == ["succeeded", "installing"]
    assert attempts(story) == 2


def test_an_answer_that_still_lags_the_claim_begins_nothing() -> None:
    story = upgrading()
    story.claim(200, "failed")

    story.answer(205, "installing", now="1.0", offer="1.1")
    story.answer(215, "installing", now="1.0", offer="1.1")

    assert (story.status, attempts(story)) == ("verifying", 1)


def test_a_claim_from_just_before_the_answer_that_opened_the_attempt_is_its_own() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.answer(100, "installing", now="1.0", offer="1.1")

    story.claim(96, "failed", late_s=60)

    assert (story.status, story.channel().claimed) == ("verifying", "failed")


def test_a_claim_from_before_the_push_that_opened_the_attempt_is_not_its_own() -> None:
    story = upgrading()

    story.claim(96, "failed", late_s=60)

    assert story.status == "installing"


def test_a_version_that_only_an_adopted_success_named_has_not_moved() -> None:
    story = upgrading()
    story.claim(200, "succeeded")
    story.push(220, "installing")
    assert story.channel().attempt.from_version == "1.1"

    for at_s in (300, 361):
        story.answer(at_s, "idle", now="1.0")

    assert (story.status, attempts(story)) == ("cancelled", 2)


def test_an_early_answer_about_the_next_attempt_does_not_take_its_claim_away() -> None:
    story = upgrading()
    story.claim(300, "failed")

    story.answer(301, "installing", now="1.1", offer="1.2")
    assert story.status == "verifying"
    story.answer(304, "installing", now="1.1", offer="1.2")

    assert (story.channel().claimed, attempts(story)) == ("failed", 2)


def test_an_available_that_is_pending_tells_the_version_before() -> None:
    story = Story()
    story.answer(0, "available", now="1.0", offer="1.1")
    story.push(1000, "pending")
    story.answer(1010, "available", now="1.1", offer="1.2")
    story.push(1020, "installing")

    for at_s in (2000, 2061):
        story.answer(at_s, "idle", now="1.1")

    assert (story.status, story.channel().attempt.from_version) == ("cancelled", "1.1")
