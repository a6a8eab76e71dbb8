"""Ingest progress: until when nothing can be missing, and how often that is written."""

from __future__ import annotations

import msgspec

from consumer.backlog import Backlog
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


def test_what_came_while_our_clock_was_ahead_keeps_nothing_from_being_caught_up() -> None:
    book = _book()
    book.received(_slice(_NOW_MS, received_at_ms=_NOW_MS + 3_600_000))

    for at_ms in (_NOW_MS, _NOW_MS + 3000):
        book.caught_up(at_ms, [])

    assert _written(book)["tuya-test/event/3"].alive_at_ms == _NOW_MS + 3000


def test_a_copy_that_waits_is_silent_about_what_another_reads() -> None:
    reader, waiting = _book(), _book()
    reader.acknowledged(_slice(_NOW_MS - 1000, entry=40))
    for book in (reader, waiting):
        book.told(_NOW_MS - 60_000, _NOW_MS - 60_000, [Backlog("event/3", (7, 30), (7, 29))])
        book.told(_NOW_MS, _NOW_MS, [Backlog("event/3", (7, 45), (7, 40))])

    assert _written(reader)["tuya-test/event/3"].alive_at_ms == _NOW_MS - 1000
    assert _written(waiting) == {}
    # Yet it knows how far behind that is.
    assert waiting.furthest_behind == ("event/3", _NOW_MS - 60_000)


def test_what_rests_is_told_by_whoever_is_there_and_without_a_position_that_is_not_the_last() -> None:
    for acknowledged, position in ((40, 40), (39, None)):
        book = _book()
        book.acknowledged(_slice(_NOW_MS - 90_000, entry=acknowledged))
        for at_ms in (_NOW_MS - 60_000, _NOW_MS):
            book.told(at_ms, at_ms, [Backlog("event/3", (7, 40), (7, 40))])

        progress = _written(book)["tuya-test/event/3"]
        assert progress.alive_at_ms == _NOW_MS
        assert (None if progress.position is None else progress.position.entry) == position


def test_what_the_progress_topic_tells_is_not_told_back() -> None:
    book = ProgressBook("tuya-test", account().gateway)
    book.know(["event/3"], _NOW_MS)
    told = IngestProgress(account="tuya-test", source_partition="event/3", alive_at_ms=_NOW_MS - 60_000)

    book.recall({"event/3": told}, _NOW_MS)

    assert _written(book) == {}


def test_a_source_partition_that_is_starved_from_the_first_start_on_grows_old() -> None:
    book = _book()
    for second in range(600):
        at_ms = _NOW_MS + second * 1000
        book.told(at_ms, at_ms, [Backlog("event/3", (7, 5 + second), (7, 4))])

    assert book.furthest_behind == ("event/3", _NOW_MS)


def test_what_was_dropped_unread_while_others_flowed_is_a_gap() -> None:
    """Nobody reads it for longer than the gateway keeps it, and no message of it ever comes."""
    book = _book()
    for minute in range(130):
        at_ms = _NOW_MS + minute * 60_000
        dropped = (7, max(0, minute - 120))
        book.told(
            at_ms,
            at_ms,
            [Backlog("event/2", (7, minute), (7, minute)), Backlog("event/3", (7, minute), dropped)],
        )

    assert set(book.lost) == {"event/3"}


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
