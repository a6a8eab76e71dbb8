from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.reconcile.queue import CAUSES, IDS_PER_DEVICE, SERVICE_MS, LookupQueue
from schemas import LookupRequest


def request(
    lookup_id: str, device_id: str | None = None, cause: str = "hint", expires_at_ms: int = 1000
) -> LookupRequest:
    return LookupRequest(
        lookup_id=lookup_id,
        device_id=device_id or f"dev-{lookup_id}",
        account="tuya-test",
        cause=cause,
        due_at_ms=0,
        expires_at_ms=expires_at_ms,
    )


def taken(queue: LookupQueue, now_ms: int = 0) -> list[str]:
    found = []
    while (waiting := queue.take(now_ms)) is not None:
        found.append(waiting.device_id)
    return found


def test_causes_are_served_in_their_order_and_each_first_come_first_served() -> None:
    queue = LookupQueue(100)
    for number, cause in enumerate([*reversed(CAUSES), *reversed(CAUSES)]):
        queue.put(request(f"{number}", f"{cause}-{number // len(CAUSES)}", cause))

    assert taken(queue) == [f"{cause}-{turn}" for cause in CAUSES for turn in (0, 1)]


def test_a_device_waits_once_with_its_most_urgent_cause_and_all_its_ids() -> None:
    queue = LookupQueue(100)
    queue.put(request("a", "dev1", "periodic"))
    queue.put(request("b", "dev2", "hint"))
    queue.put(request("c", "dev1", "claim"))
    queue.put(request("d", "dev1", "gap"))

    waiting = queue.take(0)

    assert waiting is not None
    assert (waiting.device_id, list(waiting.lookups)) == ("dev1", ["a", "c", "d"])
    assert taken(queue) == ["dev2"]
    assert queue.statistics().coalesced == 2


def test_a_redelivered_lookup_is_answered_once() -> None:
    queue = LookupQueue(100)
    queue.put(request("a", "dev1"))
    queue.put(request("a", "dev1"))

    waiting = queue.take(0)

    assert waiting is not None
    assert list(waiting.lookups) == ["a"]


def test_what_expired_is_not_asked() -> None:
    queue = LookupQueue(100)
    queue.put(request("a", "dev1", expires_at_ms=10))
    queue.put(request("b", "dev2", expires_at_ms=10))
    queue.put(request("c", "dev2", expires_at_ms=30))

    waiting = queue.take(10)

    assert waiting is not None
    assert (waiting.device_id, list(waiting.lookups), waiting.expires_at_ms) == ("dev2", ["c"], 30)
    assert queue.take(10) is None
    assert queue.statistics().expired == 2


@pytest.mark.parametrize(("life_ms", "least_ms"), [(600_000, SERVICE_MS), (4000, 1000)])
def test_what_would_expire_while_it_is_asked_is_not_begun(life_ms: int, least_ms: int) -> None:
    queue = LookupQueue(100)
    queue.put(request("a", "dev1", expires_at_ms=life_ms))
    queue.put(request("b", "dev2", expires_at_ms=life_ms + 1))

    assert taken(queue, now_ms=life_ms - least_ms) == ["dev2"]
    assert queue.statistics().expired == 1


def test_a_device_keeps_the_latest_ids_only() -> None:
    queue = LookupQueue(100)
    for number in range(IDS_PER_DEVICE + 3):
        queue.put(request(f"{number}", "dev1"))

    waiting = queue.take(0)

    assert waiting is not None
    assert list(waiting.lookups) == [f"{number}" for number in range(3, IDS_PER_DEVICE + 3)]


def test_a_full_queue_gives_up_what_is_least_urgent() -> None:
    queue = LookupQueue(3)
    for lookup_id, cause in (("a", "periodic"), ("b", "claim"), ("c", "gap")):
        queue.put(request(lookup_id, cause=cause))

    queue.put(request("d", cause="online"))
    queue.put(request("e", cause="periodic"))

    assert taken(queue) == ["dev-b", "dev-d", "dev-c"]
    assert queue.statistics().displaced == 2


def test_an_unknown_cause_is_background() -> None:
    queue = LookupQueue(10)
    queue.put(request("a", cause="curiosity"))
    assert not queue.has_urgent()
    queue.put(request("b", cause="operator"))
    assert queue.has_urgent()

    assert taken(queue) == ["dev-b", "dev-a"]


def test_what_could_not_be_served_is_queued_again_with_what_came_meanwhile() -> None:
    queue = LookupQueue(10)
    queue.put(request("a", "dev1", "claim"))
    waiting = queue.take(0)
    assert waiting is not None
    queue.put(request("b", "dev1", "periodic"))

    queue.put_back(waiting)

    again = queue.take(0)
    assert again is not None
    assert (again.rank, list(again.lookups)) == (0, ["a", "b"])
    assert len(queue) == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(CAUSES), st.integers(1, 50)),
            st.integers(0, 50),
        ),
        max_size=80,
    )
)
def test_any_history_keeps_the_bounds_and_serves_the_most_urgent(
    steps: list[tuple[str, str, int] | int],
) -> None:
    queue, number = LookupQueue(4), 0
    for step in steps:
        if isinstance(step, int):
            expected = [
                places[device].rank
                for places in queue._ranks
                for device in places
                if any(life.begin_by_ms > step for life in places[device].lookups.values())
            ]
            waiting = queue.take(step)
            assert (waiting.rank if waiting else None) == (min(expected) if expected else None)
        else:
            number += 1
            device_id, cause, expires_at_ms = step
            queue.put(request(str(number), device_id, cause, expires_at_ms))
        places = [waiting for rank in queue._ranks for waiting in rank.values()]
        assert len(queue) == len(places) == sum(queue.statistics().by_cause.values()) <= 4
        assert all(1 <= len(waiting.lookups) <= IDS_PER_DEVICE for waiting in places)
