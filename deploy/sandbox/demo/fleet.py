"""Whom the demo upgrades: devices of every simulated cloud at once, with every ending that its API can tell of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, Final

from msgspec import Struct

from deploy.sandbox.cloud.life import ENDINGS, Ending
from deploy.sandbox.cloud.systems import SYSTEMS

SHARES: Final[Mapping[Ending, float]] = {
    "failed": 0.1,
    "timed_out": 0.05,
    "silent": 0.1,
    "cancelled": 0.05,
    "stuck": 0.05,
    "removed": 0.05,
    "offline": 0.05,
}
"""The rest succeeds. None is less than one of twenty devices."""
_IN_WORDS: Final[Mapping[Ending, str]] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "timed_out": "timed out",
    "silent": "succeeded without a push",
    "cancelled": "cancelled by an operator",
    "stuck": "stuck for ever",
    "removed": "device removed midway",
    "offline": "offline for a while",
}
FEWEST = len(SYSTEMS)
_LINE_WIDTH = 100


class Upgrades(Struct, frozen=True, kw_only=True):
    """One cloud's part of the demo."""

    cloud: str
    account: str
    devices: int
    rate_per_s: float
    """Upgrades started each second."""
    seed: int

    @property
    def pushes(self) -> bool:
        """Whether the cloud has a gateway."""
        return SYSTEMS[self.cloud].has_gateway

    @property
    def endings(self) -> tuple[Ending, ...]:
        """What becomes of its devices, where there are enough of them."""
        return tuple(name for name in ENDINGS if name in SYSTEMS[self.cloud].endings)

    @property
    def is_to_be_met(self) -> bool:
        """Whether the bridge has to know the devices beforehand: nothing else tells a cancel that leaves no trace."""
        system = SYSTEMS[self.cloud]
        return "cancelled" in system.endings and not system.manner.keeps_tasks

    def order(self) -> dict[str, Any]:
        """Return the body of `POST /campaigns`."""
        return {
            "account": self.account,
            "devices": self.devices,
            "rate_per_s": self.rate_per_s,
            "seed": self.seed,
            "endings": dict(SHARES),
        }


def share_out(
    accounts: Mapping[str, Mapping[str, Any]], *, devices: int, rate_per_s: float, seed: int
) -> list[Upgrades]:
    """Share `devices` and `rate_per_s` out among the accounts of `sandbox.json`, at least one device each.

    The largest share comes first. All begin and end together. Raises ValueError for fewer devices than clouds.
    """
    if devices < len(accounts):
        raise ValueError(f"{len(accounts)} clouds need at least as many devices, not {devices}")
    shares = {name: SYSTEMS[about["cloud"]].demo_share for name, about in accounts.items()}
    largest, *others = sorted(shares, key=shares.__getitem__, reverse=True)
    counts = {name: max(1, int(devices * shares[name])) for name in others}
    counts = {largest: devices - sum(counts.values())} | counts
    return [
        Upgrades(
            cloud=accounts[name]["cloud"],
            account=name,
            devices=counts[name],
            rate_per_s=rate_per_s * counts[name] / devices,
            seed=seed,
        )
        for name in counts
    ]


def introduction(fleet: Sequence[Upgrades], push_drop: float) -> Iterator[str]:
    """Tell what is going to happen, in lines of at most 100 characters."""
    yield f"{sum(part.devices for part in fleet)} devices of {len(fleet)} clouds upgrade at the same time:"
    yield "  " + ", ".join(f"{part.devices} {part.cloud}" for part in fleet)
    yield "Their upgrades end in every way that the cloud can tell of:"
    endings = ", ".join(_IN_WORDS[name] for name in ENDINGS)
    yield from (f"  {line}" for line in wrap(endings, _LINE_WIDTH - 2))
    for part in fleet:
        if untold := [_IN_WORDS[name] for name in ENDINGS if name not in part.endings]:
            yield f"  {part.cloud} cannot tell of: {', '.join(untold)}"
    mute = ", ".join(part.cloud for part in fleet if not part.pushes)
    yield f"{push_drop:.0%} of the pushes get lost. Nothing is pushed by {mute}: the bridge asks."
    yield "Each line is an event on Kafka: account, milliseconds since the cloud's push (- where the bridge"
    yield "asked), time, device /channel, status before → now, version before → target, remarks."


def short_name(account: str) -> str:
    """Return what tells the sandbox's accounts apart: `tuya` for `tuya-demo`, `ocean` for `oceanconnect-demo`."""
    return account.removesuffix("-demo").removesuffix("connect")
