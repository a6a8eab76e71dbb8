"""A stage that dies comes back; one that may not ends with its code; a stop is a stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest

from bridge.exit_codes import ExitCode
from bridge.supervisor import SETTLED_AFTER_S, Supervisor


class Refused(Exception):
    """Ends the process."""


class Counted(msgspec.Struct, frozen=True):
    """A stage's statistics."""

    lives: int


class ScriptedStage:
    """Each life does the next thing of the script; when it is used up, the life lasts until the stop."""

    name = "scripted"

    def __init__(self, script: Iterator[Callable[[], None]], lives: int) -> None:
        self._script = script
        self._lives = lives

    async def run(self, stop: asyncio.Event) -> None:
        for act in self._script:
            act()
            return
        await stop.wait()

    def statistics(self) -> Counted:
        return Counted(lives=self._lives)


class Theatre:
    """Builds the scripted stages and watches the pauses."""

    def __init__(self, *acts: Callable[[], None], pauses_s: Sequence[float] = (0.0,)) -> None:
        self.now = 0.0
        self.lives = 0
        self._script = iter(acts)
        self.supervisor = Supervisor(
            "scripted",
            self._build,
            fatal={Refused: ExitCode.REFUSED},
            pauses_s=pauses_s,
            clock=lambda: self.now,
        )

    def _build(self) -> ScriptedStage:
        self.lives += 1
        return ScriptedStage(self._script, self.lives)

    async def until_alive(self, lives: int) -> None:
        while self.lives < lives or self.supervisor.status().state != "running":
            await asyncio.sleep(0)


def die() -> None:
    raise RuntimeError("a defect")


def refuse() -> None:
    raise Refused("no account is left")


def leave() -> None:
    """Return without being asked to."""


async def test_stage_that_dies_is_built_anew_until_it_stays() -> None:
    theatre = Theatre(die, die, leave)
    stop = asyncio.Event()
    task = asyncio.create_task(theatre.supervisor.run(stop))
    await theatre.until_alive(4)

    status = theatre.supervisor.status()
    assert (status.restarts, status.last_error) == (3, "RuntimeError: a defect")
    assert status.statistics == Counted(lives=4)

    stop.set()
    assert await task is None
    assert theatre.supervisor.status().state == "stopped"


async def test_stage_that_cannot_be_built_is_tried_again() -> None:
    attempts = []

    def build() -> ScriptedStage:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("no such file")
        return ScriptedStage(iter(()), 1)

    stop = asyncio.Event()
    supervisor = Supervisor("scripted", build, fatal={}, pauses_s=(0.0,))
    task = asyncio.create_task(supervisor.run(stop))
    while supervisor.status().state != "running":
        await asyncio.sleep(0)
    stop.set()

    assert await task is None
    assert supervisor.status().restarts == 2


@pytest.mark.parametrize("wrap", [False, True], ids=["plain", "in a group of a task group"])
async def test_fatal_error_ends_with_its_exit_code(wrap: bool) -> None:  # noqa: FBT001
    def grouped() -> None:
        raise ExceptionGroup(
            "two failed", [RuntimeError("a defect"), ExceptionGroup("inner", [Refused("no one")])]
        )

    theatre = Theatre(grouped if wrap else refuse)

    assert await theatre.supervisor.run(asyncio.Event()) == ExitCode.REFUSED

    status = theatre.supervisor.status()
    assert (status.state, theatre.lives, status.restarts) == ("failed", 1, 0)
    assert status.last_error is not None
    assert status.last_error.startswith("Refused: no")


async def test_pauses_grow_while_a_stage_dies_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []

    async def note(stop: asyncio.Event, seconds: float) -> bool:
        pauses.append(seconds)
        await asyncio.sleep(0)
        return stop.is_set()

    monkeypatch.setattr("bridge.supervisor.stopped_within", note)
    theatre = Theatre(die, die, die, die, pauses_s=(1.0, 2.0, 5.0))
    stop = asyncio.Event()
    task = asyncio.create_task(theatre.supervisor.run(stop))
    await theatre.until_alive(5)
    assert pauses == [1.0, 2.0, 5.0, 5.0]

    stop.set()
    await task


async def test_stage_that_ran_for_long_begins_with_the_shortest_pause_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses = []

    async def note(stop: asyncio.Event, seconds: float) -> bool:
        pauses.append(seconds)
        await asyncio.sleep(0)
        return stop.is_set()

    def die_late() -> None:
        theatre.now += SETTLED_AFTER_S
        raise RuntimeError("a defect")

    monkeypatch.setattr("bridge.supervisor.stopped_within", note)
    theatre = Theatre(die, die, die_late, die, pauses_s=(1.0, 2.0, 5.0))
    stop = asyncio.Event()
    task = asyncio.create_task(theatre.supervisor.run(stop))
    await theatre.until_alive(5)
    assert pauses == [1.0, 2.0, 1.0, 2.0]

    stop.set()
    await task


async def test_stop_ends_a_pause_at_once() -> None:
    theatre = Theatre(die, pauses_s=(3600.0,))
    stop = asyncio.Event()
    task = asyncio.create_task(theatre.supervisor.run(stop))
    while theatre.supervisor.status().state != "pausing":
        await asyncio.sleep(0)

    stop.set()

    assert await task is None
    assert (theatre.lives, theatre.supervisor.status().restarts) == (1, 0)


async def test_cancellation_reaches_the_stage() -> None:
    theatre = Theatre()
    task = asyncio.create_task(theatre.supervisor.run(asyncio.Event()))
    await theatre.until_alive(1)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert theatre.lives == 1
