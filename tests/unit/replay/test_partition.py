"""The replay of a partition: what is compared, what differs, and what is set apart."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from bridge.fold import batch
from bridge.fold.device import Device
from bridge.fold.policy import Policy
from bridge.fold.rules import Folded, TimerFired, fold
from bridge.replay.findings import Findings, Group
from bridge.replay.parting import Parting
from schemas import Observation, ObservedEvidence, Reason
from tests.unit.fold.story import ms
from tests.unit.replay.live import POLICY, Live
from tests.unit.replay.topics import Topics


@pytest.fixture
def topics() -> Topics:
    return Topics(POLICY)


def only(found: Findings) -> Group:
    (group,) = found.groups
    return group


def verdict(found: Findings) -> tuple[int, int, int]:
    return found.same, found.by_timers, found.by_rules


# Nothing differs.


async def test_what_the_same_rules_make_of_it_is_what_was_published(topics: Topics) -> None:
    live = Live(topics)
    live.answer(0, "idle", now="1.0")
    live.push(100, "downloading")
    live.progress(120, 50)
    live.push(140, "installing")
    live.claim(200, "succeeded")
    live.wait(203.5)
    live.answer(204, "succeeded", now="1.1", offer="1.1")
    live.answered(204)

    found = await topics.replay()

    assert verdict(found) == (1, 0, 0)
    assert found.counts["observations"] == len(topics.records["observations"])


async def test_an_answer_ends_the_lookup_that_the_bridge_asked_for_somewhat_later(topics: Topics) -> None:
    # Its deadline counts from the answer: one that ended nothing would leave the claim open for half an hour.
    Live(topics).adopted_failure(late_s=20.0)

    found = await topics.replay()

    assert found.by_rules == 0
    assert only(found).published == "failed"


async def test_an_answer_to_a_lookup_that_had_expired_ends_no_later_one(topics: Topics) -> None:
    live = Live(topics)
    live.claimed_failure()
    live.wait(103.5)
    first = live.known.book.lookup_id
    live.run_timers(104 + 650)
    second = live.known.book.lookup_id
    assert first != second
    assert second is not None
    live.tell(755, kind="answer", outcome="ok", lookup_id=first, origin="lookup", channel=None)
    topics.written_at_ms = ms(900)
    assert live.status == "verifying"

    found = await topics.replay()

    assert verdict(found) == (1, 0, 0)


async def test_a_gap_between_observations_is_passed(topics: Topics) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    topics.observe(
        Observation(
            device_id="",
            cloud="tuya-cloud",
            account="home",
            kind="gap",
            observed_at_ms=ms(110),
            evidence=ObservedEvidence(origin="bridge", name="gap"),
        )
    )
    live.push(120, "installing")

    assert verdict(await topics.replay()) == (1, 0, 0)


async def test_a_device_that_left_and_returned_is_as_published(topics: Topics) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    live.removed(110)
    live.run_timers(90_000)
    assert topics.devices == {}
    live.push(100_000, "downloading")

    assert verdict(await topics.replay()) == (1, 0, 0)


async def test_when_the_bridge_last_wrote_a_state_is_not_compared(topics: Topics) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    live.wait(104.7)

    assert verdict(await topics.replay()) == (1, 0, 0)


# Timers.


async def test_a_claim_that_a_late_timer_adopted_differs_by_its_timer_alone(topics: Topics) -> None:
    Live(topics).adopted_failure()

    found = await topics.replay()

    assert verdict(found) == (0, 1, 0)
    assert only(found).fields == ("changed_at_ms", "observed_at_ms")


async def test_a_stall_that_an_observation_on_its_way_came_before_differs_by_its_timer_alone(
    topics: Topics,
) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    # Due at 1900; the observation was made after that, and folded before the timer had its turn.
    live.progress(1900.3, 50)

    found = await topics.replay()

    assert verdict(found) == (0, 1, 0)
    assert only(found).fields == ("revision",)


async def test_a_stall_that_came_before_an_observation_on_its_way_differs_by_its_timer_alone(
    topics: Topics,
) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    live.wait(1900.2)
    live.progress(1899.9, 50, late_s=0.0)

    found = await topics.replay()

    assert verdict(found) == (0, 1, 0)
    assert only(found).fields == ("revision",)


async def test_a_timer_of_a_bridge_that_stood_still_differs_by_its_time_alone(topics: Topics) -> None:
    Live(topics).adopted_failure(late_s=500.0)

    found = await topics.replay()

    assert verdict(found) == (0, 1, 0)
    assert only(found).fields == ("changed_at_ms", "observed_at_ms")


async def test_a_policy_that_moves_a_timer_is_a_difference_where_it_leaves_more_than_a_time(
    topics: Topics,
) -> None:
    # By the new policy the claim is adopted a minute after the first answer, by the old one it waits for the second.
    adopted, waits = Live(topics, "adopted"), Live(topics, "waits")
    for live in (adopted, waits):
        live.answer(0, "idle", now="1.0")
        live.push(80, "installing")
        live.claim(100, "succeeded")
        live.wait(103.5)
        live.answer(104, None, now="1.0", vendor_status="100")
        live.answered(104)
    waits.answer(500, "succeeded", now="1.1", offer="1.1")
    waits.answered(500)
    adopted.run_timers(800)

    found = await topics.replay(replace(POLICY, success_deadline_s=60.0))

    causes = {found.examples[group][0].device_id: group.cause for group in found.groups}
    assert causes == {"adopted": "timers", "waits": "rules"}


async def test_a_policy_that_moves_a_timer_by_less_than_a_minute_is_not_told_from_a_late_timer(
    topics: Topics,
) -> None:
    # By the new policy the claim is adopted at 674, by the old one it waits until 704; the bridge came to 700.
    live = Live(topics)
    live.answer(0, "idle", now="1.0")
    live.push(80, "installing")
    live.claim(100, "succeeded")
    live.wait(103.5)
    live.answer(104, None, now="1.0", vendor_status="100")
    live.answered(104)
    topics.written_at_ms = ms(700)

    found = await topics.replay(replace(POLICY, success_deadline_s=570.0))

    assert verdict(found) == (0, 1, 0)
    group = only(found)
    assert (group.published, group.replayed) == ("verifying", "succeeded")
    assert "outcome" in group.fields
    assert group.shows_more_than_times


async def test_all_that_timers_decided_is_told_beside_the_times_that_they_set(topics: Topics) -> None:
    # A stall that an observation came before, and later a claim adopted by a bridge that had stood still.
    live = Live(topics)
    live.push(100, "downloading")
    live.progress(1900.3, 50)
    live.adopted_failure(3000, late_s=500.0)

    found = await topics.replay()

    assert verdict(found) == (0, 1, 0)
    assert only(found).fields == ("changed_at_ms", "observed_at_ms", "revision")
    assert not only(found).shows_more_than_times


async def test_a_timer_that_stayed_away_for_longer_than_the_bridge_may_be_late_is_a_difference(
    topics: Topics,
) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    live.progress(2000, 50)

    found = await topics.replay()

    assert verdict(found) == (0, 0, 1)
    parting = only(found).parting
    assert (parting.at, parting.replayed) == ("timer", "stalled downloading (timer)")


async def test_a_timer_due_in_the_last_minute_of_the_bridge_may_not_have_fired_yet(topics: Topics) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    topics.written_at_ms = ms(1901)

    assert verdict(await topics.replay()) == (0, 1, 0)

    topics.written_at_ms = ms(1970)

    assert verdict(await topics.replay()) == (0, 0, 1)


async def test_timers_end_where_the_bridge_stands_in_its_backlog(topics: Topics) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    live.push(200, "installing")
    topics.folded_to = 1
    topics.devices["d1"] = fold_all(topics, 1)
    # The bridge's clock is hours ahead of what it folds: its timers run on the observations' time.
    topics.written_at_ms = ms(50_000)

    found = await topics.replay()

    assert verdict(found) == (1, 0, 0)
    assert found.behind == 1


def fold_all(topics: Topics, count: int) -> Device:
    device = None
    for record in topics.records["observations"][:count]:
        device = fold(device, msgspec.json.decode(record.value, type=Observation), POLICY).device
    assert device is not None
    return device


# Rules.


async def test_another_policy_shows_where_it_leads_to_another_state(topics: Topics) -> None:
    stalled = Live(topics, "stalled")
    stalled.push(100, "downloading")
    moving = Live(topics, "moving")
    moving.push(2000, "downloading")

    found = await topics.replay(replace(POLICY, downloading_stall_s=600.0))

    assert verdict(found) == (1, 0, 1)
    group = only(found)
    assert (group.published, group.replayed) == ("downloading", "downloading")
    assert (group.fields, group.rules) == (("stalled",), ("R8",))
    assert group.parting.replayed == "stalled downloading (timer)"
    (example,) = found.examples[group]
    assert example.device_id == "stalled"


def without_claims(device: Device | None, given: Observation | TimerFired, policy: Policy) -> Folded:
    """A mistake: what is claimed is believed."""
    if isinstance(given, Observation) and given.claimed is not None:
        given = replace(given, status=given.claimed, claimed=None)
        given = replace(
            given, evidence=replace(given.evidence, origin="lookup"), asked_at_ms=given.vendor_time_at_ms
        )
    return fold(device, given, policy)


async def test_a_rule_that_changed_shows_at_which_input_it_leads_elsewhere(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        Live(topics, f"claims-{number}").claimed_failure()
    Live(topics, "silent").push(100, "downloading")
    monkeypatch.setattr(batch, "fold", without_claims)

    found = await topics.replay(limit=2)

    assert verdict(found) == (1, 0, 3)
    group = only(found)
    assert (group.published, group.replayed) == ("verifying", "failed")
    assert group.parting.at == "push status claimed failed"
    assert group.parting.published == "status_changed verifying"
    assert group.parting.replayed == "status_changed failed"
    assert {"R5", "R7"} <= set(group.rules)
    assert len(found.examples[group]) == 2


async def test_an_event_that_a_rule_does_not_make_any_more_is_found_at_its_input(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    live.push(110, "installing")
    live.progress(120, 30)

    def deaf(device: Device | None, given: Observation | TimerFired, policy: Policy) -> Folded:
        if isinstance(given, Observation) and given.status == "installing":
            return Folded(device, counts=("ignored",))
        return fold(device, given, policy)

    monkeypatch.setattr(batch, "fold", deaf)
    found = await topics.replay()

    group = only(found)
    assert (group.published, group.replayed) == ("installing", "downloading")
    assert group.parting.at == "push status installing"
    assert (group.parting.published, group.parting.replayed) == ("status_changed installing", None)
    assert found.examples[group][0].counts == ("ignored",)


async def test_an_event_that_says_something_else_is_found_at_its_input(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    Live(topics).claimed_failure()

    def vague(device: Device | None, given: Observation | TimerFired, policy: Policy) -> Folded:
        if isinstance(given, Observation) and given.reason is not None:
            given = replace(given, reason=Reason(code="unknown_error"))
        return fold(device, given, policy)

    monkeypatch.setattr(batch, "fold", vague)
    found = await topics.replay()

    assert only(found).fields == ("reason",)
    parting = only(found).parting
    assert parting.at == "push status claimed failed"
    assert parting.published == parting.replayed == "status_changed verifying"


async def test_a_field_that_no_event_tells_is_found_all_the_same(topics: Topics) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    live.online(110)
    device = live.known
    topics.devices["d1"] = Device(replace(device.state, online=False), device.book)

    found = await topics.replay()

    assert verdict(found) == (0, 0, 1)
    assert only(found).fields == ("online",)
    assert only(found).parting.at is None


async def test_what_the_bridge_tells_while_it_is_compared_is_no_difference(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    published = topics.published

    async def and_goes_on(*places: Any) -> Any:
        read = await published(*places)
        live.push(110, "installing")
        return read

    topics.devices["d1"] = Device(replace(live.known.state, online=True), live.known.book)
    monkeypatch.setattr(topics, "published", and_goes_on)
    found = await topics.replay()

    assert only(found).fields == ("online",)
    assert only(found).parting == Parting()


async def test_an_observation_that_the_rules_refuse_changes_nothing_and_is_counted(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    live.push(110, "installing")

    def broken(device: Device | None, given: Observation | TimerFired, policy: Policy) -> Folded:
        if isinstance(given, Observation) and given.status == "installing":
            raise ZeroDivisionError
        return fold(device, given, policy)

    monkeypatch.setattr(batch, "fold", broken)
    found = await topics.replay()

    assert found.counts["dead_letters"] == 1
    assert (only(found).published, only(found).replayed) == ("installing", "downloading")


async def test_a_result_that_cannot_be_written_is_folded_again_without_it(topics: Topics) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    known = live.known
    live.answer(110, "downloading", vendor_timeout_s=10**20, undivided=True)
    topics.devices["d1"] = known
    live.progress(1800, 50)
    live.run_timers(4900)
    assert live.channel().stalled
    Live(topics, "d2").push(5000, "downloading")

    found = await topics.replay()

    assert found.counts["dead_letters"] == 1
    assert found.counts["observations"] == 3
    assert verdict(found) == (2, 0, 0)


async def test_an_observation_whose_time_is_wrong_moves_no_other_devices_timers(topics: Topics) -> None:
    good = Live(topics, "good")
    good.push(100, "downloading")
    Live(topics, "odd").push(100, "downloading", late_s=1_000_000.0)
    good.progress(1800, 50)
    good.push(3500, "installing")
    topics.written_at_ms = ms(3500)

    assert verdict(await topics.replay()) == (2, 0, 0)


# What is not compared.


async def test_a_device_whose_first_observation_is_gone_is_counted_and_not_compared(topics: Topics) -> None:
    old, new = Live(topics, "old"), Live(topics, "new")
    old.answer(0, "idle", now="1.0")
    old.push(10_000, "downloading")
    new.push(10_001, "downloading")
    topics.start = 1

    found = await topics.replay()

    assert (found.began_earlier, verdict(found)) == (1, (1, 0, 0))
    assert found.oldest_ms == ms(10_000)


async def test_a_device_of_which_no_observation_is_left_is_counted_and_not_compared(topics: Topics) -> None:
    Live(topics, "old").answer(0, "idle", now="1.0")
    Live(topics, "new").push(10_001, "downloading")
    topics.start = 1

    assert (await topics.replay()).began_earlier == 1


async def test_a_device_removed_before_the_oldest_observation_may_have_spoken_once_more(
    topics: Topics,
) -> None:
    live = Live(topics)
    live.push(100, "downloading")
    live.removed(110)
    live.push(105, "installing", late_s=10.0)
    live.run_timers(90_000)
    topics.start = 2
    topics.written_at_ms = ms(90_000)

    found = await topics.replay()

    assert (found.began_earlier, verdict(found)) == (1, (0, 0, 0))


async def test_a_state_that_cannot_be_read_is_counted(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    Live(topics, "good").push(100, "downloading")
    Live(topics, "odd").push(100, "downloading")
    published = topics.published

    async def with_an_odd_one(*places: Any) -> Any:
        read = await published(*places)
        read.store.put("odd", b'{"status":"paused_by_vendor"}', [])
        return read

    monkeypatch.setattr(topics, "published", with_an_odd_one)
    found = await topics.replay()

    assert (found.unreadable, found.same) == (1, 1)


async def test_only_the_devices_and_accounts_asked_for_are_compared(topics: Topics) -> None:
    for name, account in (("a", "home"), ("b", "home"), ("c", "office")):
        Live(topics, name).push(100, "downloading", account=account)

    by_device = await topics.replay(devices=["b"])
    by_account = await topics.replay(accounts=["home"])
    by_both = await topics.replay(devices=["b", "c"], accounts=["office"])

    assert (by_device.compared, by_device.counts["observations"]) == (1, 1)
    assert (by_account.compared, by_account.began_earlier) == (2, 0)
    assert by_both.compared == 1


async def test_nothing_is_found_where_nothing_is(topics: Topics) -> None:
    found = await topics.replay()

    assert (found.published, found.groups, found.oldest_ms) == (0, {}, None)
