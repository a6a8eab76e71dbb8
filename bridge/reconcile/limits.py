"""When an account's next request may be sent: an exact rate, evenly spread, with a pause where the cloud asks for one.

The rate holds in every window of a second as the cloud counts it, not only as we send. A request reaches the cloud at
some time between its sending and its answer; its place is free again a second after the latest that this can have been.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiolimiter import AsyncLimiter
from msgspec import Struct

from bridge.clouds.errors import Throttled
from bridge.reconcile.backoff import doubled

WINDOW_MARGIN_S: Final = 0.005
"""The cloud's second may be a little longer than ours, and clocks have a resolution."""

TRAVEL_MOST_S: Final = 0.15
"""No request takes longer to reach the cloud, twice the way around the half of the earth. An answer that takes longer
is one the cloud was slow to give; waiting for it would halve the rate of a cloud that needs a second."""

BURST_SHARE: Final = 0.1
"""Lookups that were not started for a while may follow each other up to this share of a second's requests."""

DOUBT_MOST_S: Final = 60.0
"""A group settles within this after a change. A listing of hours goes on where it was, instead of from its start."""
DOUBT_POLL_S: Final = 0.2

ROUNDING: Final = 1e-9
"""1.5 requests a second are 3 in two seconds, also where the rate is not a round number in binary."""

PAUSE_FIRST_S: Final = 1.0
PAUSE_MOST_S: Final = 60.0
"""Throttled: the account pauses this long, doubled for each pause in a row."""


class NotOwner(Exception):
    """We may not speak for the account now: it does not own it, or cannot prove that it still does."""


class PaceStatistics(Struct, frozen=True, kw_only=True):
    """A look at an account's pace."""

    requests: int
    in_flight: int
    waiting: int
    throttled: int
    paused_for_s: float


class RequestPace:
    """One account's pace. `may_send` is asked directly before each request; `monotonic` is a clock in seconds.

    Where it may not be sent, `may_again` says whether that can pass: a request then waits, for a while.

    `counted_over_s` is the time over which the cloud counts. Where that is longer than a second, the rate holds over a
    shorter time already, the first whole second that has room for whole requests: so a burst never spends a minute's
    requests, and a new owner need not wait a minute for those of the one before.
    A rate below one request in that time is one per `1 / rate_per_s`; any other is rounded down to whole requests.
    """

    def __init__(
        self,
        rate_per_s: float,
        *,
        may_send: Callable[[], bool],
        may_again: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float],
        counted_over_s: float = 1.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        window_s = _window_s(rate_per_s, counted_over_s)
        self._most = max(1, int(rate_per_s * window_s + ROUNDING))
        self._window_s = max(window_s, 1 / rate_per_s) + WINDOW_MARGIN_S
        burst = max(1.0, rate_per_s * BURST_SHARE)
        self._starts = AsyncLimiter(burst, burst / rate_per_s)
        self._may_send = may_send
        self._may_again = may_again
        self._monotonic = monotonic
        self._jitter = jitter
        self._in_order = asyncio.Lock()
        self._changed = asyncio.Event()
        self._in_flight = 0
        self._free_again_at: list[float] = []
        self._paused_until = 0.0
        self._pauses_in_a_row = 0
        self._requests = 0
        self._answered = 0
        self._waiting = 0
        self._throttled = 0

    @property
    def window_s(self) -> float:
        """How long a request counts after its answer."""
        return self._window_s

    @property
    def answered(self) -> int:
        """Requests that were answered with what was asked for."""
        return self._answered

    def pause(self, seconds: float) -> None:
        """Send nothing for that long."""
        self._paused_until = max(self._paused_until, self._monotonic() + seconds)
        self._changed.set()

    async def start(self) -> None:
        """Wait until a lookup's first request could be sent at once; lookups start evenly spread."""
        await self._starts.acquire()
        async with self._in_order:
            await self._free_place()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold the right to send one request, first come, first served. Raises NotOwner where it may not be sent."""
        self._waiting += 1
        try:
            sent_at, place = await self._place()
        finally:
            self._waiting -= 1

        self._requests += 1
        self._in_flight += 1
        try:
            yield
            self._answered += 1
            if sent_at >= self._paused_until:
                self._pauses_in_a_row = 0
        except Throttled as error:
            self._throttle(sent_at, error.pause_s)
            raise
        finally:
            self._in_flight -= 1
            self._move(place, self._monotonic() + self._window_s)

    def statistics(self) -> PaceStatistics:
        """Return a look at the pace."""
        return PaceStatistics(
            requests=self._requests,
            in_flight=self._in_flight,
            waiting=self._waiting,
            throttled=self._throttled,
            paused_for_s=max(0.0, self._paused_until - self._monotonic()),
        )

    async def _place(self) -> tuple[float, float]:
        """Return when the request is sent, and its place, once there is one and it may be sent."""
        by = self._monotonic() + DOUBT_MOST_S
        while True:
            async with self._in_order:
                await self._free_place()
                sent_at = self._monotonic()
                if self._may_send():
                    return sent_at, self._occupy(sent_at + TRAVEL_MOST_S + self._window_s)
            if not self._may_again() or sent_at >= by:
                raise NotOwner
            await asyncio.sleep(DOUBT_POLL_S)

    async def _free_place(self) -> None:
        """Return when a place is free and no pause is on."""
        while (wait_s := self._wait_s()) > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _wait_s(self) -> float:
        """Return for how long no request may be sent."""
        now = self._monotonic()
        del self._free_again_at[: bisect_right(self._free_again_at, now)]
        pause_s = max(0.0, self._paused_until - now)
        if len(self._free_again_at) < self._most:
            return pause_s
        return max(pause_s, self._free_again_at[0] - now)

    def _occupy(self, free_again_at: float) -> float:
        insort(self._free_again_at, free_again_at)
        return free_again_at

    def _move(self, place: float, free_again_at: float) -> None:
        """An answer frees its request's place earlier than was to be feared, never later."""
        index = bisect_left(self._free_again_at, place)
        if free_again_at < place and index < len(self._free_again_at) and self._free_again_at[index] == place:
            del self._free_again_at[index]
            self._occupy(free_again_at)
        self._changed.set()

    def _throttle(self, sent_at: float, told_s: float | None) -> None:
        """Pause as long as the cloud says, else longer each time in a row; requests that were under way when a pause

        began are part of its cause.
        """
        self._throttled += 1
        if sent_at < self._paused_until:
            return

        pause_s = doubled(PAUSE_FIRST_S, PAUSE_MOST_S, self._pauses_in_a_row)
        self._pauses_in_a_row += 1
        if told_s is not None:
            self.pause(min(PAUSE_MOST_S, told_s))
            return
        self.pause(pause_s * (0.75 + self._jitter() / 4))


def _window_s(rate_per_s: float, counted_over_s: float) -> float:
    """Return the shortest time in whole seconds that has room for whole requests, at most the time that counts."""
    seconds = range(1, max(2, int(counted_over_s) + 1))
    for window_s in seconds:
        requests = rate_per_s * window_s
        if requests >= 1 and abs(requests - round(requests)) < ROUNDING:
            return float(window_s)
    return float(seconds[-1])
