"""What the demo shows: event lines as they come, each cloud's progress below them, and the closing tables.

On a terminal the lines are coloured and the bars are live; elsewhere everything is plain lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

from bridge.cli.lines import event_line
from deploy.sandbox.demo.feed import Happening, Tally
from deploy.sandbox.demo.fleet import Upgrades, introduction, short_name
from deploy.sandbox.demo.result import Result, effort_table, endings_table, notes, verdict_lines
from schemas import UpgradeEvent

_PLAIN_PROGRESS_S = 5.0
_PLAIN_WIDTH = 100
_BAR_WIDTH = 20
_NOT_SHOWN = "ota.upgrade.progressed"
"""Far more than a person reads; they are counted."""
_ID_WIDTH = 8
"""Enough to tell devices apart; the longest ids would fill half a line."""
_ACCOUNT_WIDTH = 6
_CLOUD_WIDTH = 12


class Screen:
    """Writes the demo to a console."""

    def __init__(self, *, all_events: bool) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        if not self._console.is_terminal:
            self._console.width = _PLAIN_WIDTH
        self._all_events = all_events
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}
        self._plain_due = 0.0

    def say(self, text: str, style: str = "") -> None:
        """Write a line of the story."""
        self._console.print(text, style=style, markup=False)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something takes its time, then how long it took."""
        began = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(text):
                yield
        else:
            yield
        self._console.print(
            Text.assemble(("✓ ", "green"), text, (f"  {time.monotonic() - began:.1f} s", "dim"))
        )

    def introduce(self, fleet: Sequence[Upgrades], push_drop: float) -> None:
        """Say what is going to happen."""
        self.say("\n".join(("", *introduction(fleet, push_drop), "")))

    def show_event(self, happening: Happening) -> None:
        """Write an event's line."""
        if happening.kind == _NOT_SHOWN and not self._all_events:
            return
        line = _line(happening)
        if self._console.is_terminal:
            # One event, one line: what is too long loses its last remarks.
            self._console.print(line, soft_wrap=False, no_wrap=True, overflow="ellipsis")
        else:
            self._console.print(line)

    @contextmanager
    def campaigns(self, fleet: Sequence[Upgrades]) -> Iterator[None]:
        """Keep a bar for each cloud below the events meanwhile."""
        if not self._console.is_terminal:
            yield
            return
        columns = (
            TextColumn(f"{{task.description:<{_CLOUD_WIDTH}}}"),
            BarColumn(_BAR_WIDTH),
            MofNCompleteColumn(),
            TextColumn("{task.fields[about]}", style="dim"),
        )
        with Progress(*columns, console=self._console, transient=True) as self._progress:
            for part in fleet:
                self._bars[part.account] = self._progress.add_task(part.cloud, total=part.devices, about="")
            yield
        self._progress = None

    def show_campaigns(self, reports: Mapping[str, Mapping[str, Any]], tally: Tally) -> None:
        """Move the bars to the reports of each account; without a terminal, write a line now and then."""
        ended = {account: sum(report["ended"].values()) for account, report in reports.items()}
        if self._progress is not None:
            for account, report in reports.items():
                about = ", ".join(f"{count} {status}" for status, count in sorted(report["ended"].items()))
                self._progress.update(self._bars[account], completed=ended[account], about=about)
        elif not self._console.is_terminal and time.monotonic() >= self._plain_due:
            self._plain_due = time.monotonic() + _PLAIN_PROGRESS_S
            each = ", ".join(
                f"{short_name(account)} {ended[account]}/{report['devices']}"
                for account, report in reports.items()
            )
            self.say(f"-- upgrades ended: {each}; {tally.events} events")

    def show_result(self, result: Result, tally: Tally) -> None:
        """Write the closing tables."""
        self._console.print("", endings_table(result), effort_table(result, tally), sep="\n")
        for note in notes(result, tally):
            self.say(note, "dim")
        self.say("")
        for sentence, style in verdict_lines(result):
            self.say(sentence, style)


def _line(happening: Happening) -> Text:
    """Return `account ms time device /channel previous → status versions remarks`, short enough for most terminals."""
    event = msgspec.convert(happening.event, UpgradeEvent)
    if len(event.device_id) > _ID_WIDTH:
        event = msgspec.structs.replace(event, device_id=f"{event.device_id[: _ID_WIDTH - 1]}…")
    if event.claimed is not None:
        # How far it got says nothing beside the claim.
        event = msgspec.structs.replace(event, progress=None)
    seconds, _, rest = event_line(event, happening.kind).divide((len("00:00:00"), len("00:00:00.000")))
    latency_ms = happening.latency_ms
    return Text.assemble(
        (f"{short_name(happening.account):<{_ACCOUNT_WIDTH}} ", "bold"),
        ("     -" if latency_ms is None else f"{latency_ms:6.0f}", "dim"),
        "  ",
        seconds,
        rest,
    )
