"""How one upgrade will go: a list of steps, made beforehand from a seed, its ending and the device's manner.

Times count in seconds from the moment the new version is offered. REST lags every change a little, by a constant per
upgrade, and sometimes shows the new version later still; the gateway speaks at once. Nothing here has an effect:
`upgrade` carries the steps out.
"""

from __future__ import annotations

from random import Random
from typing import Literal, get_args

from msgspec import Struct

from schemas.vocabulary import Status

Ending = Literal["succeeded", "failed", "timed_out", "silent", "cancelled", "stuck", "removed", "offline"]
ENDINGS: tuple[Ending, ...] = get_args(Ending)

FAILURES: dict[int, str | None] = {
    4: None,
    40: "unknown_error",
    41: "low_battery",
    42: "no_space",
    43: "out_of_memory",
    44: "download_timeout",
    45: "signature_invalid",
    46: "low_battery",
    47: "out_of_memory",
    48: "version_invalid",
    49: "signature_invalid",
}
"""Pushed `upgradeStatus` of a failure → the bridge's reason. REST shows 4 for all of them."""

_UPGRADE_S = (10.0, 30.0)
_OFFERED_S = (0.3, 1.5)
_PENDING_S = (1.0, 3.0)
_PENDING_SHARE = 0.25
_PENDING_PUSHED = (1, 5, 13)
_DIVIDED_SHARE = 0.2
"""Devices whose cloud forwards the device's own codes 10, 11, 12 instead of an undivided 2."""
_RETRY_SHARE = 0.06
_CORE_PROGRESS_SHARE = 0.1
_REST_LAG_S = (0.0, 1.2)
_VERSION_LATE_SHARE = 0.2
_VERSION_LATE_S = (0.3, 2.0)
"""Under 5 s in all: longer, and a reader with the sandbox's short deadlines would rightly call it a mismatch."""
_RESET_AT_ONCE_SHARE = 0.15
_RESET_AT_ONCE_S = 2.0
"""So long REST goes on to show 2; time enough for a subscriber to acknowledge the claim."""
_RESET_LATER_SHARE = 0.15
_RESET_LATER_S = (5.0, 12.0)
_AWAY_S = (2.0, 5.0)
_REACHES = (0.3, 0.8)
"""How far an upgrade gets that does not get through."""
_RETRY_ABOVE_PERCENT = 60
"""A server's retry is a fall of at least 20 points; from here it is one."""
_PLAIN_FAILURE_SHARE = 0.4
_CANCELLED_STILL_OFFERED_SHARE = 0.25


class Offer(Struct, frozen=True):
    """The cloud offers the next version, on REST."""


class Enter(Struct, frozen=True):
    """The channel's true status becomes this one."""

    status: Status


class Show(Struct, frozen=True, kw_only=True):
    """REST shows this from now on."""

    status: Status
    number: int | None = None
    """Tuya's number, where it has several for the status."""
    task: Status | None = None
    """What a cloud with tasks shows of this upgrade's; the same status when absent."""
    reason: str | None = None
    progress: int = 0
    updated: bool = False
    """With the new version as the current one."""
    offering: bool = True


class PushStatus(Struct, frozen=True):
    """The gateway pushes `upgradeStatus`; `claims`: an outcome."""

    value: int
    claims: bool = False


class PushProgress(Struct, frozen=True):
    """The gateway pushes `upgradeProcess`, or `deviceOtaProgress` of the other generation beside it."""

    percent: int
    core: bool = False


class Connect(Struct, frozen=True):
    """The device goes offline or comes online, and the gateway says so."""

    online: bool


class End(Struct, frozen=True, kw_only=True):
    """The upgrade is over, well or badly; a stuck one stays as it is for ever."""

    status: Status
    outcome: Status | None
    reason: str | None = None
    updated: bool = False


class AwaitKnown(Struct, frozen=True):
    """Go on only when somebody could know that this upgrade runs: its end has no trace of its own."""


class Remove(Struct, frozen=True):
    """The device leaves the account, and the gateway says so."""


class Unlist(Struct, frozen=True):
    """REST does not know the device any more."""


class Forget(Struct, frozen=True):
    """REST shows a success as 0, but only if its claim was read: otherwise nobody could ever tell, and it stays 3."""


Action = (
    Offer | Enter | Show | PushStatus | PushProgress | Connect | End | AwaitKnown | Remove | Unlist | Forget
)


class Step(Struct, frozen=True):
    """One action and its time."""

    at_s: float
    action: Action


class _Plan:
    """Collects steps; REST's come with the lag."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.steps: list[Step] = []
        self.lag_s = rng.uniform(*_REST_LAG_S)

    def add(self, at_s: float, *actions: Action) -> None:
        self.steps += [Step(at_s, action) for action in actions]

    def show(self, at_s: float, action: Show | Unlist | Forget) -> None:
        self.steps.append(Step(at_s + self.lag_s, action))


def plan_upgrade(ending: Ending, rng: Random) -> list[Step]:
    """Return the steps of one upgrade in order of time."""
    plan = _Plan(rng)
    began_s = rng.uniform(*_OFFERED_S)
    ended_s = began_s + rng.uniform(*_UPGRADE_S)
    plan.add(0.0, Offer())
    active_s = _wait_in_queue(plan, began_s)
    # How far it gets before its ending shows: good ones all the way, others a part of it.
    reach = 1.0 if ending in ("succeeded", "silent", "offline") else rng.uniform(*_REACHES)
    if ending in ("cancelled", "removed"):
        ended_s = active_s + (ended_s - active_s) * reach
    _work(plan, active_s, ended_s, reach, divided=ending != "stuck" and rng.random() < _DIVIDED_SHARE)
    if ending == "offline":
        away_s = active_s + (ended_s - active_s) * 0.45
        plan.add(away_s, Connect(online=False))
        plan.add(
            min(away_s + rng.uniform(*_AWAY_S), active_s + (ended_s - active_s) * 0.75), Connect(online=True)
        )
    if reach == 1.0:
        _reboot(plan, active_s, ended_s)
    _END[ending](plan, ended_s)
    # Stable: what happens at one moment keeps its order.
    return sorted(plan.steps, key=lambda step: step.at_s)


def _wait_in_queue(plan: _Plan, began_s: float) -> float:
    """Some upgrades are pending before the device works; return when it does."""
    if plan.rng.random() >= _PENDING_SHARE:
        return began_s
    value = plan.rng.choice(_PENDING_PUSHED)
    plan.add(began_s, Enter("pending"), PushStatus(value))
    # In an answer of Tuya's 1 only means that a version is offered, so REST stays as it is there.
    plan.show(began_s, Show(status="pending", number=value))
    return began_s + plan.rng.uniform(*_PENDING_S)


def _work(plan: _Plan, active_s: float, ended_s: float, reach: float, *, divided: bool) -> None:
    rng = plan.rng
    span_s = ended_s - active_s
    plan.add(active_s, Enter("downloading" if divided else "installing"), PushStatus(10 if divided else 2))
    plan.show(active_s, Show(status="installing"))
    worked_s = span_s * 0.78 * min(1.0, reach + 0.1)
    rising = _rising_progress(rng, int(100 * reach))
    for number, percent in enumerate(rising, 1):
        at_s = active_s + worked_s * number / (len(rising) + 1)
        core = rng.random() < _CORE_PROGRESS_SHARE
        plan.add(at_s, PushProgress(percent, core))
        plan.show(at_s, Show(status="installing", progress=percent))
    if divided and reach == 1.0:
        plan.add(active_s + span_s * 0.6, PushStatus(11))
        plan.add(active_s + span_s * 0.65, Enter("installing"), PushStatus(12))


def _rising_progress(rng: Random, top: int) -> list[int]:
    """About every tenth point up to `top`, seldom exactly 100; now and then the server begins again halfway."""
    count = max(2, top // 14)
    rising = [max(1, min(100, top * number // count - rng.randrange(5))) for number in range(1, count + 1)]
    if top > _RETRY_ABOVE_PERCENT and rng.random() < _RETRY_SHARE:
        half = len(rising) // 2 + 1
        rising = rising[:half] + rising
    return rising


def _reboot(plan: _Plan, active_s: float, ended_s: float) -> None:
    plan.add(active_s + (ended_s - active_s) * 0.82, Connect(online=False))
    plan.add(active_s + (ended_s - active_s) * 0.94, Connect(online=True))


def _succeed(plan: _Plan, ended_s: float) -> None:
    rng = plan.rng
    plan.add(ended_s, End(status="succeeded", outcome="succeeded", updated=True), PushStatus(3, claims=True))
    fate = rng.random()
    if fate < _RESET_AT_ONCE_SHARE:
        plan.show(ended_s + _RESET_AT_ONCE_S, Forget())
        return
    _show_success(plan, ended_s)
    if fate < _RESET_AT_ONCE_SHARE + _RESET_LATER_SHARE:
        plan.show(ended_s + rng.uniform(*_RESET_LATER_S), Forget())


def _show_success(plan: _Plan, ended_s: float) -> None:
    late_s = 0.0
    if plan.rng.random() < _VERSION_LATE_SHARE:
        late_s = plan.rng.uniform(*_VERSION_LATE_S)
        plan.show(ended_s, Show(status="succeeded"))
    plan.show(ended_s + late_s, Show(status="succeeded", updated=True))


def _end_silently(plan: _Plan, ended_s: float) -> None:
    """Nobody pushes anything (`upgrade` sees to it), so REST keeps the outcome for ever."""
    plan.add(ended_s, End(status="succeeded", outcome="succeeded", updated=True))
    _show_success(plan, ended_s)


def _fail(plan: _Plan, ended_s: float) -> None:
    plain, *detailed = FAILURES
    value = plain if plan.rng.random() < _PLAIN_FAILURE_SHARE else plan.rng.choice(detailed)
    plan.add(
        ended_s,
        End(status="failed", outcome="failed", reason=FAILURES[value]),
        PushStatus(value, claims=True),
    )
    plan.show(ended_s, Show(status="failed", reason=FAILURES[value]))


def _time_out(plan: _Plan, ended_s: float) -> None:
    plan.add(
        ended_s,
        End(status="timed_out", outcome="timed_out", reason="vendor_timeout"),
        PushStatus(7, claims=True),
    )
    plan.show(ended_s, Show(status="timed_out", reason="vendor_timeout"))


def _cancel(plan: _Plan, ended_s: float) -> None:
    """An operator takes the upgrade back: no push, and REST only shows that nothing goes on any more."""
    plan.add(ended_s, AwaitKnown(), End(status="cancelled", outcome="cancelled", reason="withdrawn"))
    offering = plan.rng.random() < _CANCELLED_STILL_OFFERED_SHARE
    plan.show(ended_s, Show(status="available" if offering else "idle", task="cancelled", offering=offering))


def _stay_stuck(plan: _Plan, ended_s: float) -> None:
    plan.add(ended_s, End(status="installing", outcome=None))


def _remove(plan: _Plan, ended_s: float) -> None:
    plan.add(
        ended_s,
        AwaitKnown(),
        End(status="cancelled", outcome="cancelled", reason="device_removed"),
        Remove(),
    )
    plan.show(ended_s, Unlist())


_END = {
    "succeeded": _succeed,
    "offline": _succeed,
    "silent": _end_silently,
    "failed": _fail,
    "timed_out": _time_out,
    "cancelled": _cancel,
    "stuck": _stay_stuck,
    "removed": _remove,
}
