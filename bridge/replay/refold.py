"""A batch of a replay: the worker's own, but for two things that in the bridge come from outside.

*Time.* There is no clock. Before an observation is folded its device's timers are, those that come before it, one by
one, each at its own time (`timing.py`). Devices know nothing of each other: it is the same as all timers in order, and
an observation whose time is wrong moves no other device's.

*Lookups.* An answer names the lookup that it ends by an id with the time in it at which the bridge's timer fired. In a
replay that timer fired some milliseconds earlier, or has yet to. What the cloud said is what counts: an answer ends the
lookup that is outstanding, or would be. Except one so old that its lookup had expired when the outstanding one was
asked: that one counted for nothing in the bridge either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import structlog
from aiokafka import ConsumerRecord
from msgspec.structs import replace

from bridge.fold.batch import Batch, FoldTopics
from bridge.fold.clock import ms
from bridge.fold.device import Device
from bridge.fold.gap import OpenGap
from bridge.fold.policy import Policy
from bridge.fold.rules import Folded, TimerFired
from bridge.fold.store import Store
from bridge.fold.timers import BackgroundPace
from bridge.kafka.transactions import Draft
from bridge.replay.parting import Given, Watch
from bridge.replay.timing import Timing
from schemas import Observation

log = structlog.get_logger(__name__)

_MOST_DIGITS: Final = 18
"""Of a time in an id; what comes from a topic may be anything."""

IsWanted = Callable[[Observation], bool]
"""Whether the device of an observation takes part in the replay."""


class Refold(Batch):
    """Folds observations of one partition, with their devices' timers between them.

    `observed_at_ms`, which begins with `began_ms`, is the latest time at which one was made: that of the records.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy,
        *,
        topics: FoldTopics,
        draft: Draft,
        timing: Timing,
        is_wanted: IsWanted,
        began_ms: int,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(store, BackgroundPace({}), policy, topics=topics, now_ms=began_ms, draft=draft)
        self._timing = timing
        self._is_wanted = is_wanted
        self._watch = watch
        self._given: Given | None = None
        self.observed_at_ms = began_ms

    def run_timers(self, device_ids: Iterable[str], until_ms: int) -> None:
        """2. Fire what is due of these devices when no observation follows."""
        for device_id in device_ids:
            self._run_timers(device_id, until_ms)

    def write_states(self) -> None:
        """2. As the worker's; the records' time is that of the observations."""
        self._now_ms = self.observed_at_ms
        super().write_states()

    def complete_draft(self) -> Draft:
        """4. States and events; nobody is asked anything again, and what was refused once is a dead letter already."""
        self._lookups.clear()
        self._dead_letters.clear()
        return super().complete_draft()

    def _fold_observation(self, record: ConsumerRecord, observation: Observation) -> None:
        if not self._is_wanted(observation):
            return

        self._run_timers(observation.device_id, observation.observed_at_ms)
        if observation.kind == "answer":
            self._expect(observation)
        self._given = observation
        if self._watch is not None:
            revision = _revision(self._device(observation.device_id))
            self._watch.before(observation.device_id, revision, observation.observed_at_ms)
        super()._fold_observation(record, observation)

    def _fold_gap(self, device_id: str, gap: OpenGap) -> None:
        self._run_timers(device_id, gap.at_ms)
        self._given = None
        super()._fold_gap(device_id, gap)

    def _run_timers(self, device_id: str, observed_at_ms: int) -> None:
        """Fire the device's timers up to an observation made at this time."""
        while (device := self._device(device_id)) is not None:
            try:
                fires_ms = self._timing.next_firing(device, observed_at_ms)
                if fires_ms is None:
                    return
                self._given = TimerFired(fires_ms)
                self._fold_timer(device_id, fires_ms, is_paced=True)
            except Exception:
                # R21, as in the bridge: the device is looked at again, here with its next observation.
                log.exception("timer_failed", device_id=device_id)
                self.counts["timer_failed"] += 1
                return

    def _take(self, device_id: str, before: Device | None, folded: Folded) -> None:
        super()._take(device_id, before, folded)
        if self._watch is not None and self._given is not None:
            self._watch.after(device_id, _revision(before), self._given, folded.events, folded.counts)

    def _expect(self, answer: Observation) -> None:
        """See to it that the answer ends the lookup that stands here for the bridge's."""
        device = self._device(answer.device_id)
        if device is None or device.state.removed_at_ms is not None or device.state.account != answer.account:
            return

        asked_ms, awaited_ms = (_asked_at(device, each) for each in (answer.lookup_id, device.book.lookup_id))
        if asked_ms is None:
            return

        if awaited_ms is not None and asked_ms + ms(self._policy.lookup_expiry_s) <= awaited_ms:
            return

        book = replace(device.book, lookup_id=answer.lookup_id)
        self._devices[answer.device_id] = Device(device.state, book)


def _revision(device: Device | None) -> int:
    return 0 if device is None else device.state.revision


def _asked_at(device: Device, lookup_id: str | None) -> int | None:
    """Return when the fold asked for one of the device's own lookups."""
    owner, _, at_ms = (lookup_id or "").rpartition("/")
    is_own = owner == device.state.device_id and at_ms.isdecimal() and len(at_ms) <= _MOST_DIGITS
    return int(at_ms) if is_own else None
