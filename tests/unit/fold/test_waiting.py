"""R8, R9, R10, R14, R16, R18: what time does, and when the cloud is asked."""

from __future__ import annotations

import pytest

from bridge.fold.policy import Policy
from tests.unit.fold.story import Story, ms, upgrading

POLICY = Policy(jitter_s=0.0)


def settled() -> Story:
    """A device at rest whose first lookup was answered at 10 s."""
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.run_timers(10)
    story.answered(10)
    return story


# R8


@pytest.mark.parametrize(
    ("status", "wait_s"),
    [
        ("pending", POLICY.pending_stall_s),
        ("downloading", POLICY.downloading_stall_s),
        ("installing", POLICY.installing_stall_s),
    ],
)
def test_no_progress_within_the_statuss_deadline_is_a_stall(status: str, wait_s: float) -> None:
    story = Story()
    story.push(100, status)
    story.wait(99 + wait_s)
    before = story.channel().stalled

    story.wait(100 + wait_s)

    assert (before, story.channel().stalled, story.types[-1]) == (False, True, "stalled")
    assert story.last_event.observed_at_ms == ms(100 + wait_s)


def test_a_stall_asks_the_cloud_at_once() -> None:
    story = Story()
    story.push(100, "installing")
    story.answered(100)
    story.known.book.due_at_ms = None

    story.wait(100 + POLICY.installing_stall_s)

    assert story.lookups[-1].cause == "stalled"


def test_the_vendors_own_timeout_counts_where_it_gave_one() -> None:
    story = Story()
    story.answer(100, "installing", now="1.0", offer="1.1", vendor_timeout_s=60)

    story.wait(100 + 60 + POLICY.vendor_timeout_margin_s)

    assert story.channel().stalled


@pytest.mark.parametrize("what", ["progress", "status", "retry"])
def test_real_progress_resumes_a_stalled_attempt(what: str) -> None:
    story = Story()
    story.push(100, "downloading")
    story.progress(101, 50)
    story.wait(101 + POLICY.downloading_stall_s)

    if what == "progress":
        story.progress(3000, 60)
    elif what == "retry":
        story.progress(3000, 5)
    else:
        story.push(3000, "installing")

    assert not story.channel().stalled
    assert "resumed" in story.types


def test_repeats_are_not_progress() -> None:
    story = Story()
    story.push(100, "downloading")
    story.progress(101, 50)

    story.progress(1000, 50)
    story.push(1001, "downloading")
    story.wait(101 + POLICY.downloading_stall_s)

    assert story.channel().stalled


def test_the_bridge_never_times_a_device_out_on_its_own() -> None:
    story = Story()
    story.push(100, "installing")

    for hour in range(1, 100):
        story.wait(hour * 3600)

    assert story.status == "installing"


def test_a_configured_local_deadline_times_a_stalled_device_out() -> None:
    story = Story(Policy(local_deadline_s=7200))
    story.push(100, "installing")
    story.wait(2000)

    story.wait(7300)

    assert (story.status, story.channel().reason.code, story.channel().confirmed) == (
        "timed_out",
        "local_deadline",
        False,
    )


# R9


def test_online_with_an_open_attempt_asks_soon() -> None:
    story = upgrading()
    story.run_timers(120)
    story.answered(120)

    story.online(200)

    assert story.known.state.online
    assert (story.due_in_s, story.known.book.due_cause) == (202.5, "online")


def test_online_without_an_open_attempt_asks_nothing_more() -> None:
    story = settled()
    due_before = story.due_in_s

    story.online(200)

    assert story.due_in_s == due_before


def test_offline_is_recorded() -> None:
    story = settled()

    story.offline(200)

    assert story.known.state.online is False
    assert story.status == "idle"


def test_a_hint_asks_soon() -> None:
    story = settled()

    story.hint(200)

    assert (story.due_in_s, story.known.book.due_cause) == (203.5, "hint")


def test_a_device_that_becomes_known_by_a_hint_is_asked_about() -> None:
    story = Story()

    story.hint(5)

    assert story.due_in_s == 8.5
    assert story.known.state.status == "unknown"
    assert story.events == []


def test_a_device_announced_by_discovery_is_asked_about_only_while_it_is_unknown() -> None:
    story = Story()
    story.tell(0, kind="hint", origin="sweep", channel=None)
    asked_when_new = story.due_in_s
    story.run_timers(5)
    story.answer(5, "idle", now="1.0")
    story.answered(5)
    known, due = story.device, story.due_in_s

    story.tell(100, kind="hint", origin="sweep", channel=None)

    assert asked_when_new == 3.5
    assert (story.device, story.due_in_s) == (known, due)


def test_a_removed_device_that_discovery_finds_again_has_returned() -> None:
    story = upgrading()
    story.removed(200)

    story.tell(300, kind="hint", origin="sweep", channel=None)
    story.tell(301, kind="hint", origin="sweep", channel=None)

    assert story.known.state.removed_at_ms is None
    assert story.due_in_s is not None


# R10


def listed(story: Story, at_s: float, status: str) -> None:
    story.tell(
        at_s, kind="status", status=status, origin="sweep", current_version="1.0", target_version="1.1"
    )


def test_a_list_that_outlives_its_device_opens_nothing_and_one_lookup_removes_it_again() -> None:
    story = upgrading()
    story.removed(200)
    events = len(story.events)

    for at_s in (300, 400, 500):
        listed(story, at_s, "installing")
    while_listed = story.known.state
    story.run_timers(504)
    story.answered(504, "not_found")

    assert (while_listed.removed_at_ms, while_listed.status) == (None, "cancelled")
    assert story.types[events:] == ["device.returned", "device.removed"]
    assert story.known.state.removed_at_ms == ms(504)
    assert len(story.lookups) == 1


def test_what_a_list_tells_between_two_lookups_that_find_nothing_changes_nothing() -> None:
    story = upgrading()
    story.run_timers(110)
    story.answered(110, "not_found")
    known = story.device

    listed(story, 200, "failed")

    assert story.device == known
    assert story.counts[-1] == "listed_not_found"


def test_a_lookup_that_finds_what_a_list_told_of_again_keeps_it() -> None:
    story = upgrading()
    story.removed(200)

    listed(story, 300, "idle")
    story.run_timers(304)
    story.answer(304, "idle", now="1.0")
    story.answered(304)
    story.run_timers(100_000)
    story.answered(100_000, "not_found")

    assert story.known.state.removed_at_ms is None


def test_a_removal_ends_open_attempts_and_is_told_once() -> None:
    story = upgrading()

    story.removed(200)
    story.removed(201)

    assert story.types[-2:] == ["status_changed", "device.removed"]
    assert story.events[-2][1].reason.code == "device_removed"
    assert (story.status, story.known.state.removed_at_ms) == ("cancelled", ms(200))


def test_a_replayed_message_from_before_the_removal_does_not_bring_a_device_back() -> None:
    story = upgrading()
    story.removed(200)

    for said_s, counts in ((150, ("after_removal",)), (250, ())):
        folded = story.tell(
            300, kind="hint", origin="bridge", asked_at_ms=None, vendor_time_at_ms=ms(said_s), channel=None
        )
        assert folded.counts == counts
    assert story.known.state.removed_at_ms is None


def test_a_removed_device_is_never_asked_about_and_leaves_a_tombstone() -> None:
    story = upgrading()
    story.removed(200)
    lookups = len(story.lookups)

    story.run_timers(200 + POLICY.tombstone_after_s)

    assert len(story.lookups) == lookups
    assert story.device is None


def test_only_an_observation_later_than_the_removal_is_a_return() -> None:
    story = upgrading()
    story.removed(200)

    story.push(190, "installing")
    still_removed = story.known.state.removed_at_ms
    story.push(300, "pending")

    assert still_removed is not None
    assert (story.known.state.removed_at_ms, story.status) == (None, "pending")


def test_a_device_that_returns_after_its_tombstone_goes_on_at_a_higher_revision() -> None:
    story = upgrading()
    story.removed(200)
    last = story.last_event.revision
    story.wait(200 + POLICY.tombstone_after_s)

    story.push(300_000, "pending")

    assert story.last_event.revision > last


def test_not_found_twice_a_day_apart_is_a_removal() -> None:
    story = upgrading()
    story.run_timers(110)

    story.answered(110, "not_found")
    after_one = story.known.state.removed_at_ms
    a_day_later = 110 + POLICY.removal_apart_s
    story.run_timers(a_day_later)
    while story.known.book.lookup_id is None:
        a_day_later += 60
        story.run_timers(a_day_later)
    story.answered(a_day_later, "not_found")

    assert after_one is None
    assert story.known.state.removed_at_ms is not None


def look_up(story: Story, from_s: float, outcome: str) -> float:
    """Let the first lookup that is outstanding from then on end so; return when."""
    at_s = from_s
    story.run_timers(at_s)
    while story.known.book.lookup_id is None:
        at_s += 60
        story.run_timers(at_s)
    assert f"answer_{outcome}" in story.answered(at_s, outcome).counts
    return at_s


def test_an_ok_answer_between_two_not_founds_keeps_the_device() -> None:
    story = upgrading()
    look_up(story, 110, "not_found")
    look_up(story, 5000, "ok")

    look_up(story, 110 + POLICY.removal_apart_s, "not_found")

    assert story.known.state.removed_at_ms is None


def test_a_push_between_two_not_founds_keeps_the_device() -> None:
    story = upgrading()
    look_up(story, 110, "not_found")
    story.online(5000)

    look_up(story, 110 + POLICY.removal_apart_s, "not_found")

    assert story.known.state.removed_at_ms is None


def test_an_ok_answer_ends_the_backing_off() -> None:
    story = upgrading()
    for at_s in (110, 200, 400):
        look_up(story, at_s, "unavailable")
    look_up(story, 1000, "ok")

    story.hint(2000)
    failed_at_s = look_up(story, 2004, "unavailable")

    assert story.due_in_s == failed_at_s + POLICY.lookup_backoff_s


def test_a_return_is_told_as_the_removal_was() -> None:
    story = upgrading()
    story.removed(200)
    removed = story.last_event

    story.online(300)

    assert story.types[-1] == "device.returned"
    assert (story.last_event.revision, story.last_event.channel) == (removed.revision + 1, None)
    assert story.known.state.revision == story.last_event.revision


def test_what_one_timer_does_to_two_channels_carries_its_own_evidence_each() -> None:
    story = upgrading()
    story.answer(101, "idle", now="1.0", channel="9")
    story.push(200, "installing", channel="9")
    stall_at_s = 200 + POLICY.installing_stall_s
    story.claim(stall_at_s - POLICY.claim_deadline_s, "failed")

    events = story.wait(stall_at_s).events

    told = {typed.event.channel: typed.event.evidence.name for typed in events}
    assert told == {"0": "claim_deadline", "9": "stalled"}


def test_an_old_removal_does_not_remove_a_device_that_was_heard_of_since() -> None:
    story = upgrading()
    story.push(300, "installing")

    story.removed(150, late_s=200)

    assert story.known.state.removed_at_ms is None
    assert "old_removal" in story.counts
    assert story.due_in_s is not None


def test_after_a_return_one_not_found_is_no_second_removal() -> None:
    story = upgrading()
    day = POLICY.removal_apart_s
    story.run_timers(110)
    story.answered(110, "not_found")
    story.removed(200)
    story.push(2 * day, "pending")
    story.run_timers(2 * day + 60)

    story.answered(2 * day + 61, "not_found")

    assert story.known.state.removed_at_ms is None


# R14, R16


def test_one_lookup_is_outstanding_until_its_answer() -> None:
    story = settled()
    story.hint(100)
    story.run_timers(104)
    asked = len(story.lookups)

    story.hint(105)
    story.run_timers(200)

    assert len(story.lookups) == asked


def test_a_trigger_during_a_lookup_is_asked_after_its_answer() -> None:
    story = settled()
    story.hint(100)
    story.run_timers(104)
    asked = len(story.lookups)

    story.hint(105)
    story.answered(106)
    story.run_timers(110)

    assert len(story.lookups) == asked + 1


def test_triggers_only_move_the_due_time_earlier_and_the_cause_up() -> None:
    story = upgrading()
    story.run_timers(150)
    story.answered(150)

    story.claim(200, "failed")
    story.hint(200.1)

    assert (story.due_in_s, story.known.book.due_cause) == (203.5, "claim")


def test_an_answer_other_than_ok_changes_no_status_and_is_asked_again_ever_later() -> None:
    story = upgrading()
    story.run_timers(104)
    waits = []
    at_s = 110.0
    for _ in range(9):
        story.answered(at_s, "unavailable")
        waits.append(story.due_in_s - at_s)
        at_s = story.due_in_s
        story.run_timers(at_s)

    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert story.status == "installing"


def test_a_lookup_that_expired_is_asked_again() -> None:
    story = settled()
    story.hint(100)
    story.run_timers(104)
    asked = len(story.lookups)

    story.run_timers(103.5 + POLICY.lookup_expiry_s + POLICY.lookup_backoff_s)

    assert "lookup_expired" in story.counts
    assert len(story.lookups) == asked + 1


def test_an_answer_to_another_lookup_ends_nothing() -> None:
    story = settled()
    story.hint(100)
    story.run_timers(104)
    outstanding = story.known.book.lookup_id

    story.tell(105, kind="answer", outcome="ok", lookup_id="d1/1", origin="lookup", channel=None)

    assert story.known.book.lookup_id == outstanding


def test_a_lookup_request_says_why_and_until_when() -> None:
    story = settled()
    story.hint(100)

    story.run_timers(104)

    lookup = story.lookups[-1]
    assert (lookup.device_id, lookup.account, lookup.cause) == ("d1", "home", "hint")
    assert (lookup.due_at_ms, lookup.expires_at_ms) == (ms(103.5), ms(103.5 + POLICY.lookup_expiry_s))


# R18


def test_a_device_at_rest_is_asked_about_once_in_a_refresh_period() -> None:
    story = settled()

    assert story.known.book.due_cause == "periodic"
    assert 0.9 * POLICY.refresh_period_s <= story.due_in_s - 10 <= POLICY.refresh_period_s


def test_an_open_attempt_is_asked_about_hourly() -> None:
    story = upgrading()
    story.run_timers(110)
    story.answered(110)

    assert 0.9 * POLICY.open_period_s <= story.due_in_s - 110 <= POLICY.open_period_s


def test_an_unconfirmed_outcome_is_asked_about_hourly_for_a_day() -> None:
    story = upgrading()
    story.claim(200, "failed")
    story.run_timers(200 + POLICY.claim_deadline_s)
    story.answered(2100)
    young = story.due_in_s - 2100
    later = 200 + POLICY.claim_deadline_s + POLICY.unconfirmed_for_s + 1
    story.run_timers(story.due_in_s)
    story.answered(later)

    assert young <= POLICY.open_period_s
    assert story.due_in_s - later > POLICY.open_period_s


def test_devices_that_became_known_together_drift_apart() -> None:
    due = set()
    for number in range(20):
        story = Story(device_id=f"d{number}")
        story.answer(0, "idle", now="1.0")
        story.run_timers(10)
        story.answered(10)
        due.add(story.due_in_s)

    assert len(due) > 15
