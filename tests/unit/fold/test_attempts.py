"""R3, R4, R19: what opens an attempt, the order inside it, and what rest statuses do."""

from __future__ import annotations

from uuid import UUID, uuid5

import pytest

from bridge.fold.channel import attempt_id
from bridge.fold.policy import Policy
from schemas import Package
from tests.unit.fold.story import Story, ms, upgrading

TWICE_S = Policy().twice_apart_s


# What R3 promises on opening.


@pytest.mark.parametrize("status", ["pending", "downloading", "installing"])
def test_a_pushed_status_opens_an_attempt_when_none_is_open(status: str) -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")

    story.push(100, status)

    attempt = story.channel().attempt
    assert (story.status, attempt.number, attempt.from_version) == (status, 1, "1.0")
    assert attempt.started_at_ms == ms(100)


def test_a_claim_opens_an_attempt_when_none_is_open() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")

    story.claim(100, "succeeded")

    assert (story.status, story.channel().claimed) == ("verifying", "succeeded")
    assert len(story.events) == 2


def test_opening_without_both_versions_makes_a_lookup_due_after_earlier_answers_would_be_stale() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.run_timers(20)
    story.answered(20)

    story.push(100, "installing")

    assert (story.due_in_s, story.known.book.due_cause) == (103.5, "new_attempt")


@pytest.mark.parametrize("number", range(1, 50))
def test_the_attempt_id_is_a_uuid_of_version_5(number: int) -> None:
    namespace = UUID("5f0e3c1e-6d0b-5d0c-9a39-0f3b2f0b8a51")
    assert attempt_id("dev\u00e9", "0", number) == str(uuid5(namespace, f"dev\u00e9/0/{number}"))


def test_the_attempt_id_is_the_same_for_the_same_device_channel_and_number() -> None:
    first, again, other = upgrading(), upgrading(), Story(device_id="d2")
    other.push(100, "installing")

    assert first.channel().attempt.attempt_id == again.channel().attempt.attempt_id
    assert first.channel().attempt.attempt_id != other.channel().attempt.attempt_id


def test_an_answer_with_another_target_ends_the_attempt_and_opens_the_next() -> None:
    story = upgrading(target="1.1")

    story.answer(150, "installing", now="1.0", offer="1.2")

    assert story.statuses[-2:] == ["cancelled", "installing"]
    assert story.events[-2][1].reason.code == "withdrawn"
    assert not story.events[-2][1].confirmed
    assert (story.channel().attempt.number, story.channel().attempt.target_version) == (2, "1.2")


def test_a_replaced_attempt_with_a_claim_ends_with_its_claim() -> None:
    story = upgrading(target="1.1")
    story.claim(120, "failed")

    story.answer(190, "downloading", now="1.0", offer="1.2")

    assert story.statuses[-2:] == ["failed", "downloading"]


def test_an_answer_with_another_task_opens_the_next_attempt() -> None:
    story = Story()
    story.answer(0, "installing", now="1.0", offer="1.1", task_id="t1")

    story.answer(100, "pending", now="1.0", offer="1.1", task_id="t2")

    assert (story.status, story.channel().attempt.number, story.channel().attempt.task_id) == (
        "pending",
        2,
        "t2",
    )


def test_after_a_terminal_status_a_push_clearly_later_opens_the_next_attempt() -> None:
    story = upgrading()
    story.answer(150, "failed", now="1.0")

    story.push(155, "pending")

    assert (story.status, story.channel().attempt.number) == ("pending", 2)


def test_after_a_terminal_status_a_push_too_soon_is_only_a_hint() -> None:
    story = upgrading()
    story.answer(150, "failed", now="1.0")

    folded = story.push(154, "installing")

    assert "too_early_to_open" in folded.counts
    assert (story.status, story.channel().attempt.number) == ("failed", 1)


def test_a_late_claim_equal_to_the_shown_outcome_opens_nothing() -> None:
    story = upgrading()
    story.answer(150, "succeeded", now="1.1")

    story.claim(200, "succeeded")

    assert (story.status, story.channel().attempt.number) == ("succeeded", 1)


def test_a_claim_equal_to_the_shown_outcome_long_after_it_opens_the_next_attempt() -> None:
    story = upgrading()
    story.answer(150, "succeeded", now="1.1")

    story.claim(215, "succeeded")

    assert (story.status, story.channel().attempt.number) == ("verifying", 2)


def test_after_a_terminal_status_an_active_answer_opens_only_when_seen_twice() -> None:
    story = upgrading(target=None)
    story.answer(150, "failed", now="1.0")

    story.answer(200, "installing", now="1.0")
    after_one = story.status
    story.answer(200 + TWICE_S, "installing", now="1.0")

    assert (after_one, story.status, story.channel().attempt.number) == ("failed", "installing", 2)


def test_after_a_terminal_status_an_active_answer_with_another_target_opens_at_once() -> None:
    story = upgrading(target="1.1")
    story.answer(150, "failed", now="1.0")

    story.answer(200, "installing", now="1.0", offer="1.2")

    assert story.channel().attempt.number == 2


def test_two_answers_too_close_together_are_not_twice() -> None:
    story = upgrading(target=None)
    story.answer(150, "failed", now="1.0")

    story.answer(200, "installing", now="1.0")
    story.answer(200 + TWICE_S - 1, "installing", now="1.0")

    assert story.status == "failed"


def test_something_else_between_makes_the_first_of_two_count_no_more() -> None:
    story = upgrading(target=None)
    story.answer(150, "failed", now="1.0")

    story.answer(200, "installing", now="1.0")
    story.answer(230, "failed", now="1.0")
    story.answer(270, "installing", now="1.0")

    assert story.status == "failed"


@pytest.mark.parametrize("status", ["idle", "available", "succeeded", "failed", "timed_out"])
def test_first_knowledge_by_a_rest_or_terminal_answer_is_a_baseline_without_an_attempt(status: str) -> None:
    story = Story()

    story.answer(0, status, now="1.0", offer="1.1")

    assert story.types == ["baseline"]
    assert (story.status, story.channel().attempt, story.channel().confirmed) == (status, None, True)


def test_the_first_known_status_of_a_channel_known_by_versions_alone_is_no_attempt() -> None:
    story = Story()
    story.answer(0, None, now="1.0", vendor_status="100")

    story.answer(100, "failed", now="1.0")

    assert (story.status, story.channel().attempt, story.channel().outcome) == ("failed", None, "failed")


def test_first_knowledge_by_an_active_answer_opens_an_attempt() -> None:
    story = Story()

    story.answer(0, "installing", now="1.0", offer="1.1")

    assert story.types == ["status_changed"]
    assert story.channel().attempt.target_version == "1.1"


def test_a_missing_target_is_filled_only_by_an_answer_in_a_pending_or_active_status() -> None:
    story = upgrading(target=None)

    story.answer(110, "available", now="1.0", offer="9.9")
    after_rest = story.channel().attempt.target_version
    story.answer(120, "installing", now="1.0", offer="1.1")

    assert (after_rest, story.channel().attempt.target_version) == (None, "1.1")


def test_from_version_is_replaced_by_a_pending_answer_also_where_no_target_is_known() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.push(100, "pending")

    story.answer(110, "pending", now="1.1")

    assert story.channel().attempt.from_version == "1.1"


def test_without_a_target_an_active_answer_does_not_replace_from_version() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.push(100, "installing")

    story.answer(110, "installing", now="1.1")

    assert story.channel().attempt.from_version == "1.0"


def test_without_a_target_two_answers_from_the_download_correct_from_version() -> None:
    story = Story()
    story.answer(0, "idle", now="1.1")  # the cloud was wrong for a while
    story.push(100, "downloading")

    story.answer(110, "downloading", now="1.0")
    assert story.channel().attempt.from_version == "1.1", "one answer may be an old one"
    story.answer(200, "downloading", now="1.0")
    assert story.channel().attempt.from_version == "1.0"

    story.claim(300, "succeeded")
    story.online(305)
    story.answer(310, "succeeded", now="1.1")
    assert (story.status, story.channel().confirmed) == ("succeeded", True)


def test_what_runs_twice_before_any_claim_makes_the_version_taken_for_the_old_one_deny_nothing() -> None:
    story = Story()
    story.answer(0, "idle", now="1.1")  # the cloud was wrong for a while
    story.push(100, "installing")
    for at_s in (110, 200):
        story.answer(at_s, "installing", now="1.0")
    assert story.channel().attempt.from_version == "1.1"

    story.claim(300, "succeeded")
    story.online(305)
    story.answer(310, "succeeded", now="1.1")
    assert (story.status, story.channel().confirmed) == ("succeeded", True)


def doubted() -> Story:
    """An attempt from 1.0, while 1.5 ran twice before any claim."""
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.push(100, "installing")
    for at_s in (110, 180):
        story.answer(at_s, "installing", now="1.5")
    return story


def claimed_in_vain(story: Story, *, running: str) -> tuple[str, str | None]:
    """Claim a success at 300 s after which, past a reboot, this version goes on running."""
    story.claim(300, "succeeded")
    story.online(320)
    for at_s in (310, 340, 400, 600, 800, 1000):
        story.run_timers(at_s)
        story.answer(at_s, "idle", now=running)
        story.answered(at_s)
    story.run_timers(3000)
    reason = story.channel().reason
    return story.status, None if reason is None else reason.code


def test_a_doubted_version_that_still_runs_makes_no_mismatch() -> None:
    assert claimed_in_vain(doubted(), running="1.0") == ("succeeded", None)


def test_the_doubt_ends_with_a_from_version_that_an_answer_tells_for_certain() -> None:
    story = doubted()
    story.answer(250, "installing", now="1.5", offer="2.0")
    assert claimed_in_vain(story, running="1.5") == ("failed", "version_mismatch")


def test_the_doubt_ends_with_its_attempt() -> None:
    story = doubted()
    story.claim(190, "failed")
    story.answer(260, "failed", now="1.0")
    story.push(280, "installing")
    assert claimed_in_vain(story, running="1.0") == ("failed", "version_mismatch")


def test_what_runs_after_a_claim_raises_no_doubt() -> None:
    story = Story(Policy(jitter_s=0.0, twice_apart_s=5.0))
    story.answer(0, "idle", now="1.0")
    story.push(100, "installing")
    story.claim(290, "succeeded")
    for at_s in (293, 299):
        story.answer(at_s, "installing", now="1.5")
    assert claimed_in_vain(story, running="1.0") == ("failed", "version_mismatch")


def test_a_doubt_is_raised_once() -> None:
    story = doubted()
    story.answered(180)
    story.answer(250, "installing", now="1.5")
    assert story.known.book.channels[0].seen is None, "no second answer is waited for"


def test_after_a_claim_answers_from_the_download_correct_nothing() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.claim(100, "succeeded")

    for at_s in (110, 200):
        story.answer(at_s, "downloading", now="1.1")

    assert story.channel().attempt.from_version == "1.0"


def test_from_version_is_replaced_by_an_active_answer_with_another_version_than_the_target() -> None:
    story = upgrading(target="1.1")

    story.answer(120, "installing", now="1.0.5", offer="1.1")
    story.answer(130, "installing", now="1.1", offer="1.1")

    assert story.channel().attempt.from_version == "1.0.5"


def test_after_an_adopted_success_the_next_attempt_starts_from_the_earlier_target() -> None:
    story = upgrading(target="1.1")
    story.claim(120, "succeeded")
    story.push(130, "installing")

    assert story.channel().attempt.number == 2
    assert story.channel().attempt.from_version == "1.1"


def test_an_outcome_nobody_announced_opens_and_closes_an_attempt_in_one_event() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")

    story.answer(100, "succeeded", now="1.1")

    attempt = story.channel().attempt
    assert story.types == ["baseline", "status_changed"]
    assert (story.status, story.channel().confirmed) == ("succeeded", True)
    assert (attempt.number, attempt.from_version, attempt.target_version) == (1, "1.0", "1.1")
    assert attempt.finished_at_ms == ms(100)


def test_another_outcome_after_a_confirmed_one_counts_only_when_seen_twice() -> None:
    story = upgrading()
    story.answer(150, "failed", now="1.0")

    story.answer(300, "timed_out", now="1.0")
    after_one = story.status
    story.answer(300 + TWICE_S, "timed_out", now="1.0")

    assert (after_one, story.status, story.channel().attempt.number) == ("failed", "timed_out", 2)


def test_a_success_told_again_after_one_answer_from_before_it_is_no_new_attempt() -> None:
    story = Story()
    story.answer(0, "available", now="1.0.1", offer="1.0.2")
    story.push(100, "installing")
    story.answer(110, "installing", now="1.0.1", offer="1.0.3")
    story.claim(120, "succeeded")
    story.answer(124, "succeeded", now="1.0.3", offer="1.0.3")

    story.answer(300, "available", now="1.0.1", offer="1.0.2")
    story.answer(400, "succeeded", now="1.0.3", offer="1.0.3")

    channel = story.channel()
    assert (story.status, channel.outcome, channel.confirmed) == ("succeeded", "succeeded", True)
    assert (channel.current_version, channel.available_version) == ("1.0.3", None)
    assert [event.attempt.number for _, event in story.events if event.attempt is not None] == [1] * 5


def test_an_outcome_told_again_after_the_next_version_was_offered_is_no_new_attempt() -> None:
    story = upgrading()
    story.answer(150, "succeeded", now="1.1")
    story.answer(200, "available", now="1.1", offer="1.2")

    story.answer(300, "succeeded", now="1.1")

    assert (story.status, story.channel().attempt.number) == ("available", 1)


# What R4 promises on order.


def test_a_status_only_rises() -> None:
    story = upgrading()

    story.push(110, "downloading")
    story.push(111, "pending")

    assert story.status == "installing"


def test_an_undivided_value_never_moves_among_active_statuses() -> None:
    story = Story()
    story.push(100, "downloading")

    story.push(101, "installing", undivided=True)
    story.answer(110, "installing", now="1.0", offer="1.1", undivided=True)

    assert story.status == "downloading"
    assert story.channel().confirmed


def test_an_undivided_value_raises_from_pending() -> None:
    story = Story()
    story.push(100, "pending")

    story.push(101, "installing", undivided=True)

    assert story.status == "installing"


def test_progress_never_falls_by_little() -> None:
    story = upgrading()
    story.progress(110, 50)

    story.progress(111, 31)

    assert (story.channel().attempt.progress, story.channel().attempt.retries) == (50, 0)


def test_a_pushed_fall_of_progress_is_a_retry_by_the_cloud() -> None:
    story = upgrading()
    story.progress(110, 50)

    story.progress(111, 30)

    assert (story.channel().attempt.progress, story.channel().attempt.retries) == (30, 1)
    assert story.types[-1] == "progressed"


def test_an_answered_fall_of_progress_is_no_retry() -> None:
    story = upgrading()
    story.progress(110, 80)

    story.answer(120, "installing", now="1.0", offer="1.1", progress=10)

    assert (story.channel().attempt.progress, story.channel().attempt.retries) == (80, 0)


def test_progress_of_100_is_not_success() -> None:
    story = upgrading()

    story.progress(110, 100)

    assert story.status == "installing"


def test_progress_with_no_open_attempt_is_a_hint() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.run_timers(10)
    story.answered(10)

    story.progress(100, 20)

    assert (story.status, story.due_in_s) == ("idle", 103.5)


def test_an_active_push_clearly_after_a_claim_adopts_it_and_opens_the_next_attempt() -> None:
    story = upgrading()
    story.claim(120, "failed", "low_battery")

    story.push(125, "pending")

    ended = story.events[-2][1]
    assert (ended.status, ended.confirmed, ended.reason.code) == ("failed", False, "low_battery")
    assert (story.status, story.channel().attempt.number) == ("pending", 2)


def test_an_active_push_soon_after_a_claim_changes_nothing() -> None:
    story = upgrading()
    story.claim(120, "succeeded")

    story.push(124, "installing")

    assert (story.status, story.channel().attempt.number) == ("verifying", 1)


# What R19 promises on rest statuses.


def test_a_pushed_rest_status_never_closes_an_attempt() -> None:
    story = upgrading()

    story.push(200, "idle")

    assert story.status == "installing"


def test_a_rest_answer_with_version_proof_is_success() -> None:
    story = upgrading(target="1.1")

    story.answer(150, "idle", now="1.1")

    assert (story.status, story.channel().confirmed) == ("succeeded", True)


def test_two_rest_answers_without_proof_cancel_the_attempt_unconfirmed() -> None:
    story = upgrading(target="1.1")

    story.answer(150, "idle", now="1.0")
    after_one = story.status
    story.answer(150 + TWICE_S, "idle", now="1.0")

    assert (after_one, story.status) == ("installing", "cancelled")
    assert (story.channel().confirmed, story.channel().reason.code) == (False, "withdrawn")


def test_two_rest_answers_with_a_moved_version_and_no_target_are_an_unconfirmed_success() -> None:
    story = upgrading(target=None)

    story.answer(150, "idle", now="1.1")
    story.answer(150 + TWICE_S, "idle", now="1.1")

    assert (story.status, story.channel().confirmed) == ("succeeded", False)


def test_two_rest_answers_with_versions_unknown_leave_the_status_unknown() -> None:
    story = Story()
    story.push(100, "installing")

    story.answer(150, "idle")
    story.answer(150 + TWICE_S, "idle")

    assert (story.status, story.channel().phase, story.channel().outcome) == ("unknown", "unknown", None)


def test_the_first_of_two_rest_answers_makes_a_lookup_due() -> None:
    story = upgrading(target="1.1")
    story.known.book.due_at_ms = None

    story.answer(150, "idle", now="1.0")

    assert story.due_in_s == 150 + TWICE_S


def test_while_pending_by_push_an_answered_available_is_pending() -> None:
    story = Story()
    story.answer(0, "available", now="1.0", offer="1.1")
    story.push(100, "pending")

    story.answer(150, "available", now="1.0", offer="1.1")
    story.answer(150 + TWICE_S, "available", now="1.0", offer="1.1")

    assert story.status == "pending"


def test_once_stalled_an_answered_available_withdraws_a_pending_attempt() -> None:
    story = Story(Policy(pending_stall_s=50, jitter_s=0))
    story.answer(0, "available", now="1.0", offer="1.1")
    story.push(100, "pending")
    story.wait(151)

    story.answer(160, "available", now="1.0", offer="1.1")
    story.answer(160 + TWICE_S, "available", now="1.0", offer="1.1")

    assert story.status == "cancelled"


@pytest.mark.parametrize("outcome", ["failed", "timed_out", "cancelled"])
def test_after_a_failure_a_rest_answer_changes_nothing(outcome: str) -> None:
    story = upgrading()
    story.answer(150, outcome, now="1.0")

    story.answer(300, "available", now="1.0", offer="1.2")
    story.answer(400, "idle", now="1.0")

    assert story.status == outcome


def test_after_a_success_available_shows_only_for_a_version_that_is_new() -> None:
    story = upgrading(target="1.1")
    story.answer(150, "succeeded", now="1.1")

    story.answer(200, "available", now="1.1", offer="1.1")
    story.answer(250, "idle", now="1.1")
    unchanged = story.status
    story.answer(300, "available", now="1.1", offer="1.2")

    assert unchanged == "succeeded"
    assert (story.status, story.channel().available_version) == ("available", "1.2")


def test_outside_an_attempt_rest_statuses_show_at_once() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")

    story.answer(100, "available", now="1.0", offer="1.1")
    offered = story.channel().available_version
    story.answer(200, "idle", now="1.0")

    assert (offered, story.channel().available_version) == ("1.1", None)
    assert story.statuses == ["idle", "available", "idle"]


USABLE, REJECTED = Package(id="p1", state="usable"), Package(id="p1", state="rejected")


def test_a_package_is_shown_with_its_attempt_and_is_no_status() -> None:
    story = upgrading()
    events = len(story.events)

    story.answer(110, "installing", now="1.0", offer="1.1", package=REJECTED)

    assert story.channel().attempt.package == REJECTED
    assert (story.status, len(story.events)) == ("installing", events)


def test_a_package_that_is_told_late_is_shown_with_the_attempt_that_is_over() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.answer(100, "installing", now="1.0", offer="1.1", task_id="t1")
    story.answer(160, "succeeded", now="1.1", task_id="t1")
    events = len(story.events)

    story.answer(200, "succeeded", now="1.1", task_id="t1", package=USABLE)

    assert (story.channel().attempt.package, story.channel().attempt.number) == (USABLE, 1)
    assert len(story.events) == events


def test_the_package_of_another_task_is_not_this_attempts() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.answer(100, "installing", now="1.0", offer="1.1", task_id="t1", package=USABLE)
    story.answer(160, "failed", now="1.0", task_id="t1")

    # Once is not enough for another outcome (R3): until then it is the first task's attempt that is shown.
    story.answer(200, "timed_out", now="1.0", task_id="t2", package=REJECTED)

    assert story.channel().attempt.package == USABLE
