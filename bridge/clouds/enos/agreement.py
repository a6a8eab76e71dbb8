"""Two readings that agree: what EnOS tells may be about two seconds old, so one reading alone ends nothing.

An upgrade's end, and the disappearance of a task that ran, count once two readings two seconds apart say the same. The
first of them may be a lookup's or a sweep's of long ago, so that a second reading is rare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from bridge.clouds.enos.answers import DeviceRow, Task
from bridge.clouds.enos.reading import Reading, read

STALE_MS: Final = 2000
"""How old an answer may be, in the vendor's own words."""

REMEMBERED_MOST: Final = 100_000
"""Devices whose last reading is remembered, some 300 bytes each; forgetting one costs a second reading."""


class _Running(Struct, frozen=True, gc=False):
    task_id: str
    updated_at_ms: int


class _Remembered(Struct, frozen=True, kw_only=True):
    statement: str
    since_ms: int
    running: _Running | None
    """The task that ran, until its end or its disappearance is agreed."""
    past: str | None
    """The task that was the newest again after one that ran had disappeared."""


class Agreement:
    """What was last read of each device. Times are the local clock's, taken before the reading's first request."""

    def __init__(self, timed_out: Sequence[str]) -> None:
        self._timed_out = timed_out
        self._last: dict[str, _Remembered] = {}

    def read(self, row: DeviceRow, tasks: Sequence[Task], *, asked_at_ms: int) -> Reading:
        """Return what a row and its tasks say, in the light of what they said before."""
        reading = read(row, tasks, timed_out=self._timed_out, asked_at_ms=asked_at_ms)
        last = self._last.get(row.asset_id)
        if last is None or reading.task is None or reading.running is not None:
            return reading
        if reading.task.task_id == last.past or _was_taken_back(last.running, reading.task, tasks):
            return read(
                row, tasks, timed_out=self._timed_out, asked_at_ms=asked_at_ms, past=reading.task.task_id
            )
        return reading

    def note(self, reading: Reading, *, at_ms: int) -> bool:
        """Remember a reading; return whether it may be told."""
        asset_id = reading.row.asset_id
        last = self._last.pop(asset_id, None)
        statement = reading.statement
        is_repeated = last is not None and last.statement == statement
        since_ms = last.since_ms if last is not None and is_repeated else at_ms
        ran = None if last is None else last.running
        may_be_told = not _ends(reading, ran) or (is_repeated and at_ms - since_ms >= STALE_MS)
        running = reading.running
        if running is not None:
            ran = _Running(running.task_id, running.updated_at_ms)
        elif may_be_told and reading.phase in ("terminal", "rest"):
            ran = None
        self._last[asset_id] = _Remembered(
            statement=statement,
            since_ms=since_ms,
            running=ran,
            past=reading.past,
        )
        if len(self._last) > REMEMBERED_MOST:
            del self._last[next(iter(self._last))]
        return may_be_told


def _ends(reading: Reading, ran: _Running | None) -> bool:
    """Whether a reading says that something is over."""
    return reading.phase == "terminal" or (reading.phase == "rest" and ran is not None)


def _was_taken_back(ran: _Running | None, newest: Task, tasks: Sequence[Task]) -> bool:
    """Whether a task that ran is gone, and the newest one now is from before: a cancelled task has no status.

    Told as the device's state, the older one's end would be taken for the end of the one that is gone.
    """
    if ran is None or any(task.task_id == ran.task_id for task in tasks):
        return False
    return newest.updated_at_ms <= ran.updated_at_ms
