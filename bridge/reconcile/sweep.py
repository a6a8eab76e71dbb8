"""Reading what a cloud tells about many devices at once: what is new of it is written, all of it answers who waits."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

from bridge.clouds.errors import CloudError
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import Cloud
from bridge.reconcile.announced import Announced
from bridge.reconcile.asking import Asking
from bridge.reconcile.pages import pages_of
from bridge.reconcile.statistics import SweepStatistics

SWEEP_SHARE: Final = 1 / 2
"""Of the account's requests in the long run: lookups need the others. A sweep that takes more comes less often."""


class Sweep:
    """The sweeps of one account. `give_way` returns when the next page may be asked for."""

    def __init__(
        self,
        account: AnyAccount,
        cloud: Cloud,
        asking: Asking,
        *,
        now_ms: Callable[[], int],
        give_way: Callable[[], Awaitable[None]],
    ) -> None:
        self._account = account
        self._cloud = cloud
        self._asking = asking
        self._now_ms = now_ms
        self._give_way = give_way
        self._told = Announced()
        self._started_at_ms: int | None = None
        self._finished_at_ms: int | None = None
        self._pages = 0
        self._pages_before = 0
        self._devices = 0
        self._answered = 0
        self._finished = 0
        self._failure: str | None = None

    @property
    def period_s(self) -> float:
        """The time between two beginnings: as configured, or what the rate allows for so many pages."""
        pages = max(self._pages, self._pages_before)
        return max(
            self._account.api.sweep_period_s, math.ceil(pages / (self._account.api.rate_per_s * SWEEP_SHARE))
        )

    async def read(self) -> None:
        """Sweep once. Raises CloudError where it fails, NotOwner where the account was lost; what was told is told."""
        self._started_at_ms = self._now_ms()
        self._pages_before, self._pages, self._devices = self._pages, 0, 0
        self._told.begin()
        try:
            async with aclosing(
                pages_of(self._cloud.sweep(), account=self._account.name, work="sweep")
            ) as pages:
                async for page in pages:
                    self._pages += 1
                    self._devices += len(page)
                    self._answered += await self._asking.tell(page, self._told)
                    await self._give_way()
        except CloudError as error:
            self._failure = str(error)
            self._told.break_off()
            raise
        self._told.end()
        self._failure = None
        self._finished += 1
        self._finished_at_ms = self._now_ms()

    def forget(self) -> None:
        """Another process speaks for the account: what it tells meanwhile is unknown here."""
        self._told = Announced()

    def statistics(self) -> SweepStatistics:
        """Return a look at the sweeps."""
        return SweepStatistics(
            started_at_ms=self._started_at_ms,
            finished_at_ms=self._finished_at_ms,
            finished=self._finished,
            pages=self._pages,
            pages_before=self._pages_before,
            devices=self._devices,
            answered=self._answered,
            period_s=self.period_s,
            failure=self._failure,
        )
