"""The demo's screen: who each event is about, what differs by name, and latency of pushes alone, on lines that fit."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from deploy.sandbox.demo.feed import Happening, Tally
from deploy.sandbox.demo.fleet import Upgrades
from deploy.sandbox.demo.result import CloudResult, Result
from deploy.sandbox.demo.screen import Screen
from deploy.sandbox.verify import AttemptCount, compare_truth_and_state
from schemas import Attempt, Evidence, Position, Reason, UpgradeEvent

TERMINAL_WIDTH = 100
REPORT = {"pushes_sent": 12, "pushes_dropped": 3}
REQUESTS = {"per_api": {"firmware": 5, "progress": 2}, "window_s": 60.0}
REQUESTS |= {"max_per_window": 7, "allowed_per_window": 100}


def happening(
    *, published_at_ms: int | None, arrived_at_ms: float, account: str = "tuya-demo", **about: Any
) -> Happening:
    evidence: dict[str, Any] = {"origin": "lookup", "name": "firmware"}
    if published_at_ms is not None:
        evidence["position"] = {"publish_time_at_ms": published_at_ms}
    return Happening(
        kind="ota.upgrade.status_changed",
        event={"account": account, "evidence": evidence} | about,
        arrived_at_ms=arrived_at_ms,
    )


def truth(device_id: str, status: str, cloud: str = "tuya-cloud", *, removed: bool = False) -> dict[str, Any]:
    channels = [{"channel": "0", "status": status, "current_version": "1"}]
    return {"device_id": device_id, "cloud": cloud, "removed": removed, "channels": channels}


def state(status: str, **about: Any) -> dict[str, Any]:
    return {"status": status, "channels": [{"channel": "0", "status": status}]} | about


def part(cloud: str, truths: list[dict[str, Any]], states: dict[str, dict[str, Any]]) -> CloudResult:
    account = {"tuya-cloud": "tuya-demo"}.get(cloud, f"{cloud}-demo")
    return CloudResult(
        upgrades=Upgrades(cloud=cloud, account=account, devices=len(truths), rate_per_s=1.0, seed=1),
        comparison=compare_truth_and_state(truths, states),
        report=REPORT,
        requests=REQUESTS,
    )


def result_of(
    truths: list[dict[str, Any]],
    states: dict[str, dict[str, Any]],
    *,
    attempts: AttemptCount | None = None,
    broken_revisions: list[str] | None = None,
) -> Result:
    clouds = dict.fromkeys(each["cloud"] for each in truths)
    of = {cloud: [each for each in truths if each["cloud"] == cloud] for cloud in clouds}
    return Result(
        clouds=tuple(
            part(
                cloud,
                mine,
                {
                    each["device_id"]: states[each["device_id"]]
                    for each in mine
                    if each["device_id"] in states
                },
            )
            for cloud, mine in of.items()
        ),
        comparison=compare_truth_and_state(truths, states),
        attempts=attempts or AttemptCount(began=len(truths)),
        broken_revisions=broken_revisions or [],
    )


def test_latency_counts_from_the_push_and_only_for_pushes_of_the_account() -> None:
    tally = Tally()
    for latency_ms in range(1, 101):
        tally.add(happening(published_at_ms=1000, arrived_at_ms=1000.0 + latency_ms))
    tally.add(happening(published_at_ms=None, arrived_at_ms=9999.0))
    tally.add(happening(published_at_ms=1000, arrived_at_ms=6000.0, account="illume-demo"))
    tally.add(happening(published_at_ms=None, arrived_at_ms=6000.0, account="enos-demo"))

    assert (tally.events, tally.accounts["tuya-demo"], tally.accounts["enos-demo"]) == (103, 101, 1)
    assert [tally.latency_percentile("tuya-demo", percent) for percent in (50, 99)] == [51.0, 100.0]
    assert tally.latency_percentile("illume-demo", 50) == 5000.0
    assert tally.latency_percentile("enos-demo", 50) is None


EVENT = UpgradeEvent(
    device_id="9d6f4f3e-64cb-4f2b-a1ca-5b0d8a2f3e11",
    cloud="oceanconnect",
    account="oceanconnect-demo",
    channel="0",
    revision=7,
    previous_status="downloading",
    status="verifying",
    claimed="succeeded",
    phase="active",
    stalled=False,
    needs_confirmation=False,
    correction=False,
    attempt=Attempt(
        attempt_id="a",
        number=1,
        from_version="2020.01",
        target_version="2020.02",
        retries=0,
        started_at_ms=1,
    ),
    progress=100,
    target_version="2020.02",
    confirmed=False,
    observed_at_ms=1,
    evidence=Evidence(
        origin="push",
        name="statusReport",
        position=Position(partition="event/3", ledger=1, entry=1, batch_index=-1, publish_time_at_ms=1_000),
    ),
)


def told(event: UpgradeEvent, arrived_at_ms: float = 2_205.0) -> Happening:
    return Happening(
        kind="ota.upgrade.status_changed", event=msgspec.to_builtins(event), arrived_at_ms=arrived_at_ms
    )


def test_an_events_line_names_its_account_in_short_and_fits_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Screen(all_events=False).show_event(told(EVENT))

    line = capsys.readouterr().out.rstrip("\n")
    assert re.fullmatch(
        r"ocean    1205  \d\d:\d\d:\d\d  9d6f4f3… /0  "
        r"downloading → verifying  2020\.01 → 2020\.02  claims succeeded",
        line,
    )
    assert len(line) <= TERMINAL_WIDTH


def test_an_event_that_was_asked_for_has_no_latency(capsys: pytest.CaptureFixture[str]) -> None:
    asked = msgspec.structs.replace(EVENT, evidence=Evidence(origin="sweep", name="subOperations"))

    Screen(all_events=False).show_event(told(asked))

    assert re.match(r"ocean       -  \d\d:", capsys.readouterr().out)


def test_on_a_terminal_an_event_is_one_line_whatever_its_remarks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(TERMINAL_WIDTH))
    failed = msgspec.structs.replace(EVENT, claimed="failed", reason=Reason(code="signature_invalid"))

    Screen(all_events=False).show_event(told(failed))

    (line,) = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert len(line) <= TERMINAL_WIDTH
    assert line.endswith("…")
    assert "claims failed" in line


def test_progress_is_counted_and_shown_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    progressed = msgspec.structs.replace(
        happening(published_at_ms=None, arrived_at_ms=1.0), kind="ota.upgrade.progressed"
    )

    Screen(all_events=False).show_event(progressed)

    assert capsys.readouterr().out == ""


def test_campaigns_are_told_one_by_one_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    reports = {
        "tuya-demo": {"devices": 100, "ended": {"succeeded": 30, "failed": 4}},
        "oceanconnect-demo": {"devices": 20, "ended": {}},
    }

    Screen(all_events=False).show_campaigns(reports, Tally())

    assert capsys.readouterr().out == "-- upgrades ended: tuya 34/100, ocean 0/20; 0 events\n"


def test_devices_that_differ_are_named_with_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    result = result_of(
        [truth("d1", "failed"), truth("d2", "failed", "enos")],
        {"d1": state("verifying"), "d2": state("failed")},
        attempts=AttemptCount(began=1, phantom=1, phantoms=("d1 channel 0: attempts began 1",)),
        broken_revisions=["d1 at 0:7: revision 5 is followed by 7, a hole"],
    )

    Screen(all_events=False).show_result(result, Tally())

    shown = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
    assert rows["failed"] == ["failed", *("1", "≠", "0"), *("1", "=", "1"), *("2", "≠", "1")]
    assert rows["are"] == ["are", "equal", *("0", "of", "1"), *("1", "of", "1"), *("1", "of", "2")]
    assert "d1 channel 0 status: truth failed, state verifying" in shown
    assert "a hole" in shown
    assert "without a hole" not in shown
    assert "d1 channel 0: attempts began 1" in shown
    assert "phantom attempts: 1" in shown
    assert "available:" not in shown
    assert shown.rstrip().endswith("truth == state: 1/2")


def test_a_newcomer_learns_what_each_cloud_took_and_what_is_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    statuses = ("succeeded", "available", "failed", "timed_out", "cancelled", "installing")
    clouds = ("tuya-cloud", "illume", "hedwig", "oceanconnect", "enos")
    truths = [truth(f"{cloud}-{status}", status, cloud) for cloud in clouds for status in statuses]
    states = {each["device_id"]: state(each["channels"][0]["status"]) for each in truths}
    gone = truth("gone", "cancelled", "enos", removed=True)
    tally = Tally()
    tally.add(happening(published_at_ms=1000, arrived_at_ms=1040.0))
    tally.add(happening(published_at_ms=None, arrived_at_ms=1040.0, account="enos-demo"))

    Screen(all_events=False).show_result(
        result_of([*truths, gone], states | {"gone": state("cancelled", removed_at_ms=1)}), tally
    )

    shown = capsys.readouterr().out
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert rows["removed"].split()[1:] == ["·", "·", "·", "·", "1", "=", "1", "1", "=", "1"]
    assert "31 of 31" in rows["are"]
    assert "available: the upgrade ended, and a newer version is on offer for another channel" in shown
    assert "installing: these never end at their clouds" in shown
    assert rows["tuya-cloud"].split()[1:7] == ["1", "12", "3", "40", "/", "40"]
    assert rows["enos"].split()[1:5] == ["1", "none", "only", "asked"]
    assert rows["enos"].rstrip().endswith("  7   7 of 100 in 60 s")
    assert "2 events: 2 changes of status" in shown
    assert "phantom attempts: 0, merged attempts: 0\ntruth == state: 31/31\n" in shown
    assert max(map(len, shown.splitlines())) <= TERMINAL_WIDTH
    assert len(shown.splitlines()) <= 36, "a screen"
