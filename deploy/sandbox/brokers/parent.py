"""Ties a process to the life of the one that started it, so that kill -9 of a parent leaves nothing running.

Imported by the sandbox's own programs, and run as a script in front of programs that cannot do it themselves
(`parent.py PARENT_PID COMMAND ...` becomes COMMAND: the tie survives exec). The script imports only the standard
library, because it runs isolated from everything installed. Linux only: prctl(2), PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def tie_to_parent(signal_number: signal.Signals, expected_parent: int | None = None) -> None:
    """Have the kernel send us `signal_number` when the thread that started us ends; exit if that is over already.

    Without `expected_parent` the parent is whoever it is now, unless make started us and is gone: then we were
    handed to process 1 before this line was reached.
    """
    parent = os.getppid() if expected_parent is None else expected_parent
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent or (expected_parent is None and _orphaned_by_make()):
        sys.exit("The process that started this one is gone already.")


def _orphaned_by_make() -> bool:
    if os.getppid() != 1 or "MAKELEVEL" not in os.environ:
        return False
    return "make" not in Path("/proc/1/comm").read_text(encoding="utf-8")


if __name__ == "__main__":
    tie_to_parent(signal.SIGKILL, int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command is the caller's own
