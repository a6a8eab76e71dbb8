"""docs/status.md tells every field of `/status`, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from bridge.fold.statistics import FoldStatistics
from bridge.kafka.writer import WriterStatistics
from bridge.reconcile.statistics import ReconcileStatistics
from bridge.status import Status
from bridge.supervisor import StageStatus
from consumer.statistics import IngestStatistics

PROJECT = Path(__file__).parents[3]
PAGE = (PROJECT / "docs" / "status.md").read_text(encoding="utf-8")

STAGES = {"consumer": IngestStatistics, "fold": FoldStatistics, "reconcile": ReconcileStatistics}
"""What `stages.<name>.statistics` holds: its own type is any."""
SHARED = {"writer": WriterStatistics}


def records(kind: Any, place: str) -> dict[str, type[msgspec.Struct]]:
    """Every record below a type, by the place of the page where it is told."""
    found: dict[str, type[msgspec.Struct]] = {}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        found[place] = kind
        for name, field in get_type_hints(kind).items():
            found |= records(field, f"{place}.{name}")
    for inner in get_args(kind):
        found |= records(inner, place)
    return found


RECORDS = records(Status, "")
for stage, statistics in STAGES.items():
    RECORDS |= records(statistics, f".stages.{stage}.statistics")
for name, shared in SHARED.items():
    RECORDS |= records(shared, f".shared.{name}")


def title(place: str) -> str:
    """The heading under which a record is told."""
    return {
        "": "The page",
        ".accounts": "`accounts.<alias>`",
        ".stages": "`stages.<name>`",
        ".stages.consumer.statistics.accounts": "`stages.consumer.statistics.accounts.<alias>`",
    }.get(place) or (
        f"`{place.rpartition('.')[2]}`"
        if place.endswith(
            (".backlog_alert", ".cause", ".queue", ".pace", ".discovery", ".sweep", ".packages")
        )
        else f"`{place.removeprefix('.')}`"
    )


def told(heading: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    found = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no heading {heading}"
    cells = re.findall(r"^\| (`[^|]*`) \|", found[1], re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+\*?)`", cell)}


@pytest.mark.parametrize("place", RECORDS)
def test_every_field_is_told_under_its_record_and_no_other(place: str) -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(RECORDS[place])}

    assert told(title(place)) == fields


def test_the_records_are_all_there_are() -> None:
    assert {StageStatus, *STAGES.values(), *SHARED.values()} <= set(RECORDS.values())
    assert len(RECORDS) == 17


def test_every_count_of_the_fold_is_told() -> None:
    source = "".join(file.read_text(encoding="utf-8") for file in (PROJECT / "bridge" / "fold").glob("*.py"))
    counted = set(re.findall(r'(?:counts\[|counts=\(|\.count\()"(\w+)"', source))
    families = set(re.findall(r'(?:counts\[|counts=\(|\.count\()f"(\w+_)\{', source))

    assert (len(counted) > 30, families) == (True, {"lookup_", "answer_"})
    assert told("`counts`") == counted | {f"{family}*" for family in families}


def test_the_answer_of_livez_is_told() -> None:
    source = (PROJECT / "bridge" / "http.py").read_text(encoding="utf-8")
    (body,) = re.findall(r"body = \{(.*)\}", source)

    assert told("`/livez`") == set(re.findall(r'"(\w+)":', body))
