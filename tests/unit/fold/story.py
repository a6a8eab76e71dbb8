"""A story of one device, told to the fold: pushes and answers at seconds of one clock, and what became of it."""

from __future__ import annotations

from typing import Any

from bridge.fold.device import Device
from bridge.fold.policy import Policy
from bridge.fold.rules import Folded, TimerFired, fold
from bridge.fold.waiting import next_timer_at
from schemas import Channel, LookupRequest, Observation, ObservedEvidence, Position, Reason, UpgradeEvent

START_MS = 1_700_000_000_000
CLAIMS = {"3": "succeeded", "4": "failed", "7": "timed_out"}


class Story:
    """Folds what it is told; remembers every event and lookup. Times are seconds since the story's start."""

    def __init__(self, policy: Policy | None = None, device_id: str = "d1") -> None:
        self.policy = policy or Policy(jitter_s=0.0)
        self.device_id = device_id
        self.device: Device | None = None
        self.events: list[tuple[str, UpgradeEvent]] = []
        self.lookups: list[LookupRequest] = []
        self.counts: list[str] = []
        self.dead_letters: list[str] = []
        self._entry = 0

    # What the vendor tells.

    def push(self, at_s: float, status: str, **fields: Any) -> Folded:
        """A pushed status of ours; with `claimed` for an outcome."""
        return self.tell(at_s, kind="status", status=status, origin="push", **fields)

    def claim(self, at_s: float, outcome: str, code: str | None = None, **fields: Any) -> Folded:
        reason = None if code is None else Reason(code=code)
        return self.push(at_s, "verifying", claimed=outcome, reason=reason, **fields)

    def progress(self, at_s: float, percent: int, **fields: Any) -> Folded:
        return self.tell(at_s, kind="progress", progress=percent, origin="push", **fields)

    def online(self, at_s: float, **fields: Any) -> Folded:
        return self.tell(at_s, kind="lifecycle", lifecycle="online", origin="push", channel=None, **fields)

    def offline(self, at_s: float, **fields: Any) -> Folded:
        return self.tell(at_s, kind="lifecycle", lifecycle="offline", origin="push", channel=None, **fields)

    def removed(self, at_s: float, **fields: Any) -> Folded:
        return self.tell(at_s, kind="lifecycle", lifecycle="removed", origin="push", channel=None, **fields)

    def hint(self, at_s: float, **fields: Any) -> Folded:
        return self.tell(at_s, kind="hint", origin="push", **fields)

    def answer(
        self, at_s: float, status: str | None, now: str | None = None, offer: str | None = None, **fields: Any
    ) -> Folded:
        """An answer asked at `at_s`: the channel's status, its running and its offered version."""
        kind = "versions" if status is None else "status"
        return self.tell(
            at_s,
            kind=kind,
            status=status,
            current_version=now,
            target_version=offer,
            origin="lookup",
            **fields,
        )

    def answered(self, at_s: float, outcome: str = "ok", **fields: Any) -> Folded:
        """The end of the outstanding lookup."""
        lookup_id = None if self.device is None else self.device.book.lookup_id
        return self.tell(
            at_s, kind="answer", outcome=outcome, lookup_id=lookup_id, origin="lookup", channel=None, **fields
        )

    def tell(
        self, at_s: float, *, origin: str, channel: str | None = "0", late_s: float = 0.0, **fields: Any
    ) -> Folded:
        """Fold one observation of the vendor's time `at_s`, seen `late_s` later."""
        at_ms = ms(at_s)
        position = fields.pop("position", None)
        if origin == "push" and position is None:
            self._entry += 1
            position = Position(
                partition="event/3", ledger=1, entry=self._entry, batch_index=-1, publish_time_at_ms=at_ms
            )
        times: dict[str, Any] = {"vendor_time_at_ms": at_ms} if origin == "push" else {"asked_at_ms": at_ms}
        observation = Observation(
            **{
                "device_id": self.device_id,
                "cloud": "tuya-cloud",
                "account": "home",
                "channel": channel,
                "observed_at_ms": ms(at_s + late_s),
                "evidence": ObservedEvidence(origin=origin, name="test", position=position),
            }
            | times
            | fields
        )
        return self.fold(observation)

    # What time does.

    def wait(self, at_s: float) -> Folded:
        """Fire the device's timer at `at_s`, due or not."""
        return self.fold(TimerFired(ms(at_s)))

    def run_timers(self, until_s: float) -> None:
        """Fire the device's timers when each is due, up to `until_s`."""
        while self.device is not None:
            due_ms = next_timer_at(self.device, self.policy)
            if due_ms is None or due_ms > ms(until_s):
                return
            self.fold(TimerFired(due_ms))

    def fold(self, given: Observation | TimerFired) -> Folded:
        folded = fold(self.device, given, self.policy)
        self.device = folded.device
        self.events += [(typed.type.removeprefix("ota."), typed.event) for typed in folded.events]
        self.counts += folded.counts
        if folded.lookup is not None:
            self.lookups.append(folded.lookup)
        if folded.dead_letter is not None:
            self.dead_letters.append(folded.dead_letter.reason)
        return folded

    # What became of it.

    @property
    def known(self) -> Device:
        assert self.device is not None
        return self.device

    def channel(self, name: str = "0") -> Channel:
        return next(channel for channel in self.known.state.channels if channel.channel == name)

    @property
    def status(self) -> str:
        return self.channel().status

    @property
    def statuses(self) -> list[str]:
        """The status of every event, in order."""
        return [event.status for _, event in self.events]

    @property
    def types(self) -> list[str]:
        return [event_type.removeprefix("upgrade.") for event_type, _ in self.events]

    @property
    def due_in_s(self) -> float | None:
        """When the next lookup is due, in seconds of the story."""
        due_ms = self.known.book.due_at_ms
        return None if due_ms is None else (due_ms - START_MS) / 1000

    @property
    def last_event(self) -> UpgradeEvent:
        return self.events[-1][1]


def ms(at_s: float) -> int:
    return START_MS + round(at_s * 1000)


def upgrading(*, target: str | None = "1.1") -> Story:
    """A device that runs 1.0, known by an answer at 0 s, in an attempt opened by a push at 100 s."""
    story = Story()
    story.answer(0, "idle", now="1.0")
    story.push(100, "installing")
    if target is not None:
        story.answer(104, "installing", now="1.0", offer=target)
    return story
