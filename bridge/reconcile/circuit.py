"""One account's circuit breaker: it keeps us from asking a cloud that refuses everything, and says why.

* closed - lookups are served.
* open - the cloud refused the account, or did not answer five lookups or two readings (sweeps, listings) in a row:
  nothing is asked until `opens_again`.
* half_open - one lookup is let through; it decides. Where none waits, and it was the cloud as a whole that refused or
  did not answer, a sweep is let through as well: its first page closes the circuit.
* stopped - refused for good. Credentials may be mended at the cloud, so they are tried again, first after ten minutes
  and then once an hour; a configuration that cannot work waits for a program that reads another one.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from msgspec import Struct

from bridge.clouds.errors import (
    AccountRefused,
    AccountStopped,
    AuthRefused,
    CloudError,
    DeviceForbidden,
    ErrorClass,
    Mendable,
    Unanswered,
)
from bridge.reconcile.backoff import doubled

CircuitState = Literal["closed", "open", "half_open", "stopped"]

FAILURES_IN_A_ROW: Final = 5
"""So many unanswered lookups in a row (each tried three times), or so many forbidden devices, concern the account."""

READINGS_IN_A_ROW: Final = 2
"""So many readings in a row that ended without an answer concern the account, where no lookup was answered since: a
minute or more lies between two of the same kind, so that five would be a quarter of an hour."""

UNANSWERED_FIRST_S: Final = 1.0
UNANSWERED_MOST_S: Final = 60.0
"""A cloud that does not answer is tried again after this, doubled each time."""

STOPPED_FIRST_S: Final = 600.0
STOPPED_MOST_S: Final = 3600.0
"""Refused credentials are tried again after this, doubled each time: as at the gateway."""


class Cause(Struct, frozen=True, kw_only=True):
    """Why a circuit is not closed."""

    error: ErrorClass
    api: str
    text: str
    code: str | None = None
    trace_id: str | None = None
    remedy: str


class Circuit:
    """The breaker. All times are the caller's `now`, a monotonic clock in seconds."""

    def __init__(self, refused_for_s: float) -> None:
        self._refused_for_s = refused_for_s
        self._state: CircuitState = "closed"
        self._opens_again_at = 0.0
        self._unanswered = 0
        self._unanswered_readings = 0
        self._times_unanswered = 0
        self._times_stopped = 0
        self._forbidden: set[str] = set()
        self._opened_by_devices = False
        self._opened_by_readings = False
        self._epoch = 0
        self.error: CloudError | None = None
        """What opened the circuit; None while it is closed."""

    @property
    def cause(self) -> Cause | None:
        """Why the circuit is not closed, as a record."""
        error = self.error
        if error is None:
            return None
        return Cause(
            error=error.error,
            api=error.api,
            text=error.text,
            code=error.code,
            trace_id=error.trace_id,
            remedy=error.remedy,
        )

    def state(self, now: float) -> CircuitState:
        """Return the state, which an open or stopped circuit leaves by itself when its time has come."""
        if self._state in ("open", "stopped") and now >= self._opens_again_at:
            self._move("half_open")
        return self._state

    def opens_again_at(self) -> float | None:
        """Return when an open or stopped circuit lets a lookup through; None where it never does, or does already."""
        is_shut = self._state in ("open", "stopped") and self._opens_again_at < math.inf
        return self._opens_again_at if is_shut else None

    def admits_sweep(self, now: float) -> bool:
        """Return whether a sweep may run: also to try a cloud that refused, or did not answer, whoever asked."""
        state = self.state(now)
        return state == "closed" or (
            state == "half_open" and isinstance(self.error, AuthRefused | Unanswered | Mendable)
        )

    def admits_listing(self, now: float) -> bool:
        """Return whether a listing may run beside sweeps: one that fails again and again must not keep it out."""
        return self.state(now) == "closed" or (self._opened_by_readings and self.admits_sweep(now))

    def admit(self) -> int:
        """Return the number to give back with the lookup's result: only results of the current state count."""
        return self._epoch

    def answered(self, epoch: int) -> None:
        """The cloud answered, be it that it does not know the device."""
        if epoch != self._epoch:
            return

        self._unanswered = self._unanswered_readings = self._times_unanswered = self._times_stopped = 0
        self._forbidden = set()
        if self._state == "half_open":
            self.error = None
            self._move("closed")

    def failed(self, epoch: int, error: CloudError, device_id: str, now: float) -> None:
        """The cloud refused, or did not answer."""
        if isinstance(error, AccountStopped):
            self._stop(error, now)
        elif epoch != self._epoch:
            return
        elif isinstance(error, AccountRefused):
            self._open("open", error, now, self._refused_for_s)
        elif isinstance(error, DeviceForbidden):
            self._device_forbidden(epoch, error, device_id, now)
        elif isinstance(error, Unanswered | Mendable):
            self._unanswered += 1
            if self._state == "half_open" or self._unanswered >= FAILURES_IN_A_ROW:
                self._open_unanswered(error, now)
        else:
            self.answered(epoch)

    def read(self, epoch: int) -> None:
        """The cloud answered a reading. That says nothing about lookups, but that it is there and takes us."""
        if epoch != self._epoch:
            return

        self._unanswered_readings = 0
        if self._state == "half_open":
            self.answered(epoch)

    def not_read(self, epoch: int, error: CloudError, now: float) -> None:
        """A reading ended early. Lookups may well be allowed, and answered, where a list is not."""
        if isinstance(error, AccountStopped):
            self._stop(error, now)
        elif epoch != self._epoch:
            return
        elif isinstance(error, Unanswered | Mendable):
            self._unanswered_readings += 1
            if self._state == "half_open" or self._unanswered_readings >= READINGS_IN_A_ROW:
                self._open_unanswered(error, now, by_readings=True)
        elif error.asked_at_ms is not None:
            self.read(epoch)

    def _open_unanswered(self, error: CloudError, now: float, *, by_readings: bool = False) -> None:
        wait_s = doubled(UNANSWERED_FIRST_S, UNANSWERED_MOST_S, self._times_unanswered)
        self._times_unanswered += 1
        # A cloud that refused the credentials and does not answer today has not taken them since.
        cause = self.error if isinstance(self.error, AuthRefused) else error
        self._open("open", cause, now, min(wait_s, self._refused_for_s), by_readings=by_readings)

    def _stop(self, error: AccountStopped, now: float) -> None:
        """What else was under way when the account was stopped tells nothing new."""
        if self._state == "stopped":
            return
        wait_s = math.inf
        if isinstance(error, AuthRefused):
            wait_s = doubled(STOPPED_FIRST_S, STOPPED_MOST_S, self._times_stopped)
            self._times_stopped += 1
        self._open("stopped", error, now, wait_s)

    def _device_forbidden(self, epoch: int, error: DeviceForbidden, device_id: str, now: float) -> None:
        """One forbidden device is nobody else's business; many in a row mean that the project lacks the right."""
        if self._state == "half_open" and self._opened_by_devices:
            self._open("open", error, now, self._refused_for_s, by_devices=True)
            return

        forbidden = self._forbidden | {device_id}
        self.answered(epoch)
        self._forbidden = forbidden
        if len(forbidden) >= FAILURES_IN_A_ROW:
            self._open("open", error, now, self._refused_for_s, by_devices=True)

    def _open(
        self,
        state: CircuitState,
        error: CloudError,
        now: float,
        for_s: float,
        *,
        by_devices: bool = False,
        by_readings: bool = False,
    ) -> None:
        self.error = error
        self._unanswered = self._unanswered_readings = 0
        self._forbidden = set()
        self._opened_by_devices = by_devices
        self._opened_by_readings = by_readings
        self._opens_again_at = now + for_s
        self._move(state)

    def _move(self, state: CircuitState) -> None:
        self._state = state
        self._epoch += 1
