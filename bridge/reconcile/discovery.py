"""Listing an account's devices, so that the fold hears of those that never pushed anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

import structlog

from bridge.clouds.errors import CloudError
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import Cloud, Discovered
from bridge.reconcile.announced import Announced
from bridge.reconcile.pages import pages_of
from bridge.reconcile.records import device_found, record_of
from bridge.reconcile.statistics import DiscoveryStatistics
from consumer.sink import Sink

log = structlog.get_logger(__name__)


class Discovery:
    """The listings of one account: each device not announced yet becomes a hint, in pages as they come.

    `give_way` returns when the next page may be asked for.
    """

    def __init__(
        self,
        account: AnyAccount,
        cloud: Cloud,
        sink: Sink,
        *,
        now_ms: Callable[[], int],
        give_way: Callable[[], Awaitable[None]],
    ) -> None:
        self._account = account
        self._cloud = cloud
        self._sink = sink
        self._now_ms = now_ms
        self._give_way = give_way
        self._announced = Announced()
        self._started_at_ms: int | None = None
        self._finished_at_ms: int | None = None
        self._listed = 0
        self._told: int | None = None
        self._announcements = 0
        self._failure: str | None = None

    async def read(self) -> None:
        """List all devices once. Raises CloudError where the listing fails, NotOwner where the account was lost.

        What was announced until then stays so; the next listing begins anew.
        """
        self._started_at_ms = self._now_ms()
        self._listed = 0
        self._announced.begin()
        try:
            asked_at_ms = self._vendor_now_ms()
            async with aclosing(
                pages_of(self._cloud.discover(), account=self._account.name, work="discovery")
            ) as pages:
                async for page in pages:
                    await self._announce(page, asked_at_ms)
                    await self._give_way()
                    asked_at_ms = self._vendor_now_ms()
        except CloudError as error:
            self._failure = str(error)
            raise
        self._announced.end()
        self._failure = None
        self._finished_at_ms = self._now_ms()
        # A list that is read every few seconds, and is as long as before, is no news.
        tell = log.debug if self._listed == self._told else log.info
        tell("devices_listed", account=self._account.name, devices=self._listed)
        self._told = self._listed

    def forget(self) -> None:
        """Another process speaks for the account: what comes and goes meanwhile is unknown here."""
        self._announced = Announced()

    def statistics(self) -> DiscoveryStatistics:
        """Return a look at the listings."""
        return DiscoveryStatistics(
            started_at_ms=self._started_at_ms,
            finished_at_ms=self._finished_at_ms,
            listed=self._listed,
            announced=self._announcements,
            failure=self._failure,
        )

    def _vendor_now_ms(self) -> int:
        return self._cloud.clock.at_ms(self._now_ms())

    async def _announce(self, page: Sequence[Discovered], asked_at_ms: int) -> None:
        self._listed += len(page)
        new = [device for device in page if self._announced.is_new(device.device_id)]
        if not new:
            return

        now_ms = self._now_ms()
        await self._sink.write(
            [
                record_of(
                    self._account,
                    device_found(self._account, device, asked_at_ms=asked_at_ms, observed_at_ms=now_ms),
                )
                for device in new
            ]
        )
        for device in new:
            self._announced.confirm(device.device_id)
        self._announcements += len(new)
