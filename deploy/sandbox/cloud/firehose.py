"""Data-point reports at a rate: what nearly all of a real project's messages are, and the bridge must step over."""

from __future__ import annotations

from random import Random
from typing import Annotated

from msgspec import Meta, Struct

from deploy.sandbox.cloud.faults import Dice
from deploy.sandbox.cloud.fleet import Fleet
from deploy.sandbox.cloud.gateway import Gateway
from deploy.sandbox.cloud.messages import report
from deploy.sandbox.cloud.timeline import Timeline

_TICK_S = 0.02
FEWEST_DEVICES = 100
"""A project without devices gets some to report."""


class FirehoseOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /firehose`."""

    account: str
    rate_per_s: Annotated[float, Meta(gt=0.0)]
    seconds: Annotated[float, Meta(gt=0.0)]


class Firehose:
    """Sends reports of the fleet's devices, a handful every tick, until its time is over."""

    def __init__(self, order: FirehoseOrder, fleet: Fleet, gateway: Gateway, timeline: Timeline) -> None:
        self._order = order
        self._fleet = fleet
        self._gateway = gateway
        self._timeline = timeline
        self._began_s = timeline.now_s()
        self._rng = Random(f"firehose/{order.account}")
        self._due = 0
        self.sent = 0

    def start(self) -> None:
        """Begin now."""
        while len(self._fleet) < FEWEST_DEVICES:
            self._fleet.create()
        self._tick()

    def _tick(self) -> None:
        elapsed_s = self._timeline.now_s() - self._began_s
        due = int(min(elapsed_s, self._order.seconds) * self._order.rate_per_s)
        for number in range(self._due, due):
            device = self._fleet[self._rng.randrange(len(self._fleet))]
            if device.removed:
                continue
            message = report(device, self._rng, self._gateway.vendor_time_ms)
            if self._gateway.report(device, message, Dice(f"{self._order.account}/{number}")):
                self.sent += 1
        self._due = due
        if elapsed_s < self._order.seconds:
            self._timeline.after(_TICK_S, self._tick)
