"""What is unconfirmed: when the pump pauses, and when the source partitions are left to other copies."""

from __future__ import annotations

from consumer.slices import Slice
from consumer.unconfirmed import Unconfirmed
from schemas import Position
from tests.gateway_messages import account

PATIENCE_S = 300.0
"""Half of the margin of ten minutes."""


def _slice(
    partition: str = "event/1", *, messages: int = 1, repeated: int = 0, size_bytes: int = 100
) -> Slice:
    return Slice(
        partition=partition,
        records=[],
        sources=[],
        ended=[],
        last_position=Position(partition=partition, ledger=1, entry=1, batch_index=-1, publish_time_at_ms=1),
        first_published_at_ms=1,
        last_published_at_ms=1,
        received_at_ms=1,
        message_count=messages,
        repeated_count=repeated,
        size_bytes=size_bytes,
    )


def test_messages_and_bytes_are_capped_each() -> None:
    gateway = account(max_unconfirmed_messages=3, max_unconfirmed_bytes=1000).gateway
    for messages, size_bytes in ((3, 1), (1, 1000)):
        unconfirmed = Unconfirmed(gateway)
        piece = _slice(messages=messages, size_bytes=size_bytes)
        assert not unconfirmed.is_full
        unconfirmed.add(piece, 0.0)
        assert unconfirmed.is_full
        unconfirmed.release(piece, 0.0)
        assert not unconfirmed.is_full
        assert (unconfirmed.messages, unconfirmed.size_bytes) == (0, 0)


def test_what_comes_again_for_ever_while_it_waits_is_capped_too() -> None:
    unconfirmed = Unconfirmed(account(max_unconfirmed_messages=2).gateway)
    again = _slice(messages=0, repeated=1, size_bytes=0)
    unconfirmed.add(_slice(), 0.0)
    count = 0
    while not unconfirmed.is_full:
        unconfirmed.add(again, 0.0)
        count += 1
    assert (count, unconfirmed.messages) == (20, 1)
    unconfirmed.release(_slice(), 0.0)
    unconfirmed.release(again, 0.0)
    assert not unconfirmed.is_full


def test_one_source_partition_without_confirmation_is_enough_to_be_stuck() -> None:
    unconfirmed = Unconfirmed(account().gateway)
    unconfirmed.add(_slice("event/1"), 0.0)
    for second in range(0, 301, 10):
        unconfirmed.add(_slice("event/2"), float(second))
        unconfirmed.release(_slice("event/2"), float(second))
        assert not unconfirmed.is_stuck(float(second))
    assert unconfirmed.is_stuck(PATIENCE_S + 1)


def test_each_confirmation_starts_the_patience_anew() -> None:
    unconfirmed = Unconfirmed(account().gateway)
    for _ in range(3):
        unconfirmed.add(_slice(), 0.0)
    unconfirmed.release(_slice(), PATIENCE_S - 1)
    assert not unconfirmed.is_stuck(2 * PATIENCE_S - 2)
    assert unconfirmed.is_stuck(2 * PATIENCE_S)


def test_nothing_unconfirmed_is_never_stuck() -> None:
    unconfirmed = Unconfirmed(account().gateway)
    unconfirmed.add(_slice(), 0.0)
    unconfirmed.release(_slice(), 1.0)
    assert not unconfirmed.is_stuck(10 * PATIENCE_S)
