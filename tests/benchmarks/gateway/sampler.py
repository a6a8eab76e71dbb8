"""Where a process's time goes, without a tracer's distortion: what every Python thread does, looked at every 5 ms.

It writes collapsed stacks (`thread;outer;…;inner count`, the input of flame graph tools) and above them, as comments,
the CPU time of each thread, the native ones included, and the lines that were innermost most often. A thread that is
computing gives the interpreter's lock up at a call's end or a loop's turn: the time of a C function shows at the line
that called it. Threads that wait show too; compare them with their CPU time.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Final, Self

PERIOD_S: Final = 0.005
TOLD_LINES: Final = 40
_NAME = "sampler"
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

Place = tuple[CodeType, int]


class Sampler:
    """Samples all threads of this process between enter and exit, then writes `file`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stacks: Counter[tuple[str, tuple[Place, ...]]] = Counter()
        self._samples = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=_NAME, daemon=True)
        self._cpu_before: dict[int, float] = {}

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and write."""
        self._stop.set()
        self._thread.join()
        self._file.write_text("\n".join([*self._summary(), *self._collapsed(), ""]), encoding="utf-8")

    def _run(self) -> None:
        self._threads_cpu: dict[int, tuple[str, float]] = {}
        next_cpu = 0.0
        while not self._stop.wait(PERIOD_S):
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                name = names.get(ident, "native")
                if name != _NAME:
                    self._stacks[name, _stack(frame)] += 1
            self._samples += 1
            if time.monotonic() >= next_cpu:
                # Threads end before the process does: what they used is kept from here.
                next_cpu = time.monotonic() + 0.2
                self._threads_cpu |= _threads_cpu()

    def _summary(self) -> list[str]:
        lines = [f"# {self._samples} samples, one every {PERIOD_S * 1000:.0f} ms", "# CPU seconds by thread:"]
        by_cpu = sorted(self._threads_cpu.values(), key=lambda entry: -entry[1])
        lines += [f"#   {cpu_s:8.2f}  {name}" for name, cpu_s in by_cpu if cpu_s >= 0.01]
        inner: Counter[tuple[str, str]] = Counter()
        for (name, stack), count in self._stacks.items():
            inner[name, _told(stack[-1])] += count
        lines.append("# innermost lines, percent of the thread's samples:")
        for (name, place), count in inner.most_common(TOLD_LINES):
            lines.append(f"#   {100 * count / max(self._samples, 1):6.1f}  {name}  {place}")
        return lines

    def _collapsed(self) -> list[str]:
        return [
            ";".join([name, *(_told(place) for place in stack)]) + f" {count}"
            for (name, stack), count in self._stacks.most_common()
        ]


def _stack(frame: FrameType | None) -> tuple[Place, ...]:
    places: list[Place] = []
    while frame is not None:
        places.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(reversed(places))


def _told(place: Place) -> str:
    code, line = place
    return f"{Path(code.co_filename).parent.name}/{Path(code.co_filename).name}:{line} {code.co_qualname}"


def _threads_cpu() -> dict[int, tuple[str, float]]:
    """Return each thread's name and CPU seconds by its native id; empty where there is no /proc."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    threads: dict[int, tuple[str, float]] = {}
    for folder in Path("/proc/self/task").glob("*"):
        try:
            status = (folder / "stat").read_text()
        except OSError:
            continue  # it has just ended
        native_id = int(folder.name)
        called, _, fields = status.partition("(")[2].rpartition(")")
        used = fields.split()
        cpu_s = (int(used[11]) + int(used[12])) / _TICKS_PER_S
        threads[native_id] = names.get(native_id, f"native {called} {native_id}"), cpu_s
    return threads
