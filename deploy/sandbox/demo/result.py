"""What the demo found out, and its closing tables: how the devices of each cloud ended, and what it took to know.

Pure: values in, things to print out. `screen` prints them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from msgspec import Struct
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bridge.cli.lines import COLOURS
from deploy.sandbox.demo.feed import Tally
from deploy.sandbox.demo.fleet import Upgrades
from deploy.sandbox.verify import AttemptCount, Comparison

_LINE_WIDTH = 100
_MOST_SENTENCES = 50
_NOTES = {
    "installing": "installing: these never end at their clouds; told as stalled, like all that rests for 15 s here",
    "available": "available: the upgrade ended, and a newer version is on offer for another channel (its MCU, say)",
    "removed": "removed: these left their account in the middle of an upgrade",
}
"""What a newcomer asks about a row."""
_KINDS = {
    "ota.upgrade.baseline": "first sightings",
    "ota.upgrade.status_changed": "changes of status",
    "ota.upgrade.progressed": "steps of progress",
    "ota.upgrade.stalled": "stalls",
    "ota.upgrade.resumed": "stalls over",
    "ota.upgrade.version_changed": "changes of version",
    "ota.device.removed": "devices removed",
    "ota.device.returned": "devices returned",
}


class CloudResult(Struct, frozen=True, kw_only=True):
    """One cloud's part of the result: answers of the control API about its campaign and its requests."""

    upgrades: Upgrades
    comparison: Comparison
    report: Mapping[str, Any]
    requests: Mapping[str, Any]


class Result(Struct, frozen=True, kw_only=True):
    """What is left when all campaigns have ended and the bridge has stopped."""

    clouds: tuple[CloudResult, ...]
    comparison: Comparison
    """Of all devices of all clouds."""
    attempts: AttemptCount
    broken_revisions: list[str]

    @property
    def exit_code(self) -> int:
        """0 when state equals truth for every device, no event is missing or repeated and no attempt is told that
        never began, else 1. Merged attempts are no fault: a push that was lost can cause them.
        """
        whole = not self.broken_revisions and not self.attempts.phantom
        return 0 if self.comparison.all_equal and whole else 1


def endings_table(result: Result) -> Table:
    """Devices by status and cloud, in the truth and in the state table."""
    table = Table(
        "ended as",
        *(cloud.upgrades.cloud for cloud in result.clouds),
        "all",
        title="How many devices ended how: in the clouds' truth = in the bridge's ota.upgrade-state.v1",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for column in table.columns[1:]:
        column.justify = "right"
    comparisons = [*(cloud.comparison for cloud in result.clouds), result.comparison]
    for status in result.comparison.by_status:
        cells = [_both(*comparison.by_status.get(status, (0, 0))) for comparison in comparisons]
        table.add_row(Text(status, _colour(status)), *cells)
    equal = [
        Text(f"{each.equal} of {each.devices}", "green" if each.all_equal else "bold red")
        for each in comparisons
    ]
    table.add_section()
    table.add_row("are equal", *equal)
    return table


def effort_table(result: Result, tally: Tally) -> Table:
    """What each cloud pushed and was asked, and how soon a push was an event."""
    table = Table(
        *("cloud", "events", "pushes", "lost", "push to event p50 / p99", "requests", "at most"),
        title="What it took: pushes, how soon they were events, requests to confirm and to fill gaps",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for cloud in result.clouds:
        account, report, requests = cloud.upgrades.account, cloud.report, cloud.requests
        pushes = ("none", "", "only asked")
        if cloud.upgrades.pushes:
            pushes = (str(report["pushes_sent"]), str(report["pushes_dropped"]), _latency(tally, account))
        table.add_row(
            cloud.upgrades.cloud,
            str(tally.accounts[account]),
            *pushes,
            str(sum(requests["per_api"].values())),
            f"{requests['max_per_window']} of {requests['allowed_per_window']} in {requests['window_s']:.0f} s",
        )
    return table


def notes(result: Result, tally: Tally) -> Iterator[str]:
    """Sentences for somebody who sees this for the first time."""
    for status, note in _NOTES.items():
        if status in result.comparison.by_status:
            yield note
    kinds = ", ".join(f"{count} {_KINDS.get(kind, kind)}" for kind, count in tally.kinds.most_common())
    yield from wrap(f"{tally.events} events: {kinds}", _LINE_WIDTH)
    yield "at most: requests in the time over which that cloud counts them, of those that it allows"
    yield f"{result.attempts.began} attempts began; phantom: told, never begun"
    yield "merged: two told as one, or over before anybody looked, where pushes were lost"


def verdict_lines(result: Result) -> Iterator[tuple[str, str]]:
    """Every fault by name, then the verdict: sentences and their styles."""
    for difference in result.comparison.differences[:_MOST_SENTENCES]:
        yield str(difference), "red"
    for sentence in (*result.attempts.phantoms[:_MOST_SENTENCES], *result.broken_revisions[:_MOST_SENTENCES]):
        yield sentence, "red"
    if not result.broken_revisions:
        yield "every device's revisions rise by one, without a hole or a repeat", "green"
    yield str(result.attempts), "red" if result.attempts.phantom else "green"
    yield str(result.comparison), "bold green" if result.comparison.all_equal else "bold red"


def _both(true: int, shown: int) -> Text:
    if true != shown:
        return Text(f"{true} ≠ {shown}", "bold red")
    return Text(f"{true} = {shown}") if true else Text("·", "dim")


def _latency(tally: Tally, account: str) -> str:
    percentiles = [tally.latency_percentile(account, percent) for percent in (50, 99)]
    return " / ".join("?" if each is None else f"{each:.0f}" for each in percentiles) + " ms"


def _colour(status: str) -> str:
    return next((colour for name, colour in COLOURS.items() if name == status), "")
