"""`ota-bridge replay`: folds the observations again with today's rules, and shows what differs from the published."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from typing import Annotated, Final

from aiokafka import TopicPartition
from cyclopts import Parameter, validators
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from bridge.cli.console import console, write_json
from bridge.cli.failure import CommandFailed
from bridge.cli.kafka import partitions_of, run_with_kafka
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.cli.replay_report import report_lines, report_text
from bridge.config import Configuration, LogSettings, load
from bridge.config.checks import PREFIX
from bridge.exit_codes import ExitCode
from bridge.fold.batch import FoldTopics
from bridge.garbage import collect_seldom
from bridge.kafka.topics import TopicsRefused, partition_of
from bridge.logs import Redactor, configure_logs
from bridge.replay.findings import Findings
from bridge.replay.partition import PartitionReplay, Selection
from bridge.replay.reading import ObservationsExpired, Reader, open_reader
from bridge.replay.second_set import PrefixInUse, SecondSet
from bridge.typed import typed

Step = Callable[[int, str], None]
_SHOWN_EXAMPLES: Final = 3


def replay(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    device: Annotated[
        tuple[str, ...], Parameter(help="Only this device; may be given several times.", negative=())
    ] = (),
    account: Annotated[
        tuple[str, ...],
        Parameter(help="Only this account's devices; may be given several times.", negative=()),
    ] = (),
    limit: Annotated[
        int,
        Parameter(
            help="Show so many devices of each kind of difference; all are counted.",
            validator=validators.Number(gte=0),
        ),
    ] = _SHOWN_EXAMPLES,
    to_prefix: Annotated[
        str | None,
        Parameter(
            help="Also write the states and events that come of it, to new topics under this other prefix."
        ),
    ] = None,
    json: AsJson = None,
) -> int:
    """Fold the observations again, and show where that leads to other states than the published ones.

    For after an upgrade or a change of `[policy]`, and for when somebody doubts a state: what is folded are the
    observations that Kafka still holds, by the rules of this version and this configuration. Nothing of the running
    bridge is touched; it may run meanwhile. Devices whose first observation is no longer there are only counted.

    Ends with 0 when everything compared is as published, apart from times that timers set; with 5 when something
    differs, or nothing could be compared. As JSON one object a line: `difference` for each device shown, at the end
    `summary` with all kinds of differences and their counts.
    """
    configuration = load(config)
    configure_logs(LogSettings(level="error"), Redactor(configuration.secrets()))
    _check(configuration, account, to_prefix)
    selection = Selection(devices=frozenset(device), accounts=frozenset(account))
    findings = Findings(limit)
    try:
        with _progress() as progress:
            written = run_with_kafka(
                configuration.kafka, _replay(configuration, selection, findings, progress, to_prefix)
            )
    except ObservationsExpired as expired:
        raise CommandFailed(ExitCode.DATA, str(expired)) from expired
    except PrefixInUse as refused:
        raise CommandFailed(ExitCode.USAGE, str(refused)) from refused
    except TopicsRefused as refused:
        raise CommandFailed(ExitCode.USAGE, "\n".join(refused.problems)) from refused

    if wants_json(json):
        for line in report_lines(findings, written):
            write_json(line)
    else:
        screen = console()
        for text in report_text(findings, written):
            screen.print(text)
    return _exit_code(findings, device)


def _check(configuration: Configuration, accounts: Collection[str], to_prefix: str | None) -> None:
    known = configuration.account_names()
    for name in accounts:
        if name not in known:
            raise CommandFailed(
                ExitCode.USAGE,
                f"--account {typed(name)} is not in the configuration. It has {', '.join(known)}.",
            )
    if to_prefix is not None and not PREFIX.fullmatch(to_prefix):
        raise CommandFailed(
            ExitCode.USAGE,
            f"--to-prefix {typed(to_prefix)} cannot begin a topic's name: use 1 to 100 of a-z, A-Z, 0-9,"
            " '.', '_', '-'.",
        )


async def _replay(
    configuration: Configuration,
    selection: Selection,
    findings: Findings,
    progress: Progress,
    to_prefix: str | None,
) -> SecondSet | None:
    """Replay one partition after the other: no more than one has to be in memory."""
    settings = configuration.kafka
    # What places a device's records is the topics' own count.
    own = FoldTopics.under(settings.prefix, settings.partitions)
    counts = [await partitions_of(settings, topic) for topic in (own.observations, own.state, own.events)]
    if len(set(counts)) > 1:
        raise CommandFailed(
            ExitCode.USAGE,
            f"The topics have {counts[0]}, {counts[1]} and {counts[2]} partitions: see `ota-bridge topics check`.",
        )

    topics = FoldTopics.under(settings.prefix, counts[0])
    numbers = sorted(
        {partition_of(key, topics.partitions) for key in selection.record_keys()} or range(counts[0])
    )
    async with AsyncExitStack() as open_things:
        reader = await open_things.enter_async_context(open_reader(settings))
        second: SecondSet | None = None
        if to_prefix is not None:
            second = await SecondSet.prepare(settings, reader, to_prefix, topics.partitions)
            await open_things.enter_async_context(second)
        collect_seldom()
        task = progress.add_task("", total=await _total(reader, topics, numbers))
        for place, number in enumerate(numbers, start=1):
            await PartitionReplay(
                number,
                reader,
                configuration.policy,
                topics,
                findings,
                selection=selection,
                step=_step(progress, task, f"partition {place} of {len(numbers)}"),
                output=None if second is None else await second.output(number),
                written=None if second is None else second.topics,
            ).run()
    return second


async def _total(reader: Reader, topics: FoldTopics, numbers: Collection[int]) -> int:
    bounds = [await reader.bounds(TopicPartition(topics.observations, number)) for number in numbers]
    return sum(end - start for start, end in bounds)


def _step(progress: Progress, task: TaskID, where: str) -> Step:
    return lambda count, what: progress.update(task, advance=count, description=f"{where}: {what}")


def _progress() -> Progress:
    """Return a bar on standard error, for people only."""
    screen = console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )


def _exit_code(findings: Findings, devices: Collection[str]) -> ExitCode:
    unknown = len(set(devices)) - findings.published
    if unknown > 0:
        print(
            f"Of the devices named ({len(set(devices))}) neither the states nor the observations know {unknown}.",
            file=sys.stderr,
        )
        return ExitCode.DATA
    if not findings.compared and findings.published:
        print("Nothing could be compared.", file=sys.stderr)
        return ExitCode.DATA
    return ExitCode.DATA if findings.by_rules or findings.unreadable else ExitCode.OK
