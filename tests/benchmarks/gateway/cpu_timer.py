"""A timer that counts one thread's CPU time and sends that thread a signal: Linux's `timer_create`, through ctypes."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_THREAD_CPU_CLOCK: Final = 6
"""What Linux makes a thread's clock from its id with: `CPUCLOCK_SCHED | CPUCLOCK_PERTHREAD_MASK`."""
_SIGEV_THREAD_ID: Final = 4


class _SigEvent(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("native_id", ctypes.c_int),
        ("_padding", ctypes.c_byte * 44),
    )


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class ThreadCpuTimer:
    """Sends `signal` to a thread of this process whenever it has used `period_s` of CPU. Raises OSError."""

    def __init__(self, native_id: int, signal: int, period_s: float) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = ctypes.c_void_p()
        event = _SigEvent(signal=signal, notify=_SIGEV_THREAD_ID, native_id=native_id)
        clock = (~native_id << 3) | _THREAD_CPU_CLOCK
        self._check(self._libc.timer_create(clock, ctypes.byref(event), ctypes.byref(self._timer)))
        period = _TimeSpec(0, int(period_s * 1e9))
        spec = _TimerSpec(interval=period, value=period)
        self._check(self._libc.timer_settime(self._timer, 0, ctypes.byref(spec), None))

    def close(self) -> None:
        """Send nothing more."""
        self._check(self._libc.timer_delete(self._timer))

    @staticmethod
    def _check(result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
