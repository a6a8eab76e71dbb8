"""Names and places at the gateway, and the slices of a batch."""

from __future__ import annotations

import json

import pytest

from consumer.entries import pieces_of
from consumer.slices import Slicer
from consumer.source import position_of, position_text, source_partition, topic_names
from consumer.statistics import Counters
from consumer.translation import Translator
from tests.gateway_messages import RECEIVED_AT_MS, Received, account, cut, sealed, upgrade_status

_TOPIC = "persistent://accessIdtesttesttest/out/event-partition-"


@pytest.mark.parametrize(
    ("topic", "told"),
    [
        ("persistent://id/out/event-partition-3", "event/3"),
        ("persistent://id/out/event-partition-10", "event/10"),
        ("persistent://id/out/event-test", "event-test"),
        ("persistent://id/out/notice", "notice"),
        ("persistent://id/out/event-test-partition-0", "event-test/0"),
    ],
)
def test_a_source_partition_is_told_without_the_access_id(topic: str, told: str) -> None:
    assert source_partition(topic) == told


def test_a_topic_with_a_slash_is_a_full_name() -> None:
    names = topic_names(account(topics=("event", "other/out/event", "persistent://third/out/event")))
    assert names == [
        "persistent://accessIdtesttesttest/out/event",
        "persistent://other/out/event",
        "persistent://third/out/event",
    ]


def test_a_position_is_written_as_the_key_of_dead_letters() -> None:
    position = position_of(Received(b"", at=(5, 6, 7)), "event/3")
    assert position_text("tuya-test", position) == "tuya-test/event/3:5:6:7"


def _slicer() -> tuple[Slicer, Counters]:
    counters = Counters()
    return Slicer(Translator(account(), counters), counters), counters


def _message(device: str, partition: int, entry: int, *, protocol: int = 20) -> Received:
    payload = sealed(upgrade_status(device), protocol=protocol)
    return Received(payload, at=(7, entry, -1), topic=f"{_TOPIC}{partition}")


def test_a_batch_becomes_one_slice_per_source_partition_in_order() -> None:
    slicer, counters = _slicer()
    batch = [_message(f"d{number}", number % 3, number // 3) for number in range(30)]

    slices = {piece.partition: piece for piece in cut(slicer, batch)}

    assert set(slices) == {"event/0", "event/1", "event/2"}
    for number, piece in enumerate(slices[f"event/{n}"] for n in range(3)):
        assert [record.key for record in piece.records] == [f"d{n}".encode() for n in range(number, 30, 3)]
        assert piece.last_position.entry == 9
        assert piece.message_count == 10
    assert counters.received == 30
    assert counters.last_received_at_ms == RECEIVED_AT_MS


def test_filtered_messages_are_in_the_slice_and_lead_to_no_record() -> None:
    slicer, _ = _slicer()
    batch = [_message("d", 0, 1), _message("d", 0, 2, protocol=4), _message("d", 0, 3, protocol=4)]

    (piece,) = cut(slicer, batch)

    assert (piece.message_count, len(piece.records), piece.last_position.entry) == (3, 1, 3)
    assert piece.size_bytes == sum(len(message.data()) for message in batch)


def test_each_record_knows_the_message_it_came_from() -> None:
    slicer, _ = _slicer()
    conflict = Received(sealed({**upgrade_status("d2"), "devId": "d1"}), at=(7, 2, -1), topic=f"{_TOPIC}0")
    batch = [_message("d", 0, 1), conflict, _message("e", 0, 3)]

    (piece,) = cut(slicer, batch)

    told = [json.loads(record.value).get("device_id", "dead letter") for record in piece.records]
    assert told == ["d", "dead letter", "d2", "d1", "e"]
    assert [batch.index(source) for source in piece.sources if isinstance(source, Received)] == [
        0,
        1,
        1,
        1,
        2,
    ]


def test_what_comes_again_is_counted_though_the_gateway_does_not_say_so() -> None:
    slicer, counters = _slicer()
    cut(slicer, [_message("d", 0, entry) for entry in (1, 2, 3)])
    cut(slicer, [_message("d", 1, entry) for entry in (1, 2)])
    assert counters.redelivered == 0

    slicer.cut([_message("d", 0, entry) for entry in (2, 3, 4)], RECEIVED_AT_MS)

    assert counters.redelivered == 2


def test_places_in_an_entry_follow_from_its_first_message() -> None:
    messages = [
        Received(b"x", at=(7, entry, index), batch_size=size, topic=f"{_TOPIC}{partition}")
        for partition, entry, size, indexes in (
            (0, 1, 3, range(3)),
            (1, 1, 1, [-1]),
            (0, 2, 4, range(2)),
            (1, 2, 1, [0]),
            # What is left of an entry, cut off by another source partition's.
            (0, 2, 4, [2]),
            (1, 3, 1, [-1]),
            (0, 2, 4, [3]),
        )
        for index in indexes
    ]

    pieces = pieces_of(messages)

    assert [message for piece in pieces for message in piece.messages] == messages
    assert [piece.is_whole for piece in pieces] == [True, True, False, True, False, True, True]
    for piece in pieces:
        for offset, message in enumerate(piece.messages):
            assert piece.topic == message.topic_name()
            assert piece.position(offset, "event/0") == position_of(message, "event/0")
