"""Timers and the pace of background lookups: bounded memory, nothing forgotten, no bursts."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.fold.timers import AHEAD_S, LAPSE, BackgroundPace, Timers

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def test_reminders_come_in_the_order_of_their_times() -> None:
    timers = Timers()
    timers.arm(30, "c")
    timers.arm(10, "a")
    timers.arm(20, "b")

    assert timers.pop_due(25, 10) == ["a", "b"]
    assert timers.next_at() == 30


def test_an_earlier_reminder_replaces_a_later_one() -> None:
    timers = Timers()
    timers.arm(30, "a")
    timers.arm(10, "a")

    assert timers.pop_due(40, 10) == ["a"]
    assert timers.next_at() is None


def test_a_later_reminder_leaves_the_earlier_one_which_arms_it_again() -> None:
    timers = Timers()
    timers.arm(10, "a")
    timers.arm(30, "a")

    assert timers.next_at() == 10


def test_a_device_that_is_armed_again_and_again_does_not_fill_the_memory() -> None:
    timers = Timers()
    for cycle in range(100_000):
        timers.arm(10_000_000, "a")
        timers.arm(cycle, "a")
        timers.pop_due(cycle, 10)

    assert sum(len(moment.device_ids) for moment in timers._moments.values()) < 2_000


def test_a_forgotten_device_is_not_reminded_of() -> None:
    timers = Timers()
    timers.arm(10, "a")
    timers.forget("a")

    assert timers.pop_due(20, 10) == []


def test_devices_due_at_the_same_time_come_in_the_order_of_their_ids() -> None:
    timers = Timers()
    for device in "bdac":
        timers.arm(10, device)

    assert timers.pop_due(10, 3) == ["a", "b", "c"]
    assert timers.pop_due(10, 3) == ["d"]


def test_distant_reminders_share_moments_and_come_on_time_when_armed_again() -> None:
    timers = Timers()
    for number in range(1000):
        timers.arm(DAY_MS + number, f"d{number}")

    reminded = []
    for now_ms in range(0, DAY_MS + 1500, 500):
        for device in timers.pop_due(now_ms, 1000):
            due_ms = DAY_MS + int(device[1:])
            if due_ms > now_ms:
                timers.arm(due_ms, device)
            else:
                assert now_ms - due_ms < 500
                reminded.append(device)
        assert len(timers._moments) < 3 or now_ms > DAY_MS - HOUR_MS

    assert len(set(reminded)) == len(reminded) == 1000


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abcde"), st.booleans())))
def test_every_armed_device_is_reminded_of_once_at_its_earliest_time(
    moves: list[tuple[int, str, bool]],
) -> None:
    timers, expected = Timers(), {}
    for at_ms, device, forget in moves:
        if forget:
            timers.forget(device)
            expected.pop(device, None)
        else:
            timers.arm(at_ms, device)
            expected[device] = min(at_ms, expected.get(device, at_ms))

    reminded = {}
    for now_ms in range(51):
        for device in timers.pop_due(now_ms, 100):
            assert device not in reminded
            reminded[device] = now_ms
    assert reminded == expected


def test_background_lookups_leave_at_the_accounts_rate() -> None:
    pace = BackgroundPace({"home": 10.0})
    for number in range(100):
        pace.wait("home", f"d{number}")

    taken = [len(pace.take(now_ms, 1000)) for now_ms in range(1_000_000, 1_002_000, 100)]

    assert max(taken) <= 2
    assert 19 <= sum(taken) <= 21


def test_a_quiet_time_saves_up_no_burst() -> None:
    pace = BackgroundPace({"home": 10.0})
    pace.wait("home", "a")
    pace.take(1_000, 10)
    for number in range(50):
        pace.wait("home", f"d{number}")

    assert len(pace.take(3_600_000, 1000)) <= 2


def test_no_more_are_under_way_than_the_account_can_serve_soon() -> None:
    pace = BackgroundPace({"home": 10.0})
    for number in range(100):
        pace.wait("home", f"d{number}")
    asked: list[str] = []
    for now_ms in range(1_000_000, 1_010_000, 100):
        for device_id in pace.take(now_ms, 1000):
            pace.asked("home", device_id, asked_at_ms=now_ms, expires_at_ms=now_ms + 20_000)
            asked.append(device_id)
    most = round(10.0 * AHEAD_S)
    assert len(asked) == most
    assert pace.next_at(1_009_900) == 1_020_000

    pace.answered("home", asked[0])
    assert (pace.next_at(1_010_000) or 0) <= 1_010_000
    assert len(pace.take(1_010_000, 1000)) == 1


def test_a_lookup_that_expired_makes_room_as_an_answered_one_does() -> None:
    pace = BackgroundPace({"home": 0.5})
    for device_id in ("a", "b"):
        pace.wait("home", device_id)
    (first,) = pace.take(1_000_000, 10)
    pace.asked("home", first, asked_at_ms=1_000_000, expires_at_ms=1_020_000)
    assert pace.take(1_019_999, 10) == []

    assert pace.take(1_020_000, 10) == ["b"]


@pytest.mark.parametrize(("rate_per_s", "lapse_s"), [(10.0, 30), (4 / 12, 45), (1 / 12, 180)])
def test_a_lost_lookup_keeps_its_place_for_half_a_minute_and_longer_at_slow_rates(
    rate_per_s: float, lapse_s: int
) -> None:
    pace = BackgroundPace({"home": rate_per_s})
    pace.wait("home", "next")
    for number in range(ceil(rate_per_s * AHEAD_S)):
        pace.asked("home", f"lost{number}", asked_at_ms=1_000_000, expires_at_ms=1_600_000)
    lapsed_at_ms = 1_000_000 + 1000 * lapse_s

    assert pace.take(lapsed_at_ms - 1, 10) == []
    assert pace.next_at(lapsed_at_ms - 1) == lapsed_at_ms
    assert pace.take(lapsed_at_ms, 10) == ["next"]


def test_a_clock_that_was_ahead_and_is_set_back_holds_nothing_up() -> None:
    pace = BackgroundPace({"home": 10.0})
    day_ms = 86_400_000
    for number in range(100):
        pace.wait("home", f"d{number}")
    for now_ms in range(day_ms, day_ms + 10_000, 100):
        for device_id in pace.take(now_ms, 1000):
            pace.asked("home", device_id, asked_at_ms=now_ms, expires_at_ms=now_ms + 600_000)

    assert (pace.next_at(0) or 0) <= 100
    assert pace.take(0, 1000) == []
    assert len(pace.take(100, 1000)) == 1


@pytest.mark.parametrize("rate_per_s", [10.0, 4 / 12, 1 / 12, 0.25 / 12])
def test_lookups_that_nobody_answers_leave_at_a_fraction_of_the_rate(rate_per_s: float) -> None:
    pace = BackgroundPace({"home": rate_per_s})
    for number in range(10_000):
        pace.wait("home", f"d{number}")
    asked = 0
    for now_s in range(6000):
        for device_id in pace.take(1000 * now_s, 1000):
            pace.asked("home", device_id, asked_at_ms=1000 * now_s, expires_at_ms=10**9)
            asked += 1

    assert asked <= ceil(AHEAD_S * rate_per_s) + 6000 * rate_per_s / LAPSE


def test_one_account_does_not_wait_for_another() -> None:
    pace = BackgroundPace({"slow": 0.001, "fast": 1000.0})
    for number in range(10):
        pace.wait("slow", f"s{number}")
        pace.wait("fast", f"f{number}")

    taken = [device for now_ms in range(1_000, 1_100, 10) for device in pace.take(now_ms, 1000)]

    assert {device for device in taken if device.startswith("f")} == {f"f{number}" for number in range(10)}


def test_a_device_waits_once() -> None:
    pace = BackgroundPace({"home": 1.0})
    pace.wait("home", "a")
    pace.wait("home", "a")

    assert len(pace) == 1
    assert pace.drain() == ["a"]
    assert len(pace) == 0
