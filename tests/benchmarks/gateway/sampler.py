"""Where a process's time goes, without a tracer's distortion: what every Python thread does, looked at every 5 ms.

Each sample weighs as much CPU time as its thread has used since the last one, so waiting weighs nothing. A thread that
computes gives the interpreter's lock up at a call's end or a loop's turn: the time of a C function shows at the line
that called it. A line that calls nothing may show a little later in its function.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

PERIOD_S: Final = 0.005
TOLD_LINES: Final = 45
_THREADS_EVERY_S: Final = 0.2
_LEAST_CPU_S: Final = 0.01
_THREAD_CPU_CLOCK: Final = 6
"""What Linux makes a thread's clock from its id with (`CPUCLOCK_SCHED | CPUCLOCK_PERTHREAD_MASK`). Python's
`pthread_getcpuclockid` does the same, and crashes when the thread has ended."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

Place = tuple[CodeType, int]


class Sampler:
    """Samples all threads of this process from `start` to `stop`."""

    def __init__(self) -> None:
        self._stacks: Counter[tuple[str, tuple[Place, ...]]] = Counter()
        self._cpu_ns: dict[int, int] = {}
        self._threads: dict[int, tuple[str, float]] = {}
        self._threads_before: dict[int, tuple[str, float]] = {}
        self._samples = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    @property
    def is_started(self) -> bool:
        """Whether it was started; only once."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Begin."""
        self._threads_before = _threads_cpu()
        self._thread.start()

    def stop(self) -> None:
        """End; nothing happens when it had ended before."""
        self._stop.set()
        if self.is_started:
            self._thread.join()

    def write(self, file: Path, messages: int) -> None:
        """Write collapsed stacks (`thread;outer;…;inner µs`, the input of flame graph tools), a summary before them.

        The summary is per message, in lines that begin with `#`.
        """
        lines = [
            f"# {self._samples} samples, one every {PERIOD_S * 1000:.0f} ms; CPU µs per message",
            "# by thread, the native ones included",
            *self._by_thread(messages),
            "# by line, the innermost",
            *_told(self._by_line(), messages),
            "# by function, with what it calls",
            *_told(self._by_function(), messages),
            *(
                ";".join([name, *(_told_place(place) for place in stack)]) + f" {cpu_ns // 1000}"
                for (name, stack), cpu_ns in self._stacks.most_common()
                if cpu_ns >= 1000
            ),
        ]
        file.write_text("\n".join([*lines, ""]), encoding="utf-8")

    def _run(self) -> None:
        next_threads = 0.0
        while not self._stop.wait(PERIOD_S):
            frames = sys._current_frames()
            for thread in threading.enumerate():
                if thread.ident in frames and thread.native_id and thread is not self._thread:
                    stack = _stack(frames[thread.ident])
                    self._stacks[thread.name, stack] += self._used_ns(thread.native_id)
            self._samples += 1
            if time.monotonic() >= next_threads:
                # What a thread used is kept from here: it may end before the process does.
                next_threads = time.monotonic() + _THREADS_EVERY_S
                self._threads |= _threads_cpu()
        self._threads |= _threads_cpu()

    def _used_ns(self, native_id: int) -> int:
        """Return the CPU time that a thread has used since it was last asked about."""
        try:
            used_ns = time.clock_gettime_ns((~native_id << 3) | _THREAD_CPU_CLOCK)
        except OSError:
            return 0  # it has just ended
        before_ns = self._cpu_ns.get(native_id, used_ns)
        self._cpu_ns[native_id] = used_ns
        return used_ns - before_ns

    def _by_thread(self, messages: int) -> Iterator[str]:
        for native_id, (name, cpu_s) in sorted(self._threads.items(), key=lambda entry: -entry[1][1]):
            used_s = cpu_s - self._threads_before.get(native_id, ("", 0.0))[1]
            if used_s >= _LEAST_CPU_S:
                yield f"#   {used_s / messages * 1e6:8.2f}  {name}"

    def _by_line(self) -> Counter[str]:
        inner: Counter[str] = Counter()
        for (name, stack), cpu_ns in self._stacks.items():
            inner[f"{name}  {_told_place(stack[-1])}"] += cpu_ns
        return inner

    def _by_function(self) -> Counter[str]:
        whole: Counter[str] = Counter()
        for (name, stack), cpu_ns in self._stacks.items():
            for code in {code for code, _ in stack}:
                whole[f"{name}  {_told_code(code)}"] += cpu_ns
        return whole


def _told(counted: Counter[str], messages: int) -> Iterator[str]:
    for what, cpu_ns in counted.most_common(TOLD_LINES):
        yield f"#   {cpu_ns / messages / 1000:8.2f}  {what}"


def _stack(frame: FrameType | None) -> tuple[Place, ...]:
    places: list[Place] = []
    while frame is not None:
        places.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(reversed(places))


def _told_place(place: Place) -> str:
    code, line = place
    return f"{_told_code(code)}:{line}"


def _told_code(code: CodeType) -> str:
    file = Path(code.co_filename)
    return f"{file.parent.name}/{file.name} {code.co_qualname}"


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
        used = status.rpartition(")")[2].split()
        cpu_s = (int(used[11]) + int(used[12])) / _TICKS_PER_S
        threads[native_id] = names.get(native_id, f"native {native_id}"), cpu_s
    return threads
