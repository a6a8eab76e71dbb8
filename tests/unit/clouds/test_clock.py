from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.clouds.clock import VendorClock

NOW_MS = 1_700_000_000_000


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
    for there_ms, back_ms, pause_ms in legs:
        told_ms = (local_ms + there_ms + offset_ms) // resolution_ms * resolution_ms
        received_ms = local_ms + there_ms + back_ms
        clock.learn(told_ms, sent_ms=local_ms, received_ms=received_ms, resolution_ms=resolution_ms)
        local_ms = received_ms + pause_ms

        assert clock.uncertainty_ms is not None
        assert abs(clock.offset_ms - offset_ms) <= clock.uncertainty_ms + 2


def test_a_quick_answer_sharpens_what_a_slow_one_told() -> None:
    clock = VendorClock(lambda: NOW_MS)
    clock.learn(NOW_MS + 100, sent_ms=NOW_MS, received_ms=NOW_MS + 4000)
    clock.learn(NOW_MS + 5010, sent_ms=NOW_MS + 5000, received_ms=NOW_MS + 5020)

    assert (clock.uncertainty_ms or 0) <= 11
    assert abs(clock.offset_ms) <= 11


def test_a_clock_that_was_set_is_believed_at_once() -> None:
    clock = VendorClock(lambda: NOW_MS)
    clock.learn(NOW_MS, sent_ms=NOW_MS, received_ms=NOW_MS + 10)

    clock.learn(NOW_MS + 3_600_000, sent_ms=NOW_MS, received_ms=NOW_MS + 10)

    assert abs(clock.offset_ms - 3_600_000) <= 10


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

    clock.learn(NOW_MS - 600_000, sent_ms=NOW_MS, received_ms=NOW_MS)

    assert abs(clock.signing_ms() - NOW_MS + 600_000) <= 1
