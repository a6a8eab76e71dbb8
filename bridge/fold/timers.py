"""The timers of one partition: when each device is to be looked at again, and the pace of lookups nobody waits for."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from heapq import heapify, heappop, heappush


class Timers:
    """A heap of (due, device). An entry is a reminder: the device's own state says whether anything is due."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def arm(self, at_ms: int, device_id: str) -> None:
        """Remember to look at the device at `at_ms`."""
        heappush(self._heap, (at_ms, device_id))

    def load(self, entries: list[tuple[int, str]]) -> None:
        """Add many entries at once, as a take-over does."""
        self._heap.extend(entries)
        heapify(self._heap)

    def next_at(self) -> int | None:
        """When the next reminder is due."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_ms: int, limit: int) -> list[str]:
        """Take up to `limit` reminders that are due at `now_ms`; a failed transaction arms them again."""
        due: list[str] = []
        while self._heap and self._heap[0][0] <= now_ms and len(due) < limit:
            due.append(heappop(self._heap)[1])

        return due


class BackgroundPace:
    """R14: lookups without anybody waiting leave at the account's rate divided by the number of partitions."""

    def __init__(self, rates_per_s: Mapping[str, float]) -> None:
        self._interval_ms = {account: 1000 / rate for account, rate in rates_per_s.items()}
        self._free_at_ms: dict[str, float] = defaultdict(float)
        self._waiting: dict[str, deque[str]] = defaultdict(deque)

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    def wait(self, account: str, device_id: str) -> None:
        """Put the device at the end of its account's queue."""
        self._waiting[account].append(device_id)

    def next_at(self) -> int | None:
        """When the next device may be taken."""
        free = [self._free_at_ms[account] for account, queue in self._waiting.items() if queue]
        return round(min(free)) if free else None

    def drain(self) -> list[str]:
        """Take every device, whatever its turn."""
        devices = [device_id for queue in self._waiting.values() for device_id in queue]
        self._waiting.clear()
        return devices

    def take(self, now_ms: int, limit: int) -> list[str]:
        """Take the devices whose turn has come."""
        taken: list[str] = []
        for account, queue in self._waiting.items():
            interval_ms = self._interval_ms.get(account, 0.0)
            # A pause of the account does not save up a burst.
            free_at_ms = max(self._free_at_ms[account], now_ms - interval_ms)
            while queue and free_at_ms <= now_ms and len(taken) < limit:
                taken.append(queue.popleft())
                free_at_ms += interval_ms
            self._free_at_ms[account] = free_at_ms

        return taken
