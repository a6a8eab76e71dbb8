"""Two states of one device, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from bridge.replay.differences import LEFT_OUT, RULES, differences, rules_of, telling, transition
from schemas import Attempt, Channel, Reason, UpgradeState
from tests.unit.fold.story import Story

DOCUMENTED = {f"R{number}" for number in range(1, 22)}


def story(*, channels: int = 1) -> UpgradeState:
    told = Story()
    for number in range(channels):
        told.push(100, "installing", channel=str(number))
    return told.known.state


def changed(state: UpgradeState, **fields: Any) -> UpgradeState:
    """The same with other fields in its first channel."""
    first, *others = state.channels
    return replace(state, channels=(replace(first, **fields), *others))


def test_a_state_does_not_differ_from_itself_nor_by_when_it_was_written() -> None:
    state = story()

    assert differences(state, state) == ()
    assert differences(state, replace(state, updated_at_ms=0)) == ()
    assert differences(None, None) == ()


@pytest.mark.parametrize(
    ("field", "value"), [("online", True), ("removed_at_ms", 1), ("product_id", "p"), ("revision", 1)]
)
def test_a_field_of_the_device_is_told_with_both_values(field: str, value: object) -> None:
    state = story()

    (found,) = differences(state, replace(state, **{field: value}))

    assert (found.field, found.channel) == (field, None)
    assert (found.published, found.replayed) == (getattr(state, field), value)


def test_a_field_of_a_channel_and_of_its_attempt_is_told_with_its_channel() -> None:
    state = story(channels=2)
    attempt = state.channels[0].attempt
    assert attempt is not None
    other = changed(state, reason=Reason(code="no_space"), attempt=replace(attempt, number=7))

    found = differences(state, other)

    assert [(each.field, each.channel, each.replayed) for each in found] == [
        ("attempt.number", "0", 7),
        ("reason", "0", Reason(code="no_space")),
    ]


def test_a_state_a_channel_and_an_attempt_that_one_side_lacks_are_one_difference_each() -> None:
    state = story(channels=2)
    without_channel = replace(state, channels=state.channels[:1])

    (no_state,) = differences(state, None)
    (no_channel,) = differences(without_channel, state)
    (no_attempt,) = differences(state, changed(state, attempt=None))

    assert (no_state.field, no_state.published, no_state.replayed) == ("state", "installing", None)
    assert (no_channel.field, no_channel.channel, no_channel.published) == ("channel", "1", None)
    assert (no_attempt.field, no_attempt.replayed) == ("attempt", None)


def test_what_follows_from_the_rest_is_not_told_twice() -> None:
    state = story()
    other = replace(changed(state, status="failed", phase="terminal"), status="failed")

    assert [(each.field, each.channel) for each in differences(state, other)] == [
        ("status", None),
        ("status", "0"),
    ]


def test_devices_are_grouped_by_what_is_shown_and_by_times_only_where_nothing_else_differs() -> None:
    state = story()
    times = differences(state, replace(changed(state, changed_at_ms=1), revision=2))
    shown = differences(state, replace(changed(state, changed_at_ms=1, stalled=True), revision=2))
    removed = differences(state, replace(state, removed_at_ms=1, revision=2))

    assert telling(times) == ("changed_at_ms", "revision")
    assert telling(shown) == ("stalled",)
    assert telling(removed) == ("removed_at_ms",)


def test_the_statuses_of_a_group_are_those_of_the_first_channel_that_differs() -> None:
    state = story(channels=2)
    other = replace(
        state, status="failed", channels=(state.channels[0], replace(state.channels[1], status="verifying"))
    )

    assert transition(state, other) == ("installing", "verifying")
    assert transition(state, replace(state, online=True)) == ("installing", "installing")
    assert transition(None, state) == ("none", "installing")


def test_every_field_that_can_differ_has_its_rules_and_each_is_documented() -> None:
    fields = {
        *UpgradeState.__struct_fields__,
        *Channel.__struct_fields__,
        *(f"attempt.{name}" for name in Attempt.__struct_fields__ if name not in LEFT_OUT),
    }

    assert set(RULES) == (fields - LEFT_OUT - {"channels"}) | {"state"}
    assert {rule for rules in RULES.values() for rule in rules} <= DOCUMENTED
    assert rules_of(("status", "stalled", "claimed")) == ("R3", "R4", "R5", "R6", "R7", "R8", "R19")
