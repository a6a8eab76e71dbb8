"""Times: the vendor's clock, the only one in which pushes and answers are compared (R2), and their unit."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from schemas import Observation

_MOST_AHEAD_MS: Final = 300_000
"""A vendor's time further ahead of ours than clocks disagree is a mistake: believed, it would make everything that
follows look late, for as long as it lies ahead."""


def pushed_at(observation: Observation) -> int:
    """The vendor's time of a push: its own, else the gateway's publish time, else ours."""
    latest_ms = observation.observed_at_ms + _MOST_AHEAD_MS
    if observation.vendor_time_at_ms is not None:
        return min(observation.vendor_time_at_ms, latest_ms)

    position = observation.evidence.position
    return observation.observed_at_ms if position is None else min(position.publish_time_at_ms, latest_ms)


def asked_at(observation: Observation) -> int:
    """The vendor's time at which an API was asked; ours where the answer does not carry it."""
    if observation.asked_at_ms is None:
        return observation.observed_at_ms

    return min(observation.asked_at_ms, observation.observed_at_ms + _MOST_AHEAD_MS)


@lru_cache(maxsize=256)
def ms(seconds: float) -> int:
    """Return a policy's seconds in the milliseconds that records count in: few different ones, often."""
    return round(seconds * 1000)
