"""`ota-bridge baseline ACCOUNT`: has every device of an account asked about once, by the bridge that runs.

1. Take the devices: those of a file, or those that the state topic knows, and have the cloud's list read for others.
2. Ask: a lookup for each device that is known, a hint for each that is not, so that the fold makes its acquaintance.
3. Count the answers on the observations topic, whoever asked for them, until every device has one.

This command sends nothing to a cloud: the account's owner does, at the account's rate.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Self

from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bridge.cli.baseline_course import Course
from bridge.cli.baseline_run import Baseline, Told
from bridge.cli.console import console, write_json
from bridge.cli.failure import CommandFailed
from bridge.cli.kafka import kafka_settings, run_with_kafka
from bridge.cli.letters import since_ms
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.clouds.settings import AnyAccount, secrets_of
from bridge.config import LogSettings, load_accounts
from bridge.exit_codes import ExitCode
from bridge.logs import Redactor, configure_logs
from bridge.typed import typed, typed_file

_DAY_S: Final = 86_400
_HOUR_S: Final = 3600
_MINUTE_S: Final = 60


def baseline(
    account: Annotated[str, Parameter(help="The account's name in the configuration.")],
    /,
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    devices: Annotated[
        Path | None,
        Parameter(
            help="Ask about the devices of this file, one id a line, instead of all that the cloud lists."
        ),
    ] = None,
    since: Annotated[
        str | None,
        Parameter(
            help="Go on with a baseline: what was answered from then on is done. An age such as 30m or 24h, or a time."
        ),
    ] = None,
    json: AsJson = None,
) -> int:
    """Have every device of an account asked about once, by the bridge that runs.

    Use it to begin with an account whose devices were upgraded before, after a change of the topics' prefix, or
    whenever the table is to be certain at once. The cloud is asked at the account's rate, and what is urgent goes
    before this. Ctrl-C ends the waiting, and tells how to go on from there.

    Ends with 3 when the cloud refuses the account, with 4 when no bridge answers.
    """
    settings = kafka_settings(config)
    asked = _account(account, config)
    now_ms = time.time_ns() // 1_000_000
    began_ms = since_ms(since, now_ms) or now_ms
    ids = None if devices is None else _ids(devices)
    # The tables that hold secrets are read here; nothing is logged but what went wrong, and no secret with it.
    secrets = [*secrets_of(asked.credentials), *([settings.password] if settings.password else [])]
    configure_logs(LogSettings(level="error"), Redactor(secrets))
    course = Course(asked.api.rate_per_s)
    work = Baseline(settings, asked, course, began_ms=began_ms, device_ids=ids)
    as_json = wants_json(json)
    try:
        with _Bar(asked, course) as bar:
            told = run_with_kafka(settings, work.run(bar.show))
    except (KeyboardInterrupt, CommandFailed):
        if course.devices:
            _tell_how_to_go_on(account, course, began_ms, config=config, devices=devices)
        raise
    _tell(account, course, told, as_json=as_json)
    return ExitCode.OK if told.listing_error is None else ExitCode.REFUSED


def _account(name: str, config: Path) -> AnyAccount:
    accounts = {each.name: each.api for each in load_accounts(config, optional_file=config == DEFAULT_CONFIG)}
    if name not in accounts:
        known = ", ".join(sorted(accounts)) or "none"
        raise CommandFailed(
            ExitCode.USAGE, f"There is no account {typed(name)} in the configuration. There are: {known}."
        )
    api = accounts[name]
    if api is None:
        raise CommandFailed(
            ExitCode.USAGE, f"Account {name} has no table [accounts.{name}.api]: its cloud cannot be asked."
        )
    return api


def _ids(file: Path) -> list[str]:
    """Read a file as `discovery_file` is: one id a line, `#` begins a comment."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CommandFailed(ExitCode.USAGE, f"{typed_file(file)} cannot be read: {problem}.") from error
    ids = [device_id for line in lines if (device_id := line.partition("#")[0].strip())]
    if not ids:
        raise CommandFailed(ExitCode.DATA, f"{typed_file(file)} names no device.")
    return ids


class _Bar:
    """A progress bar on standard error, for people only; what hinders it is told everybody."""

    def __init__(self, account: AnyAccount, course: Course) -> None:
        screen = console(stderr=True)
        self._course = course
        self._rate_per_s = account.api.rate_per_s
        self._is_seen = screen.is_terminal
        self._told = ""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )
        self._task: TaskID = self._progress.add_task(f"Asking about {account.name}", total=None, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, told: Told) -> None:
        """Show how far it is; at least as long as the account's rate takes, until answers come."""
        course = self._course
        if told.note != self._told and not self._is_seen and told.note:
            print(told.note, file=sys.stderr, flush=True)
        self._told = told.note
        note = told.note or ("still listing" if told.is_listing else "")
        if not course.done and course.devices:
            note = f"{_span(course.devices / self._rate_per_s)} or more {note}".strip()
        self._progress.update(self._task, total=course.devices or None, completed=course.done, note=note)


def _tell(account: str, course: Course, told: Told, *, as_json: bool) -> None:
    if as_json:
        report = {
            "account": account,
            "devices": course.devices,
            "outcomes": dict(course.outcomes),
            "asked": told.asked,
            "seconds": round(told.seconds, 1),
        }
        if told.listing_error is not None:
            report["listing_error"] = told.listing_error
        write_json(report)
        return
    others = ", ".join(
        f"{count} {outcome}" for outcome, count in course.outcomes.most_common() if outcome != "ok"
    )
    print(
        f"{course.outcomes['ok']} of {course.devices} devices answered{f'; {others}' if others else ''}."
        f" It took {_span(told.seconds)}."
    )
    if told.listing_error is not None:
        print(
            f"The cloud's list of devices could not be read ({told.listing_error}): only those known before were asked"
            " about. The bridge's log says more.",
            file=sys.stderr,
        )


def _tell_how_to_go_on(
    account: str, course: Course, began_ms: int, *, config: Path, devices: Path | None
) -> None:
    began = datetime.fromtimestamp(began_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    options = f" -c {config}" if config != DEFAULT_CONFIG else ""
    options += f" --devices {devices}" if devices is not None else ""
    print(
        f"{course.done} of {course.devices} devices answered. Go on with:"
        f" ota-bridge baseline {account} --since {began}{options}",
        file=sys.stderr,
    )


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"
