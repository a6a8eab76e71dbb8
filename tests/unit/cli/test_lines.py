"""What people see: every status has its words, and what matters is on the line."""

from __future__ import annotations

import msgspec
import pytest
from rich.console import Console

from bridge.cli.lines import COLOURS, event_line, state_tables
from schemas import (
    PHASES,
    STATUSES,
    Attempt,
    Channel,
    DeviceLabel,
    Evidence,
    Reason,
    Status,
    UpgradeEvent,
    UpgradeState,
)

ATTEMPT = Attempt(
    attempt_id="a",
    number=2,
    from_version="1.0.0",
    target_version="1.1.0",
    progress=40,
    retries=0,
    started_at_ms=1,
)
EVENT = UpgradeEvent(
    device_id="device-1",
    cloud="tuya-cloud",
    account="tuya-demo",
    channel="0",
    revision=7,
    previous_status="pending",
    status="downloading",
    phase="active",
    stalled=False,
    needs_confirmation=False,
    attempt=ATTEMPT,
    progress=40,
    current_version="1.0.0",
    target_version="1.1.0",
    confirmed=False,
    correction=False,
    observed_at_ms=1_700_000_000_123,
    evidence=Evidence(origin="push", name="upgradeStatus"),
)
CHANNEL = Channel(
    channel="0",
    status="failed",
    phase="terminal",
    stalled=False,
    needs_confirmation=False,
    attempt=ATTEMPT,
    current_version="1.0.0",
    outcome="failed",
    reason=Reason(code="low_battery", text="battery below 20 %"),
    confirmed=True,
    last_evidence=Evidence(origin="lookup", name="firmware"),
    changed_at_ms=1,
    observed_at_ms=1,
)
STATE = UpgradeState(
    device_id="device-1",
    cloud="tuya-cloud",
    account="tuya-demo",
    device=DeviceLabel(name="[red]kitchen"),
    online=True,
    revision=7,
    updated_at_ms=1,
    status="failed",
    channels=(CHANNEL,),
)


def shown(state: UpgradeState) -> str:
    console = Console(width=200, record=True, file=None)
    with console.capture() as captured:
        for table in state_tables(state):
            console.print(table)
    return captured.get()


def test_every_status_has_a_colour() -> None:
    assert set(COLOURS) == set(STATUSES)


def test_line_tells_device_change_progress_and_versions() -> None:
    line = event_line(EVENT, "ota.upgrade.status_changed").plain

    assert line.endswith("device-1 /0  pending → downloading 40 %  1.0.0 → 1.1.0")


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_makes_a_line(status: Status) -> None:
    event = msgspec.structs.replace(EVENT, status=status, phase=PHASES[status], attempt=None)

    assert status in event_line(event, "ota.upgrade.baseline").plain


def test_line_tells_what_is_not_certain_and_why_it_failed() -> None:
    claimed = msgspec.structs.replace(EVENT, status="verifying", claimed="succeeded", progress=None)
    failed = msgspec.structs.replace(
        EVENT,
        status="failed",
        phase="terminal",
        reason=Reason(code="low_battery"),
        correction=True,
        progress=None,
    )

    assert event_line(claimed, "ota.upgrade.status_changed").plain.endswith("claims succeeded")
    assert event_line(failed, "ota.upgrade.status_changed").plain.endswith(
        "low_battery  correction  unconfirmed"
    )


def test_removed_device_makes_a_line() -> None:
    event = msgspec.structs.replace(EVENT, channel=None, status="cancelled", phase="terminal")

    assert event_line(event, "ota.device.removed").plain.endswith("device-1  removed")


def test_state_shows_every_channel_with_its_attempt_and_reason() -> None:
    text = shown(STATE)

    for part in ("device-1", "tuya-demo (tuya-cloud)", "#2 1.0.0 → 1.1.0", "low_battery: battery below 20 %"):
        assert part in text


def test_names_of_devices_are_neither_markup_nor_obeyed_by_the_terminal() -> None:
    renamed = msgspec.structs.replace(STATE, device=DeviceLabel(name="[red]kit\x1b[2Jchen\nnew"))
    event = msgspec.structs.replace(EVENT, device_id="[red]device\x1b[2J")

    assert "[red]kit�[2Jchen�new" in shown(renamed)
    assert "[red]device�[2J /0" in event_line(event, "ota.upgrade.status_changed").plain
