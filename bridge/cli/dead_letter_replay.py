"""`ota-bridge dead-letters replay`: decodes again with today's code and keys, and has the cloud asked.

1. Read the letters one by one and judge each; keep one hint per device. 2. Tell what was found, and ask. 3. Write the
hints. The old message's status is never applied: what is true today, the cloud knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter, validators
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bridge.cli.console import console, write_json
from bridge.cli.dead_letters import no_letter
from bridge.cli.failure import CommandFailed
from bridge.cli.kafka import kafka_settings, partitions_of, run_with_kafka
from bridge.cli.letters import OfAccount, OfReason, Present, Since, Wanted, read_letters, since_ms
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.cli.reasons import remedy_of
from bridge.cli.replay_plan import Plan, plan_tables
from bridge.config import Account, LogSettings, load_accounts
from bridge.exit_codes import ExitCode
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import topic_name
from bridge.kafka.writer import KafkaWriter
from bridge.logs import Redactor, configure_logs
from consumer.errors import Misconfigured
from consumer.replay import replay as replay_letter
from consumer.settings import GatewayAccount
from consumer.sink import OutgoingRecord
from schemas import Observation

_WRITE_RECORDS: Final = 500
_WRITE_WITHIN_S: Final = 30.0

Step = Callable[[int], None]
"""Told how many more are done."""


def replay(
    key: Annotated[
        str | None, Parameter(help="One source position, as `dead-letters list` shows it.")
    ] = None,
    /,
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    every: Annotated[bool, Parameter(name="--all", help="All of them.", negative=())] = False,
    reason: OfReason = (),
    account: OfAccount = (),
    since: Since = None,
    limit: Annotated[
        int | None,
        Parameter(
            help="Take only so many, to try it; without it all are taken.",
            validator=validators.Number(gt=0),
        ),
    ] = None,
    yes: Annotated[bool, Parameter(help="Do not ask before writing.", negative=())] = False,
    json: AsJson = None,
) -> int:
    """Verify and decode dead letters again, and have the cloud asked about the devices they name.

    Takes one by its source position, those of `--reason`, or `--all`; `--account` and `--since` narrow it. Each device
    gets one hint, however many letters name it. The letters stay where they are, and are taken again the next time.

    Ends with 5 when the one letter is not there or cannot be replayed.
    """
    if (key is not None) + bool(every or reason) != 1:
        raise CommandFailed(ExitCode.USAGE, "Say which: one source position, --reason, or --all.")
    settings = kafka_settings(config)
    accounts = {each.name: each for each in load_accounts(config, optional_file=config == DEFAULT_CONFIG)}
    gateways = {name: each.gateway for name, each in accounts.items() if each.gateway is not None}
    secrets = [secret for each in gateways.values() for secret in (each.access_key, each.previous_access_key)]
    secrets.append(settings.password)
    configure_logs(LogSettings(level="error"), Redactor(secret for secret in secrets if secret is not None))
    wanted = Wanted(key=key, reasons=frozenset(reason), accounts=frozenset(account), since_ms=since_ms(since))
    as_json = wants_json(json)
    present = Present()
    plan = _planned(settings, wanted, present, gateways, limit)
    if not plan.limit_reached:
        for note in present.check(wanted, accounts):
            print(note, file=sys.stderr)
    if key is not None:
        _check_one(plan, key)
    if not as_json:
        _show(plan, accounts)
    written = 0
    if plan.hints and (yes or _agreed(len(plan.hints))):
        with _progress("Writing hints") as progress:
            task = progress.add_task("", total=len(plan.hints))
            step = functools.partial(progress.advance, task)
            run_with_kafka(settings, _write(settings, [*plan.hints.values()], step))
        written = len(plan.hints)
    if as_json:
        write_json(plan.report(written))
    elif plan.hints:
        print(f"{written} hints written." if written else "Nothing was written.")
    return ExitCode.OK


def _planned(
    settings: KafkaSettings,
    wanted: Wanted,
    present: Present,
    gateways: Mapping[str, GatewayAccount],
    limit: int | None,
) -> Plan:
    """1. Read and judge."""
    try:
        with _progress("Reading dead letters") as progress:
            task = progress.add_task("", total=None)
            return run_with_kafka(
                settings,
                _plan(settings, wanted, present, gateways, limit, step=lambda: progress.advance(task)),
            )
    except Misconfigured as mistake:
        raise CommandFailed(ExitCode.USAGE, f"{str(mistake)[:1].upper()}{str(mistake)[1:]}.") from mistake


async def _plan(
    settings: KafkaSettings,
    wanted: Wanted,
    present: Present,
    gateways: Mapping[str, GatewayAccount],
    limit: int | None,
    *,
    step: Callable[[], None],
) -> Plan:
    plan = Plan()
    async with contextlib.aclosing(read_letters(settings, wanted, present)) as letters:
        async for letter in letters:
            if plan.letters == limit:
                plan.limit_reached = True
                break
            now_ms = time.time_ns() // 1_000_000
            plan.take(letter.dead_letter, replay_letter(letter.dead_letter, gateways, now_ms))
            step()
    return plan


def _check_one(plan: Plan, key: str) -> None:
    """Fail where the one letter that was named leads to nothing."""
    if not plan.letters:
        raise no_letter(key)
    if not plan.hints:
        left = plan.left_letters[-1]
        remedy = f" ({remedy_of(left.why)})" if left.is_refused else ""
        told = f"{left.why}: {left.detail}" if left.is_refused else left.detail
        raise CommandFailed(ExitCode.DATA, f"{key} cannot be replayed. Today it is {told}{remedy}.")


def _show(plan: Plan, accounts: Mapping[str, Account]) -> None:
    """2. Tell what was found."""
    screen = console()
    rates = {name: each.api.api.rate_per_s for name, each in accounts.items() if each.api is not None}
    for part in plan_tables(plan, rates):
        screen.print(part)


def _agreed(count: int) -> bool:
    """2. Ask."""
    if not sys.stdin.isatty():
        raise CommandFailed(
            ExitCode.USAGE, f"{count} hints would be written, and nobody can be asked: confirm with --yes."
        )
    try:
        print(f"Have the cloud asked about {count} devices? [y/N] ", end="", file=sys.stderr, flush=True)
        return input().strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


async def _write(settings: KafkaSettings, hints: Sequence[Observation], step: Step) -> None:
    """3. Write the hints, each confirmed."""
    # A device's records are in the partition that its key has in the topic as it is.
    count = await partitions_of(settings, topic_name(settings.prefix, "observations"))
    async with KafkaWriter(msgspec.structs.replace(settings, partitions=count)) as writer:
        for start in range(0, len(hints), _WRITE_RECORDS):
            now_ms = time.time_ns() // 1_000_000
            records = [_record(hint, now_ms) for hint in hints[start : start + _WRITE_RECORDS]]
            try:
                async with asyncio.timeout(_WRITE_WITHIN_S):
                    await writer.write(records)
            except TimeoutError:
                raise TimeoutError(
                    f"{start} hints confirmed, no more within {_WRITE_WITHIN_S:.0f} s"
                ) from None
            step(len(records))


def _record(hint: Observation, now_ms: int) -> OutgoingRecord:
    hint = msgspec.structs.replace(hint, observed_at_ms=now_ms)
    return OutgoingRecord(
        topic="observations",
        key=hint.device_id.encode(),
        value=msgspec.json.encode(hint),
        timestamp_ms=now_ms,
    )


def _progress(what: str) -> Progress:
    """Return a bar on standard error, for people only."""
    screen = console(stderr=True)
    return Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )
