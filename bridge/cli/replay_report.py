"""What a replay found, as JSON and as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from rich.text import Text

from bridge.cli.lines import full_time
from bridge.replay.differences import Difference
from bridge.replay.findings import Example, Findings, Group
from bridge.replay.parting import Parting
from bridge.replay.second_set import SecondSet
from bridge.typed import printable

_NOTHING: Final = "-"
_BY_POLICY: Final = (
    "         A [policy] that fires a timer up to a minute earlier looks the same as a bridge that was late."
)


def report_lines(findings: Findings, written: SecondSet | None) -> Iterator[Mapping[str, Any]]:
    """Yield one object for each device shown, then the summary."""
    groups = findings.groups.most_common()
    for group, _ in groups:
        for example in findings.examples[group]:
            yield {
                "type": "difference",
                "device_id": example.device_id,
                "account": example.account,
                **_described(group),
                "counts": example.counts,
                "differences": example.differences,
            }
    yield {
        "type": "summary",
        "observations": findings.counts["observations"],
        "refused": findings.counts["dead_letters"],
        "oldest_observation_at_ms": findings.oldest_ms,
        "compared": findings.compared,
        "same": findings.same,
        "by_rules": findings.by_rules,
        "by_timers": findings.by_timers,
        "began_earlier": findings.began_earlier,
        "unreadable": findings.unreadable,
        "partitions_behind": findings.behind,
        "groups": [{"devices": count, **_described(group)} for group, count in groups],
        **({} if written is None else {"written": written.records}),
    }


def _described(group: Group) -> dict[str, Any]:
    described: dict[str, Any] = msgspec.to_builtins(group)
    return described


def report_text(findings: Findings, written: SecondSet | None) -> Iterator[Text]:
    """Yield the report, a line at a time."""
    since = "" if findings.oldest_ms is None else f" since {full_time(findings.oldest_ms)}"
    yield Text(
        f"{findings.counts['observations']:,} observations{since} folded again:"
        f" {_devices(findings.compared)} compared, {findings.same:,} as published."
    )
    if findings.by_rules:
        yield Text(f"\nDifferent: {_devices(findings.by_rules)}.", "bold")
    for group, count in findings.groups.most_common():
        if group.cause == "rules":
            yield from _group(group, count, findings.examples[group])
    yield from _apart(findings)
    if written is not None:
        told = ", ".join(f"{count:,} records to {topic}" for topic, count in sorted(written.records.items()))
        yield Text(f"\nWritten: {told or 'nothing'}.")


def _group(group: Group, count: int, examples: list[Example]) -> Iterator[Text]:
    yield Text()
    yield Text.assemble(
        (f"{count:>7,}", "bold"),
        "  ",
        (_arrow(group.published, group.replayed), "yellow"),
        f"  {_and(group.fields)}",
    )
    yield Text(f"         {_where(group.parting)}", "dim")
    if group.rules:
        yield Text(f"         decided by {' '.join(group.rules)}", "dim")
    for example in examples:
        line = Text(f"         {printable(example.device_id)}", "cyan")
        line.append(f"  {printable(example.account)}", "dim")
        yield line
        for difference in example.differences:
            yield Text(f"           {printable(_difference(difference))}")
        if example.counts:
            yield Text(f"           counted there: {', '.join(example.counts)}", "dim")


def _where(parting: Parting) -> str:
    if parting.at is None:
        return "every event is the same: no event tells of this"
    if parting.published == parting.replayed:
        return printable(f"first at {parting.at}: {parting.published} says something else")
    return printable(
        f"first at {parting.at}: published {parting.published or 'nothing'}, replayed {parting.replayed or 'nothing'}"
    )


def _difference(difference: Difference) -> str:
    channel = "" if difference.channel is None else f"/{difference.channel} "
    return f"{channel}{difference.field} {_arrow(_value(difference.published), _value(difference.replayed))}"


def _apart(findings: Findings) -> Iterator[Text]:
    """What is no difference by the rules, and what could not be looked at."""
    by_timers = [each for each in findings.groups.most_common() if each[0].cause == "timers"]
    if by_timers:
        yield Text(f"\nDifferent only because timers fired at other times: {_devices(findings.by_timers)}.")
        for group, count in by_timers:
            yield Text(f"{count:>7,}  {_arrow(group.published, group.replayed)}  {_and(group.fields)}", "dim")
        if any(group.shows_more_than_times for group, _ in by_timers):
            yield Text(_BY_POLICY, "dim")
    if findings.began_earlier:
        yield Text(
            f"\nNot compared, because the first observation is no longer in the topic:"
            f" {_devices(findings.began_earlier)}.",
            "yellow",
        )
    if findings.unreadable:
        yield Text(f"\nPublished states that this version cannot read: {findings.unreadable:,}.", "red")
    if findings.counts["dead_letters"]:
        yield Text(f"\nObservations refused (dead letters): {findings.counts['dead_letters']:,}.", "yellow")
    if findings.behind:
        yield Text(
            f"\nPartitions in which the bridge has a backlog, compared as far as it had folded: {findings.behind}.",
            "yellow",
        )


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count:,} devices"


def _arrow(published: str, replayed: str) -> str:
    return published if published == replayed else f"{published} → {replayed}"


def _and(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _value(value: object) -> str:
    if value is None:
        return _NOTHING
    if isinstance(value, str | int):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return msgspec.json.encode(value).decode()
