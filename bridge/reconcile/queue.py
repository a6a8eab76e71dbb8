"""The lookups that wait for one account: bounded, by the order of their causes, one place per device.

Lookups are hints: what finds no place or waits too long is dropped and counted, and the fold asks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from schemas import LookupRequest

CAUSES: Final = ("claim", "stalled", "online", "new_attempt", "hint", "operator", "gap", "periodic")
"""The most urgent first. A cause this release does not know is served like the last."""

URGENT: Final = CAUSES.index("operator")
"""Up to here somebody waits for this very answer; what follows is background."""

SERVICE_MS: Final = 2000
"""A lookup that has less left is not begun (of a short life: a quarter): it would expire while it is asked, and cost
requests for nothing. Where more is wanted than the rate allows the first in line is always the oldest, so that without
this each would be asked just too late."""

IDS_PER_DEVICE: Final = 4
"""A device that is asked for again and again keeps so many of the latest ids, each of which gets its answer."""


class Life(Struct, frozen=True, gc=False):
    """Of one lookup, Unix ms."""

    begin_by_ms: int
    expires_at_ms: int


class Waiting(Struct, kw_only=True):
    """One device's place in the queue: all lookups that its next answer serves."""

    device_id: str
    rank: int
    lookups: dict[str, Life]
    """By lookup id, in the order they came."""
    due_at_ms: int = 0
    """Only what was asked after it answers them: the latest time at which one of them was due."""

    @property
    def is_operators(self) -> bool:
        """Whether a person asked."""
        return CAUSES[self.rank] == "operator"

    @property
    def expires_at_ms(self) -> int:
        """When the last of its lookups expires."""
        return max(life.expires_at_ms for life in self.lookups.values())


class QueueStatistics(Struct, frozen=True, kw_only=True):
    """A look at a queue. `coalesced`, `expired` and `displaced` count lookups since the start."""

    waiting: int
    by_cause: Mapping[str, int]
    coalesced: int
    expired: int
    displaced: int


class LookupQueue:
    """A queue of at most `limit` devices. Within a cause: first come, first served."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ranks: tuple[dict[str, Waiting], ...] = tuple({} for _ in CAUSES)
        self._places: dict[str, Waiting] = {}
        self._coalesced = 0
        self._expired = 0
        self._displaced = 0

    def __len__(self) -> int:
        return len(self._places)

    def put(self, request: LookupRequest) -> None:
        """Queue a lookup. A device that waits already keeps the more urgent of the two causes, and both ids."""
        rank = CAUSES.index(request.cause) if request.cause in CAUSES else len(CAUSES) - 1
        waiting = self._places.get(request.device_id)
        if waiting is None:
            if not self._make_room(rank):
                self._displaced += 1
                return
            waiting = Waiting(device_id=request.device_id, rank=rank, lookups={})
            self._places[request.device_id] = self._ranks[rank][request.device_id] = waiting
        else:
            self._coalesced += 1
            if rank < waiting.rank:
                del self._ranks[waiting.rank][request.device_id]
                waiting.rank = rank
                self._ranks[rank][request.device_id] = waiting
        service_ms = min(SERVICE_MS, max(0, request.expires_at_ms - request.due_at_ms) // 4)
        waiting.lookups[request.lookup_id] = Life(request.expires_at_ms - service_ms, request.expires_at_ms)
        waiting.due_at_ms = max(waiting.due_at_ms, request.due_at_ms)
        while len(waiting.lookups) > IDS_PER_DEVICE:
            del waiting.lookups[next(iter(waiting.lookups))]
            self._displaced += 1

    def put_back(self, waiting: Waiting) -> None:
        """Queue again what was taken and not served; what came meanwhile for the same device joins it."""
        later = self._places.get(waiting.device_id)
        if later is not None:
            waiting.rank = min(waiting.rank, later.rank)
            waiting.lookups |= later.lookups
            waiting.due_at_ms = max(waiting.due_at_ms, later.due_at_ms)
            self._remove(later)
        elif not self._make_room(waiting.rank):
            self._displaced += len(waiting.lookups)
            return
        self._places[waiting.device_id] = self._ranks[waiting.rank][waiting.device_id] = waiting

    def take(self, now_ms: int) -> Waiting | None:
        """Remove and return the most urgent place with what has not expired of it; None where there is none."""
        waiting = self.first(now_ms)
        if waiting is not None:
            self._remove(waiting)
        return waiting

    def take_device(self, device_id: str, *, asked_at_ms: int) -> Waiting | None:
        """Remove and return a device's place, if what was asked at that time answers it."""
        waiting = self._places.get(device_id)
        if waiting is None or waiting.due_at_ms > asked_at_ms:
            return None
        self._remove(waiting)
        return waiting

    def first(self, now_ms: int) -> Waiting | None:
        """Return what `take` would; drops what has expired before it."""
        for places in self._ranks:
            while places:
                waiting = next(iter(places.values()))
                alive = {
                    lookup_id: life
                    for lookup_id, life in waiting.lookups.items()
                    if life.begin_by_ms > now_ms
                }
                self._expired += len(waiting.lookups) - len(alive)
                waiting.lookups = alive
                if alive:
                    return waiting
                self._remove(waiting)
        return None

    def has_urgent(self) -> bool:
        """Return whether somebody waits for an answer, rather than for the background's turn."""
        return any(self._ranks[: URGENT + 1])

    def clear(self) -> None:
        """Forget everything: another process owns the account."""
        for places in self._ranks:
            places.clear()
        self._places.clear()

    def statistics(self) -> QueueStatistics:
        """Return a look at the queue."""
        return QueueStatistics(
            waiting=len(self._places),
            by_cause={
                cause: len(places) for cause, places in zip(CAUSES, self._ranks, strict=True) if places
            },
            coalesced=self._coalesced,
            expired=self._expired,
            displaced=self._displaced,
        )

    def _make_room(self, rank: int) -> bool:
        """Give up the place of what is least urgent and expires first, unless the newcomer is less urgent still."""
        if len(self._places) < self._limit:
            return True

        for victim_rank in range(len(CAUSES) - 1, rank - 1, -1):
            if self._ranks[victim_rank]:
                victim = next(iter(self._ranks[victim_rank].values()))
                self._remove(victim)
                self._displaced += len(victim.lookups)
                return True
        return False

    def _remove(self, waiting: Waiting) -> None:
        del self._ranks[waiting.rank][waiting.device_id]
        del self._places[waiting.device_id]
