"""Where a process's CPU time goes, without a tracer's distortion: a look at each thread every 5 ms of its own CPU time.

The look is taken by faulthandler in a signal's handler, in the thread itself and whoever holds the interpreter's lock.
(A sampler thread in Python runs only where the others give the lock up, and would see all their time spent there;
faulthandler's own watchdog reads stacks that are changing, and crashes.) Linux only.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedWriter
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.benchmarks.gateway.cpu_timer import ThreadCpuTimer

PERIOD_S: Final = 0.005
TOLD_LINES: Final = 45
_LEAST_US: Final = 0.01
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PLACE: Final = re.compile(r'  File "(?:.*/)?([^/"]+/[^/"]+)", line (\d+|\?\?\?) in (.+)')

Stack = tuple[str, ...]
"""Places from the outermost to the innermost, `folder/file.py function:line`."""


class _Watched(Struct, kw_only=True):
    """A thread that is looked at."""

    name: str
    native_id: int
    signal: int
    output: BufferedWriter
    timer: ThreadCpuTimer


class Sampler:
    """Looks at the threads that are there at `start`, until `stop`; one use."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._watched: list[_Watched] = []
        self._cpu_s: dict[int, tuple[str, float]] = {}
        self._began_s = self._seconds = 0.0

    @property
    def is_started(self) -> bool:
        """Whether it was started."""
        return self._began_s > 0

    def start(self) -> None:
        """Begin."""
        self._began_s = time.monotonic()
        self._cpu_s = _threads_cpu_s()
        for number, thread in enumerate(threading.enumerate(), signal.SIGRTMIN):
            output = self._dumps(thread.name).open("wb", buffering=0)
            faulthandler.register(number, file=output, all_threads=False)
            native_id = thread.native_id or 0
            timer = ThreadCpuTimer(native_id, number, PERIOD_S)
            self._watched.append(
                _Watched(name=thread.name, native_id=native_id, signal=number, output=output, timer=timer)
            )

    def stop(self) -> None:
        """End; only the first call counts."""
        if not self.is_started or self._seconds:
            return
        self._seconds = time.monotonic() - self._began_s
        for watched in self._watched:
            watched.timer.close()
        # A signal may still be under way, and would end the process if nobody handled it: its handler stays.
        before = self._cpu_s
        self._cpu_s = {
            native_id: (name, cpu_s - before.get(native_id, ("", 0.0))[1])
            for native_id, (name, cpu_s) in _threads_cpu_s().items()
        }

    def write(self, messages: int) -> None:
        """Write collapsed stacks (`thread;outer;…;inner µs`, the input of flame graph tools) after a summary.

        The summary's lines begin with `#` and tell CPU µs per message.
        """
        stacks: dict[tuple[str, Stack], float] = {}
        for watched in self._watched:
            dumps = self._dumps(watched.name)
            seen = parse(dumps.read_text(encoding="utf-8", errors="replace").splitlines())
            dumps.unlink()
            _, cpu_s = self._cpu_s.get(watched.native_id, ("", 0.0))
            for stack, count in seen.items():
                # A timer fires with the kernel's ticks, hence no oftener: the looks share the CPU time that was used.
                stacks[watched.name, stack] = cpu_s * 1e6 * count / seen.total()
        threads = Counter(
            {f"{name} ({number})": cpu_s * 1e6 for number, (name, cpu_s) in self._cpu_s.items()}
        )
        lines = [
            f"# {messages} messages in {self._seconds:.2f} s; CPU µs per message",
            "# by thread, the native ones included",
            *_told(threads, messages),
            "# by line, the innermost",
            *_told(_by_line(stacks), messages),
            "# by function, with what it calls",
            *_told(_by_function(stacks), messages),
            *(
                ";".join([name, *stack]) + f" {cpu_us:.0f}"
                for (name, stack), cpu_us in sorted(stacks.items(), key=lambda entry: -entry[1])
            ),
        ]
        self._file.write_text("\n".join([*lines, ""]), encoding="utf-8")

    def _dumps(self, thread: str) -> Path:
        return self._file.with_suffix(f".{thread}.dumps")


def parse(lines: Iterable[str]) -> Counter[Stack]:
    """Return how often each stack is in faulthandler's dumps of one thread."""
    stacks: Counter[Stack] = Counter()
    inner_first: list[str] = []
    for line in [*lines, "Stack"]:
        if place := _PLACE.match(line):
            inner_first.append(f"{place[1]} {place[3]}:{place[2]}")
        elif inner_first and line.startswith(("Stack", "Current thread")):
            stacks[tuple(reversed(inner_first))] += 1
            inner_first.clear()
    return stacks


def _by_line(stacks: Mapping[tuple[str, Stack], float]) -> Mapping[str, float]:
    counted: dict[str, float] = {}
    for (name, stack), cpu_us in stacks.items():
        line = f"{name}  {stack[-1]}"
        counted[line] = counted.get(line, 0.0) + cpu_us
    return counted


def _by_function(stacks: Mapping[tuple[str, Stack], float]) -> Mapping[str, float]:
    counted: dict[str, float] = {}
    for (name, stack), cpu_us in stacks.items():
        for function in {f"{name}  {place.rpartition(':')[0]}" for place in stack}:
            counted[function] = counted.get(function, 0.0) + cpu_us
    return counted


def _told(counted: Mapping[str, float], messages: int) -> Iterator[str]:
    for what, cpu_us in sorted(counted.items(), key=lambda entry: -entry[1])[:TOLD_LINES]:
        if cpu_us / messages >= _LEAST_US:
            yield f"#   {cpu_us / messages:8.2f}  {what}"


def _threads_cpu_s() -> dict[int, tuple[str, float]]:
    """Return each living thread's name and CPU seconds by its native id."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    threads: dict[int, tuple[str, float]] = {}
    for folder in Path("/proc/self/task").glob("*"):
        try:
            status = (folder / "stat").read_text()
        except OSError:
            continue  # it has just ended
        native_id = int(folder.name)
        used = status.rpartition(")")[2].split()
        cpu_s = (int(used[11]) + int(used[12])) / _TICKS_PER_S
        threads[native_id] = names.get(native_id, "native"), cpu_s
    return threads
