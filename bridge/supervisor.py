"""Keeps one stage running: when it dies it is built anew after a pause, unless its error ends the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

import structlog
from msgspec import Struct

from bridge.error_text import error_text
from bridge.exit_codes import ExitCode
from bridge.stopping import stopped_within

log = structlog.get_logger(__name__)

PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Before each restart; the last one repeats."""

SETTLED_AFTER_S: Final = 300.0
"""A stage that ran this long begins again with the shortest pause."""

FatalErrors = Mapping[type[BaseException], ExitCode]

State = Literal["waiting", "running", "pausing", "stopped", "failed"]


class Stage(Protocol):
    """What the daemon asks of a stage."""

    @property
    def name(self) -> str:
        """The stage's name in logs and under `/status`."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then return cleanly; raise only what cannot be cured from inside."""
        ...

    def statistics(self) -> Struct:
        """Return a frozen record for `/status`."""
        ...


class StageStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a stage fares, and its own statistics."""

    state: State
    restarts: int
    last_error: str | None = None
    last_error_at_ms: int | None = None
    statistics: Any = None


class Supervisor:
    """Runs one stage. `fatal` are the errors that end the process, each with the exit code it ends with."""

    def __init__(
        self,
        name: str,
        build: Callable[[], Stage],
        *,
        fatal: FatalErrors,
        pauses_s: Sequence[float] = PAUSES_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._build = build
        self._fatal = fatal
        self._pauses_s = pauses_s
        self._clock = clock
        self._stage: Stage | None = None
        self._state: State = "waiting"
        self._restarts = 0
        self._failures_in_a_row = 0
        self._last_error: str | None = None
        self._last_error_at_ms: int | None = None

    async def run(self, stop: asyncio.Event) -> ExitCode | None:
        """Return None after a clean stop, or the exit code that the stage's error demands."""
        while not stop.is_set():
            began = self._clock()
            try:
                self._stage = self._build()
                self._state = "running"
                await self._stage.run(stop)
            except Exception as error:  # noqa: BLE001  one stage's defect must not end the others
                code = self._noted(error)
                if code is not None:
                    return code
            else:
                if stop.is_set():
                    break
                log.error("stage_returned", stage=self.name, remedy="this is a defect, please report it")
            await self._pause(stop, ran_s=self._clock() - began)
        self._state = "stopped"
        return None

    @property
    def state(self) -> State:
        """How the stage fares."""
        return self._state

    def status(self) -> StageStatus:
        """Return the stage's state with its statistics."""
        return StageStatus(
            state=self._state,
            restarts=self._restarts,
            last_error=self._last_error,
            last_error_at_ms=self._last_error_at_ms,
            statistics=None if self._stage is None else self._stage.statistics(),
        )

    def _noted(self, error: Exception) -> ExitCode | None:
        cause, code = _fatal_in(error, self._fatal)
        self._last_error = error_text(cause)
        self._last_error_at_ms = time.time_ns() // 1_000_000
        if code is None:
            log.error("stage_died", stage=self.name, error=self._last_error, exc_info=error)
            return None
        self._state = "failed"
        log.error("stage_refused", stage=self.name, error=str(cause), exit_code=int(code))
        return code

    async def _pause(self, stop: asyncio.Event, *, ran_s: float) -> None:
        if ran_s >= SETTLED_AFTER_S:
            self._failures_in_a_row = 0
        pause_s = self._pauses_s[min(self._failures_in_a_row, len(self._pauses_s) - 1)]
        self._failures_in_a_row += 1
        self._state = "pausing"
        log.warning("stage_restarts", stage=self.name, in_s=pause_s)
        if not await stopped_within(stop, pause_s):
            self._restarts += 1


def _fatal_in(error: BaseException, fatal: FatalErrors) -> tuple[BaseException, ExitCode | None]:
    """Return the first fatal error in an exception or its groups, else the exception itself."""
    for kind, code in fatal.items():
        if isinstance(error, kind):
            return error, code
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            cause, code_inside = _fatal_in(inner, fatal)
            if code_inside is not None:
                return cause, code_inside
    return error, None
