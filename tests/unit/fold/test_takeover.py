"""Where a new owner goes on, and what it knows to be lost: a gap for every account, or nothing."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition

from bridge.fold.encoding import encode_device
from bridge.fold.store import Store
from bridge.fold.takeover import _next_offset
from tests.unit.fold.story import Story

PLACE = TopicPartition("ota.observations.v1", 3)


def _store(highest_input_offset: int) -> Store:
    store = Store(3)
    story = Story()
    story.hint(0)
    store.put("d", *encode_device(story.known, None))
    store.highest_input_offset = highest_input_offset
    return store


@pytest.mark.parametrize(
    ("committed", "start", "end", "goes_on_at", "lost"),
    [
        (50, 0, 60, 50, None),
        (50, 50, 60, 50, None),
        # Observations that expired before anybody folded them.
        (50, 55, 60, 55, "expired"),
        # The group was away for so long that Kafka forgot its offset: the states know how far it came.
        (None, 0, 60, 0, None),
        (None, 41, 60, 41, None),
        (None, 45, 60, 45, "expired"),
        # The topic was made anew: the states' offsets lie beyond its end.
        (None, 0, 5, 0, "recreated"),
        (3, 0, 5, 3, "recreated"),
        (80, 0, 60, 0, "recreated"),
    ],
)
def test_what_was_lost_is_known_from_the_log_the_offset_and_the_states(
    committed: int | None, start: int, end: int, goes_on_at: int, lost: str | None
) -> None:
    assert _next_offset(PLACE, _store(40), committed, start, end) == (goes_on_at, lost)


def test_a_new_bridge_on_an_old_topic_has_lost_nothing() -> None:
    assert _next_offset(PLACE, Store(3), None, 45, 60) == (45, None)
