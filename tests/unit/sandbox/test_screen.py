"""The demo's closing words: what differs is named, and latency is that of pushes alone."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.sandbox.demo.feed import Happening, Tally
from deploy.sandbox.demo.screen import Screen
from deploy.sandbox.verify import compare_truth_and_state


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
        ["d1 at 0:7: revision 5 is followed by 7, a hole"],
        Tally(),
        {"pushes_sent": 1, "pushes_dropped": 0},
        {"per_api": {}},
    )

    shown = capsys.readouterr().out
    assert "d1 channel 0 status: truth failed, state verifying" in shown
    assert "a hole" in shown
    assert "without a hole" not in shown
    assert shown.rstrip().endswith("truth == state: 0/1")
