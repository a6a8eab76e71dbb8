"""One device, its cloud, the adversary between, and the bridge: all on one virtual clock.

The bridge's clock is the true one; the vendor's differs by a fixed offset, which the bridge knows with an error.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Final

from bridge.fold.policy import Policy
from schemas import LookupRequest, Observation, ObservedEvidence
from tests.unit.fold.model.adversary import ACCOUNT, DEVICE, Source, Weather
from tests.unit.fold.model.bridge import Bridge
from tests.unit.fold.model.cloud import Style, TrueChannel

START_MS: Final = 1_700_000_000_000
_ONLINE_AFTER_S: Final = 4.0


class World:
    """`run` lets time pass; everything else happens at the present moment."""

    def __init__(
        self, style: Style, policy: Policy, channels: tuple[str, ...], vendor_offset_s: float
    ) -> None:
        self.now_ms = START_MS
        self.weather = Weather(vendor_offset_s)
        self.sources = (Source(1), Source(2))
        self.channels = {name: TrueChannel(name, style, START_MS) for name in channels}
        self.bridge = Bridge(policy, self._on_lookup)
        self._plans: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0

    # Time.

    def run(self, seconds: float) -> None:
        """Let time pass: what is planned happens, and the fold's timers fire when they are due."""
        until_ms = self.now_ms + round(seconds * 1000)
        while True:
            plan_ms = self._plans[0][0] if self._plans else None
            timer_ms = self.bridge.timer_at_ms()
            next_ms = min((at_ms for at_ms in (plan_ms, timer_ms) if at_ms is not None), default=None)
            if next_ms is None or next_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, next_ms)
            if next_ms == plan_ms:
                heapq.heappop(self._plans)[2]()
            else:
                self.bridge.fold_timer(self.now_ms)
        self.now_ms = until_ms

    def plan(self, after_s: float, action: Callable[[], None]) -> None:
        self._planned += 1
        heapq.heappush(self._plans, (self.now_ms + round(after_s * 1000), self._planned, action))

    # What the device does, and its cloud pushes.

    def start(self, name: str, source: int) -> None:
        channel = self.channels[name]
        task = channel.start(self.now_ms)
        task.is_merged = self.bridge.shows_open(name)
        task.was_lied_about = self.weather.lie is not None
        self.push(source, name, "pending")

    def move(self, name: str, status: str, source: int) -> None:
        self.channels[name].move(self.now_ms, status)
        undivided = self.channels[name].style.undivided
        shown = "installing" if undivided and status == "downloading" else status
        self.push(source, name, shown, undivided=undivided and shown == "installing")

    def report(self, name: str, percent: int, source: int) -> None:
        self.channels[name].progress(self.now_ms, percent)
        self._publish(source, kind="progress", channel=name, progress=percent)

    def finish(self, name: str, outcome: str, source: int) -> None:
        channel = self.channels[name]
        channel.move(self.now_ms, outcome)
        task = channel.tasks[-1]
        task.was_seen = self.bridge.shows_open(name)
        attempt = self.bridge.attempt(name)
        task.knew_version = attempt is not None and attempt.from_version is not None
        task.knew_target = attempt is not None and attempt.target_version is not None
        if outcome != "cancelled":
            self.claim(name, outcome, source)
            self.plan(_ONLINE_AFTER_S, lambda: self._publish(source, kind="lifecycle", lifecycle="online"))

    def push(self, source: int, name: str, status: str, **fields: Any) -> None:
        self._publish(source, kind="status", channel=name, status=status, **fields)

    def claim(self, name: str, outcome: str, source: int) -> None:
        self._publish(source, kind="status", channel=name, status="verifying", claimed=outcome)

    def tell(self, source: int, **fields: Any) -> None:
        self._publish(source, **fields)

    def lie_about(self, name: str) -> None:
        """Note that a lie was told of the channel: now, or about now."""
        channel = self.channels[name]
        channel.was_lied_about = True
        if channel.task is not None:
            channel.task.was_lied_about = True

    # What reaches the bridge.

    def deliver(self) -> None:
        for source in self.sources:
            for message in source.deliver(self.now_ms):
                self._note_claim(message)
                self.bridge.fold(message)
                self._note_late(message)

    def redeliver(self, source: int, count: int) -> None:
        for message in self.sources[source].deliver_again(self.now_ms, count):
            self.bridge.fold(message)

    def ask(self, delay_s: float, *, lookup_id: str | None = None) -> None:
        """Ask the cloud about the device now; the answers come `delay_s` later, a lookup's end after them."""
        outcome = self.weather.outcome(self.now_ms)
        if outcome is None:
            return
        asked_ms, told = self.weather.asked_at(self.now_ms), list[dict[str, Any]]()
        if outcome == "ok":
            for name, channel in self.channels.items():
                if self.weather.lie is not None:
                    self.lie_about(name)
                answer = self.weather.twist(channel.answer(self.now_ms), channel.offer)
                kind = "versions" if answer["status"] is None else "status"
                told.append({"kind": kind, "channel": name} | answer)
        if lookup_id is not None:
            told.append({"kind": "answer", "outcome": outcome, "lookup_id": lookup_id})
        is_lie = self.weather.lie is not None
        self.plan(delay_s, lambda: self._answer(told, asked_ms, is_lie=is_lie))

    def _on_lookup(self, request: LookupRequest) -> None:
        def ask() -> None:
            self.ask(self.weather.answer_delay_s, lookup_id=request.lookup_id)

        self.plan(0.2, ask)

    def _answer(self, told: list[dict[str, Any]], asked_ms: int, *, is_lie: bool) -> None:
        for fields in told:
            if is_lie and fields["kind"] != "answer":
                self.lie_about(fields["channel"])
                self._note_false_end(fields)
            self.bridge.fold(
                Observation(
                    device_id=DEVICE,
                    cloud="tuya-cloud",
                    account=ACCOUNT,
                    asked_at_ms=asked_ms,
                    observed_at_ms=self.now_ms,
                    evidence=ObservedEvidence(origin="lookup", name="firmware"),
                    **fields,
                )
            )

    def _note_false_end(self, told: dict[str, Any]) -> None:
        """Note that a lie is about to confirm what was claimed of the channel."""
        shown, task = self.bridge.channel(told["channel"]), self.channels[told["channel"]].task
        if shown is not None and task is not None and told["status"] in ("failed", "timed_out"):
            is_claimed = told["status"] in (shown.claimed, None if shown.confirmed else shown.outcome)
            task.false_end = told["status"] if is_claimed else task.false_end

    def _publish(self, source: int, **fields: Any) -> None:
        self.sources[source].publish(self.weather.vendor_at(self.now_ms), **fields)
        self.deliver()

    def _note_late(self, message: Observation) -> None:
        """Note a push that told of a task before the present one, and that the fold now shows an attempt open."""
        if message.channel is None:
            return
        task = self.channels[message.channel].task
        if task is None or (message.vendor_time_at_ms or 0) >= self.weather.vendor_at(task.began_at_ms):
            return
        if self.bridge.shows_open(message.channel):
            task.is_merged = True

    def _note_claim(self, message: Observation) -> None:
        if message.claimed is None or message.channel is None:
            return
        task = self.channels[message.channel].task
        if task is None or task.ended_at_ms is None or message.claimed != task.status:
            return
        at_ms = message.vendor_time_at_ms or 0
        is_its_own = at_ms == self.weather.vendor_at(task.ended_at_ms)
        is_first = at_ms >= self.bridge.answered_at_ms(message.channel)
        if is_its_own and is_first and self.bridge.shows_open(message.channel):
            task.was_told = True
