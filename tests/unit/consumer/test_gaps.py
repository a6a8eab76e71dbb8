"""Gaps: what makes the bridge believe that messages were dropped unread, and what does not. No clock but the test's."""

from __future__ import annotations

from consumer.gaps import Chain, GapRule

RULE = GapRule.of(7200.0, 600.0)
HOUR = 3600.0
LIMIT = 6600.0
"""Two hours, less ten minutes."""
_START_MS = 1_800_000_000_000


class Partition:
    """One source partition as one copy sees it. Times are seconds since the story's start."""

    def __init__(self, *, told_s: float | None = 0.0, recalled_at_s: float | None = 0.0) -> None:
        self.chain = Chain(RULE)
        if recalled_at_s is not None:
            self.recall(told_s, recalled_at_s)

    def recall(self, told_s: float | None, at_s: float) -> None:
        self.chain.recall(None if told_s is None else _ms(told_s), _ms(at_s))

    def read(self, at_s: float, *, waited_s: float = 0.0) -> None:
        """A message comes, and is done at once."""
        self.chain.received(_ms(at_s), _ms(at_s - waited_s))
        self.chain.done(_ms(at_s - waited_s))

    def quiet(self, from_s: float, to_s: float) -> None:
        """Nothing waits, for the whole time."""
        at_s = from_s
        while at_s < to_s:
            self.chain.caught_up(_ms(at_s))
            at_s += 60.0
        self.chain.caught_up(_ms(to_s))

    @property
    def lost(self) -> bool:
        return self.chain.lost is not None

    @property
    def alive_s(self) -> float:
        assert self.chain.alive_at_ms is not None
        return (self.chain.alive_at_ms - _START_MS) / 1000


def _ms(at_s: float) -> int:
    return _START_MS + round(at_s * 1000)


def test_a_quiet_night_is_no_gap() -> None:
    partition = Partition()
    partition.quiet(60, 10 * HOUR)
    assert not partition.lost
    assert not partition.chain.is_in_doubt
    assert partition.alive_s == 10 * HOUR


def test_a_busy_night_is_no_gap() -> None:
    partition = Partition()
    for minute in range(600):
        partition.read(60.0 * minute, waited_s=5.0)
    assert not partition.lost
    assert not partition.chain.is_in_doubt


def test_a_process_that_was_away_too_long_finds_a_gap_at_its_start_whether_or_not_something_waits() -> None:
    for begin in (lambda late: late.quiet(LIMIT + 1, LIMIT + 1), lambda late: late.read(LIMIT + 1)):
        late = Partition(told_s=0.0, recalled_at_s=LIMIT)
        begin(late)
        assert late.chain.is_in_doubt
        late.recall(0.0, LIMIT + 2)
        assert late.chain.lost is not None
        assert late.chain.lost.since_ms == _ms(0)


def test_a_process_that_was_away_for_less_finds_none() -> None:
    partition = Partition(told_s=0.0, recalled_at_s=LIMIT)
    partition.quiet(LIMIT - 1, LIMIT - 1)
    assert not partition.lost
    assert not partition.chain.is_in_doubt


def test_the_first_start_ever_finds_no_gap_however_old_its_first_messages_are() -> None:
    for recalled_first in (True, False):
        partition = Partition(told_s=None, recalled_at_s=HOUR if recalled_first else None)
        for second in range(10):
            partition.read(HOUR + second, waited_s=LIMIT + 100)
        if not recalled_first:
            partition.recall(None, HOUR + 10)
        assert not partition.lost
        assert not partition.chain.is_in_doubt


def test_a_message_that_waited_too_long_is_a_gap_whatever_another_copy_wrote() -> None:
    partition = Partition()
    partition.quiet(60, 5 * HOUR)

    partition.read(5 * HOUR + 1, waited_s=LIMIT + 1)
    partition.recall(5 * HOUR, 5 * HOUR + 2)

    assert partition.lost


def test_messages_read_far_behind_are_told_as_one_gap_until_as_much_time_has_passed_again() -> None:
    partition = Partition(told_s=-LIMIT, recalled_at_s=0.0)
    gaps = 0
    for minute in range(round(2 * LIMIT / 60)):
        partition.read(60.0 * minute, waited_s=LIMIT + 100)
        if partition.lost:
            gaps += 1
            partition.chain.told(_ms(60.0 * minute))
            partition.recall(60.0 * minute, 60.0 * minute)
    assert gaps == 2


def test_a_frozen_process_believes_the_copy_that_read_meanwhile() -> None:
    frozen = Partition()
    frozen.quiet(60, HOUR)
    frozen.quiet(5 * HOUR, 5 * HOUR)
    assert frozen.chain.is_in_doubt

    frozen.recall(5 * HOUR - 10, 5 * HOUR + 1)

    assert not frozen.lost
    assert not frozen.chain.is_in_doubt


def test_a_frozen_process_without_another_copy_finds_a_gap() -> None:
    frozen = Partition()
    frozen.quiet(60, HOUR)
    frozen.quiet(5 * HOUR, 5 * HOUR)
    frozen.recall(HOUR, 5 * HOUR + 1)
    assert frozen.lost


def test_a_wait_for_kafka_at_the_start_neither_hides_a_gap_nor_makes_one() -> None:
    """The decision is about when the gateway was reached, not about when Kafka answered."""
    for away_s, lost in ((LIMIT - 60, False), (LIMIT + 60, True)):
        partition = Partition(recalled_at_s=None)
        partition.quiet(away_s, away_s + HOUR)
        assert partition.chain.is_in_doubt
        partition.recall(0.0, away_s + HOUR)
        assert partition.lost is lost


def test_a_copy_that_only_waited_learns_from_what_it_is_given_how_far_the_reader_was() -> None:
    waiting = Partition()
    waiting.quiet(60, HOUR)

    waiting.chain.received(_ms(HOUR + 1), _ms(HOUR - 300))

    assert waiting.alive_s == HOUR - 300
    assert not waiting.lost


def test_a_gap_that_was_told_covers_what_was_lost_before_it() -> None:
    partition = Partition(told_s=0.0, recalled_at_s=5 * HOUR)
    partition.read(5 * HOUR)
    partition.recall(0.0, 5 * HOUR)
    assert partition.lost

    partition.chain.told(_ms(5 * HOUR + 1))

    assert not partition.lost
    assert not partition.chain.is_in_doubt
    assert partition.alive_s == 5 * HOUR + 1


def test_what_is_lost_while_a_gap_waits_for_kafka_is_told_by_another() -> None:
    partition = Partition(told_s=0.0, recalled_at_s=5 * HOUR)
    partition.read(5 * HOUR)
    partition.recall(0.0, 5 * HOUR)
    partition.read(10 * HOUR)

    partition.chain.told(_ms(5 * HOUR))
    partition.recall(5 * HOUR, 10 * HOUR)

    assert partition.lost


def test_a_loss_proved_while_a_gap_waits_for_kafka_is_told_by_another_whoever_read_meanwhile() -> None:
    partition = Partition(told_s=0.0, recalled_at_s=5 * HOUR)
    partition.read(5 * HOUR)
    partition.recall(0.0, 5 * HOUR)
    first = partition.chain.lost
    partition.read(10 * HOUR, waited_s=LIMIT + 1)

    partition.chain.told(_ms(5 * HOUR), first)
    partition.recall(10 * HOUR, 10 * HOUR)

    assert partition.lost


def test_what_is_found_again_while_a_gap_waits_for_kafka_is_told_by_it() -> None:
    partition = Partition()
    partition.read(5 * HOUR, waited_s=LIMIT + 100)
    first = partition.chain.lost
    for second in range(600):
        partition.read(5 * HOUR + second, waited_s=LIMIT + 100)

    partition.chain.told(_ms(5 * HOUR), first)

    assert not partition.lost
    assert not partition.chain.is_in_doubt


def test_a_clock_that_was_ahead_and_is_set_back_before_the_decision_makes_no_gap() -> None:
    new = Partition(recalled_at_s=None)
    new.quiet(3 * HOUR, 3 * HOUR)
    running = Partition()
    running.quiet(60, 300)
    running.quiet(300 + 3 * HOUR, 304 + 3 * HOUR)
    for partition in (new, running):
        assert partition.chain.is_in_doubt

        partition.recall(0.0, 310)

        assert not partition.lost
        assert not partition.chain.is_in_doubt


def test_a_gap_covers_what_it_was_told_for_however_far_ahead_the_clock_was_that_dated_it() -> None:
    partition = Partition()
    partition.quiet(60, HOUR)
    partition.read(3 * HOUR, waited_s=2 * HOUR)
    lost = partition.chain.lost
    assert lost is not None

    partition.chain.told(_ms(HOUR + 10), lost)

    assert not partition.lost


def test_a_publishing_host_with_a_wrong_clock_makes_no_gaps() -> None:
    partition = Partition()
    for second in range(60, 7200):
        partition.chain.received(_ms(second), 0)
        partition.chain.received(_ms(second), _ms(second + 10 * HOUR))
        partition.chain.caught_up(_ms(second))
    assert not partition.lost
    assert not partition.chain.is_in_doubt


def test_a_time_told_by_a_clock_far_ahead_proves_nothing() -> None:
    partition = Partition(told_s=100 * HOUR, recalled_at_s=HOUR)
    partition.quiet(HOUR, HOUR)
    assert partition.chain.is_in_doubt
    partition.recall(100 * HOUR, HOUR)
    assert partition.lost


def test_a_gap_told_by_a_clock_that_was_ahead_covers_nothing_later() -> None:
    partition = Partition(told_s=0, recalled_at_s=HOUR)
    partition.quiet(HOUR, HOUR)
    partition.chain.told(_ms(100 * HOUR))
    partition.quiet(2 * HOUR, 2 * HOUR)
    partition.chain.received(_ms(6 * HOUR), _ms(6 * HOUR))
    assert partition.lost or partition.chain.is_in_doubt
