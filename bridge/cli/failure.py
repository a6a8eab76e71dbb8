"""How a command fails: one sentence that says what happened and what to do, and an exit code."""

from __future__ import annotations

from bridge.exit_codes import ExitCode


class CommandFailed(Exception):
    """The command cannot do what was asked: its message is printed, the process ends with `exit_code`."""

    def __init__(self, exit_code: ExitCode, message: str) -> None:
        self.exit_code = exit_code
        super().__init__(message)
