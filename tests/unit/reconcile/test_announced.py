from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.reconcile.announced import Announced, Fingerprints


@given(st.lists(st.text(max_size=5)), st.text(max_size=5))
def test_fingerprints_are_a_set(added: list[str], asked: str) -> None:
    known = Fingerprints()
    for device_id in added:
        known.add(device_id)

    assert (asked in known) == (asked in added)
    assert len(known) == len(set(added))


def listing(announced: Announced, *device_ids: str) -> list[str]:
    announced.begin()
    new = [device_id for device_id in device_ids if announced.is_new(device_id)]
    for device_id in new:
        announced.confirm(device_id)
    announced.end()
    return new


def test_a_device_is_announced_once_and_again_after_it_was_gone() -> None:
    announced = Announced()

    assert listing(announced, "a", "b", "a") == ["a", "b"]
    assert listing(announced, "a", "b", "c") == ["c"]
    assert listing(announced, "c") == []
    assert listing(announced, "a", "c") == ["a"]


def test_a_listing_that_broke_off_keeps_what_was_confirmed_and_forgets_the_rest() -> None:
    announced = Announced()
    announced.begin()
    assert announced.is_new("a")
    announced.confirm("a")
    assert announced.is_new("b")

    assert listing(announced, "a", "b") == ["b"]


def test_a_hundred_thousand_ids_cost_eight_bytes_each_and_little_more() -> None:
    known = Fingerprints()
    for number in range(100_000):
        known.add(f"device-{number}")

    size_bytes = sum(bucket.buffer_info()[1] * bucket.itemsize for bucket in known._buckets)
    assert len(known) == 100_000
    assert size_bytes == 800_000


def test_what_a_reading_that_ended_early_did_not_reach_is_told_again() -> None:
    told = Announced()
    assert listing(told, "a: idle", "b: idle") == ["a: idle", "b: idle"]

    told.begin()
    assert told.is_new("a: pending")
    told.confirm("a: pending")
    told.break_off()

    assert listing(told, "a: idle", "b: idle") == ["a: idle", "b: idle"]


def test_a_reading_that_reached_nothing_makes_no_news_of_all() -> None:
    told = Announced()
    listing(told, "a", "b")

    told.begin()
    told.break_off()

    assert listing(told, "a", "b") == []
