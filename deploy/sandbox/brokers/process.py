"""One child process of the sandbox: tied to our life, logging to a file, and awaited without binding to an event loop.

Brokers are shared by tests that each have their own event loop, so nothing here keeps a loop: a child is a plain
`Popen` whose end is polled.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.sandbox.brokers import parent

_POLL_S = 0.02
_TAIL_BYTES = 4000


class ChildFailed(Exception):
    """A child ended, or did not answer in time, where it should be running; the message ends with its last words."""


class Child:
    """A running program. Its output goes to the end of `log_file`; it is killed when our process ends, however."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log_file: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.log_file = log_file
        tied = [sys.executable, "-I", "-S", parent.__file__, str(os.getpid()), *command]
        # Brokers write their settings there, and with them passwords.
        log_file.touch(mode=0o600)
        with log_file.open("ab") as log:
            # Its own process group: Ctrl-C reaches us only, and we end our children in the right order.
            self._process = subprocess.Popen(
                tied,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if environment is None else {**os.environ, **environment},
                cwd=directory,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """Also its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    async def wait(self) -> int:
        """Return the exit code once it has ended."""
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - an event would bind to one loop
            await asyncio.sleep(_POLL_S)
        return code

    async def stop(self, grace_s: float) -> int:
        """End it with SIGTERM, and with SIGKILL when `grace_s` is over; return the exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        deadline = time.monotonic() + grace_s
        while self._process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110 - as in wait()
            await asyncio.sleep(_POLL_S)
        return await self.kill()

    async def kill(self) -> int:
        """End it with SIGKILL at once; return the exit code."""
        if self._process.poll() is None:
            self._process.kill()
        return await self.wait()

    def pause(self) -> None:
        """Freeze it as it is (SIGSTOP): its connections stay open and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def proceed(self) -> None:
        """Let a paused child go on (SIGCONT)."""
        self._process.send_signal(signal.SIGCONT)

    def failed(self, what: str) -> ChildFailed:
        """Return the error that says `what` about this child, with the end of its log."""
        with self.log_file.open("rb") as log:
            log.seek(max(0, self.log_file.stat().st_size - _TAIL_BYTES))
            tail = log.read().decode(errors="replace").strip()
        return ChildFailed(f"{self.name} {what}; the end of {self.log_file}:\n{tail}")
