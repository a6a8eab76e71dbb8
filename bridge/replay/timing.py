"""When the timers of a device fire in a replay: they run on the observations' time, not on a clock.

Nobody noted when the bridge's timers fired, and most of that does not matter: a timer that only asks for a lookup
changes nothing that is shown. The others (a claim adopted, a stall, a local deadline, a tombstone) fire in a first
replay at the very moment they are due. The bridge is later by what its work, its brokers and its restarts take, so a
time in a state, or the order of a timer and an observation, may be another one. A second replay of the devices that
differ therefore fires them when the public log says that the bridge did: what then still differs, timers did not do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from bridge.fold.device import Device
from bridge.fold.policy import Policy
from bridge.fold.waiting import next_change_at, next_timer_at
from bridge.replay.told import ToldEvent, ToldLog

LATE_MS: Final = 60_000
"""So much later than it was due the bridge may have fired a timer: a take-over takes seconds, a rolling restart less
than this. More would hide that a policy or a rule has moved a timer."""


class Timing(Protocol):
    """Says when the next timer of a device fires."""

    def next_firing(self, device: Device, until_ms: int) -> int | None:
        """Return when one fires before an observation of the device made at `until_ms`; None: that comes first."""
        ...


class WhenDue:
    """Each timer at the moment it is due."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def next_firing(self, device: Device, until_ms: int) -> int | None:
        """Return the due time, where it has come."""
        due_ms = next_timer_at(device, self._policy)
        return due_ms if due_ms is not None and due_ms <= until_ms else None


class AsTold:
    """Each timer that changes what is shown when the log says that it did; the others when they are due.

    One that is due waits for the device's next event in the log, if that came within `LATE_MS`. If a timer made that
    event, it fires at the event's time; if an observation made it, the observation came first. In every other case it
    fires when it is due.
    """

    def __init__(self, policy: Policy, log: ToldLog, end_ms: int) -> None:
        self._policy = policy
        self._log = log
        self._end_ms = end_ms

    def next_firing(self, device: Device, until_ms: int) -> int | None:
        """Return the due time of a timer that only asks, the told time of another."""
        due_ms = next_timer_at(device, self._policy)
        if due_ms is None:
            return None

        change_ms = next_change_at(device, self._policy)
        if change_ms is None or due_ms < change_ms:
            return due_ms if due_ms <= until_ms else None

        behind = self._log.of(device.state.device_id).after(device.state.revision)
        event = next(behind, None)
        if event is not None and event.kind.by_timer and event.at_ms <= due_ms + LATE_MS:
            fires_ms = max(event.at_ms, due_ms)
            overtook = due_ms <= event.at_ms and _is_told_behind(behind, until_ms)
            return fires_ms if fires_ms <= until_ms or overtook else None

        if due_ms > until_ms:
            return None

        if event is None:
            # At the end of what was seen of the bridge it may just have been about to.
            return due_ms if due_ms <= self._end_ms - LATE_MS else None

        # A timer's own event is later than that: the bridge's was another one, or stood still.
        was_first = until_ms <= event.at_ms <= due_ms + LATE_MS
        return None if was_first else due_ms


def _is_told_behind(behind: Iterator[ToldEvent], observed_at_ms: int) -> bool:
    """Whether an observation of this time made the next event that no timer did: it was on its way meanwhile."""
    later = next((event for event in behind if not event.kind.by_timer), None)
    return later is not None and later.at_ms == observed_at_ms
