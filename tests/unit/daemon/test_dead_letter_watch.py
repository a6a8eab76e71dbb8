"""What the log tells of dead letters: the first at once, then a sum a minute, by whose and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import pytest
import structlog
from msgspec import Struct
from msgspec.structs import replace

from bridge.dead_letter_watch import DeadLetterWatch
from bridge.fold.statistics import FoldStatistics
from consumer.account import AccountIngest
from consumer.statistics import IngestStatistics
from tests.gateway_messages import account

Look = Callable[[float, Mapping[str, Struct | None]], list[MutableMapping[str, Any]]]


@pytest.fixture
def look() -> Look:
    """Look at a time and return what the log is told."""
    now_s = 0.0
    watch = DeadLetterWatch(monotonic=lambda: now_s)

    def at(time_s: float, stages: Mapping[str, Struct | None]) -> list[MutableMapping[str, Any]]:
        nonlocal now_s
        now_s = time_s
        with structlog.testing.capture_logs() as lines:
            watch.look(stages)
        return lines

    return at


def consumer(**dead_letters: int) -> dict[str, Struct | None]:
    ingest = AccountIngest(account(), object(), past=None, close_deadline_s=1.0)  # type: ignore[arg-type]
    return {
        "consumer": IngestStatistics(
            accounts={"tuya": replace(ingest.statistics(), dead_letters=dead_letters)}
        )
    }


def fold(dead_letters: int) -> dict[str, Struct | None]:
    return {
        "fold": FoldStatistics(
            partitions_folding=(),
            partitions_taking_over=(),
            devices=0,
            problem=None,
            queued=0,
            behind=(),
            in_gap=(),
            lookups_waiting=0,
            counts={"dead_letters": dead_letters, "observations": 1000},
        )
    }


def test_nothing_is_told_where_there_are_none(look: Look) -> None:
    assert look(0, {**consumer(), **fold(0), "reconcile": None}) == []


def test_the_first_is_told_at_once_and_what_follows_as_a_sum_a_minute(look: Look) -> None:
    (first,) = look(0, consumer(bad_signature=1))
    assert (first["event"], first["log_level"]) == ("dead_lettered", "warning")
    assert (first["source"], first["reasons"]) == ("consumer/tuya", {"bad_signature": 1})
    for command in ("list", "replay --all"):
        assert f"`ota-bridge dead-letters {command}`" in first["remedy"]

    assert look(59, consumer(bad_signature=5000, too_large=1)) == []
    (second,) = look(60, consumer(bad_signature=5000, too_large=1))
    assert second["reasons"] == {"bad_signature": 4999, "too_large": 1}
    assert look(3600, consumer(bad_signature=5000, too_large=1)) == []
    (third,) = look(7200, consumer(bad_signature=5000, too_large=2))
    assert third["reasons"] == {"too_large": 1}


def test_each_source_is_told_by_itself(look: Look) -> None:
    look(0, consumer(bad_signature=1))
    (told,) = look(1, {**consumer(bad_signature=2), **fold(3)})
    assert (told["source"], told["reasons"]) == ("fold", {"refused": 3})


def test_a_stage_that_counts_anew_is_told_from_its_first(look: Look) -> None:
    look(0, fold(7))
    (told,) = look(100, fold(2))
    assert told["reasons"] == {"refused": 2}


def test_a_stage_that_was_built_anew_is_told_whole_though_it_counts_past_what_was_told_before(
    look: Look,
) -> None:
    look(0, fold(5))
    for at_s, count in ((10, 0), (30, 3), (59, 6)):
        assert look(at_s, fold(count)) == []
    (told,) = look(60, fold(7))
    assert told["reasons"] == {"refused": 7}


def test_what_was_not_told_of_a_stage_before_it_was_built_anew_is_told_with_the_new_one(look: Look) -> None:
    look(0, consumer(bad_signature=5))
    look(10, consumer(bad_signature=8, too_large=1))
    look(20, consumer())
    look(30, consumer(bad_signature=6, unknown_key=1))
    (told,) = look(60, consumer(bad_signature=6, unknown_key=2))
    assert told["reasons"] == {"bad_signature": 9, "too_large": 1, "unknown_key": 2}


def test_a_stage_that_was_built_anew_begins_again_with_each_reason(look: Look) -> None:
    """One lower count tells it of all of them."""
    look(0, consumer(bad_signature=2, too_large=1))
    (told,) = look(60, consumer(bad_signature=3, unknown_key=1))
    assert told["reasons"] == {"bad_signature": 3, "unknown_key": 1}
