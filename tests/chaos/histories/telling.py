"""Folds a history as a partition's worker does: pushes and answers in the order they arrive, timers when they are due.

The numbers of the vendor go through the product's own tables. Lookups are answered after the account's latency.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from random import Random
from typing import Any, Final

from msgspec import Struct

from bridge.clouds.tuya.status import REASONS, UNDIVIDED, information_status
from bridge.fold.device import Device
from bridge.fold.policy import Policy
from bridge.fold.rules import TimerFired, fold
from bridge.fold.waiting import next_timer_at
from consumer.push_status import PUSH_STATUS
from schemas import Observation, ObservedEvidence, Position, Reason, UpgradeEvent
from tests.chaos.histories.history import History, Push, Shown
from tests.chaos.histories.weather import Arrival, Weather, arrivals, lying_times

START_MS: Final = 1_700_000_000_000
_PUSHED: Final = ObservedEvidence(origin="push", name="upgradeStatus")
_ASKED: Final = ObservedEvidence(origin="lookup", name="firmware")
_LISTED: Final = ObservedEvidence(origin="sweep", name="devices")
_DISCOVERY_S: Final = 86_400.0


class Heard(Struct, frozen=True):
    """A push that arrived. Late: an answer that was asked after it had been folded before (R2), by the clocks' word."""

    at_s: float
    push: Push
    is_late: bool


class Seen(Struct, frozen=True):
    """A true answer: when it was asked and when it came, and what it showed."""

    asked_s: float
    answered_s: float
    shown: Shown


class Told(Struct, kw_only=True):
    """What became of a history: the device, and what the bridge had to go on."""

    device: Device | None = None
    events: list[UpgradeEvent] = []
    lookups: list[tuple[float, str]] = []
    counts: Counter[str] = Counter()
    heard: dict[int, list[Heard]] = {}
    """By upgrade: the pushes that arrived."""
    seen: dict[int, list[Seen]] = {}
    """By upgrade: the true answers that showed something of it."""
    lied: dict[int, list[Seen]] = {}
    """By upgrade that ran or had ended: the answers from before it."""
    answers: dict[str, list[Seen]] = {}
    """By channel: every answer, true or not."""
    log: list[str] | None = None


class Telling:
    """One history in one weather."""

    def __init__(
        self, history: History, weather: Weather, rng: Random, policy: Policy, *, keeps_log: bool = False
    ) -> None:
        self.history = history
        self.weather = weather
        self.rng = rng
        self.policy = policy
        self.told = Told(counts=Counter(), log=[] if keeps_log else None)
        self.clock_error_s = rng.uniform(-weather.clock_error_s, weather.clock_error_s)
        self.skew_s = rng.uniform(-30, 30)
        """The vendor's clock against the bridge's: known to the account, and part of every vendor's time."""
        self.lies = lying_times(history, weather, rng)
        self._answered_s = -math.inf
        """The latest asking of an answer that was folded, as the bridge dates it."""
        self._queue: list[tuple[float, int, Any]] = []
        self._queued = 0

    def run(self) -> Told:
        """Fold everything until the history is judged."""
        self._plan()
        until_s, policy = self.history.until_s, self.policy
        while True:
            device = self.told.device
            due_ms = None if device is None else next_timer_at(device, policy)
            due_s = until_s + 1 if due_ms is None else (due_ms - START_MS) / 1000
            next_s = self._queue[0][0] if self._queue else until_s + 1
            if min(due_s, next_s) > until_s:
                return self.told
            if due_ms is not None and due_s < next_s:
                self._fold(due_s, TimerFired(due_ms))
                continue
            at_s, _, what = heapq.heappop(self._queue)
            if isinstance(what, Arrival):
                self._push(at_s, what)
            elif isinstance(what, Observation):
                self._fold(at_s, what)
            else:
                asked_s, observations = what
                self._answered_s = max(self._answered_s, asked_s)
                for observation in observations:
                    self._fold(at_s, observation)

    def _plan(self) -> None:
        """What comes whatever the bridge does: the pushes, and the discovery's lists."""
        for arrival in arrivals(self.history, self.weather, self.rng):
            self._later(arrival.at_s, arrival)
        listed_s = self.rng.uniform(0, 300)
        while listed_s < self.history.until_s:
            self._later(listed_s, self._base(listed_s, kind="hint", evidence=_LISTED))
            listed_s += _DISCOVERY_S

    def _later(self, at_s: float, what: Any) -> None:
        self._queued += 1
        heapq.heappush(self._queue, (at_s, self._queued, what))

    def _fold(self, at_s: float, given: Observation | TimerFired) -> None:
        told = self.told
        folded = fold(told.device, given, self.policy)
        told.device = folded.device
        told.counts.update(folded.counts)
        told.events.extend(typed.event for typed in folded.events)
        if folded.lookup is not None:
            told.lookups.append((at_s, folded.lookup.cause))
            self._ask(at_s, folded.lookup.lookup_id)
        if told.log is not None:
            _note(told.log, at_s, given, [typed.event for typed in folded.events], folded.counts)

    def _push(self, at_s: float, arrival: Arrival) -> None:
        push = arrival.push
        vendor_ms = _ms(push.at_s + self.skew_s)
        position = Position(
            partition="event/3",
            ledger=1,
            entry=arrival.entry,
            batch_index=-1,
            publish_time_at_ms=_ms(arrival.published_s + self.skew_s),
        )
        evidence = ObservedEvidence(origin="push", name=_PUSHED.name, position=position)
        fields: dict[str, Any] = {"channel": push.channel}
        is_late = push.at_s < self._answered_s
        self.told.heard.setdefault(push.upgrade, []).append(Heard(at_s, push, is_late))
        if push.kind == "progress":
            fields |= {"kind": "progress", "progress": push.value}
        elif push.kind in ("online", "offline"):
            fields |= {"kind": "lifecycle", "lifecycle": push.kind}
        else:
            fields |= _pushed_status(push)
        self._fold(at_s, self._base(at_s, evidence=evidence, vendor_time_at_ms=vendor_ms, **fields))

    def _ask(self, at_s: float, lookup_id: str) -> None:
        """The account's owner asks after its queue, and is answered after the network."""
        rng, weather = self.rng, self.weather
        asked_s = at_s + min(3.0, rng.expovariate(3.0))
        answered_s = asked_s + rng.uniform(0.05, 0.8)
        asked_ms = _ms(asked_s + self.skew_s + self.clock_error_s)
        is_calm = asked_s >= self.history.calm_from_s
        refused = not is_calm and rng.random() < weather.refused
        end = self._base(
            answered_s,
            kind="answer",
            evidence=_ASKED,
            outcome="unavailable" if refused else "ok",
            lookup_id=lookup_id,
            asked_at_ms=asked_ms,
        )
        if refused:
            self._later(answered_s, end)
            return

        lies = any(from_s <= asked_s <= to_s for from_s, to_s in self.lies) and rng.random() < weather.lies
        answers = []
        for channel in self.history.channels.values():
            shown = channel.lie_at(asked_s) if lies else channel.shown_at(asked_s)
            self.told.answers.setdefault(channel.name, []).append(Seen(asked_s, answered_s, shown))
            if lies:
                if (upgrade := channel.upgrade_at(asked_s)) is not None:
                    self.told.lied.setdefault(upgrade.number, []).append(Seen(asked_s, answered_s, shown))
            elif shown.upgrade is not None:
                self.told.seen.setdefault(shown.upgrade, []).append(Seen(asked_s, answered_s, shown))
            answers.append(self._answer(answered_s, asked_ms, channel.name, shown))
        self._later(answered_s, (asked_s + self.clock_error_s, [*answers, end]))

    def _answer(self, at_s: float, asked_ms: int, channel: str, shown: Shown) -> Observation:
        status = information_status(shown.value, current=shown.current, target=shown.target)
        return self._base(
            at_s,
            kind="versions" if status is None else "status",
            evidence=_ASKED,
            channel=channel,
            status=status,
            vendor_status=str(shown.value),
            undivided=shown.value in UNDIVIDED,
            progress=shown.progress,
            current_version=shown.current,
            target_version=shown.target,
            reason=None if status is None else REASONS.get(shown.value),
            asked_at_ms=asked_ms,
        )

    def _base(self, at_s: float, **fields: Any) -> Observation:
        return Observation(
            device_id=self.history.device_id,
            cloud="tuya-cloud",
            account="home",
            observed_at_ms=_ms(at_s),
            **fields,
        )


def _pushed_status(push: Push) -> dict[str, Any]:
    known = PUSH_STATUS[push.value]
    return {
        "kind": "status",
        "status": known.status,
        "claimed": known.claimed,
        "undivided": known.undivided,
        "vendor_status": str(push.value),
        "reason": None if known.reason is None else Reason(code=known.reason, vendor_code=str(push.value)),
    }


def _ms(at_s: float) -> int:
    return START_MS + round(at_s * 1000)


def _note(
    log: list[str],
    at_s: float,
    given: Observation | TimerFired,
    events: list[UpgradeEvent],
    counts: tuple[str, ...],
) -> None:
    if isinstance(given, TimerFired):
        what = "timer"
    else:
        times = given.vendor_time_at_ms or given.asked_at_ms or START_MS
        what = (
            f"{given.evidence.origin} {given.kind} ch={given.channel} {given.status or given.lifecycle or ''} "
            f"{given.claimed or ''} {given.progress if given.progress is not None else ''} "
            f"now={given.current_version} offer={given.target_version} @{(times - START_MS) / 1000:.1f}"
        )
    told = "; ".join(
        f"{event.channel}:{event.status}{'' if event.confirmed else '?'}"
        f" #{event.attempt.number if event.attempt else 0} {event.current_version}"
        for event in events
    )
    log.append(f"{at_s:10.1f} {what}  {'=> ' + told if told else ''} {counts or ''}")
