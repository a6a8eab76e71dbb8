"""The timers of one partition: when each device is to be looked at again, and the pace of lookups nobody waits for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from heapq import heappop, heappush
from math import ceil, inf
from typing import Final

_SPARE_ENTRIES: Final = 1024
"""The moments are cleaned when more than half of their entries, and this many, are superseded."""
_NEAR_MS: Final = 1 << 20
"""Reminders further ahead than this, a quarter of an hour, share moments as far apart: most devices wait for a day,
and are then looked at twice."""
AHEAD_S: Final = 2.0
"""Of the account's rate: so much is under way at most, which is more than an answer takes to come back."""
LAPSE: Final = 15
"""Times what the account needs for as much as may be under way: a lookup without an answer by then is under way no
more. Half a minute, longer at slow rates. Where no answer comes at all, lookups leave at a fifteenth of the rate: too
few to pile up before the account."""


class _Moment:
    """The devices to look at from one time on. Superseded entries stay in it: their device is armed elsewhere."""

    __slots__ = ("at_ms", "device_ids", "is_sorted")

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms
        self.device_ids: list[str] = []
        self.is_sorted = True

    def add(self, device_id: str) -> None:
        self.device_ids.append(device_id)
        self.is_sorted = len(self.device_ids) == 1

    def sort(self) -> None:
        """In the order of ids, the first one at the end."""
        if not self.is_sorted:
            self.device_ids.sort(reverse=True)
            self.is_sorted = True


class Timers:
    """One reminder per device. It may come too early: the device's own state says whether anything is due."""

    def __init__(self) -> None:
        self._armed: dict[str, _Moment] = {}
        self._moments: dict[int, _Moment] = {}
        self._times: list[int] = []
        """The moments' times, a heap."""
        self._entries = 0
        self._now_ms = 0
        """The latest time at which reminders were taken."""

    def __len__(self) -> int:
        return len(self._armed)

    def __contains__(self, device_id: str) -> bool:
        return device_id in self._armed

    def arm(self, at_ms: int, device_id: str) -> None:
        """Remember to look at the device at `at_ms` or somewhat before, or earlier where an earlier reminder stands."""
        if at_ms - self._now_ms > _NEAR_MS:
            at_ms -= at_ms % _NEAR_MS
        armed = self._armed.get(device_id)
        if armed is not None and armed.at_ms <= at_ms:
            return

        self._add(at_ms, device_id)
        if self._entries > 2 * len(self._armed) + _SPARE_ENTRIES:
            self._clean()

    def forget(self, device_id: str) -> None:
        """Drop the device's reminder."""
        self._armed.pop(device_id, None)

    def next_at(self) -> int | None:
        """When the next reminder is due."""
        moment = self._next()
        return None if moment is None else moment.at_ms

    def pop_due(self, now_ms: int, limit: int) -> list[str]:
        """Take up to `limit` reminders that are due at `now_ms`; who takes one arms the device again."""
        self._now_ms = now_ms
        due: list[str] = []
        while len(due) < limit:
            moment = self._next()
            if moment is None or moment.at_ms > now_ms:
                break
            due.append(self._take(moment))
            del self._armed[due[-1]]

        return due

    def _add(self, at_ms: int, device_id: str) -> None:
        moment = self._moments.get(at_ms)
        if moment is None:
            moment = self._moments[at_ms] = _Moment(at_ms)
            heappush(self._times, at_ms)
        moment.add(device_id)
        self._armed[device_id] = moment
        self._entries += 1

    def _take(self, moment: _Moment) -> str:
        self._entries -= 1
        return moment.device_ids.pop()

    def _next(self) -> _Moment | None:
        """Return the first moment, whose last device is the next one to look at."""
        while self._times:
            moment = self._moments[self._times[0]]
            moment.sort()
            while moment.device_ids:
                if self._armed.get(moment.device_ids[-1]) is moment:
                    return moment
                self._take(moment)
            del self._moments[heappop(self._times)]

        return None

    def _clean(self) -> None:
        armed, self._armed = self._armed, {}
        self._moments.clear()
        self._times.clear()
        self._entries = 0
        for device_id, moment in armed.items():
            self._add(moment.at_ms, device_id)


class BackgroundPace:
    """R14: lookups without anybody waiting leave at the account's rate divided by the number of partitions.

    That is an upper bound, because a lookup may take several requests. So no more are under way than `AHEAD_S` of the
    rate: others would only wait for the account, at last until they expire there. Lookups are hints, and may be lost,
    as when an account changes its owner: one that is not answered keeps its place for a while only.
    """

    def __init__(self, rates_per_s: Mapping[str, float]) -> None:
        self._interval_ms = {account: 1000 / rate for account, rate in rates_per_s.items()}
        self._most_under_way = {account: ceil(rate * AHEAD_S) for account, rate in rates_per_s.items()}
        self._lapse_ms = {
            account: round(LAPSE * most * self._interval_ms[account])
            for account, most in self._most_under_way.items()
        }
        self._free_at_ms: dict[str, float] = defaultdict(float)
        self._waiting: dict[str, _Queues] = defaultdict(_Queues)
        self._under_way: dict[str, dict[str, float]] = defaultdict(dict)
        """By account: the devices that were asked about, and until when that counts; the first to end first."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def wait(self, account: str, device_id: str, *, is_watched: bool = False) -> None:
        """Put the device at the end of its account's queue, unless it waits already; watched ones go first (R18)."""
        self._waiting[account].add(device_id, is_watched=is_watched)

    def asked(self, account: str, device_id: str, *, asked_at_ms: int, expires_at_ms: int) -> None:
        """Take note that a device that was taken is asked about."""
        self._under_way[account].pop(device_id, None)
        self._under_way[account][device_id] = min(
            expires_at_ms, asked_at_ms + self._lapse_ms.get(account, inf)
        )

    def answered(self, account: str, device_id: str) -> None:
        """Take note that a lookup of the device ended."""
        self._under_way[account].pop(device_id, None)

    def next_at(self, now_ms: int) -> int | None:
        """When the next device may be taken, unless an answer comes before."""
        free = [self._next_at(account, now_ms) for account, queues in self._waiting.items() if len(queues)]
        return round(min(free)) if free else None

    def take(self, now_ms: int, limit: int) -> list[str]:
        """Take the devices whose turn has come."""
        taken: list[str] = []
        for account, queues in self._waiting.items():
            interval_ms = self._interval_ms.get(account, 0.0)
            # A time without devices does not save up a burst.
            free_at_ms = max(self._free_at(account, now_ms), now_ms - interval_ms)
            room = min(limit - len(taken), self._room(account, now_ms))
            while len(queues) and free_at_ms <= now_ms and room > 0:
                taken.append(queues.take())
                free_at_ms += interval_ms
                room -= 1
            self._free_at_ms[account] = free_at_ms

        return taken

    def drain(self) -> list[str]:
        """Take every device, whatever its turn."""
        taken = [queues.take() for queues in self._waiting.values() for _ in range(len(queues))]
        self._waiting.clear()
        return taken

    def _free_at(self, account: str, now_ms: int) -> float:
        """Return when the account is free again: soon, also where the clock was ahead and has been set back."""
        return min(self._free_at_ms[account], now_ms + self._interval_ms.get(account, 0.0))

    def _room(self, account: str, now_ms: int) -> float:
        """Return how many more may be under way; what has lapsed or expired is not, nor what a wrong clock dated."""
        under_way, lapse_ms = self._under_way[account], self._lapse_ms.get(account, inf)
        while under_way and not now_ms < next(iter(under_way.values())) <= now_ms + lapse_ms:
            del under_way[next(iter(under_way))]
        return self._most_under_way.get(account, inf) - len(under_way)

    def _next_at(self, account: str, now_ms: int) -> float:
        free_at_ms = self._free_at(account, now_ms)
        return free_at_ms if self._room(account, now_ms) > 0 else max(free_at_ms, self._first_end(account))

    def _first_end(self, account: str) -> float:
        return next(iter(self._under_way[account].values()))


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
