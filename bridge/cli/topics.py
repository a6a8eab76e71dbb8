"""`ota-bridge topics create` and `ota-bridge topics check`."""

from __future__ import annotations

from rich.table import Table

from bridge.cli.console import console, write_json
from bridge.cli.failure import CommandFailed
from bridge.cli.kafka import kafka_settings, run_with_kafka
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.config import LogSettings
from bridge.exit_codes import ExitCode
from bridge.kafka.topics import TopicReport, TopicsRefused, ensure_topics
from bridge.logs import Redactor, configure_logs


def create(*, config: ConfigFile = DEFAULT_CONFIG, json: AsJson = None) -> None:
    """Create the topics that are missing, with their documented settings, and check the others.

    Needs only the `[kafka]` table. Ends with 2 when an existing topic cannot serve.
    """
    _ensure(config, json=wants_json(json), create=True)


def check(*, config: ConfigFile = DEFAULT_CONFIG, json: AsJson = None) -> None:
    """Check that every topic exists and can serve; create nothing."""
    _ensure(config, json=wants_json(json), create=False)


def _ensure(config: ConfigFile, *, json: bool, create: bool) -> None:
    settings = kafka_settings(config)
    configure_logs(LogSettings(level="error"), Redactor([settings.password] if settings.password else []))
    try:
        reports = run_with_kafka(settings, ensure_topics(settings, create=create))
    except TopicsRefused as refused:
        raise CommandFailed(ExitCode.USAGE, "\n".join(refused.problems)) from refused
    if json:
        write_json(reports)
        return
    _show(reports)


def _show(reports: list[TopicReport]) -> None:
    table = Table("topic", "partitions", "cleanup", "state", box=None)
    for column in table.columns:
        column.overflow = "fold"
    for report in reports:
        told = "[green]created[/]" if report.created else "[dim]there[/]"
        if report.differences:
            told += f" [yellow]{'; '.join(report.differences)}[/]"
        table.add_row(
            report.topic, str(report.partitions), report.cleanup_policy or "[yellow]unread[/]", told
        )
    console().print(table)
