"""Ties a process to the life of the one that started it, so that kill -9 of a parent leaves nothing running.

Imported by the sandbox's own programs, and run as a script in front of programs that cannot do it themselves
(`parent.py PARENT_PID COMMAND ...` becomes COMMAND: the tie survives exec). The script imports only the standard
library, because it runs isolated from everything installed. On Linux the kernel holds the tie (prctl(2),
PR_SET_PDEATHSIG); elsewhere, as on macOS, a forked process looks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.5
_OPEN_FILES = 256
"""Closed in the process that looks, so that it keeps no pipe and no port open."""


def tie_to_parent(signal_number: signal.Signals, expected_parent: int | None = None) -> None:
    """Have `signal_number` sent to us when the process that started us ends; exit if that is over already.

    Without `expected_parent` the parent is whoever it is now, unless make started us and is gone: then we were
    handed to process 1 before this line was reached.
    """
    parent = os.getppid() if expected_parent is None else expected_parent
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        if prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        _look_after(parent, signal_number)
    if os.getppid() != parent or (expected_parent is None and _orphaned_by_make()):
        sys.exit("The process that started this one is gone already.")


def _look_after(parent: int, signal_number: signal.Signals) -> None:
    """Fork a process that sends us the signal once the parent is gone, and ends with us."""
    tied = os.getpid()
    if os.fork() != 0:
        return
    # Neither Ctrl-C, nor whoever ends the tied process' group, may end the tie before the process.
    os.setsid()
    os.closerange(0, _OPEN_FILES)
    while os.getppid() == tied:
        try:
            os.kill(parent, 0)
        except OSError:
            os.kill(tied, signal_number)
            break
        time.sleep(_LOOK_S)
    os._exit(0)


def _orphaned_by_make() -> bool:
    if os.getppid() != 1 or "MAKELEVEL" not in os.environ:
        return False
    # In a container make may be process 1 itself; where there is no /proc it never is.
    first = Path("/proc/1/comm")
    return not first.exists() or "make" not in first.read_text(encoding="utf-8")


if __name__ == "__main__":
    tie_to_parent(signal.SIGKILL, int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the command is the caller's own
