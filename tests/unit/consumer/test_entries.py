"""Entries are acknowledged whole, once, and by themselves; a stop ends at the end of one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

import _pulsar

from consumer.entries import Entries, pieces_of, receive_rest
from consumer.slices import Slicer
from consumer.statistics import Counters
from consumer.translation import Translator
from tests.gateway_messages import Received, account, cut

_TOPIC = "persistent://accessIdtesttesttest/out/event-partition-"


class Queue:
    """The client's queue; nothing more comes when it is empty."""

    def __init__(self, messages: Iterable[Received]) -> None:
        self.messages = deque(messages)

    def receive(self, timeout_ms: int) -> Received:
        assert timeout_ms > 0
        if not self.messages:
            raise _pulsar.Timeout
        return self.messages.popleft()


def entry(partition: int, number: int, indexes: Iterable[int], *, of: int, ledger: int = 7) -> list[Received]:
    return [
        Received(b"x", at=(ledger, number, index), batch_size=of, topic=f"{_TOPIC}{partition}")
        for index in indexes
    ]


def received(*messages: Received) -> Entries:
    slicer = Slicer(Translator(account(), Counters()), Counters())
    cut(slicer, messages)
    return slicer.entries


def places(messages: Iterable[Received]) -> list[tuple[str, int, int]]:
    return [
        (m.topic_name()[len(_TOPIC) :], m.message_id().entry_id(), m.message_id().batch_index())
        for m in messages
    ]


def in_time() -> float:
    return time.monotonic() + 60


def began(number: int = 0) -> Entries:
    """Return what knows a source partition up to this entry."""
    entries = Entries()
    for _ in range(3):
        entries.take("event/1", pieces_of(entry(1, number, [-1], of=1)))
        entries.asked()
    assert entries.broken_off() == []
    return entries


def taken(entries: Entries, *messages: Received) -> tuple[list[tuple[int, int]], list[int]]:
    """Take messages of one source partition; return the places of the new ones, and the entries that ended."""
    pieces, came_before, ended = entries.take("event/1", pieces_of(messages))
    new = [message for piece in pieces for message in piece.messages]
    assert came_before + len(new) <= len(messages)
    assert all(entry_id.batch_index() == -1 for entry_id in ended), "only whole entries are acknowledged"
    return [place for _, *place in map(tuple, places(new))], [entry_id.entry_id() for entry_id in ended]  # type: ignore[misc]


def test_an_entry_ends_with_its_last_message_only() -> None:
    entries = began(3)
    assert taken(entries, *entry(1, 4, [-1], of=1)) == ([[4, -1]], [4])
    assert taken(entries, *entry(1, 5, [0], of=1)) == ([[5, 0]], [5])
    assert taken(entries, *entry(1, 6, range(2), of=4)) == ([[6, 0], [6, 1]], [])
    assert taken(entries, *entry(1, 6, [2], of=4)) == ([[6, 2]], [])
    new, ended = taken(
        entries, *entry(1, 6, [3], of=4), *entry(1, 7, range(3), of=3), *entry(1, 8, range(1), of=2)
    )
    assert new == [[6, 3], [7, 0], [7, 1], [7, 2], [8, 0]]
    assert ended == [6, 7]


def test_the_first_entry_may_come_in_pieces() -> None:
    entries = Entries()
    first = entry(1, 5, range(4), of=4)
    for _ in range(2):
        assert taken(entries, *first[:2]) == ([], [])
        assert taken(entries, *first[2:]) == ([], []), "the rest of an entry is not the entry again"
        assert entries.broken_off() == ["event/1"]
        entries.asked()
    assert taken(entries, *first[:2]) == ([[5, 0], [5, 1]], [])
    assert entries.broken_off() == []
    assert taken(entries, *first[2:]) == ([[5, 2], [5, 3]], [5])


def test_an_entry_that_begins_anew_ends_with_the_second_telling() -> None:
    entries = began(4)
    cut_off = [*entry(1, 5, range(2), of=3), *entry(1, 5, range(3), of=3)]
    assert taken(entries, *cut_off[:4]) == ([[5, 0], [5, 1], [5, 0], [5, 1]], [])
    assert taken(entries, *cut_off[4:]) == ([[5, 2]], [5])


def test_an_entry_cut_off_by_another_one_is_not_acknowledged() -> None:
    new, ended = taken(began(4), *entry(1, 5, range(2), of=4), *entry(1, 4, [-1], of=1))
    assert new == [[5, 0], [5, 1]]
    assert ended == [4]


def test_earlier_entries_that_come_again_behind_a_cut_are_not_taken_for_the_rest_of_it() -> None:
    entries = began(4)
    new, ended = taken(
        entries, *entry(1, 5, range(2), of=8), *entry(1, 4, [-1], of=1), *entry(1, 5, range(3), of=8)
    )
    assert new == [[5, 0], [5, 1], [5, 0], [5, 1], [5, 2]]
    assert ended == [4]
    assert taken(entries, *entry(1, 5, range(3, 8), of=8))[1] == [5]


def test_what_is_let_go_is_counted_and_so_are_the_breaks() -> None:
    entries = began(4)
    breaks, let_go = entries.breaks, entries.let_go
    taken(entries, *entry(1, 7, [-1], of=1), *entry(1, 8, [-1], of=1))
    assert (entries.breaks - breaks, entries.let_go - let_go) == (1, 2)
    entries.asked()
    assert taken(entries, *entry(1, 7, [-1], of=1), *entry(1, 8, [-1], of=1)) == ([], [])
    entries.asked()
    assert taken(entries, *entry(1, 7, [-1], of=1), *entry(1, 10, [-1], of=1)) == ([[7, -1]], [7])
    assert (entries.breaks - breaks, entries.let_go - let_go) == (3, 5), (
        "one ended, and another one began at once"
    )


def test_what_came_before_is_passed_over_and_acknowledged_again() -> None:
    entries = began(4)
    first = [*entry(1, 5, range(2), of=2), *entry(1, 6, range(2), of=2), *entry(1, 7, [0], of=2)]
    taken(entries, *first)
    again = [*first, *entry(1, 7, [1], of=2), *entry(1, 8, [-1], of=1)]

    new, ended = taken(entries, *again)

    assert new == [[7, 0], [7, 1], [8, -1]], "of 7 not all had come"
    assert ended == [5, 6, 7, 8]


def test_the_rest_of_each_entry_is_received_and_nothing_else() -> None:
    entries = received(
        *entry(1, 5, range(2), of=4), *entry(2, 8, range(1), of=2), *entry(3, 1, range(3), of=3)
    )
    queue = Queue(
        [
            *entry(3, 2, range(2), of=2),
            *entry(1, 5, [2, 3], of=4),
            *entry(1, 6, range(2), of=2),
            *entry(2, 8, [1], of=2),
            *entry(2, 9, range(2), of=2),
        ]
    )
    begun = entries.begun()

    rest = receive_rest(queue, begun, by=in_time())

    assert places(rest) == [("1", 5, 2), ("1", 5, 3), ("2", 8, 1)]
    assert begun == {}
    assert len(queue.messages) == 2, "what nobody asked for was taken"


def test_entries_that_come_again_are_passed_until_the_one_that_was_begun_ends() -> None:
    entries = received(*entry(1, 5, range(2), of=3))
    queue = Queue([*entry(1, 4, range(2), of=2), *entry(1, 5, range(3), of=3), *entry(1, 6, range(1), of=1)])

    rest = receive_rest(queue, entries.begun(), by=in_time())

    assert places(rest) == [("1", 4, 0), ("1", 4, 1), ("1", 5, 0), ("1", 5, 1), ("1", 5, 2)]


def test_where_the_rest_does_not_come_it_is_given_up_and_told() -> None:
    entries = received(*entry(1, 5, range(2), of=4))
    begun = entries.begun()

    rest = receive_rest(Queue(entry(1, 5, [2], of=4)), begun, by=in_time())

    assert places(rest) == [("1", 5, 2)]
    assert begun == {"event/1": (7, 5, 0)}
    assert receive_rest(Queue(entry(1, 5, [3], of=4)), begun, by=time.monotonic() - 1) == []


def test_whole_entries_leave_nothing_to_receive() -> None:
    entries = received(*entry(1, 5, range(4), of=4), *entry(2, 3, [-1], of=1))
    assert entries.begun() == {}
    queue = Queue(entry(1, 6, range(2), of=2))
    assert receive_rest(queue, entries.begun(), by=in_time()) == []
    assert len(queue.messages) == 2


def test_a_new_subscription_begins_with_whole_entries() -> None:
    entries = received(*entry(1, 5, range(2), of=4))
    entries.renew()
    assert entries.begun() == {}
