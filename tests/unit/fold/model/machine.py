"""The stateful test: hypothesis plays device and adversary, the fold must keep its promises at every step, and tell the
truth once the weather has cleared.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from bridge.fold.policy import Policy
from tests.unit.fold.model.adversary import API, LIES, MODES
from tests.unit.fold.model.cloud import TERMINAL, Style, TrueChannel
from tests.unit.fold.model.truth import true_statuses
from tests.unit.fold.model.world import World

_CLEAR_FOR_S: Final = 27 * 3600.0
"""Longer than a pending attempt takes to stall, and than an unconfirmed outcome is looked up."""
_BETWEEN_TASKS_S: Final = 10.0
_NEXT: Final = {"pending": "downloading", "downloading": "installing"}

sources = st.integers(0, 1)
channels = st.integers(0, 1)
spells = st.sampled_from([10.0, 100.0, 1000.0])
"""For how long something is wrong."""
styles = st.builds(
    Style,
    lag_s=st.sampled_from([0.0, 1.0, 3.0]),
    version_lag_s=st.sampled_from([0.0, 20.0, 200.0]),
    resets_after_s=st.sampled_from([None, 0.0, 30.0, 120.0]),
    repeats_s=st.sampled_from([0.0, 40.0]),
    offers_next=st.booleans(),
    undivided=st.booleans(),
    names_tasks=st.booleans(),
    tells_target=st.booleans(),
    shows_cancelled=st.booleans(),
)


class FoldMachine(RuleBasedStateMachine):
    """One device under one cloud. Each rule is one thing that may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @initialize(
        style=styles,
        count=st.integers(1, 2),
        step=st.sampled_from([1, 10]),
        offset_s=st.sampled_from([0.0, 120.0, -600.0]),
        is_known=st.booleans(),
    )
    def meet(self, style: Style, *, count: int, step: int, offset_s: float, is_known: bool) -> None:
        self.world = World(style, Policy(progress_step=step), ("0", "9")[:count], offset_s)
        if is_known:
            self.world.ask(0.1)
            self.world.run(60)

    # The device.

    @rule(number=channels, source=sources, outcome=st.sampled_from(TERMINAL))
    def go_on(self, number: int, source: int, outcome: str) -> None:
        """The next step of an upgrade, or the beginning of one."""
        channel, world = self._channel(number), self._world
        task = channel.open_task
        if task is None:
            ended_ms = 0 if channel.task is None else channel.task.ended_at_ms or 0
            if world.now_ms - ended_ms < _BETWEEN_TASKS_S * 1000:
                world.run(_BETWEEN_TASKS_S)
            world.start(channel.name, source)
        elif task.status == "installing":
            world.finish(channel.name, outcome, source)
        else:
            world.move(channel.name, _NEXT[task.status], source)
        world.run(1)

    @rule(number=channels, source=sources, percent=st.sampled_from([5, 11, 30, 55, 80, 100]))
    def progress(self, number: int, source: int, percent: int) -> None:
        channel = self._channel(number)
        if channel.open_task is None or channel.open_task.status == "pending":
            self.go_on(number, source, "succeeded")
        else:
            self._world.report(channel.name, percent, source)

    @rule(number=channels, source=sources, outcome=st.sampled_from(TERMINAL))
    def finish(self, number: int, source: int, outcome: str) -> None:
        """An upgrade that ends at any stage."""
        channel = self._channel(number)
        if channel.open_task is None:
            self.go_on(number, source, outcome)
        else:
            self._world.finish(channel.name, outcome, source)

    @rule(number=channels)
    def upgrade_silently(self, number: int) -> None:
        channel = self._channel(number)
        if channel.open_task is None:
            channel.upgrade_silently(self._world.now_ms)

    @rule(source=sources, lifecycle=st.sampled_from(["online", "offline"]))
    def speak(self, source: int, lifecycle: str) -> None:
        self._world.tell(source, kind="lifecycle", lifecycle=lifecycle)

    @rule(source=sources, number=channels)
    def say_something_unknown(self, source: int, number: int) -> None:
        self._world.tell(source, kind="hint", channel=self._channel(number).name, vendor_status="100")

    # The adversary.

    @rule(seconds=st.sampled_from([0.5, 2.0, 4.0, 9.0, 30.0, 65.0, 700.0, 2000.0]))
    def wait(self, seconds: float) -> None:
        self._world.run(seconds)

    @rule(source=sources, mode=st.sampled_from(MODES))
    def disturb(self, source: int, mode: str) -> None:
        self._world.sources[source].mode = mode
        self._world.deliver()

    @rule(source=sources, count=st.integers(1, 4))
    def repeat(self, source: int, count: int) -> None:
        self._world.redeliver(source, count)

    @rule(delay_s=st.sampled_from([0.2, 5.0, 40.0, 300.0]))
    def sweep(self, delay_s: float) -> None:
        if self._world.weather.api == "ok":
            self._world.ask(delay_s)

    @rule(api=st.sampled_from(API), seconds=spells)
    def worsen(self, api: str, seconds: float) -> None:
        weather = self._world.weather
        weather.api, weather.answer_delay_s = api, 45.0 if api == "slow" else 0.3
        self._world.plan(seconds, weather.clear)

    @rule(error_s=st.sampled_from([1.0, -1.0, 10.0, -10.0]))
    def shift_clock(self, error_s: float) -> None:
        self._world.weather.clock_error_ms = round(error_s * 1000)

    @rule(lie=st.sampled_from(LIES), seconds=spells)
    def lie(self, lie: str, seconds: float) -> None:
        weather = self._world.weather
        weather.lie = lie
        self._world.plan(seconds, weather.clear)

    @rule(number=channels, source=sources, outcome=st.sampled_from(["succeeded", "failed", "timed_out"]))
    def claim_falsely(self, number: int, source: int, outcome: str) -> None:
        channel = self._channel(number)
        self._world.lie_about(channel.name)
        if channel.task is not None:
            channel.task.false_claims += 1
        self._world.claim(channel.name, outcome, source)

    @rule()
    def clear(self) -> None:
        self._clear()

    # The end.

    def teardown(self) -> None:
        if self.world is None or not self.world.bridge.is_sound:
            return
        world = self.world
        self._clear()
        world.run(_CLEAR_FOR_S)
        self._expect_truth("after the storm")
        self._upgrade_in_good_weather()
        world.bridge.check_replay()

    def _upgrade_in_good_weather(self) -> None:
        world = self._world
        for channel in world.channels.values():
            name = channel.name
            if channel.open_task is None:
                world.start(name, 0)
            world.run(10)
            for status in ("downloading", "installing"):
                world.move(name, status, 0)
                world.run(100)
            world.finish(name, "succeeded", 0)
            world.run(1200)
            shown = world.bridge.channel(name)
            assert shown is not None
            assert shown.outcome == "succeeded", f"a success in good weather shows as {shown.outcome}"
        world.run(_CLEAR_FOR_S)
        self._expect_truth("after an upgrade in good weather")

    def _expect_truth(self, when: str) -> None:
        world = self._world
        for channel in world.channels.values():
            shown = world.bridge.channel(channel.name)
            if shown is None:
                assert channel.task is None or not channel.task.was_seen
                continue
            expected = true_statuses(channel, world.now_ms)
            assert shown.status in expected, f"{when}: {shown.status} is shown, true is {sorted(expected)}"
            if channel.success_was_told and shown.phase == "rest":
                assert shown.outcome == "succeeded", f"{when}: a success that was told is not the outcome"
            assert shown.current_version == channel.version, f"{when}: the version shown does not run"

    def _clear(self) -> None:
        world = self._world
        world.weather.clear()
        for source in world.sources:
            source.mode = "flowing"
        world.deliver()

    def _channel(self, number: int) -> TrueChannel:
        channels = list(self._world.channels.values())
        return channels[number % len(channels)]

    @property
    def _world(self) -> World:
        assert self.world is not None
        return self.world
