"""Carries one upgrade out, step by step: changes the fleet, what REST shows of it, and has the gateway push.

Here stands the guard against what nobody could know: an ending that leaves no trace of its own (a cancel, a removal)
waits until a subscriber acknowledged a push of the upgrade or REST answered that it runs, and a success is reset only
when its claim was acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Protocol

from deploy.sandbox.cloud import messages
from deploy.sandbox.cloud.fleet import Channel, Device, Fleet, Shown, next_version
from deploy.sandbox.cloud.gateway import PushTally
from deploy.sandbox.cloud.jobs import Task
from deploy.sandbox.cloud.life import (
    Action,
    AwaitKnown,
    Connect,
    End,
    Ending,
    Enter,
    Forget,
    Offer,
    PushProgress,
    PushStatus,
    Remove,
    Show,
    Step,
    Unlist,
    plan_upgrade,
)
from deploy.sandbox.cloud.messages import Message
from deploy.sandbox.cloud.timeline import Timeline
from schemas.vocabulary import PHASES, Status

_KNOWN_FOR_S = 4.0
"""Known this long before its traceless end: a reader that was told asks 3.5 s later."""
_ASK_AGAIN_S = 1.0
_NOBODY_KNOWS_S = 60.0
"""Nobody was told and nobody asked for this long: it ends as if it had never been."""
_SECOND_CHANNEL_SHARE = 0.5
_SAME_TARGET_SHARE = 0.5


class Pushes(Protocol):
    """The gateway, as an upgrade needs it."""

    @property
    def is_there(self) -> bool:
        """Whether the account has one."""
        ...

    @property
    def vendor_time_ms(self) -> int:
        """The vendor's clock."""
        ...

    def push(
        self,
        device: Device,
        messages: Iterable[Message],
        *,
        fate: str,
        tally: PushTally,
        on_read: Callable[[], None] | None = None,
    ) -> None:
        """Push messages of a device."""
        ...


class Upgrade:
    """One upgrade of one device's channel. `on_end` gets the true status; `on_settled`: nothing changes any more."""

    def __init__(
        self,
        device: Device,
        ending: Ending,
        *,
        fleet: Fleet,
        campaign: str,
        seed: str,
        timeline: Timeline,
        gateway: Pushes,
        tally: PushTally,
        speed: float,
        on_end: Callable[[Status], None],
        on_settled: Callable[[], None],
    ) -> None:
        rng = Random(f"{seed}/{device.device_id}")
        self._device = device
        self._channel = _choose_channel(device, rng)
        self._target = _choose_target(self._channel, rng)
        self._fleet = fleet
        self._campaign = campaign
        self._task: Task | None = None
        self._silent = ending == "silent"
        self._loud = gateway.is_there and not self._silent
        self._stuck = ending == "stuck"
        self._timeline = timeline
        self._gateway = gateway
        self._tally = tally
        self._speed = speed
        self._on_end = on_end
        self._on_settled = on_settled
        self._steps = plan_upgrade(ending, rng)
        self._next = 0
        self._offset_s = 0.0
        self._pushed = 0
        self._begun = False
        self._claim_read = False
        self._known_at_s: float | None = None
        self._awaited_s = 0.0
        self._fate = f"{seed}/{device.device_id}/{self._channel.attempts}"
        self._before = (self._channel.status, self._channel.outcome, self._channel.reason)

    def start(self) -> None:
        """Begin now."""
        self._offset_s = self._timeline.now_s()
        self._device.told = False
        self._channel.attempts += 1
        self._channel.shown_before = self._channel.shown
        self._run_due()

    def _due_s(self, step: Step) -> float:
        return self._offset_s + step.at_s / self._speed

    def _run_due(self) -> None:
        while self._next < len(self._steps):
            step = self._steps[self._next]
            if self._due_s(step) > self._timeline.now_s():
                self._timeline.at(self._due_s(step), self._run_due)
                return
            if isinstance(step.action, AwaitKnown) and not self._known_long_enough():
                self._offset_s += _ASK_AGAIN_S
                self._awaited_s += _ASK_AGAIN_S
                continue
            self._next += 1
            self._do(step.action)
        self._device.busy = self._stuck
        self._on_settled()

    def _known_long_enough(self) -> bool:
        now_s = self._timeline.now_s()
        if self._device.told and self._known_at_s is None:
            self._known_at_s = now_s
        if self._known_at_s is None:
            return self._awaited_s >= _NOBODY_KNOWS_S
        return now_s - self._known_at_s >= _KNOWN_FOR_S

    def _do(self, action: Action) -> None:
        channel, device = self._channel, self._device
        match action:
            case Offer():
                channel.target_version = self._target
                channel.shown = self._shown(Show(status="available"))
                if PHASES[channel.status] == "rest" and self._fleet.manner.offers:
                    channel.status = "available"
            case Enter(status):
                self._begin()
                channel.status, channel.outcome, channel.reason = status, None, None
            case Show():
                if device.online or not action.progress:
                    channel.shown = self._shown(action)
                    self._show_task(action)
            case PushStatus(value, claims):
                self._push_status(value, claims=claims)
            case PushProgress(percent, core) if device.online:
                self._push_progress(percent, core=core)
            case Connect(online) if not self._silent:
                device.online = online
                at_ms = self._gateway.vendor_time_ms
                self._push(messages.connection(device, online=online, at_ms=at_ms))
            case End():
                self._end(action)
            case Remove():
                device.removed = True
                device.online = False
                self._push([messages.removed(device, self._gateway.vendor_time_ms)])
            case Unlist():
                device.listed = False
            case Forget():
                done = Show(status="succeeded", updated=True)
                self._show_task(done)
                if self._claim_read:
                    channel.shown = Shown(status="idle", current_version=channel.current_version)
                else:
                    channel.shown = self._shown(done)
            case _:
                pass

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._channel.visible_attempts += 1
            self._task = self._fleet.jobs.open_task(
                self._campaign,
                device_id=self._device.device_id,
                product_id=self._device.product_id,
                channel=self._channel.name,
                from_version=self._channel.current_version,
                target_version=self._target,
                now_s=self._timeline.now_s(),
            )

    def _show_task(self, show: Show) -> None:
        if self._task is not None:
            self._task.is_shown = True
            self._task.status = show.task or show.status
            self._task.progress = show.progress or self._task.progress
            self._task.reason = show.reason
            self._task.updated_at_s = self._timeline.now_s()

    def _shown(self, show: Show) -> Shown:
        before = self._channel.shown_before.current_version
        return Shown(
            status=show.status,
            number=show.number,
            current_version=self._target if show.updated else before,
            target_version=self._target if show.offering else "",
            progress=show.progress,
        )

    def _end(self, end: End) -> None:
        channel = self._channel
        if end.updated:
            channel.current_version = self._target
        traceless = end.reason == "device_removed" or (
            end.reason == "withdrawn" and not self._fleet.manner.keeps_tasks
        )
        if traceless and not self._device.told:
            channel.status, channel.outcome, channel.reason = self._before
            channel.visible_attempts -= 1
        else:
            channel.status, channel.outcome, channel.reason = end.status, end.outcome, end.reason
        self._on_end(channel.status)

    def _push_status(self, value: int, *, claims: bool) -> None:
        if not self._loud:
            return

        def read() -> None:
            if claims:
                self._claim_read = True
            else:
                self._device.told = True

        at_ms = self._gateway.vendor_time_ms
        message = messages.upgrade_status(self._device, int(self._channel.name), value, at_ms)
        self._push([message], read)

    def _push_progress(self, percent: int, *, core: bool) -> None:
        if not self._loud:
            return

        device, number, at_ms = self._device, int(self._channel.name), self._gateway.vendor_time_ms
        self._push([messages.upgrade_progress(device, number, percent, at_ms)])
        if core:
            self._push([messages.core_upgrade_progress(device, number, percent, at_ms)])

    def _push(self, pushed: Iterable[Message], on_read: Callable[[], None] | None = None) -> None:
        if self._loud:
            fate = f"{self._fate}/{self._pushed}"
            self._pushed += 1
            self._gateway.push(self._device, pushed, fate=fate, tally=self._tally, on_read=on_read)


def _choose_channel(device: Device, rng: Random) -> Channel:
    if len(device.channels) > 1 and rng.random() < _SECOND_CHANNEL_SHARE:
        return device.channels[1]
    return device.channels[0]


def _choose_target(channel: Channel, rng: Random) -> str:
    """The version to upgrade to: a failed one is sometimes tried again, an offered one is never older."""
    if channel.target_version and channel.target_version != channel.current_version:
        if channel.outcome is not None and rng.random() < _SAME_TARGET_SHARE:
            return channel.target_version
        return next_version(channel.target_version, 1)
    return next_version(channel.current_version, rng.choice((1, 1, 2)))
