"""Campaigns: so many devices, at such a rate, with such endings; the same for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from random import Random
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from deploy.sandbox.cloud.faults import Share
from deploy.sandbox.cloud.fleet import MAX_DEVICES, Device, Fleet
from deploy.sandbox.cloud.gateway import PushTally
from deploy.sandbox.cloud.life import ENDINGS, Ending
from deploy.sandbox.cloud.timeline import Timeline
from deploy.sandbox.cloud.upgrade import Pushes, Upgrade
from schemas.vocabulary import Status

DEFAULT_ENDINGS: Mapping[str, float] = {"succeeded": 0.75, "failed": 0.1, "timed_out": 0.05, "silent": 0.1}
_ROUNDING = 1e-9


class DeviceOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /devices`: so many devices of the account are to be idle."""

    account: str
    devices: Annotated[int, Meta(ge=1, le=MAX_DEVICES)]


class CampaignOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /campaigns`."""

    account: str
    devices: Annotated[int, Meta(ge=1, le=MAX_DEVICES)]
    rate_per_s: Annotated[float, Meta(gt=0.0)] = 10.0
    seed: int = 1
    endings: dict[str, Share] = field(default_factory=lambda: dict(DEFAULT_ENDINGS))
    """Shares; what they leave of 1 succeeds."""
    new_devices: bool = False
    """Of devices that nobody has heard of; else idle ones are taken first."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.endings) - set(ENDINGS))
        if unknown:
            raise ValueError(f"unknown ending {', '.join(unknown)}; known are {', '.join(ENDINGS)}")
        if sum(self.endings.values()) > 1.0 + _ROUNDING:
            raise ValueError("the shares of the endings are more than 1 together")


def deal_endings(order: CampaignOrder, can_express: Collection[Ending] = ENDINGS) -> list[Ending]:
    """Return one ending per device: exactly the shares, by largest remainder, in an order that the seed decides.

    What the cloud's API cannot express is given to no device; those succeed.
    """
    shares: dict[Ending, float] = {
        name: order.endings.get(name, 0.0) if name in can_express else 0.0 for name in ENDINGS
    }
    shares["succeeded"] += max(0.0, 1.0 - sum(shares.values()))
    exact = {name: share * order.devices for name, share in shares.items()}
    counts = {name: int(number + _ROUNDING) for name, number in exact.items()}
    by_remainder = sorted(ENDINGS, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: order.devices - sum(counts.values())]:
        counts[name] += 1
    dealt = [name for name in ENDINGS for _ in range(counts[name])]
    Random(order.seed).shuffle(dealt)
    return dealt


class Campaign:
    """A running or finished campaign over `devices`, which are its own until each one's upgrade has settled."""

    def __init__(
        self,
        campaign_id: str,
        order: CampaignOrder,
        devices: list[Device],
        *,
        fleet: Fleet,
        timeline: Timeline,
        gateway: Pushes,
        can_express: Collection[Ending] = ENDINGS,
        speed: float = 1.0,
    ) -> None:
        self.campaign_id = campaign_id
        self._order = order
        self._devices = devices
        self._fleet = fleet
        self._endings = deal_endings(order, can_express)
        self._timeline = timeline
        self._gateway = gateway
        self._speed = speed
        self._tally = PushTally()
        self._began_s = 0.0
        self._started = 0
        self._settled = 0
        self._ended: Counter[str] = Counter()
        for device in devices:
            device.busy = True

    @property
    def finished(self) -> bool:
        """No device will change again, and no push is on its way."""
        return self._settled == len(self._devices) and self._tally.waiting == 0

    def start(self) -> None:
        """Begin to start upgrades, `rate_per_s` of them a second."""
        self._began_s = self._timeline.now_s()
        self._start_due()

    def report(self) -> dict[str, Any]:
        """Return the answer of `GET /campaigns/{id}`."""
        return {
            "state": "finished" if self.finished else "running",
            "devices": len(self._devices),
            "started": self._started,
            "ended": dict(self._ended),
            "pushes_sent": self._tally.sent,
            "pushes_dropped": self._tally.dropped,
            "pushes_garbled": dict(self._tally.garbled),
        }

    def _start_due(self) -> None:
        while self._started < len(self._devices):
            due_s = self._began_s + self._started / self._order.rate_per_s
            if due_s > self._timeline.now_s():
                self._timeline.at(due_s, self._start_due)
                return
            number = self._started
            self._started += 1
            self._upgrade(self._devices[number], self._endings[number]).start()

    def _upgrade(self, device: Device, ending: Ending) -> Upgrade:
        return Upgrade(
            device,
            ending,
            fleet=self._fleet,
            campaign=self.campaign_id,
            seed=str(self._order.seed),
            timeline=self._timeline,
            gateway=self._gateway,
            tally=self._tally,
            speed=self._speed,
            on_end=self._end,
            on_settled=self._settle,
        )

    def _end(self, status: Status) -> None:
        self._ended[status] += 1

    def _settle(self) -> None:
        self._settled += 1
