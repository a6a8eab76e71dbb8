"""Ingest progress: until when nothing can be missing, and how often that is written."""

from __future__ import annotations

import msgspec

from consumer.progress import ProgressBook, progress_period_s
from consumer.slices import Slice, Slicer
from consumer.statistics import Counters
from consumer.translation import Translator
from schemas import IngestProgress
from tests.gateway_messages import Received, account, cut, sealed, upgrade_status

_NOW_MS = 1_800_000_000_000


def _slice(published_at_ms: int, received_at_ms: int = _NOW_MS, entry: int = 1) -> Slice:
    counters = Counters()
    message = Received(sealed(upgrade_status("d")), at=(7, entry, -1), published_at_ms=published_at_ms)
    (piece,) = cut(Slicer(Translator(account(), counters), counters), [message], received_at_ms)
    return piece


def _book() -> ProgressBook:
    """The book of an account that starts for the first time."""
    book = ProgressBook("tuya-test", account().gateway)
    book.recall({}, _NOW_MS - 60_000)
    return book


def _written(book: ProgressBook) -> dict[str, IngestProgress]:
    return {
        (record.key or b"").decode(): msgspec.json.decode(record.value, type=IngestProgress)
        for record in book.records(_NOW_MS)
    }


def test_what_was_acknowledged_moves_its_source_partition_only() -> None:
    book = _book()
    book.know(["event/2", "event/3"], _NOW_MS)
    book.acknowledged(_slice(_NOW_MS - 5000))

    written = _written(book)

    assert list(written) == ["tuya-test/event/3"]
    progress = written["tuya-test/event/3"]
    assert (progress.alive_at_ms, progress.publish_time_at_ms) == (_NOW_MS - 5000, _NOW_MS - 5000)
    assert progress.position is not None
    assert progress.position.entry == 1


def test_a_quiet_night_moves_what_is_caught_up_and_nothing_else() -> None:
    book = _book()
    book.know(["event/1", "event/2"], _NOW_MS)

    book.caught_up(_NOW_MS, ["event/2"])

    written = _written(book)
    assert list(written) == ["tuya-test/event/1"]
    assert written["tuya-test/event/1"].alive_at_ms == _NOW_MS
    assert written["tuya-test/event/1"].position is None


def test_time_never_runs_backwards_nor_ahead_of_our_clock() -> None:
    book = _book()
    book.acknowledged(_slice(_NOW_MS + 60_000))
    assert _written(book)["tuya-test/event/3"].alive_at_ms == _NOW_MS

    book.acknowledged(_slice(_NOW_MS - 60_000, entry=2))

    assert _written(book) == {}


def test_only_what_moved_is_written() -> None:
    book = _book()
    book.acknowledged(_slice(_NOW_MS))
    assert len(_written(book)) == 1
    assert _written(book) == {}


def test_the_period_is_far_below_the_margin() -> None:
    assert progress_period_s(600.0) == 10.0
    assert progress_period_s(20.0) == 2.0
    assert progress_period_s(0.0) == 0.5
