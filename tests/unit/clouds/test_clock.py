from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clouds.clock import VendorClock

NOW_MS = 1_700_000_000_000


def answer(clock: VendorClock, offset_ms: int, *, refused: bool = False) -> None:
    """An answer from a clock that is ahead by `offset_ms`, after a round trip of 10 ms."""
    clock.learn(NOW_MS + offset_ms + 5, sent_ms=NOW_MS, received_ms=NOW_MS + 10, refused=refused)


@given(
    offset_ms=st.integers(-(10**7), 10**7),
    legs=st.lists(
        st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 60_000)), min_size=1, max_size=20
    ),
    resolution_ms=st.sampled_from([1, 1000]),
)
def test_the_true_offset_is_never_further_away_than_the_uncertainty(
    offset_ms: int, legs: list[tuple[int, int, int]], resolution_ms: int
) -> None:
    clock = VendorClock(lambda: NOW_MS)
    local_ms = NOW_MS
    for number, (there_ms, back_ms, pause_ms) in enumerate(legs):
        told_ms = (local_ms + there_ms + offset_ms) // resolution_ms * resolution_ms
        received_ms = local_ms + there_ms + back_ms
        clock.learn(told_ms, sent_ms=local_ms, received_ms=received_ms, resolution_ms=resolution_ms)
        local_ms = received_ms + pause_ms

        if number == 0 and clock.uncertainty_ms is None:
            assert abs(offset_ms) > 29_000, "the first answer alone is doubted"
            continue
        assert clock.uncertainty_ms is not None
        assert abs(clock.offset_ms - offset_ms) <= clock.uncertainty_ms + 2


def test_a_quick_answer_sharpens_what_a_slow_one_told() -> None:
    clock = VendorClock(lambda: NOW_MS)
    clock.learn(NOW_MS + 100, sent_ms=NOW_MS, received_ms=NOW_MS + 4000)
    clock.learn(NOW_MS + 5010, sent_ms=NOW_MS + 5000, received_ms=NOW_MS + 5020)

    assert (clock.uncertainty_ms or 0) <= 11
    assert abs(clock.offset_ms) <= 11


@pytest.mark.parametrize("vendor_ms", [10**14, 10**400], ids=["far", "no float"])
def test_a_time_beyond_any_clock_is_never_believed(vendor_ms: int) -> None:
    clock = VendorClock(lambda: NOW_MS)

    for _ in range(3):
        clock.learn(vendor_ms, sent_ms=NOW_MS, received_ms=NOW_MS + 10, refused=True)

    assert (clock.now_ms(), clock.signing_ms()) == (NOW_MS, NOW_MS)


def test_one_wild_value_moves_nothing() -> None:
    clock = VendorClock(lambda: NOW_MS)
    wild = (3_600_000, -86_400_000, 40_000, 10**12)
    for number in range(12):
        sent_ms = NOW_MS + number * 1000
        clock.learn(sent_ms + 205, sent_ms=sent_ms, received_ms=sent_ms + 10)
        clock.learn(sent_ms + wild[number % 4], sent_ms=sent_ms + 20, received_ms=sent_ms + 30)

        assert abs(clock.offset_ms - 200) <= 10
        assert clock.signing_ms() == NOW_MS


def test_two_wild_values_that_differ_move_nothing() -> None:
    clock = VendorClock(lambda: NOW_MS)
    answer(clock, 200)
    answer(clock, 3_600_000)
    answer(clock, -3_600_000)

    assert abs(clock.offset_ms - 200) <= 10


def test_a_wild_first_value_is_not_believed() -> None:
    clock = VendorClock(lambda: NOW_MS)

    answer(clock, 3_600_000)
    assert clock.offset_ms == 0

    answer(clock, 200)
    assert abs(clock.offset_ms - 200) <= 10


@pytest.mark.parametrize("earlier", [1, 0], ids=["in the middle", "from the start"])
def test_a_clock_that_was_set_is_believed_when_two_answers_agree(earlier: int) -> None:
    clock = VendorClock(lambda: NOW_MS)
    for _ in range(earlier):
        answer(clock, 0)

    answer(clock, 3_600_000)
    assert abs(clock.offset_ms) <= 10

    answer(clock, 3_600_004)
    assert abs(clock.offset_ms - 3_600_000) <= 10

    answer(clock, 0)
    assert abs(clock.offset_ms - 3_600_000) <= 10, "an old server's answer is the wild one now"


def test_a_refusal_for_its_time_is_believed_at_once() -> None:
    clock = VendorClock(lambda: NOW_MS)
    answer(clock, 0)

    answer(clock, 3_600_000, refused=True)

    assert abs(clock.offset_ms - 3_600_000) <= 10
    assert abs(clock.signing_ms() - NOW_MS - 3_600_000) <= 10


@pytest.mark.parametrize("rate", [20e-6, -80e-6, 1e-3], ids=["a quartz", "a poor one", "a broken one"])
def test_a_clock_that_drifts_slowly_is_followed(rate: float) -> None:
    clock = VendorClock(lambda: NOW_MS)
    for second in range(0, 24 * 3600, 30):
        sent_ms = NOW_MS + second * 1000
        drifted_ms = round(second * 1000 * rate)
        clock.learn(sent_ms + drifted_ms + 20, sent_ms=sent_ms, received_ms=sent_ms + 40)

        assert abs(clock.offset_ms - drifted_ms) <= 100


def test_a_default_value_is_no_clock() -> None:
    clock = VendorClock(lambda: NOW_MS)

    clock.learn(0, sent_ms=NOW_MS, received_ms=NOW_MS + 10)
    clock.learn(NOW_MS, sent_ms=NOW_MS, received_ms=NOW_MS - 10)

    assert clock.offset_ms == 0
    assert clock.uncertainty_ms is None


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(-15_000, 15_000)), max_size=20))
def test_the_time_of_signatures_never_runs_backwards_for_a_small_correction(
    answers: list[tuple[int, int]],
) -> None:
    local_ms = NOW_MS
    clock = VendorClock(lambda: local_ms)
    signed = [clock.signing_ms()]
    for trip_ms, offset_ms in answers:
        sent_ms, local_ms = local_ms, local_ms + trip_ms
        clock.learn(sent_ms + offset_ms, sent_ms=sent_ms, received_ms=local_ms)
        signed.append(clock.signing_ms())

    assert signed == sorted(signed)


def test_signatures_follow_a_clock_that_is_far_away() -> None:
    clock = VendorClock(lambda: NOW_MS)

    answer(clock, -600_000)
    answer(clock, -600_000)

    assert abs(clock.signing_ms() - NOW_MS + 600_000) <= 10
