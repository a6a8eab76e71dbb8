"""`ota-bridge dead-letters list` and `show`: what could not be understood, and what to do about it."""

from __future__ import annotations

import heapq
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter, validators
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.cli.failure import CommandFailed
from bridge.cli.kafka import kafka_settings, run_with_kafka
from bridge.cli.letters import Letter, OfAccount, OfReason, Since, Wanted, read_letters, since_ms
from bridge.cli.lines import full_time, printable
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.cli.reasons import remedy_of
from bridge.exit_codes import ExitCode
from bridge.kafka.settings import KafkaSettings
from consumer.replay import FOLDS_OWN, is_cut
from schemas import DeadLetter

_SHOWN_CHARACTERS: Final = 4000
"""Of a payload on a terminal; `--json` gives all of it."""


def list_letters(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    since: Since = None,
    reason: OfReason = (),
    account: OfAccount = (),
    limit: Annotated[
        int,
        Parameter(help="List only the latest so many; all are counted.", validator=validators.Number(gte=0)),
    ] = 100,
    json: AsJson = None,
) -> None:
    """List the latest dead letters, and count all by reason.

    As JSON one object a line, `type` tells which: `dead_letter` without its payload, at the end `summary`.
    """
    settings = kafka_settings(config)
    wanted = Wanted(reasons=frozenset(reason), accounts=frozenset(account), since_ms=since_ms(since))
    latest, counts = run_with_kafka(settings, _collect(settings, wanted, limit))
    if wants_json(json):
        for letter in latest:
            _write({"type": "dead_letter"} | msgspec.structs.asdict(letter))
        _write({"type": "summary", "matching": counts.total(), "listed": len(latest), "by_reason": counts})
    else:
        _show_list(latest, counts)


def show(
    key: Annotated[str, Parameter(help="Its source position, as `dead-letters list` shows it.")],
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    json: AsJson = None,
) -> None:
    """Show one dead letter with its payload, still encrypted: `ota-bridge decrypt` takes this command's JSON.

    Ends with 5 when there is none. As JSON it is the record's value as it stands in Kafka.
    """
    settings = kafka_settings(config)
    letter = run_with_kafka(settings, _find(settings, key))
    if letter is None:
        raise no_letter(key)
    if wants_json(json):
        sys.stdout.write(letter.value.decode() + "\n")
    else:
        _show_letter(letter.dead_letter)


def no_letter(key: str) -> CommandFailed:
    """Return the failure of a command that was to act on a dead letter which is not there."""
    return CommandFailed(
        ExitCode.DATA,
        f"There is no dead letter {key}. They are kept for 30 days; `ota-bridge dead-letters list` shows them.",
    )


class ListedLetter(Struct, frozen=True, kw_only=True):
    """A dead letter without its payload."""

    received_at_ms: int
    account: str
    reason: str
    detail: str
    source_position: str
    payload_bytes: int
    is_cut: bool


async def _collect(
    settings: KafkaSettings, wanted: Wanted, limit: int
) -> tuple[list[ListedLetter], Counter[str]]:
    """Return the latest, oldest first, and the count of all by reason; only `limit` are held at a time."""
    counts: Counter[str] = Counter()
    latest: list[tuple[int, int, ListedLetter]] = []
    async for each in read_letters(settings, wanted):
        letter = each.dead_letter
        counts[letter.reason] += 1
        listed = ListedLetter(
            received_at_ms=letter.received_at_ms,
            account=letter.account,
            reason=letter.reason,
            detail=letter.detail,
            source_position=letter.source_position,
            payload_bytes=letter.payload_bytes,
            is_cut=is_cut(letter),
        )
        heapq.heappush(latest, (letter.received_at_ms, counts.total(), listed))
        if len(latest) > limit:
            heapq.heappop(latest)
    return [listed for _, _, listed in sorted(latest)], counts


async def _find(settings: KafkaSettings, key: str) -> Letter | None:
    """Return the latest record of a key; a message that was delivered twice may have two."""
    found: Letter | None = None
    async for letter in read_letters(settings, Wanted(key=key)):
        found = letter
    return found


def _show_list(latest: Sequence[ListedLetter], counts: Counter[str]) -> None:
    console = Console(highlight=False)
    if not counts:
        console.print("No dead letters.")
        return
    table = Table("received", "reason", "source position", "detail", box=None, header_style="dim")
    for column in table.columns:
        column.overflow = "fold"
    for letter in latest:
        detail = printable(letter.detail) + (" (payload cut)" if letter.is_cut else "")
        table.add_row(
            full_time(letter.received_at_ms),
            Text(printable(letter.reason), "red"),
            Text(printable(letter.source_position)),
            Text(detail),
        )
    console.print(table)
    sums = Table("", "reason", "what to do", box=None, header_style="dim")
    for reason, count in counts.most_common():
        sums.add_row(str(count), Text(printable(reason), "red"), f"{remedy_of(reason)}.")
    console.print(sums)
    if counts.total() > len(latest):
        console.print(f"The latest {len(latest)} of {counts.total()} are listed; see --limit.", style="dim")


def _show_letter(letter: DeadLetter) -> None:
    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows = [
        ("source position", letter.source_position),
        ("account", letter.account),
        ("received", full_time(letter.received_at_ms)),
        ("reason", f"{letter.reason}: {letter.detail}"),
        ("what to do", f"{remedy_of(letter.reason)}."),
        *((f"property {name}", value) for name, value in letter.properties.items()),
        ("payload", f"{letter.payload_bytes} bytes, sha256 {letter.payload_sha256}"),
    ]
    if is_cut(letter):
        rows.append(("", f"cut: the first {len(letter.payload)} bytes were kept, it cannot be replayed"))
    elif letter.source_position.startswith(FOLDS_OWN):
        rows.append(("", "an observation that the fold refused"))
    for what, told in rows:
        table.add_row(what, Text(printable(told)))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    text = letter.payload.decode("utf-8", "replace")
    console.print(Text(printable(text[:_SHOWN_CHARACTERS])))
    if len(text) > _SHOWN_CHARACTERS:
        console.print(f"… {len(text) - _SHOWN_CHARACTERS} more characters; --json shows all.", style="dim")


def _write(line: Any) -> None:
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
