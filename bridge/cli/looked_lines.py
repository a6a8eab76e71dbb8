"""A lookup's answer as people read it: each channel in our words, and below it the cloud's own fields."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from bridge.cli.lines import COLOURS, full_time
from bridge.cli.lookup_answer import Answered
from bridge.typed import printable
from schemas import Observation


def looked_tables(answered: Answered) -> list[Table]:
    """Return what was asked, what it means, and what the cloud said."""
    return [_facts(answered), _meanings(answered), _words(answered)]


def _facts(answered: Answered) -> Table:
    facts = Table(box=None, show_header=False)
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    rows = [
        ("device", answered.device_id),
        ("account", f"{answered.account} ({answered.cloud})"),
        ("asked", "unknown" if answered.asked_at_ms is None else full_time(answered.asked_at_ms)),
        (
            "by",
            f"the running bridge, {answered.api}"
            if answered.via == "bridge"
            else f"this process, {answered.api}",
        ),
    ]
    if not answered.observations:
        rows.append(("told", "nothing about its firmware"))
    for name, value in rows:
        facts.add_row(name, Text(printable(value)))
    return facts


def _meanings(answered: Answered) -> Table:
    table = Table(
        "channel",
        "status",
        "the cloud's",
        "version",
        "target",
        "task",
        "remarks",
        header_style="dim",
        box=None,
    )
    for column in table.columns:
        column.overflow = "fold"
    for each in answered.observations:
        status = each.status
        table.add_row(
            Text(printable(each.channel or "?")),
            Text(status, COLOURS[status]) if status is not None else Text("no status of ours", "yellow"),
            Text(printable(each.vendor_status or "-")),
            Text(printable(each.current_version or "?")),
            Text(printable(each.target_version or "")),
            Text(printable(each.task_id or "")),
            Text(printable(", ".join(_remarks(each)))),
        )
    return table


def _remarks(observation: Observation) -> list[str]:
    remarks = []
    if observation.progress is not None:
        remarks.append(f"{observation.progress} %")
    if observation.undivided:
        remarks.append("download or installation")
    if observation.needs_confirmation:
        remarks.append("waits for confirmation")
    if observation.reason is not None:
        remarks.append(": ".join(filter(None, (observation.reason.code, observation.reason.text))))
    if observation.package is not None:
        remarks.append(f"package {observation.package.id} {observation.package.state}")
    return remarks


def _words(answered: Answered) -> Table:
    table = Table("channel", "the cloud's own fields", header_style="dim", box=None)
    for column in table.columns:
        column.overflow = "fold"
    for each in answered.observations:
        raw = each.evidence.raw
        if isinstance(raw, dict):
            told = "  ".join(f"{name}={value}" for name, value in sorted(raw.items()))
            table.add_row(Text(printable(each.channel or "?")), Text(printable(told), "dim"))
    return table
