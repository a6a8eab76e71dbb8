"""The timers of one partition: when each device is to be looked at again, and the pace of lookups nobody waits for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from typing import Final

_SPARE_ENTRIES: Final = 1024
"""The heap is cleaned when more than half of it, and this many, are superseded."""


class Timers:
    """One reminder per device. It may come too early: the device's own state says whether anything is due."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._armed: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._armed)

    def arm(self, at_ms: int, device_id: str) -> None:
        """Remember to look at the device at `at_ms`, or earlier where an earlier reminder stands."""
        armed_ms = self._armed.get(device_id)
        if armed_ms is not None and armed_ms <= at_ms:
            return

        self._armed[device_id] = at_ms
        heappush(self._heap, (at_ms, device_id))
        if len(self._heap) > 2 * len(self._armed) + _SPARE_ENTRIES:
            self._heap = [(due_ms, each) for each, due_ms in self._armed.items()]
            heapify(self._heap)

    def load(self, reminders: Iterable[tuple[int, str]]) -> None:
        """Arm many devices at once, as a take-over does; for a device named twice the last counts."""
        for at_ms, device_id in reminders:
            self._armed[device_id] = at_ms
        self._heap = [(due_ms, each) for each, due_ms in self._armed.items()]
        heapify(self._heap)

    def forget(self, device_id: str) -> None:
        """Drop the device's reminder."""
        self._armed.pop(device_id, None)

    def next_at(self) -> int | None:
        """When the next reminder is due."""
        heap = self._heap
        while heap and self._armed.get(heap[0][1]) != heap[0][0]:
            heappop(heap)

        return heap[0][0] if heap else None

    def pop_due(self, now_ms: int, limit: int) -> list[str]:
        """Take up to `limit` reminders that are due at `now_ms`; who takes one arms the device again."""
        due: list[str] = []
        while len(due) < limit:
            next_ms = self.next_at()
            if next_ms is None or next_ms > now_ms:
                break
            device_id = heappop(self._heap)[1]
            del self._armed[device_id]
            due.append(device_id)

        return due


class BackgroundPace:
    """R14: lookups without anybody waiting leave at the account's rate divided by the number of partitions."""

    def __init__(self, rates_per_s: Mapping[str, float]) -> None:
        self._interval_ms = {account: 1000 / rate for account, rate in rates_per_s.items()}
        self._free_at_ms: dict[str, float] = defaultdict(float)
        self._waiting: dict[str, _Queues] = defaultdict(_Queues)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def wait(self, account: str, device_id: str, *, is_watched: bool = False) -> None:
        """Put the device at the end of its account's queue, unless it waits already; watched ones go first (R18)."""
        self._waiting[account].add(device_id, is_watched=is_watched)

    def next_at(self) -> int | None:
        """When the next device may be taken."""
        free = [self._free_at_ms[account] for account, queues in self._waiting.items() if len(queues)]
        return round(min(free)) if free else None

    def take(self, now_ms: int, limit: int) -> list[str]:
        """Take the devices whose turn has come."""
        taken: list[str] = []
        for account, queues in self._waiting.items():
            interval_ms = self._interval_ms.get(account, 0.0)
            # A time without devices does not save up a burst.
            free_at_ms = max(self._free_at_ms[account], now_ms - interval_ms)
            while len(queues) and free_at_ms <= now_ms and len(taken) < limit:
                taken.append(queues.take())
                free_at_ms += interval_ms
            self._free_at_ms[account] = free_at_ms

        return taken

    def drain(self) -> list[str]:
        """Take every device, whatever its turn."""
        taken = [queues.take() for queues in self._waiting.values() for _ in range(len(queues))]
        self._waiting.clear()
        return taken


class _Queues:
    """The devices of one account, in two ordered sets: a device waits once."""

    def __init__(self) -> None:
        self._watched: dict[str, None] = {}
        self._others: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._watched) + len(self._others)

    def add(self, device_id: str, *, is_watched: bool) -> None:
        if is_watched:
            self._others.pop(device_id, None)
            self._watched.setdefault(device_id)
        elif device_id not in self._watched:
            self._others.setdefault(device_id)

    def take(self) -> str:
        first = self._watched or self._others
        device_id = next(iter(first))
        del first[device_id]
        return device_id
