"""How far a baseline is: which devices wait, which are being asked about, which have their answer. Pure.

A device is asked about once it finds a place among those under way; so many of them are at a time as the account's rate
serves in half a minute, so that whatever else is urgent finds a short queue.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from typing import Final

ASKED_FOR_S: Final = 600.0
"""After this a question without an answer is asked again; also how long its lookup is valid."""

AGAIN_AFTER_S: Final = 30.0
"""After an answer that says nothing about the device: the cloud was away, or throttled."""

AHEAD_S: Final = 30.0
FEWEST_UNDER_WAY: Final = 20
MOST_UNDER_WAY: Final = 5000

FOR_GOOD: Final = frozenset({"unsupported", "forbidden", "device_offline", "bad_request", "schema_error"})
"""Errors that concern the one device: asking again within the hour would tell the same."""

STOPPED: Final = frozenset({"auth_fatal", "config_fatal"})
"""Errors after which the account asks nothing any more until somebody mends its configuration."""


class Course:
    """The devices of one baseline. Times are Unix ms."""

    def __init__(self, rate_per_s: float) -> None:
        self.outcomes: Counter[str] = Counter()
        """Devices that have their answer, by outcome: `ok`, `not_found`, or the class of the error."""
        self._most_under_way = max(FEWEST_UNDER_WAY, min(MOST_UNDER_WAY, math.ceil(rate_per_s * AHEAD_S)))
        self._waiting: deque[str] = deque()
        self._later: list[tuple[int, str]] = []
        self._under_way: dict[str, int] = {}
        self._answers: dict[str, str] = {}
        """Of every device that was answered, also before it was added."""
        self._devices: set[str] = set()

    @property
    def devices(self) -> int:
        """All that were added."""
        return len(self._devices)

    @property
    def done(self) -> int:
        """Those that have their answer, of the devices that were added."""
        return self.outcomes.total()

    @property
    def is_over(self) -> bool:
        """Whether every device has its answer."""
        return self.done >= self.devices

    def add(self, device_id: str) -> None:
        """A device is to be asked about, unless it was answered already."""
        if self._join(device_id):
            self._waiting.append(device_id)

    def add_asked(self, device_id: str, now_ms: int) -> None:
        """A device that the bridge asks about by itself, because it has just found it."""
        if self._join(device_id):
            self._ask(device_id, now_ms)

    def take(self, now_ms: int) -> list[str]:
        """Return the devices to ask about now; they are under way from then on."""
        for device_id, until_ms in list(self._under_way.items()):
            # In the order of asking: the first that is young ends the search.
            if until_ms > now_ms:
                break
            del self._under_way[device_id]
            self._waiting.append(device_id)
        while self._later and self._later[0][0] <= now_ms:
            self._waiting.append(heapq.heappop(self._later)[1])
        taken: list[str] = []
        while self._waiting and len(self._under_way) < self._most_under_way:
            device_id = self._waiting.popleft()
            if device_id not in self._answers:
                self._ask(device_id, now_ms)
                taken.append(device_id)
        return taken

    def answered(self, device_id: str, outcome: str, error: str | None, now_ms: int) -> None:
        """An answer about a device was seen, whoever asked for it."""
        if device_id in self._answers:
            return
        if outcome in ("ok", "not_found") or error in FOR_GOOD:
            self._under_way.pop(device_id, None)
            self._answers[device_id] = outcome if outcome != "unavailable" else error or outcome
            if device_id in self._devices:
                self._count(device_id)
        elif self._under_way.pop(device_id, None) is not None:
            heapq.heappush(self._later, (now_ms + round(AGAIN_AFTER_S * 1000), device_id))

    def _join(self, device_id: str) -> bool:
        """Return whether it is new, and has to be asked about."""
        if device_id in self._devices:
            return False
        self._devices.add(device_id)
        if device_id in self._answers:
            self._count(device_id)
            return False
        return True

    def _count(self, device_id: str) -> None:
        self.outcomes[self._answers[device_id]] += 1

    def _ask(self, device_id: str, now_ms: int) -> None:
        self._under_way[device_id] = now_ms + round(ASKED_FOR_S * 1000)
