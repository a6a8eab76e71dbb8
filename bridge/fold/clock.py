"""Times: the vendor's clock, the only one in which pushes and answers are compared (R2), and their unit."""

from __future__ import annotations

from schemas import Observation


def pushed_at(observation: Observation) -> int:
    """The vendor's time of a push: its own, else the gateway's publish time, else ours."""
    if observation.vendor_time_at_ms is not None:
        return observation.vendor_time_at_ms

    position = observation.evidence.position
    return observation.observed_at_ms if position is None else position.publish_time_at_ms


def asked_at(observation: Observation) -> int:
    """The vendor's time at which an API was asked; ours where the answer does not carry it."""
    return observation.observed_at_ms if observation.asked_at_ms is None else observation.asked_at_ms


def ms(seconds: float) -> int:
    """Return a policy's seconds in the milliseconds that records count in."""
    return round(seconds * 1000)
