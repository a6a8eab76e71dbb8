"""What a replay of dead letters would do: one hint per device, and what is left with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bridge.cli.reasons import REMEDIES, remedy_of
from bridge.typed import printable
from consumer.replay import Replayed
from schemas import DeadLetter, Observation

MOST_TOLD: Final = 1000
"""Letters left that are named one by one; beyond it they are only counted."""
_MEANINGS: Final[Mapping[str, str]] = {
    "cut": "only the beginning of the message was kept, so it can never be read again: nothing to do here, ask about"
    " the device with `ota-bridge lookup` where you know which it was",
    "unknown account": "this configuration has no gateway of that name: give -c the one that the bridge runs with",
    "nothing to ask": "understood today, and about no upgrade: nothing to do",
    "not an observation": "the fold could not read it and cannot today: find out which program wrote it, or report it",
    "no device": "it names no device, so that nobody can be asked: nothing to do",
}
"""What is left for a reason other than a dead letter's own."""
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


class LeftLetter(Struct, frozen=True, kw_only=True):
    """A letter that leads to no hint."""

    source_position: str
    why: str
    detail: str

    @property
    def is_refused(self) -> bool:
        """Whether it would be a dead letter again today."""
        return self.why in REMEDIES


class Plan:
    """Collects what is found; holds one hint per device and a bounded list of what is left."""

    def __init__(self) -> None:
        self.letters = 0
        self.hints: dict[tuple[str, str], Observation] = {}
        self.left: Counter[str] = Counter()
        self.left_letters: list[LeftLetter] = []
        self.limit_reached = False

    def take(self, letter: DeadLetter, replayed: Replayed) -> None:
        """Add one letter."""
        self.letters += 1
        for hint in replayed.hints:
            key = (hint.account, hint.device_id)
            before = self.hints.get(key)
            # The latest message decides whether a removed device may be back.
            if before is None or (hint.vendor_time_at_ms or 0) > (before.vendor_time_at_ms or 0):
                self.hints[key] = hint
        if replayed.left is not None:
            self.left[replayed.left] += 1
            if len(self.left_letters) < MOST_TOLD:
                self.left_letters.append(
                    LeftLetter(
                        source_position=letter.source_position,
                        why=replayed.left,
                        detail=replayed.detail or "",
                    )
                )

    def report(self, written: int) -> dict[str, Any]:
        """Return the plan as JSON, with how many hints were written."""
        return {
            "letters": self.letters,
            "devices": len(self.hints),
            "hints_written": written,
            "left": self.left,
            "left_letters": self.left_letters,
            "limit_reached": self.limit_reached,
        }


def plan_tables(plan: Plan, rates: Mapping[str, float]) -> Iterator[RenderableType]:
    """Yield what to tell before asking; `rates` are the look-ups a second of the accounts that have an API."""
    if not plan.letters:
        yield "No dead letters match."
        return
    devices: Counter[str] = Counter(account for account, _ in plan.hints)
    table = Table(box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    table.add_row(str(plan.letters), "dead letters read")
    table.add_row(str(plan.letters - plan.left.total()), f"understood, about {len(plan.hints)} devices")
    for why, count in plan.left.most_common():
        told = f"left, {why}: {_MEANINGS.get(why) or remedy_of(why)}"
        table.add_row(str(count), Text(told, "red"))
    yield table
    for account, count in devices.most_common():
        rate = rates.get(account)
        if rate is None:
            yield Text(
                f"Account {printable(account)} has no api in this configuration: where the bridge has none either,"
                " nobody can be asked.",
                "yellow",
            )
        else:
            yield Text(
                f"Account {printable(account)}: {count} look-ups, {_lasting(count / rate)} at {rate:g} a second."
            )
    if plan.limit_reached:
        yield Text(
            "There are more: without --limit all of them are taken, those shown here once more with them.",
            "yellow",
        )


def _lasting(seconds: float) -> str:
    if seconds < _MINUTE_S:
        return "less than a minute"
    if seconds < _HOUR_S:
        return f"about {seconds / _MINUTE_S:.0f} min"
    return f"about {seconds / _HOUR_S:.1f} h"
