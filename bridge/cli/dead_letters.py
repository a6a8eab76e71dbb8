"""`ota-bridge dead-letters list` and `show`: what could not be understood, and what to do about it."""

from __future__ import annotations

import heapq
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter, validators
from msgspec import Struct
from rich.table import Table
from rich.text import Text

from bridge.cli.console import console, print_rows, write_json
from bridge.cli.failure import CommandFailed
from bridge.cli.kafka import account_names, kafka_settings, run_with_kafka
from bridge.cli.letters import Letter, OfAccount, OfReason, Present, Since, Wanted, read_letters, since_ms
from bridge.cli.lines import full_time
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.cli.reasons import remedy_of
from bridge.exit_codes import ExitCode
from bridge.kafka.settings import KafkaSettings
from bridge.typed import printable, typed
from consumer.replay import FOLDS_OWN, is_cut
from schemas import DeadLetter

_SHOWN_CHARACTERS: Final = 4000
"""Of a payload on a terminal; `--json` gives all of it."""
_REASON_WIDTH: Final = 18
_KEY: Final = re.compile(r"[a-z0-9-]{1,40}/[\w./:-]{1,80}")
"""What may be repeated whole: something else pasted in its place looks otherwise."""


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

    As JSON one object a line, `type` tells which: `dead_letter` without its payload, at the end `summary` with what to
    do about each reason.
    """
    settings = kafka_settings(config)
    wanted = Wanted(reasons=frozenset(reason), accounts=frozenset(account), since_ms=since_ms(since))
    present = Present()
    latest, counts = run_with_kafka(settings, _collect(settings, wanted, present, limit))
    for note in present.check(wanted, account_names(config)):
        print(note, file=sys.stderr)
    if wants_json(json):
        for letter in latest:
            write_json({"type": "dead_letter"} | msgspec.structs.asdict(letter))
        write_json(
            {
                "type": "summary",
                "matching": counts.total(),
                "listed": len(latest),
                "by_reason": counts,
                "remedies": {reason: remedy_of(reason) for reason in counts},
            }
        )
    else:
        _show_list(latest, counts)


def show(
    key: Annotated[str, Parameter(help="Its source position, as `dead-letters list` shows it.")],
    /,
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
        write_json(msgspec.Raw(letter.value))
    else:
        _show_letter(letter.dead_letter)


def no_letter(key: str) -> CommandFailed:
    """Return the failure of a command that was to act on a dead letter which is not there."""
    named = key if _KEY.fullmatch(key) else typed(key)
    return CommandFailed(
        ExitCode.DATA,
        f"There is no dead letter {named}. They are kept for 30 days; `ota-bridge dead-letters list` shows them.",
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
    settings: KafkaSettings, wanted: Wanted, present: Present, limit: int
) -> tuple[list[ListedLetter], Counter[str]]:
    """Return the latest, oldest first, and the count of all by reason; only `limit` are held at a time."""
    counts: Counter[str] = Counter()
    latest: list[tuple[int, int, ListedLetter]] = []
    async for each in read_letters(settings, wanted, present):
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
    screen = console()
    if not counts:
        screen.print("No dead letters.")
        return
    for letter in latest:
        detail = printable(letter.detail) + (" (payload cut)" if letter.is_cut else "")
        # The key is the last of its line and never broken: it is copied into `show` and `replay`.
        screen.print(
            Text.assemble(
                (full_time(letter.received_at_ms), "dim"),
                (f"  {printable(letter.reason):<{_REASON_WIDTH}}", "red"),
                f"  {printable(letter.source_position)}\n",
                f"    {detail}",
            )
        )
    sums = Table("count", "reason", "what to do", box=None, header_style="dim")
    for column in sums.columns:
        column.overflow = "fold"
    sums.columns[1].no_wrap = True
    for reason, count in counts.most_common():
        sums.add_row(str(count), Text(printable(reason), "red"), f"{remedy_of(reason)}.")
    screen.print()
    screen.print(sums)
    if counts.total() > len(latest):
        screen.print(f"The latest {len(latest)} of {counts.total()} are listed; see --limit.", style="dim")


def _show_letter(letter: DeadLetter) -> None:
    rows = [
        ("source position", letter.source_position),
        ("account", letter.account),
        ("received", full_time(letter.received_at_ms)),
        ("reason", f"{letter.reason}: {letter.detail}"),
        ("what to do", f"{remedy_of(letter.reason)}."),
        *((f"property {printable(name)}", value) for name, value in letter.properties.items()),
        ("payload", f"{letter.payload_bytes} bytes, sha256 {letter.payload_sha256}"),
    ]
    if is_cut(letter):
        rows.append(("", f"cut: the first {len(letter.payload)} bytes were kept, it cannot be replayed"))
    elif letter.source_position.startswith(FOLDS_OWN):
        rows.append(("", "an observation that the fold refused"))
    screen = console()
    print_rows(screen, [(what, Text(printable(told))) for what, told in rows])
    text = letter.payload.decode("utf-8", "replace")
    screen.print(Text(printable(text[:_SHOWN_CHARACTERS])))
    if len(text) > _SHOWN_CHARACTERS:
        screen.print(f"… {len(text) - _SHOWN_CHARACTERS} more characters; --json shows all.", style="dim")
