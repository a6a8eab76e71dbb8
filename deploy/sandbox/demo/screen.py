"""What the demo shows: event lines as they come, a progress bar below them, and the closing tables.

On a terminal the lines are coloured and the bar is live; elsewhere everything is plain lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from bridge.cli.lines import COLOURS, event_line
from deploy.sandbox.demo.feed import Happening, Tally
from deploy.sandbox.verify import AttemptCount, Comparison
from schemas import UpgradeEvent

_PLAIN_PROGRESS_S = 5.0
_PLAIN_WIDTH = 120
_NOT_SHOWN = "ota.upgrade.progressed"
"""Far more than a person reads; they are counted."""
_MOST_DIFFERENCES = 50
_WHY_AVAILABLE = (
    "available: the upgrade succeeded, and a newer version is on offer for another",
    "channel of the device (its MCU, say). A device shows its most telling channel.",
)
_KINDS = {
    "ota.upgrade.baseline": "first sightings",
    "ota.upgrade.status_changed": "changes of status",
    "ota.upgrade.progressed": "steps of progress",
    "ota.upgrade.stalled": "stalls",
    "ota.upgrade.resumed": "stalls over",
    "ota.upgrade.version_changed": "changes of version",
    "ota.device.removed": "devices removed",
}


class Screen:
    """Writes the demo to a console."""

    def __init__(self, *, all_events: bool) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        if not self._console.is_terminal:
            self._console.width = _PLAIN_WIDTH
        self._all_events = all_events
        self._progress: Progress | None = None
        self._task = TaskID(0)
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

    def show_event(self, happening: Happening) -> None:
        """Write an event's line."""
        if happening.kind == _NOT_SHOWN and not self._all_events:
            return
        line = event_line(msgspec.convert(happening.event, UpgradeEvent), happening.kind)
        if (latency_ms := happening.latency_ms) is not None:
            line.append(f"  {latency_ms:.0f} ms", "dim")
        self._console.print(line)

    @contextmanager
    def campaign(self, devices: int) -> Iterator[None]:
        """Keep the bar below the events meanwhile."""
        if not self._console.is_terminal:
            yield
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[about]}", style="dim"),
        )
        with Progress(*columns, console=self._console, transient=True) as self._progress:
            self._task = self._progress.add_task("campaign", total=devices, about="")
            yield
        self._progress = None

    def show_campaign(self, report: Mapping[str, Any], tally: Tally) -> None:
        """Move the bar; without a terminal, write a line now and then."""
        ended = sum(report["ended"].values())
        about = ", ".join(f"{count} {status}" for status, count in sorted(report["ended"].items()))
        about = f"{about or 'none ended'} · {tally.events} events"
        if self._progress is not None:
            self._progress.update(self._task, completed=ended, about=about)
        elif not self._console.is_terminal and time.monotonic() >= self._plain_due:
            self._plain_due = time.monotonic() + _PLAIN_PROGRESS_S
            self.say(f"campaign {ended}/{report['devices']} ended: {about}")

    def show_result(
        self,
        comparison: Comparison,
        attempts: AttemptCount,
        broken_revisions: list[str],
        tally: Tally,
        *,
        report: Mapping[str, Any],
        requests: Mapping[str, Any],
    ) -> None:
        """Write the closing tables."""
        table = Table(
            *("devices", "the cloud's truth", "ota.upgrade-state.v1", ""),
            title="How the devices ended, and what the bridge's state table says",
            title_justify="left",
            box=SIMPLE_HEAD,
        )
        for column in table.columns[1:3]:
            column.justify = "right"
        for status, (true, shown) in comparison.by_status.items():
            mark = Text("=", "green") if true == shown else Text("≠", "bold red")
            table.add_row(Text(status, _colour(status)), str(true), str(shown), mark)
        about = [Text(line, "dim") for line in _WHY_AVAILABLE] if "available" in comparison.by_status else []
        facts = Table(box=None, show_header=False)
        facts.add_column(style="dim")
        facts.add_column()
        for name, fact in _facts(tally, attempts, report, requests):
            facts.add_row(name, fact)
        self._console.print("", table, *about, "", facts, "", sep="\n")
        for difference in comparison.differences[:_MOST_DIFFERENCES]:
            self.say(str(difference), "red")
        for sentence in attempts.phantoms[:_MOST_DIFFERENCES]:
            self.say(sentence, "red")
        for sentence in broken_revisions[:_MOST_DIFFERENCES]:
            self.say(sentence, "red")
        if not broken_revisions:
            self.say("every device's revisions rise by one, without a hole or a repeat", "green")
        self.say(str(attempts), "red" if attempts.phantom else "green")
        self.say(str(comparison), "bold green" if comparison.all_equal else "bold red")


def _facts(
    tally: Tally, attempts: AttemptCount, report: Mapping[str, Any], requests: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Name and sentence of each figure, for somebody who sees this for the first time."""
    kinds = ", ".join(f"{count} {_KINDS.get(kind, kind)}" for kind, count in tally.kinds.most_common())
    yield "events", f"{tally.events}: {kinds}"
    sent, dropped = report["pushes_sent"], report["pushes_dropped"]
    yield "pushes", f"{sent} came through the gateway, {dropped} more were lost on the way"
    if tally.latencies_ms:
        percentiles = (f"p{percent} {tally.latency_percentile(percent):.0f} ms" for percent in (50, 90, 99))
        yield (
            "push to event",
            f"{', '.join(percentiles)}, as a consumer of Kafka sees it",
        )
    calls = ", ".join(f"{count} {api}" for api, count in sorted(requests["per_api"].items()))
    total = sum(requests["per_api"].values())
    yield (
        "lookups made",
        f"{total}, to confirm outcomes and learn what was lost: {calls}",
    )
    yield (
        "attempts",
        f"{attempts.began} began; phantom: told, never begun; merged: two told as one",
    )


def _colour(status: str) -> str:
    return next((colour for name, colour in COLOURS.items() if name == status), "")
