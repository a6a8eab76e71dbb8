"""The verifier finds what it is there to find: every sentence of "state equals truth" has a case that breaks it."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.sandbox.demo.result import Result
from deploy.sandbox.public_topics import PublicRecord
from deploy.sandbox.verify import (
    AttemptCount,
    Comparison,
    compare_truth_and_state,
    count_attempts,
    find_broken_revisions,
)


def truth(*channels: tuple[str, str, str | None], removed: bool = False) -> dict[str, Any]:
    return {
        "device_id": "d1",
        "removed": removed,
        "channels": [
            {"channel": channel, "status": status, "current_version": version}
            for channel, status, version in channels
        ],
    }


def state(
    *channels: tuple[str, str, str | None], removed_at_ms: int | None = None, revision: int = 7
) -> dict[str, Any]:
    shown = [
        {"channel": channel, "status": status} | ({} if version is None else {"current_version": version})
        for channel, status, version in channels
    ]
    about: dict[str, Any] = {
        "device_id": "d1",
        "status": channels[0][1],
        "channels": shown,
        "revision": revision,
    }
    return about if removed_at_ms is None else about | {"removed_at_ms": removed_at_ms}


def event(revision: int, *, partition: int = 0, ce_id: str | None = None) -> PublicRecord:
    return PublicRecord(
        partition=partition,
        offset=revision,
        key="d1",
        value={"device_id": "d1", "revision": revision},
        headers={"ce_id": ce_id or f"d1/{revision}"},
    )


@pytest.mark.parametrize(
    ("true", "shown"),
    [
        (truth(("0", "succeeded", "2")), state(("0", "succeeded", "2"))),
        (truth(("0", "failed", "1")), state(("0", "failed", None))),
        (truth(("0", "failed", None)), state(("0", "failed", "1"))),
        (truth(("0", "idle", "1"), ("9", "available", "1")), None),
        (truth(("0", "cancelled", "1"), removed=True), state(("0", "cancelled", "1"), removed_at_ms=1)),
        (truth(("0", "cancelled", "1"), removed=True), None),
    ],
    ids=[
        "same",
        "state without version",
        "truth without version",
        "at rest and missing",
        "removed",
        "buried",
    ],
)
def test_what_agrees_is_equal(true: dict[str, Any], shown: dict[str, Any] | None) -> None:
    comparison = compare_truth_and_state([true], {} if shown is None else {"d1": shown})

    assert comparison.all_equal, comparison.differences
    assert str(comparison) == "truth == state: 1/1"


@pytest.mark.parametrize(
    ("true", "shown"),
    [
        (truth(("0", "succeeded", "2")), state(("0", "verifying", "2"))),
        (truth(("0", "succeeded", "2")), state(("0", "succeeded", "1"))),
        (truth(("0", "failed", "1")), None),
        (truth(("0", "failed", "1"), ("9", "idle", "1")), state(("0", "failed", "1"))),
        (truth(("0", "failed", "1")), state(("0", "failed", "1"), ("9", "unknown", None))),
        (truth(("0", "cancelled", "1"), removed=True), state(("0", "cancelled", "1"))),
        (truth(("0", "cancelled", "1")), state(("0", "cancelled", "1"), removed_at_ms=1)),
    ],
    ids=[
        "status",
        "version",
        "missing",
        "lost channel",
        "invented channel",
        "not removed",
        "wrongly removed",
    ],
)
def test_what_differs_is_found(true: dict[str, Any], shown: dict[str, Any] | None) -> None:
    comparison = compare_truth_and_state([true], {} if shown is None else {"d1": shown})

    assert comparison.equal == 0
    assert not comparison.all_equal


def test_a_device_that_does_not_exist_is_found() -> None:
    comparison = compare_truth_and_state([], {"d1": state(("0", "idle", "1"))})

    assert [difference.device_id for difference in comparison.differences] == ["d1"]


def test_devices_are_counted_by_the_status_of_their_most_interesting_channel() -> None:
    true = truth(("0", "succeeded", "2"), ("9", "installing", "1"))

    comparison = compare_truth_and_state([true], {"d1": state(("0", "succeeded", "2"))})

    assert comparison.by_status == {"installing": (1, 0), "succeeded": (0, 1)}


def test_a_removed_device_is_counted_as_removed_and_one_that_may_be_missing_as_it_is() -> None:
    gone = truth(("0", "cancelled", "1"), removed=True)
    shown = {"d1": state(("0", "cancelled", "1"), removed_at_ms=1)}
    at_rest = truth(("0", "idle", "1"))
    working = truth(("0", "installing", "1"))

    assert compare_truth_and_state([gone], shown).by_status == {"removed": (1, 1)}
    assert compare_truth_and_state([gone], {"d1": state(("0", "cancelled", "1"))}).by_status == {
        "cancelled": (0, 1),
        "removed": (1, 0),
    }
    assert compare_truth_and_state([at_rest], {}).by_status == {"idle": (1, 1)}
    assert compare_truth_and_state([working], {}).by_status == {"installing": (1, 0), "(missing)": (0, 1)}


def test_a_removed_device_of_which_nothing_was_known_is_no_difference_one_that_lost_a_channel_is() -> None:
    gone = truth(("0", "cancelled", "1"), ("1", "idle", "1"), removed=True)
    unknown = state(("0", "cancelled", "1"), removed_at_ms=1) | {"channels": []}
    lost = state(("1", "idle", "1"), removed_at_ms=1)

    assert compare_truth_and_state([gone], {"d1": unknown}).all_equal
    assert not compare_truth_and_state([gone], {"d1": lost}).all_equal


def test_revisions_that_rise_by_one_to_the_states_are_whole() -> None:
    assert find_broken_revisions([event(5), event(6), event(7)], {"d1": state(("0", "idle", "1"))}) == []


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([event(5), event(7)], "a hole"),
        ([event(5), event(6), event(6), event(7)], "a repeat"),
        ([event(5), event(6), event(5), event(6), event(7)], "a repeat"),
        ([event(6), event(7, partition=1)], "partition 0"),
        ([event(6), event(7, ce_id="d1/6")], "different things"),
        ([event(5), event(6)], "the state's 7"),
        ([], "the state's 7"),
    ],
)
def test_every_break_in_the_revisions_is_found(events: list[PublicRecord], sentence: str) -> None:
    broken = find_broken_revisions(events, {"d1": state(("0", "idle", "1"))})

    assert any(sentence in line for line in broken), broken


@pytest.mark.parametrize(
    ("began", "number", "in_events", "phantom", "merged"),
    [
        (2, 2, (1, 1, 2), 0, 0),
        (1, 2, (1, 2), 1, 0),
        (1, 1, (1, 2), 1, 0),
        (0, 1, (1,), 1, 0),
        (3, 1, (1,), 0, 2),
        (1, 0, (), 0, 1),
        (2, 2, (1,), 0, 1),
        (0, 0, (), 0, 0),
    ],
    ids=[
        "all told",
        "one too many",
        "too many in the events alone",
        "none began",
        "three told as one",
        "never told",
        "one without an event",
        "nothing happened",
    ],
)
def test_attempts_that_never_began_and_attempts_told_as_one_are_counted(
    began: int, number: int, in_events: tuple[int, ...], phantom: int, merged: int
) -> None:
    true = truth(("0", "succeeded", "2"))
    true["channels"][0]["attempts"] = began
    shown = state(("0", "succeeded", "2"))
    if number:
        shown["channels"][0]["attempt"] = {"attempt_id": f"id{number}", "number": number}
    events = [attempt_event(revision, attempt) for revision, attempt in enumerate(in_events, 1)]

    count = count_attempts([true], {"d1": shown}, events)

    assert (count.began, count.phantom, count.merged) == (began, phantom, merged)
    assert (len(count.phantoms), len(count.merges)) == (bool(phantom), bool(merged))
    assert str(count) == f"phantom attempts: {phantom}, merged attempts: {merged}"


def attempt_event(revision: int, number: int) -> PublicRecord:
    value = {
        "device_id": "d1",
        "revision": revision,
        "channel": "0",
        "attempt": {"attempt_id": f"id{number}"},
    }
    return PublicRecord(partition=0, offset=revision, key="d1", value=value, headers={})


def test_the_demo_fails_for_a_wrong_state_a_broken_revision_or_a_phantom() -> None:
    right = compare_truth_and_state([truth(("0", "failed", "1"))], {"d1": state(("0", "failed", "1"))})
    wrong = compare_truth_and_state([truth(("0", "failed", "1"))], {"d1": state(("0", "succeeded", "1"))})

    def exit_code(comparison: Comparison, attempts: AttemptCount, broken_revisions: list[str]) -> int:
        return Result(
            clouds=(), comparison=comparison, attempts=attempts, broken_revisions=broken_revisions
        ).exit_code

    assert exit_code(right, AttemptCount(began=1, merged=1), []) == 0
    assert exit_code(wrong, AttemptCount(began=1), []) == 1
    assert exit_code(right, AttemptCount(began=1), ["a hole"]) == 1
    assert exit_code(right, AttemptCount(began=1, phantom=1), []) == 1
