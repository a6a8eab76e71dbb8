"""The demo's closing words: what differs is named, and latency is that of pushes alone."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.sandbox.demo.feed import Happening, Tally
from deploy.sandbox.demo.screen import Screen
from deploy.sandbox.verify import AttemptCount, compare_truth_and_state


def happening(*, published_at_ms: int | None, arrived_at_ms: float) -> Happening:
    evidence: dict[str, Any] = {"origin": "lookup", "name": "firmware"}
    if published_at_ms is not None:
        evidence["position"] = {"publish_time_at_ms": published_at_ms}
    return Happening(
        kind="ota.upgrade.status_changed", event={"evidence": evidence}, arrived_at_ms=arrived_at_ms
    )


def test_latency_counts_from_the_push_and_only_for_pushes() -> None:
    tally = Tally()
    for latency_ms in range(1, 101):
        tally.add(happening(published_at_ms=1000, arrived_at_ms=1000.0 + latency_ms))
    tally.add(happening(published_at_ms=None, arrived_at_ms=9999.0))

    assert tally.events == 101
    assert [tally.latency_percentile(percent) for percent in (50, 99)] == [51.0, 100.0]


def test_devices_that_differ_are_named_with_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    truth = {
        "device_id": "d1",
        "removed": False,
        "channels": [{"channel": "0", "status": "failed", "current_version": "1"}],
    }
    state = {"status": "verifying", "channels": [{"channel": "0", "status": "verifying"}]}
    comparison = compare_truth_and_state([truth], {"d1": state})

    Screen(all_events=False).show_result(
        comparison,
        AttemptCount(began=1, phantom=1, phantoms=("d1 channel 0: attempts began 1",)),
        ["d1 at 0:7: revision 5 is followed by 7, a hole"],
        Tally(),
        report={"pushes_sent": 1, "pushes_dropped": 0},
        requests={"per_api": {}},
    )

    shown = capsys.readouterr().out
    assert "d1 channel 0 status: truth failed, state verifying" in shown
    assert "a hole" in shown
    assert "without a hole" not in shown
    assert "d1 channel 0: attempts began 1" in shown
    assert "phantom attempts: 1" in shown
    assert "available" not in shown
    assert shown.rstrip().endswith("truth == state: 0/1")


def test_a_newcomer_learns_why_a_device_ends_available_and_what_is_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    channels = [
        {"channel": "0", "status": "succeeded", "current_version": "2"},
        {"channel": "9", "status": "available", "current_version": "1"},
    ]
    truth = {"device_id": "d1", "removed": False, "channels": channels}
    tally = Tally()
    tally.add(happening(published_at_ms=1000, arrived_at_ms=1040.0))

    Screen(all_events=False).show_result(
        compare_truth_and_state([truth], {"d1": {"status": "available", "channels": channels}}),
        AttemptCount(began=1),
        [],
        tally,
        report={"pushes_sent": 12, "pushes_dropped": 3},
        requests={"per_api": {"firmware": 5}},
    )

    shown = capsys.readouterr().out
    assert "available: the upgrade succeeded, and a newer version is on offer for another" in shown
    assert "1: 1 changes of status" in shown
    assert "3 more were lost on the way" in shown
    assert "p99 40 ms" in shown
    assert "5, to confirm outcomes and learn what was lost: 5 firmware" in shown
    assert "phantom attempts: 0, merged attempts: 0\ntruth == state: 1/1\n" in shown
    assert len(shown.splitlines()) <= 24, "a screen"
