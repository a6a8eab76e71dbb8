"""Samples how much memory a process holds while a test goes on."""

from __future__ import annotations

import statistics
import threading
import time
from types import TracebackType
from typing import Final, Self

import psutil

_PERIOD_S: Final = 0.25


class ResidentMemory:
    """The resident set of a process in MB, sampled from a thread of its own until the block ends, or the process."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="resident-memory", daemon=True)
        self._times_s: list[float] = []
        self._sizes_mb: list[float] = []

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._done.set()
        self._thread.join()

    def now_mb(self) -> float:
        """Return what it holds."""
        return float(self._process.memory_info().rss) / 1e6

    def peak_mb(self) -> float:
        """Return the most it held."""
        return max(self._sizes_mb)

    def mean_mb(self, from_share: float, to_share: float) -> float:
        """Return the mean over a part of the time."""
        count = len(self._sizes_mb)
        return statistics.fmean(self._sizes_mb[int(count * from_share) : int(count * to_share)])

    def slope_mb_per_minute(self, from_share: float) -> float:
        """Return how fast it grew after that share of the time, by least squares."""
        begin = int(len(self._sizes_mb) * from_share)
        return 60 * statistics.linear_regression(self._times_s[begin:], self._sizes_mb[begin:]).slope

    def _sample(self) -> None:
        while not self._done.is_set():
            try:
                size_mb = self.now_mb()
            except psutil.NoSuchProcess:
                return
            self._times_s.append(time.monotonic())
            self._sizes_mb.append(size_mb)
            self._done.wait(_PERIOD_S)
