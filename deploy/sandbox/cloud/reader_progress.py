"""How far the account's subscriber has acknowledged: the line between what it could know and what it could not.

A push that the broker has is not yet known to anybody: a subscriber that is down asks REST first when it comes back.
So whatever erases a trace waits for the acknowledgement (`upgrade`). The broker's cursors are only asked while somebody
waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import httpx
from msgspec import Struct

_PERIOD_S = 1.0
_TIMEOUT_S = 5.0


class Position(Struct, frozen=True, order=True):
    """Where a message lies on its topic."""

    partition: int
    ledger: int
    entry: int


class ReaderProgress(Protocol):
    """Knows what the subscriber has acknowledged."""

    def when_read(self, position: Position, action: Callable[[], None]) -> None:
        """Run `action` once the message at `position` was acknowledged; never, if it expired before."""
        ...


class SubscriptionProgress:
    """A `ReaderProgress` from the cursors of one subscription, asked of the broker while `run` runs."""

    def __init__(
        self,
        *,
        admin_url: str,
        auth: tuple[str, str],
        topic: str,
        subscription: str,
        expires: Callable[[], bool],
    ) -> None:
        self._topic_url = f"{admin_url}/admin/v2/{topic.replace('://', '/')}"
        self._auth = auth
        self._subscription = subscription
        self._expires = expires
        self._waiting: dict[int, list[tuple[Position, Callable[[], None]]]] = {}
        self._wanted = asyncio.Event()

    def when_read(self, position: Position, action: Callable[[], None]) -> None:
        """Run `action` once the message at `position` was acknowledged; never, if it may expire before."""
        self._waiting.setdefault(position.partition, []).append((position, action))
        self._wanted.set()

    async def run(self) -> None:
        """Follow the subscription until cancelled."""
        async with httpx.AsyncClient(auth=self._auth, timeout=_TIMEOUT_S, trust_env=False) as client:
            while True:
                await self._wanted.wait()
                await asyncio.sleep(_PERIOD_S)
                for partition in list(self._waiting):
                    await self._follow(client, partition)
                if not self._waiting:
                    self._wanted.clear()

    async def _follow(self, client: httpx.AsyncClient, partition: int) -> None:
        if self._expires():
            # Expiry moves the cursor just as acknowledgement does: nobody can tell any more.
            self._waiting.pop(partition)
            return
        try:
            answer = await client.get(f"{self._topic_url}-partition-{partition}/internalStats")
        except httpx.TransportError:
            return
        if not answer.is_success:
            return
        cursor = answer.json()["cursors"].get(self._subscription)
        if cursor is None:
            return
        ledger, entry = cursor["markDeletePosition"].split(":")
        read = Position(partition, int(ledger), int(entry))
        waiting = self._waiting.pop(partition)
        still = [(position, action) for position, action in waiting if position > read]
        if still:
            self._waiting[partition] = still
        for position, action in waiting:
            if position <= read:
                action()
