"""How a command fails: one sentence that says what happened and what to do, and an exit code."""

from __future__ import annotations

import errno
from typing import Final

from bridge.exit_codes import ExitCode

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class CommandFailed(Exception):
    """The command cannot do what was asked: its message is printed, the process ends with `exit_code`."""

    def __init__(self, exit_code: ExitCode, message: str) -> None:
        self.exit_code = exit_code
        super().__init__(message)


def is_out_of_room(error: BaseException) -> bool:
    """Whether a file, or what the output goes to, takes no more: a full disk, a quota, a limit of the shell's."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def not_written(error: OSError) -> CommandFailed:
    """Return how a command ends whose output, or whose file, cannot be written."""
    what = f"{error.filename or 'The output'} cannot be written ({error.strerror or type(error).__name__})."
    remedy = " Make room where it goes, and start the command again." if is_out_of_room(error) else ""
    return CommandFailed(ExitCode.UNEXPECTED, what + remedy)
