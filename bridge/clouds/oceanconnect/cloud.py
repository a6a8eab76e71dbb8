"""Huawei OceanConnect: which upgrade operations there are, and what became of each device in them.

The platform tells of operations, not of devices: the state of a device is its sub-operation in the newest operation of
each channel, found by reading that operation's pages of a hundred devices. One reading therefore answers everybody who
waits for any of its devices, and what has ended for good is not read again (`book.py`). That matters: a hundred
requests a minute are all there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from bridge.clouds.clock import VendorClock
from bridge.clouds.device_file import device_ids
from bridge.clouds.errors import CloudError, DeviceNotFound, Misunderstood
from bridge.clouds.oceanconnect.answers import (
    CHANNELS,
    Operation,
    Page,
    operations_of,
    sub_operations_of,
)
from bridge.clouds.oceanconnect.api import OPERATIONS_API, SUB_OPERATIONS_API, OceanConnectCalls
from bridge.clouds.oceanconnect.book import OperationBook, Place, newest_first
from bridge.clouds.oceanconnect.settings import OceanConnectApi, OceanConnectCredentials
from bridge.clouds.oceanconnect.telling import Telling
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Discovered, FirmwarePackage, Looked, Means
from schemas import PHASES

log = structlog.get_logger(__name__)

DISCOVERY_AFTER_S: Final = 1.0
"""The first discovery lets the first sweep go before it: what that has read need not be asked for again."""

DEVICES_AT_ONCE: Final = 1000
"""Told or discovered without a request: so many, then others may go on."""


class ReadPage(Struct, frozen=True, kw_only=True):
    """A page of an operation that was just read: the devices on it, and when."""

    operation: Operation
    devices: tuple[str, ...]
    asked_at_ms: int
    is_settled: bool
    """Whether nothing on it changes any more, as far as its words are known."""


class OceanConnectCloud:
    """See `Cloud`. It pushes nothing that is listened to: sweeps find the upgrades that run."""

    has_sweep = True

    def __init__(self, account: ApiAccount[OceanConnectCredentials, OceanConnectApi], means: Means) -> None:
        self.clock = VendorClock(means.now_ms)
        self._account = account
        self._sleep = means.sleep
        self.calls = OceanConnectCalls(account, means, self.clock)
        self._book = OperationBook()
        self._telling = Telling(account, self.clock)
        self._passing = asyncio.Lock()

    async def lookup(self, device_id: str) -> Looked:
        """Ask which operations the device is in, and read the newest of each channel where it may have changed."""
        operations: dict[str, Operation] = {}
        asked_at_ms: int | None = None
        try:
            async for page in self.calls.operations(device_id=device_id):
                asked_at_ms = page.asked_at_ms if asked_at_ms is None else asked_at_ms
                operations |= _by_id(page)
        except DeviceNotFound:
            self._book.forget(device_id)
            raise
        assert asked_at_ms is not None  # noqa: S101 - a list has a first page
        pages: list[ReadPage] = []
        places = {
            channel: await self._newest(device_id, channel, operations, asked_at_ms, pages)
            for channel in CHANNELS
        }
        told_at_ms = min((place.asked_at_ms for place in places.values() if place), default=asked_at_ms)
        return self._telling.looked(
            device_id,
            places,
            origin="lookup",
            asked_at_ms=told_at_ms,
            others=self._others(device_id, pages, since_ms=asked_at_ms),
        )

    async def discover(self) -> AsyncGenerator[Sequence[Discovered], None]:
        """List the devices that are in any operation, or those of the file that stands in for the list."""
        api = self._account.api
        if api.discovery == "file":
            async for ids in device_ids(api.discovery_file or ""):
                yield [Discovered(device_id=device_id) for device_id in ids]
        elif api.discovery == "api":
            if not self._book.is_complete:
                await self._sleep(DISCOVERY_AFTER_S)
                async with aclosing(self._pass(every=True)) as pages:
                    async for _ in pages:
                        yield ()
            known = self._book.device_ids()
            while ids := list(islice(known, DEVICES_AT_ONCE)):
                yield [Discovered(device_id=device_id) for device_id in ids]

    async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
        """Read every operation in which something may have changed since the sweep before, the newest first.

        Until all was read once, a page tells of one channel only; the first sweep ends with what it adds up to.
        """
        was_complete = self._book.is_complete
        began_at_ms = self.clock.now_ms()
        async with aclosing(self._pass()) as pages:
            async for read in pages:
                yield () if read is None else self._swept(read)
        if not was_complete:
            known = self._book.device_ids()
            while ids := list(islice(known, DEVICES_AT_ONCE)):
                yield [told for device_id in ids if (told := self._added_up(device_id, since_ms=began_at_ms))]

    async def package(self, package_id: str) -> FirmwarePackage | None:
        """Ask for a version package by its `fileId`."""
        return await self.calls.package(package_id)

    async def _newest(
        self,
        device_id: str,
        channel: str,
        operations: Mapping[str, Operation],
        asked_at_ms: int,
        pages: list[ReadPage],
    ) -> Place | None:
        """Return where the device is in the newest operation of a channel that has it."""
        for operation in newest_first(operations, channel):
            known = self._book.place(channel, device_id)
            if known is not None and known.holds_for(operation):
                return replace(known, asked_at_ms=asked_at_ms)
            if (found := await self._find(device_id, operation, pages)) is not None:
                return found
        # A sweep may have found meanwhile what did not exist yet when the operations were listed.
        known = self._book.place(channel, device_id)
        return known if known is not None and known.asked_at_ms > asked_at_ms else None

    async def _find(self, device_id: str, operation: Operation, pages: list[ReadPage]) -> Place | None:
        """Read an operation until the device is found, beginning where it was the last time."""
        known = self._book.place(operation.channel, device_id)
        begins_at = 0
        try:
            if known is not None and known.operation.operation_id == operation.operation_id:
                begins_at = known.page_number
            if begins_at:
                page = await self.calls.sub_operations_page(operation.operation_id, begins_at)
                pages.append(self._note(operation, page))
                if device_id in pages[-1].devices:
                    return self._book.place(operation.channel, device_id)
            async with aclosing(self.calls.sub_operations(operation.operation_id)) as listed:
                async for page in listed:
                    pages.append(self._note(operation, page))
                    if device_id in pages[-1].devices:
                        return self._book.place(operation.channel, device_id)
        except DeviceNotFound:
            # The operation was deleted meanwhile: that says nothing about the device.
            return None
        return None

    def _note(self, operation: Operation, page: Page) -> ReadPage:
        subs = sub_operations_of(page, api=SUB_OPERATIONS_API)
        self._book.note(operation, subs.values(), page_number=page.number, asked_at_ms=page.asked_at_ms)
        statuses = [sub.status_in(operation) for sub in subs.values()]
        return ReadPage(
            operation=operation,
            devices=tuple(subs),
            asked_at_ms=page.asked_at_ms,
            is_settled=operation.is_final
            and all(status is None or PHASES[status] == "terminal" for status in statuses),
        )

    async def _pass(self, *, every: bool = False) -> AsyncGenerator[ReadPage | None, None]:
        """Read all operations but those that sweeps have told of for good; `every`: nobody tells what is read here.

        None stands for a page of the operation list. One at a time: the second finds most of its work done. While
        one is left out because its answer is not understood, nothing is known of devices without a place.
        """
        async with self._passing:
            if every and self._book.is_complete:
                return
            seen_before = self._book.seen()
            operations: dict[str, Operation] = {}
            async with aclosing(self.calls.operations()) as listed:
                async for page in listed:
                    operations |= _by_id(page)
                    yield None
            unread: set[str] = set()
            for operation in newest_first(operations):
                # What is older may be history for the devices of the one that cannot be read: it is not told.
                if self._book.is_told(operation) or (operation.channel in unread and not every):
                    continue
                try:
                    async with aclosing(self._read(operation, tells=not every)) as pages:
                        async for read in pages:
                            yield read
                except Misunderstood as error:
                    if error.api != SUB_OPERATIONS_API:
                        raise
                    unread.add(operation.channel)
                    self._log_unread(operation, error)
            if unread:
                self._book.is_complete = False
            else:
                self._book.complete(operations, seen_before=seen_before)

    def _log_unread(self, operation: Operation, error: CloudError) -> None:
        log.warning(
            "operation_unreadable",
            account=self._account.name,
            operation_id=operation.operation_id,
            error=error.error,
            code=error.code,
            text=error.text,
            remedy="report this answer; the operation's devices, and those of older ones in its channel, are not swept",
        )

    async def _read(self, operation: Operation, *, tells: bool) -> AsyncGenerator[ReadPage, None]:
        is_settled = operation.is_final
        try:
            async with aclosing(self.calls.sub_operations(operation.operation_id)) as listed:
                async for page in listed:
                    read = self._note(operation, page)
                    yield read
                    is_settled = is_settled and read.is_settled
        except DeviceNotFound:
            return
        if tells:
            self._book.tell(operation, is_settled=is_settled)

    def _swept(self, read: ReadPage) -> list[Looked]:
        """What a sweep tells of the devices on a page; a device that is in a newer operation is told of with that."""
        told: list[Looked] = []
        for device_id in read.devices:
            place = self._book.place(read.operation.channel, device_id)
            if place is None or place.operation.operation_id != read.operation.operation_id:
                continue
            places = self._whole(device_id, since_ms=read.asked_at_ms)
            told.append(
                self._telling.looked(
                    device_id,
                    places or {read.operation.channel: place},
                    origin="sweep",
                    asked_at_ms=read.asked_at_ms,
                    is_whole=places is not None,
                )
            )
        return told

    def _added_up(self, device_id: str, *, since_ms: int) -> Looked | None:
        places = self._whole(device_id, since_ms=since_ms)
        if places is None:
            return None
        asked_at_ms = _asked_at_ms(places, since_ms)
        return self._telling.looked(device_id, places, origin="sweep", asked_at_ms=asked_at_ms)

    def _others(self, device_id: str, pages: Sequence[ReadPage], *, since_ms: int) -> tuple[Looked, ...]:
        """What the pages of one lookup tell of other devices, where that is all that their lookups would tell."""
        found: dict[str, Looked] = {}
        for page in pages:
            for other in page.devices:
                if other == device_id or other in found:
                    continue
                places = self._whole(other, since_ms=since_ms)
                if places is not None:
                    found[other] = self._telling.looked(
                        other,
                        places,
                        origin="lookup",
                        asked_at_ms=_asked_at_ms(places, page.asked_at_ms),
                    )
        return tuple(found.values())

    def _whole(self, device_id: str, *, since_ms: int) -> Mapping[str, Place | None] | None:
        """Return a device's places in all channels, if each was read since then or cannot change any more."""
        if not self._book.is_complete:
            return None
        places = {channel: self._book.place(channel, device_id) for channel in CHANNELS}
        known = all(
            place is None or place.is_settled or place.asked_at_ms >= since_ms for place in places.values()
        )
        return places if known else None


def _asked_at_ms(places: Mapping[str, Place | None], at_ms: int) -> int:
    """The time of the oldest reading that still can change; what cannot is as true at the time of the page."""
    return min(
        (place.asked_at_ms for place in places.values() if place and not place.is_settled), default=at_ms
    )


def _by_id(page: Page) -> dict[str, Operation]:
    return {operation.operation_id: operation for operation in operations_of(page, api=OPERATIONS_API)}
