"""R1, R2, R11, R20: which observations count at all."""

from __future__ import annotations

from schemas import Position
from tests.unit.fold.story import START_MS, Story, ms, upgrading


def position(entry: int, at_s: float, partition: str = "event/3") -> Position:
    return Position(partition=partition, ledger=1, entry=entry, batch_index=-1, publish_time_at_ms=ms(at_s))


def test_a_redelivered_push_changes_nothing() -> None:
    story = Story()
    story.push(10, "pending", position=position(5, 10))
    before = story.device

    folded = story.push(10, "pending", position=position(5, 10))

    assert folded.device is before
    assert folded.counts == ("duplicate",)


def test_redelivery_of_older_pushes_changes_nothing_and_never_opens_an_attempt() -> None:
    story = Story()
    story.push(10, "installing", position=position(5, 10))
    story.claim(20, "failed", position=position(6, 20))
    story.answer(30, "failed", now="1.0")
    settled = story.device

    story.push(10, "installing", position=position(5, 10))
    story.claim(20, "failed", position=position(6, 20))

    assert story.device is settled
    assert story.channel().attempt.number == 1


def test_a_position_of_another_source_partition_is_no_duplicate() -> None:
    story = Story()
    story.push(10, "pending", position=position(5, 10))

    story.push(20, "installing", position=position(2, 20, "event/4"))

    assert story.status == "installing"


def test_a_lower_position_published_later_than_all_is_applied_because_the_platform_was_rebuilt() -> None:
    story = Story()
    story.push(10, "pending", position=position(500, 10))

    folded = story.push(20, "installing", position=position(1, 20))

    assert "position_reset" in folded.counts
    assert story.status == "installing"


def test_publish_times_that_run_back_do_not_hide_a_later_redelivery() -> None:
    story = Story()
    story.push(10, "pending", position=position(1, 100))
    story.push(20, "downloading", position=position(2, 50))

    folded = story.push(20, "downloading", position=position(2, 50))

    assert folded.counts == ("duplicate",)


def test_an_answer_asked_before_the_last_one_contributes_nothing() -> None:
    story = Story()
    story.answer(100, "succeeded", now="2.0")

    folded = story.answer(50, "failed", now="1.0")

    assert folded.counts == ("stale_answer",)
    assert (story.status, story.channel().current_version) == ("succeeded", "2.0")


def test_an_answer_too_soon_after_a_pushed_status_tells_only_versions_and_is_asked_again() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.run_timers(10)
    story.answered(10)
    story.push(100, "installing")

    story.answer(101, "failed", now="1.0")

    assert story.status == "installing"
    assert story.channel().current_version == "1.0"
    assert story.due_in_s == 103.5


def test_each_stale_answer_in_a_row_doubles_the_wait() -> None:
    story = upgrading(target=None)
    story.known.book.due_at_ms = None
    story.answer(100.5, "idle", now="1.0")
    first = story.due_in_s
    story.known.book.due_at_ms = None
    story.answer(101, "idle", now="1.0")

    assert (first, story.due_in_s) == (104.0, 108.0)


def test_version_proof_with_a_known_target_settles_even_in_a_stale_answer() -> None:
    story = upgrading(target="1.1")
    story.push(120, "installing", undivided=True)
    story.claim(121, "succeeded")

    story.answer(122, "installing", now="1.1", offer="1.1")

    assert (story.status, story.channel().confirmed) == ("succeeded", True)


def test_a_push_before_the_last_answer_opens_nothing_and_is_a_hint() -> None:
    story = Story()
    story.answer(100, "idle", now="1.0")

    folded = story.push(70, "installing")

    assert "late_push" in folded.counts
    assert story.status == "idle"


def test_a_push_long_before_the_last_answer_is_not_even_a_hint() -> None:
    story = Story()
    story.answer(100, "idle", now="1.0")
    story.known.book.due_at_ms = None
    story.known.book.lookup_id = "d1/1"

    folded = story.push(30, "installing")

    assert folded.counts == ("stale_push",)
    assert story.due_in_s is None


def test_a_late_push_still_raises_and_claims_inside_its_attempt() -> None:
    story = upgrading()
    story.answer(130, "installing", now="1.0", offer="1.1")

    story.claim(125, "succeeded")

    assert story.status == "verifying"


def test_a_late_push_moves_no_terminal_status() -> None:
    story = upgrading()
    story.answer(200, "succeeded", now="1.1")

    story.claim(150, "failed")
    story.push(150, "installing")

    assert story.status == "succeeded"
    assert story.channel().attempt.number == 1


def test_a_push_of_an_earlier_attempt_neither_claims_nor_progresses_the_open_one() -> None:
    story = Story()
    story.answer(150, "idle", now="1.0")
    story.push(200, "downloading")

    story.claim(170, "failed", late_s=40)
    story.progress(171, 90, late_s=40)

    assert (story.status, story.channel().claimed) == ("downloading", None)
    assert story.channel().attempt.progress is None


def test_a_vendor_time_far_ahead_of_ours_does_not_make_what_follows_look_late() -> None:
    story = upgrading()
    year_s = 365 * 86400.0
    story.answer(120 + year_s, "installing", now="1.0", offer="1.1", observed_at_ms=ms(120))

    story.claim(1000, "succeeded")
    story.answer(1010, "succeeded", now="1.1")

    assert story.status == "succeeded"


def test_an_older_early_answer_does_not_turn_the_version_back() -> None:
    story = upgrading()
    story.answer(110, "installing", now="1.1.5", offer="1.1")
    story.push(112, "installing")

    story.answer(109, "installing", now="1.0")
    story.answer(111, "installing", now="1.1.6")

    assert story.channel().current_version == "1.1.6"


def test_an_answer_of_an_account_that_was_asked_by_mistake_is_no_conflict() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    before = story.known

    story.tell(10, kind="answer", outcome="not_found", lookup_id="typed", origin="lookup", account="office")

    assert story.known == before
    assert story.dead_letters == []
    assert story.counts.count("foreign_account") == 1


def test_another_accounts_observation_changes_nothing_and_is_reported_once_per_account() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    state = story.known.state

    story.tell(10, kind="status", status="installing", origin="push", account="office")
    story.tell(11, kind="status", status="installing", origin="push", account="shop")
    story.tell(12, kind="status", status="installing", origin="push", account="office")

    assert story.known.state == state
    assert story.dead_letters == ["id_conflict", "id_conflict"]
    assert story.counts.count("foreign_account") == 3


def test_an_observation_of_an_unknown_kind_changes_no_status() -> None:
    story = upgrading()

    folded = story.tell(110, kind="rumour", status="failed", origin="push")

    assert "unknown_kind" in folded.counts
    assert story.status == "installing"


def test_a_value_without_a_status_of_ours_changes_no_status_but_tells_versions() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")

    story.answer(100, None, now="1.0", vendor_status="99")

    assert story.status == "idle"
    assert story.channel().vendor_status == "99"


def test_a_missing_channel_is_the_devices_only_one() -> None:
    story = upgrading()

    story.progress(110, 30, channel=None)

    assert story.channel().attempt.progress == 30


def test_a_missing_channel_of_a_device_with_several_is_a_hint() -> None:
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.answer(0, "idle", now="2.0", channel="9")

    folded = story.push(100, "installing", channel=None)

    assert "channel_unknown" in folded.counts
    assert story.known.state.status == "idle"


def test_an_answer_about_an_unknown_device_does_not_make_it_known() -> None:
    story = Story()

    story.tell(0, kind="answer", outcome="ok", lookup_id="x", origin="lookup", channel=None)

    assert story.device is None


def test_the_first_revision_is_the_first_observation_and_each_event_adds_one() -> None:
    story = upgrading()
    story.progress(110, 50)
    story.claim(120, "failed")

    assert [event.revision for _, event in story.events] == [START_MS + n for n in (1, 2, 3, 4)]
    assert story.known.state.revision == START_MS + 4
