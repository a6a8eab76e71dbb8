"""Events and states as people read them: one coloured line an event, one table a device."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from rich.table import Table
from rich.text import Text

from bridge.typed import printable
from schemas import Channel, Status, UpgradeEvent, UpgradeState

COLOURS: Final[dict[Status, str]] = {
    "idle": "dim",
    "available": "dim cyan",
    "pending": "blue",
    "downloading": "cyan",
    "installing": "bright_cyan",
    "verifying": "yellow",
    "succeeded": "green",
    "failed": "red",
    "timed_out": "bright_red",
    "cancelled": "magenta",
    "unknown": "dim",
}


def event_line(event: UpgradeEvent, event_type: str) -> Text:
    """Return `time device channel previous → status progress versions remarks` of one event."""
    line = Text()
    line.append(clock_time(event.observed_at_ms), "dim")
    line.append(f"  {printable(event.device_id)}")
    if event.channel is not None:
        line.append(f" /{printable(event.channel)}", "dim")
    line.append("  ")
    if event_type in ("ota.device.removed", "ota.device.returned"):
        line.append(event_type.rpartition(".")[2], "magenta")
        return line
    if event.previous_status is not None and event.previous_status != event.status:
        line.append(event.previous_status, COLOURS[event.previous_status])
        line.append(" → ")
    line.append(event.status, COLOURS[event.status])
    if event.progress is not None and event.phase == "active":
        line.append(f" {event.progress} %", COLOURS[event.status])
    line.append(printable(_versions(event.attempt.from_version if event.attempt else None, event)), "dim")
    for remark, style in _remarks(event, event_type):
        line.append(f"  {remark}", style)
    return line


def _versions(from_version: str | None, event: UpgradeEvent) -> str:
    if event.target_version is not None and event.phase != "rest":
        return f"  {from_version or event.current_version or '?'} → {event.target_version}"
    return f"  {event.current_version}" if event.current_version is not None else ""


def _remarks(event: UpgradeEvent, event_type: str) -> list[tuple[str, str]]:
    remarks = []
    kind = event_type.rpartition(".")[2]
    if kind in ("stalled", "resumed", "version_changed", "baseline"):
        remarks.append((kind.replace("_", " "), "yellow" if kind == "stalled" else "dim"))
    if event.claimed is not None:
        remarks.append((f"claims {event.claimed}", COLOURS[event.claimed]))
    if event.reason is not None:
        remarks.append((printable(event.reason.code), "red"))
    if event.needs_confirmation:
        remarks.append(("waits for confirmation", "yellow"))
    if event.correction:
        remarks.append(("correction", "bold yellow"))
    if event.phase == "terminal" and not event.confirmed:
        remarks.append(("unconfirmed", "yellow"))
    return remarks


def state_tables(state: UpgradeState) -> list[Table]:
    """Return a device's own facts, and its channels."""
    facts = Table(box=None, show_header=False)
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    online = "unknown" if state.online is None else "yes" if state.online else "no"
    rows: list[tuple[str, str | None]] = [
        ("device", state.device_id),
        ("account", f"{state.account} ({state.cloud})"),
        ("product", state.product_id),
        ("name", state.device.name if state.device else None),
        ("status", state.status),
        ("online", online),
        ("revision", str(state.revision)),
        ("updated", full_time(state.updated_at_ms)),
        ("removed", None if state.removed_at_ms is None else full_time(state.removed_at_ms)),
    ]
    for name, value in rows:
        if value is not None:
            facts.add_row(name, Text(printable(value), COLOURS[state.status] if name == "status" else ""))
    channels = Table(
        "channel", "status", "version", "attempt", "since", "remarks", header_style="dim", box=None
    )
    for column in channels.columns:
        column.overflow = "fold"
    for channel in state.channels:
        channels.add_row(
            Text(printable(channel.channel)),
            Text(channel.status, COLOURS[channel.status]),
            Text(printable(channel.current_version or "?")),
            Text(printable(_attempt(channel))),
            Text(full_time(channel.changed_at_ms)),
            Text(printable(_about(channel))),
        )
    return [facts, channels]


def _attempt(channel: Channel) -> str:
    attempt = channel.attempt
    if attempt is None:
        return f"{channel.available_version} available" if channel.available_version else ""
    progress = f" {attempt.progress} %" if attempt.progress is not None and channel.phase == "active" else ""
    return f"#{attempt.number} {attempt.from_version or '?'} → {attempt.target_version or '?'}{progress}"


def _about(channel: Channel) -> str:
    remarks = []
    if channel.claimed is not None:
        remarks.append(f"claims {channel.claimed}")
    if channel.reason is not None:
        remarks.append(": ".join(filter(None, (channel.reason.code, channel.reason.text))))
    if channel.stalled:
        remarks.append("stalled")
    if channel.needs_confirmation:
        remarks.append("waits for confirmation")
    remarks.append("confirmed" if channel.confirmed else "unconfirmed")
    return ", ".join(remarks)


def clock_time(at_ms: int) -> str:
    """Return the local time of day with milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]


def full_time(at_ms: int) -> str:
    """Return the local date and time, to the second."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
