"""Pushed messages as people read them: one coloured line each."""

from __future__ import annotations

from rich.text import Text

from bridge.cli.lines import COLOURS, clock_time
from bridge.typed import printable
from schemas import DeadLetter, Observation


def observation_line(seen: Observation) -> Text:
    """Return `time device /channel message what it tells` of one message that was understood."""
    line = Text()
    line.append(clock_time(seen.vendor_time_at_ms or seen.observed_at_ms), "dim")
    if not seen.device_id:
        line.append(
            "  messages of this account were lost: the gateway drops what nobody read in time", "bold red"
        )
        return line
    line.append(f"  {printable(seen.device_id)}")
    if seen.channel is not None:
        line.append(f" /{printable(seen.channel)}", "dim")
    line.append(f"  {printable(seen.evidence.name)}  ")
    _append_fact(line, seen)
    if seen.claimed is not None:
        line.append(f"  claims {seen.claimed}", COLOURS[seen.claimed])
    if seen.vendor_status is not None:
        line.append(f"  ({printable(seen.vendor_status)})", "dim")
    if seen.reason is not None:
        told = ": ".join(filter(None, (seen.reason.code, seen.reason.text)))
        line.append(f"  {printable(told)}", "red")
    return line


def dead_letter_line(letter: DeadLetter) -> Text:
    """Return `time dead letter reason: detail place` of one message that was not understood.

    The place is without the account: with it, it would be the key of a record that nobody wrote.
    """
    line = Text()
    line.append(clock_time(letter.received_at_ms), "dim")
    line.append("  dead letter  ", "bold red")
    line.append(printable(letter.reason), "red")
    line.append(f": {printable(letter.detail)}  ")
    line.append(f"at {printable(letter.source_position.partition('/')[2])}", "dim")
    return line


def _append_fact(line: Text, seen: Observation) -> None:
    if seen.status is not None:
        line.append(seen.status, COLOURS[seen.status])
    elif seen.progress is not None:
        line.append(f"{seen.progress} %", "cyan")
    elif seen.lifecycle is not None:
        line.append(printable(seen.lifecycle), "blue")
        if seen.name is not None:
            line.append(f" {printable(seen.name)}")
    else:
        line.append(seen.kind, "yellow")
