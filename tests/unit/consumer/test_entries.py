"""A stop ends at the end of an entry, with the messages that belong to it and no others."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

import _pulsar
import pytest

from consumer.entries import Entries, ends_entry, receive_rest
from consumer.slices import Slicer
from consumer.statistics import Counters
from consumer.translation import Translator
from tests.gateway_messages import RECEIVED_AT_MS, Received, ReceivedId, account

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
    entries = Entries()
    slicer = Slicer(Translator(account(), Counters()), Counters())
    entries.received(slicer.cut(messages, RECEIVED_AT_MS))
    return entries


def places(messages: Iterable[Received]) -> list[tuple[str, int, int]]:
    return [
        (m.topic_name()[len(_TOPIC) :], m.message_id().entry_id(), m.message_id().batch_index())
        for m in messages
    ]


def in_time() -> float:
    return time.monotonic() + 60


@pytest.mark.parametrize(
    ("place", "ends"),
    [
        (ReceivedId(1, 2, -1), True),
        (ReceivedId(1, 2, 0, 1), True),
        (ReceivedId(1, 2, 9, 10), True),
        (ReceivedId(1, 2, 0, 10), False),
        (ReceivedId(1, 2, 8, 10), False),
    ],
)
def test_the_end_of_an_entry_is_known(place: ReceivedId, ends: bool) -> None:  # noqa: FBT001
    assert ends_entry(place) is ends


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
    assert begun == {"event/1": (7, 5)}
    assert receive_rest(Queue(entry(1, 5, [3], of=4)), begun, by=time.monotonic() - 1) == []


def test_whole_entries_leave_nothing_to_receive() -> None:
    entries = received(*entry(1, 5, range(4), of=4), *entry(2, 3, [-1], of=1))
    assert entries.begun() == {}
    queue = Queue(entry(1, 6, range(2), of=2))
    assert receive_rest(queue, entries.begun(), by=in_time()) == []
    assert len(queue.messages) == 2


def test_a_new_subscription_begins_with_whole_entries() -> None:
    entries = received(*entry(1, 5, range(2), of=4))
    entries.clear()
    assert entries.begun() == {}
