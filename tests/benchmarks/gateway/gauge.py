"""How far a contender is, written by its own process into a file of JSON lines and read by the benchmark.

A line is one reading: the machine's monotonic clock (the same in every process), what was received and acknowledged
by then, and the CPU time the process has used. The last line also has the process's peak memory.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder


class Reading(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a process was at a moment."""

    at_s: float
    received: int
    acknowledged: int
    cpu_s: float
    """User and system time of all its threads since it began."""
    peak_mb: float | None = None
    """Only in the last reading, when everything is closed."""


class Gauge:
    """Writes a process's readings. The first is taken at the first received message."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("wb", buffering=0)
        self._received = self._acknowledged = 0

    def __enter__(self) -> Self:
        """Nothing to do: the file is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the last reading."""
        self._write(peak_mb=_peak_mb())
        self._file.close()

    def read(self, received: int, acknowledged: int) -> None:
        """Take a reading, if it is the first or tells of more acknowledged messages than the last."""
        if acknowledged != self._acknowledged or (received and not self._received):
            self._received, self._acknowledged = received, acknowledged
            self._write()

    def _write(self, peak_mb: float | None = None) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        reading = Reading(
            at_s=time.monotonic(),
            received=self._received,
            acknowledged=self._acknowledged,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_mb=peak_mb,
        )
        self._file.write(_encode(reading) + b"\n")


def _peak_mb() -> float:
    """Return the most memory this process ever had resident.

    Not from getrusage: a child inherits its peak from the process that started it.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


class Drained(Struct, frozen=True, kw_only=True):
    """What it took one contender, of one or several processes, to drain a backlog."""

    messages: int
    seconds: float
    cpu_s: float
    peak_mb: float
    """Of the process that had most."""

    @property
    def msgs_per_s(self) -> float:
        """Messages a second, all processes together."""
        return self.messages / self.seconds

    @property
    def cpu_us_per_msg(self) -> float:
        """Microseconds of CPU a message, all processes together."""
        return self.cpu_s / self.messages * 1e6


class Unfinished(Exception):
    """A contender has not acknowledged everything, or has not ended."""


def last_acknowledged(content: bytes) -> int:
    """Return how many messages a process had acknowledged in its last complete reading."""
    end = content.rfind(b"\n")
    if end < 0:
        return 0
    return _decode(Reading).decode(content[content.rfind(b"\n", 0, end) + 1 : end]).acknowledged


def evaluate(files: Sequence[bytes], messages: int) -> Drained:
    """Return the figures: from the first message any process received until all together had acknowledged.

    Raises Unfinished.
    """
    processes = [_decode(Reading).decode_lines(content) for content in files]
    if not all(readings and readings[-1].peak_mb is not None for readings in processes):
        raise Unfinished("a contender did not tell its end")
    # One that received nothing has no share in the drain.
    drains = [
        (next(reading for reading in readings if reading.received), _end(readings))
        for readings in processes
        if readings[-1].received
    ]
    acknowledged = sum(end.acknowledged for _, end in drains)
    if acknowledged < messages:
        raise Unfinished(f"{acknowledged} of {messages} messages were acknowledged")
    return Drained(
        messages=messages,
        seconds=max(end.at_s for _, end in drains) - min(begin.at_s for begin, _ in drains),
        cpu_s=sum(end.cpu_s - begin.cpu_s for begin, end in drains),
        peak_mb=max(readings[-1].peak_mb or 0.0 for readings in processes),
    )


def _end(readings: Sequence[Reading]) -> Reading:
    """Return the first reading with everything that was acknowledged: what follows is the process's own end."""
    return next(reading for reading in readings if reading.acknowledged == readings[-1].acknowledged)
