"""Makes histories: one to three channels, one to four upgrades of every kind, and a cloud with a character of its own.

The cloud lags its own pushes by up to 10 s, tells the running version late, and afterwards keeps its outcome, forgets
it or shows the one from before once more when the next attempt begins (contract: firmware APIs, sections 7 and 9).
"""

from __future__ import annotations

from random import Random
from typing import Final

from msgspec import Struct

from consumer.push_status import PUSH_STATUS
from tests.chaos.histories.history import ChannelLife, History, Push, Shown, Upgrade

KINDS: Final = {
    "good": 38,
    "rebooted": 12,
    "failed": 12,
    "timed_out": 5,
    "silent": 4,
    "silent_failed": 2,
    "stuck": 4,
    "cancelled": 5,
    "withdrawn": 4,
    "cancelled_pending": 3,
    "retried": 6,
    "next_at_once": 6,
    "mismatch": 2,
}
"""Kinds of upgrades and their shares in per cent."""

_FAILURES: Final = tuple(value for value, pushed in PUSH_STATUS.items() if pushed.claimed == "failed")
_HOUR: Final = 3600.0
_SHORTEST_PAUSE_S: Final = 8.0
"""Between two upgrades of a channel: no cloud begins the next one before the device could report the last."""
_JUDGED_AFTER_S: Final = 50 * _HOUR
"""Longer than a pending stall and the refresh after it: what can be known is known by then."""


class Manner(Struct, frozen=True, kw_only=True):
    """How this device's cloud speaks of upgrades."""

    resets: bool
    offers_before: bool
    names_target: bool
    repeats_old: bool
    divides: bool


def plan_history(seed: int, number: int) -> History:
    """Make history `number` of a seed, always the same."""
    return _Planner(Random(f"{seed}/{number}"), f"device-{number}").plan()


class _Planner:
    def __init__(self, rng: Random, device_id: str) -> None:
        self.rng = rng
        self.device_id = device_id
        self.pushes: list[Push] = []
        self.upgrades: list[Upgrade] = []
        self.manner = Manner(
            resets=rng.random() < 0.4,
            offers_before=rng.random() < 0.6,
            names_target=rng.random() < 0.5,
            repeats_old=rng.random() < 0.2,
            divides=rng.random() < 0.3,
        )
        names = ("0", "9", "1")[: rng.choices((1, 2, 3), (60, 30, 10))[0]]
        self.channels = {name: ChannelLife(name=name, version="1.0") for name in names}
        for channel in self.channels.values():
            channel.show(0.0, Shown(0, channel.version))

    def plan(self) -> History:
        rng = self.rng
        usable = list(self.channels)
        busy_until = dict.fromkeys(usable, 0.0)
        at_s = 600 + rng.uniform(0, _HOUR)
        for _ in range(rng.choices((1, 2, 3, 4), (30, 35, 20, 15))[0]):
            if not usable:
                break
            channel = self.channels[rng.choice(usable)]
            kind = rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
            began_s = max(at_s, busy_until[channel.name])
            upgrade = self.carry_out(channel, kind, began_s)
            busy_until[channel.name] = upgrade.ended_s + _SHORTEST_PAUSE_S
            if kind == "stuck":
                usable.remove(channel.name)
            at_s = (
                rng.uniform(began_s, upgrade.ended_s)
                if rng.random() < 0.1
                else upgrade.ended_s + self.pause_s()
            )
        calm_s = max(upgrade.ended_s for upgrade in self.upgrades) + 600.0
        return History(
            device_id=self.device_id,
            channels=self.channels,
            upgrades=self.upgrades,
            pushes=sorted(self.pushes, key=lambda push: push.at_s),
            calm_from_s=calm_s,
            until_s=calm_s + _JUDGED_AFTER_S,
        )

    def pause_s(self) -> float:
        """Until the next upgrade: at once, within the hour, or some other day."""
        shortest, longest = self.rng.choices(
            ((_SHORTEST_PAUSE_S, 60), (300, 3600), (2 * _HOUR, 30 * _HOUR)), (15, 45, 40)
        )[0]
        return self.rng.uniform(shortest, longest)

    def carry_out(self, channel: ChannelLife, kind: str, began_s: float) -> Upgrade:
        """One upgrade from its first sign to its end."""
        rng = self.rng
        before = channel.views[-1]
        upgrade = Upgrade(
            number=len(self.upgrades),
            channel=channel.name,
            kind=kind,
            began_s=began_s,
            from_version=channel.version,
            target=self.choose_target(channel, before),
            reset=self.manner.resets,
        )
        self.upgrades.append(upgrade)
        channel.forget_after(began_s)
        if self.manner.offers_before:
            earliest_s = max(began_s - 400, channel.upgrades[-1].ended_s if channel.upgrades else 0.0)
            channel.show(rng.uniform(earliest_s, began_s), Shown(1, channel.version, upgrade.target))
        channel.upgrades.append(upgrade)
        if self.manner.repeats_old and len(channel.upgrades) > 1:
            self.repeat_outcome(channel, upgrade)
        at_s = self.queue(channel, upgrade, began_s)
        if kind == "cancelled_pending":
            upgrade.ended_s = at_s
            self.cancel(channel, upgrade)
        else:
            self.run(channel, upgrade, at_s)
        channel.version = upgrade.version = upgrade.version or upgrade.from_version
        return upgrade

    def choose_target(self, channel: ChannelLife, before: Shown) -> str:
        offered = before.target
        if offered is not None and offered != channel.version and self.rng.random() < 0.6:
            return offered
        return _next_version(channel.version if offered is None else max(offered, channel.version, key=_rank))

    def repeat_outcome(self, channel: ChannelLife, upgrade: Upgrade) -> None:
        """For up to half a minute the API shows the last attempt's outcome again."""
        values = {"succeeded": 3, "available": 3, "failed": 4, "timed_out": 7}
        last = channel.upgrades[-2]
        value = 3 if last.kind == "mismatch" else values.get(last.status)
        if value is not None:
            channel.show(upgrade.began_s + self.rng.uniform(0, 3), Shown(value, channel.version))
            channel.show(
                upgrade.began_s + self.rng.uniform(3, 30), self.active_view(upgrade, 0), of=upgrade.number
            )

    def queue(self, channel: ChannelLife, upgrade: Upgrade, began_s: float) -> float:
        """Pending for a while, or not at all. Return when the device begins to work."""
        rng = self.rng
        if upgrade.kind != "cancelled_pending" and rng.random() < 0.7:
            return began_s
        value = rng.choice((13, 5))
        self.push(upgrade, began_s, value)
        channel.show(
            began_s + self.lag_s(), Shown(value, upgrade.from_version, upgrade.target), of=upgrade.number
        )
        return began_s + (rng.uniform(_HOUR, 5 * _HOUR) if rng.random() < 0.05 else rng.uniform(5, 600))

    def run(self, channel: ChannelLife, upgrade: Upgrade, at_s: float) -> None:
        """Download and installation with their pushes, then the end."""
        rng, kind = self.rng, upgrade.kind
        takes_s = rng.uniform(8, 25) if rng.random() < 0.2 else rng.uniform(30, 600)
        ended_s = upgrade.ended_s = at_s + takes_s
        values = (10, 12) if self.manner.divides else (2,)
        for part, value in enumerate(values):
            self.push(upgrade, at_s + takes_s * 0.6 * part, value)
        channel.show(at_s + self.lag_s(), self.active_view(upgrade, rng.randrange(0, 30)), of=upgrade.number)
        steps = rng.randrange(2, 6)
        for step in range(steps):
            self.push(
                upgrade, at_s + takes_s * (step + 0.5) / steps, 100 * (step + 1) // steps, kind="progress"
            )
        if kind == "retried":
            again_s = upgrade.ended_s
            ended_s = upgrade.ended_s = again_s + takes_s
            self.push(upgrade, again_s, rng.randrange(0, 5), kind="progress")
            self.push(upgrade, again_s + 1, values[-1])
        if kind == "stuck":
            upgrade.status = "installing"
        elif kind in ("cancelled", "withdrawn"):
            self.cancel(channel, upgrade)
        elif kind in ("failed", "silent_failed", "timed_out") or (kind == "retried" and rng.random() < 0.3):
            self.fail(channel, upgrade)
        elif kind == "mismatch":
            self.roll_back(channel, upgrade)
        else:
            self.succeed(channel, upgrade)
        if kind in ("rebooted", "mismatch") or rng.random() < 0.1:
            away_s = ended_s - rng.uniform(5, 40) if kind != "mismatch" else ended_s + rng.uniform(1, 20)
            self.push(upgrade, away_s, 0, kind="offline")
            self.push(upgrade, away_s + rng.uniform(5, 60), 0, kind="online")

    def cancel(self, channel: ChannelLife, upgrade: Upgrade) -> None:
        """No push tells of it. The offer stays, or goes with the task."""
        upgrade.status = "cancelled"
        offers = upgrade.kind != "withdrawn" and self.manner.offers_before
        shown = Shown(1, upgrade.from_version, upgrade.target) if offers else Shown(0, upgrade.from_version)
        channel.show(upgrade.ended_s + self.lag_s(), shown, of=upgrade.number)

    def fail(self, channel: ChannelLife, upgrade: Upgrade) -> None:
        timed_out = upgrade.kind == "timed_out"
        upgrade.status = "timed_out" if timed_out else "failed"
        self.push(upgrade, upgrade.ended_s, 7 if timed_out else self.rng.choice(_FAILURES), kind="claim")
        self.end_view(channel, upgrade, 7 if timed_out else 4)
        if upgrade.reset:
            offered = upgrade.target if self.manner.offers_before else None
            shown = Shown(0 if offered is None else 1, upgrade.from_version, offered)
            channel.show(upgrade.ended_s + self.rng.uniform(15, 300), shown, of=upgrade.number)

    def roll_back(self, channel: ChannelLife, upgrade: Upgrade) -> None:
        """Success is told by everybody, and after the reboot the old version runs."""
        upgrade.status = "failed"
        self.push(upgrade, upgrade.ended_s, 3, kind="claim")
        channel.show(
            upgrade.ended_s + self.lag_s(), Shown(3, upgrade.from_version, upgrade.target), of=upgrade.number
        )

    def succeed(self, channel: ChannelLife, upgrade: Upgrade) -> None:
        rng, target = self.rng, upgrade.target
        upgrade.status, upgrade.version = "succeeded", target
        self.push(upgrade, upgrade.ended_s, 3, kind="claim")
        late_s = rng.choices((0.0, rng.uniform(0, 60), rng.uniform(60, 300)), (50, 35, 15))[0]
        told_s = upgrade.ended_s + self.lag_s()
        if upgrade.kind == "next_at_once":
            upgrade.status = "available"
            following = _next_version(target)
            if late_s:
                channel.show(told_s, Shown(1, upgrade.from_version, following), of=upgrade.number)
            channel.show(told_s + late_s, Shown(1, target, following), of=upgrade.number)
            return
        named = target if self.manner.names_target else None
        if late_s:
            channel.show(told_s, Shown(3, upgrade.from_version, named), of=upgrade.number)
        channel.show(told_s + late_s, Shown(3, target, named), of=upgrade.number)
        if upgrade.reset:
            channel.show(told_s + late_s + rng.uniform(5, 300), Shown(0, target), of=upgrade.number)

    def end_view(self, channel: ChannelLife, upgrade: Upgrade, value: int) -> None:
        named = upgrade.target if self.manner.names_target else None
        channel.show(
            upgrade.ended_s + self.lag_s(), Shown(value, upgrade.from_version, named), of=upgrade.number
        )

    def active_view(self, upgrade: Upgrade, progress: int) -> Shown:
        return Shown(2, upgrade.from_version, upgrade.target, progress)

    def push(self, upgrade: Upgrade, at_s: float, value: int, *, kind: str = "status") -> None:
        if not upgrade.kind.startswith("silent"):
            of_device = kind in ("online", "offline")
            channel = None if of_device else upgrade.channel
            self.pushes.append(
                Push(at_s=at_s, kind=kind, channel=channel, value=value, upgrade=upgrade.number)
            )

    def lag_s(self) -> float:
        """How long after the push the API shows the same."""
        return self.rng.uniform(0, 10)


def _rank(version: str) -> int:
    return int(version.partition(".")[2])


def _next_version(version: str) -> str:
    return f"1.{_rank(version) + 1}"
