"""What happens between a history and the bridge: late, lost, repeated pushes, wrong clocks, refusing and lying APIs."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from msgspec import Struct

from tests.chaos.histories.history import History, Push

_LIES_WITHIN_S: Final = 1200.0
"""A lying time begins at most this long after an upgrade began."""


class Weather(Struct, frozen=True, kw_only=True):
    """Shares are of one; they hold until the history's calm. A clock error is one device's account's, plus or minus."""

    name: str
    clock_error_s: float = 1.0
    delay_s: float = 5.0
    reordered: float = 0.05
    redelivered: float = 0.05
    dropped: float = 0.0
    sent_twice: float = 0.0
    late: float = 0.0
    refused: float = 0.0
    lies: float = 0.0


GOOD: Final = Weather(name="good weather")
WRONG_CLOCKS: Final = Weather(name="clock errors of -10 to +10 s", clock_error_s=10.0)
STORM: Final = Weather(
    name="storm",
    clock_error_s=2.0,
    dropped=0.3,
    redelivered=0.1,
    sent_twice=0.1,
    late=0.05,
    refused=0.2,
    lies=0.33,
)


class Arrival(Struct, frozen=True):
    """A push as the bridge gets it: when, when it was published, and at which position of its source partition."""

    at_s: float
    published_s: float
    entry: int
    push: Push


def arrivals(history: History, weather: Weather, rng: Random) -> Iterator[Arrival]:
    """What arrives of a history's pushes. The gateway gives positions in the order in which it publishes."""
    published: list[tuple[float, int, Push]] = []
    in_order_s = 0.0
    for number, push in enumerate(history.pushes):
        if rng.random() < weather.dropped:
            continue
        at_s = push.at_s + rng.uniform(0, weather.delay_s)
        if rng.random() < weather.late:
            at_s += rng.uniform(60, 900)
        elif rng.random() >= weather.reordered:
            at_s = in_order_s = max(at_s, in_order_s)
        published.append((at_s, number, push))
        if rng.random() < weather.sent_twice:
            published.append((at_s + rng.uniform(0, 20), number, push))
    published.sort(key=lambda each: each[:2])
    for entry, (at_s, _, push) in enumerate(published):
        yield Arrival(at_s, at_s, entry, push)
        if rng.random() < weather.redelivered:
            yield Arrival(at_s + rng.uniform(0.1, 60), at_s, entry, push)


def lying_times(history: History, weather: Weather, rng: Random) -> list[tuple[float, float]]:
    """When this device's API answers, to a share of the askings, from before the running attempt."""
    if not weather.lies:
        return []

    times = []
    for upgrade in history.upgrades:
        from_s = upgrade.began_s + rng.uniform(0, _LIES_WITHIN_S)
        times.append((from_s, min(from_s + rng.uniform(20, 180), history.calm_from_s)))
    return times
