from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.clouds.errors import Throttled
from bridge.reconcile.limits import TRAVEL_MOST_S, NotOwner, RequestPace
from tests.virtual_time import in_virtual_time, now_s


def pace_of(rate_per_s: float, *, may_send: bool = True) -> RequestPace:
    return RequestPace(rate_per_s, may_send=lambda: may_send, monotonic=now_s, jitter=lambda: 1.0)


def most_in_any_window(times: list[float], window_s: float) -> int:
    times = sorted(times)
    return max(sum(1 for other in times if begin <= other <= begin + window_s) for begin in times)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.integers(1, 30),
    workers=st.integers(1, 40),
    seed=st.integers(0, 2**16),
    there_s=st.sampled_from([0.0, 0.02, TRAVEL_MOST_S]),
    back_s=st.sampled_from([0.0, 0.02, 0.5, 3.0]),
)
def test_no_second_ever_sees_more_than_the_rate_however_requests_and_answers_travel(
    rate: int, workers: int, seed: int, there_s: float, back_s: float
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        randomness = random.Random(seed)
        pace = pace_of(rate)
        arrivals: list[float] = []

        async def worker() -> None:
            for _ in range(4):
                async with pace.turn():
                    await asyncio.sleep(randomness.random() * there_s)
                    arrivals.append(now_s())
                    await asyncio.sleep(randomness.random() * back_s)
                await asyncio.sleep(randomness.random() * 0.3)

        await asyncio.gather(*(worker() for _ in range(workers)))

        assert len(arrivals) == workers * 4
        assert most_in_any_window(arrivals, 1.0) <= rate

    scenario()


@in_virtual_time
async def test_the_rate_is_used_when_answers_are_quick() -> None:
    pace = pace_of(50)

    async def request() -> None:
        async with pace.turn():
            await asyncio.sleep(0.02)

    began = now_s()
    await asyncio.gather(*(request() for _ in range(1000)))

    assert now_s() - began < 1.2 * 1000 / 50


@in_virtual_time
async def test_a_slow_cloud_does_not_slow_the_rate() -> None:
    pace = pace_of(20)

    async def request() -> None:
        async with pace.turn():
            await asyncio.sleep(3)

    began = now_s()
    await asyncio.gather(*(request() for _ in range(400)))

    assert now_s() - began < 1.2 * 400 / 20 + 3


@in_virtual_time
async def test_a_rate_below_one_is_one_request_in_that_time() -> None:
    pace = pace_of(0.25)
    sent: list[float] = []
    for _ in range(4):
        async with pace.turn():
            sent.append(now_s())

    assert all(later - earlier >= 4.0 for earlier, later in pairwise(sent))


@in_virtual_time
async def test_lookups_start_evenly_spread_after_the_first_few() -> None:
    pace = pace_of(20)
    starts: list[float] = []
    for _ in range(60):
        await pace.start()
        async with pace.turn():
            starts.append(now_s())

    assert most_in_any_window(starts, 0.5) <= 0.5 * 20 + 3


@in_virtual_time
async def test_a_start_waits_behind_requests_that_wait_already() -> None:
    pace = pace_of(1)
    async with pace.turn():
        pass
    order: list[str] = []

    async def request() -> None:
        async with pace.turn():
            order.append("request")

    async def start() -> None:
        await pace.start()
        order.append("start")

    waiting = asyncio.create_task(request())
    await asyncio.sleep(0)
    await start()
    await waiting

    assert order == ["request", "start"]


@in_virtual_time
async def test_throttling_pauses_everybody_longer_each_time_in_a_row() -> None:
    pace = pace_of(10)
    waits = []
    for _ in range(8):
        with pytest.raises(Throttled):
            async with pace.turn():
                raise Throttled("busy", api="test")
        began = now_s()
        await pace.start()
        waits.append(round(now_s() - began))

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]

    async with pace.turn():
        pass
    with pytest.raises(Throttled):
        async with pace.turn():
            raise Throttled("busy", api="test")
    assert pace.statistics().paused_for_s == pytest.approx(1.0)


@in_virtual_time
async def test_many_throttled_at_once_are_one_reason_to_pause() -> None:
    pace = pace_of(20)

    async def throttled(after_s: float) -> None:
        async with pace.turn():
            await asyncio.sleep(after_s)
            raise Throttled("busy", api="test")

    ends = await asyncio.gather(
        *(throttled(0.1 + number / 100) for number in range(20)), return_exceptions=True
    )

    assert all(isinstance(end, Throttled) for end in ends)
    assert pace.statistics().paused_for_s <= 1.0
    assert pace.statistics().throttled == 20


@in_virtual_time
async def test_without_ownership_nothing_is_sent_and_no_place_is_used() -> None:
    owns = False
    pace = RequestPace(1, may_send=lambda: owns, monotonic=now_s)
    for _ in range(3):
        with pytest.raises(NotOwner):
            async with pace.turn():
                raise AssertionError("sent")

    owns = True
    began = now_s()
    async with pace.turn():
        pass

    assert now_s() == began
    assert pace.statistics().requests == 1


@in_virtual_time
async def test_a_request_that_is_cancelled_still_counts_at_the_cloud() -> None:
    pace = pace_of(1)

    async def request() -> None:
        async with pace.turn():
            await asyncio.sleep(10)

    task = asyncio.create_task(request())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    began = now_s()
    async with pace.turn():
        pass

    assert now_s() - began >= 1.0


@in_virtual_time
async def test_a_waiter_that_is_cancelled_does_not_hold_up_the_others() -> None:
    pace = pace_of(1)
    async with pace.turn():
        pass
    gone = asyncio.create_task(pace.start())
    await asyncio.sleep(0.1)
    gone.cancel()
    began = now_s()
    async with pace.turn():
        pass

    assert now_s() - began < 1.0
    assert pace.statistics().waiting == 0


def minutely(rate_per_s: float) -> RequestPace:
    return RequestPace(
        rate_per_s, counted_over_s=60.0, may_send=lambda: True, monotonic=now_s, jitter=lambda: 1.0
    )


@in_virtual_time
async def test_a_rate_by_the_minute_holds_in_every_minute_and_is_used() -> None:
    pace = minutely(90 / 60)
    times: list[float] = []

    async def worker() -> None:
        for _ in range(60):
            async with pace.turn():
                times.append(now_s())
                await asyncio.sleep(0.1)

    await asyncio.gather(*(worker() for _ in range(5)))

    assert most_in_any_window(times, 60.0) <= 90
    assert len(times) / (times[-1] - times[0]) > 0.9 * 1.5


@in_virtual_time
async def test_a_new_owner_need_not_wait_a_minute_for_the_requests_of_the_one_before() -> None:
    times: list[float] = []
    before, after = minutely(90 / 60), minutely(90 / 60)

    async def spend(pace: RequestPace, until_s: float) -> None:
        while now_s() < until_s:
            async with pace.turn():
                times.append(now_s())

    begin_s = now_s()
    await spend(before, begin_s + 60)
    after.pause(after.window_s)
    taken_over_s = now_s()
    await spend(after, begin_s + 120)

    assert most_in_any_window(times, 60.0) <= 90
    assert min(time for time in times if time > taken_over_s) - taken_over_s < 2.5


@pytest.mark.parametrize(
    ("rate_per_s", "counted_over_s", "most", "window_s"),
    [
        (200.0, 1.0, 200, 1.0),
        (4.5, 1.0, 4, 1.0),
        (0.5, 1.0, 1, 2.0),
        (1.5, 60.0, 3, 2.0),
        (100 / 60, 60.0, 5, 3.0),
        (0.1, 60.0, 1, 10.0),
        (1 / 3, 60.0, 1, 3.0),
    ],
)
def test_the_window_is_the_shortest_with_room_for_whole_requests(
    rate_per_s: float, counted_over_s: float, most: int, window_s: float
) -> None:
    pace = RequestPace(
        rate_per_s, counted_over_s=counted_over_s, may_send=lambda: True, monotonic=lambda: 0.0
    )

    assert (pace._most, round(pace.window_s, 2)) == (most, pytest.approx(window_s, abs=0.01))


@in_virtual_time
async def test_the_account_pauses_as_long_as_the_cloud_says() -> None:
    pace = pace_of(50)
    throttled = Throttled("wait for the next minute", api="test")
    throttled.pause_s = 37.0

    with pytest.raises(Throttled):
        async with pace.turn():
            raise throttled

    assert pace.statistics().paused_for_s == pytest.approx(37.0, abs=0.1)
