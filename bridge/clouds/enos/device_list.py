"""Finding one device in a list that cannot be asked for one: by its remembered page, else by going round the list.

searchDeviceUpgrade knows neither asset ids nor device keys. Who looks for a device has the page read on which it was
last seen. Where it is not there any more, all who look for one go round the list together: each page is read once for
all of them, from wherever the list is at, until each has found its device or has seen every page.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from msgspec import Struct

from bridge.clouds.enos.answers import DeviceRow, row_of
from bridge.clouds.enos.paging import Turned, walk

PLACES_MOST: Final = 100_000
"""Devices whose page is remembered, some 100 bytes each; the others are found by going round."""


class _Wanted(Struct, kw_only=True, eq=False):
    since: int
    """The page that was being read when the search began: what comes of it may have been asked before."""
    row: DeviceRow | None = None
    seen: set[int]
    """Pages read since then, by whomever."""


class DeviceList:
    """The devices of one account. `turn_to` asks for a page of them."""

    def __init__(self, turn_to: Callable[[int], Awaitable[Turned]], *, api: str) -> None:
        self._turn_to = turn_to
        self._api = api
        self._one_at_a_time = asyncio.Lock()
        self._wanted: dict[str, list[_Wanted]] = {}
        self._places: dict[str, int] = {}
        self._begun = 0
        self._next = 1
        self._pages = 1
        """Pages of the list, as far as it is known."""

    async def find(self, asset_id: str) -> DeviceRow | None:
        """Return a device's row, asked for from now on; None where no page has it."""
        wanted = _Wanted(since=self._begun, seen=set())
        self._wanted.setdefault(asset_id, []).append(wanted)
        try:
            return await self._search(asset_id, wanted)
        finally:
            others = self._wanted[asset_id]
            others.remove(wanted)
            if not others:
                del self._wanted[asset_id]

    async def pages(self) -> AsyncGenerator[tuple[Turned, list[DeviceRow]], None]:
        """Read the whole list; whoever looks for a device meanwhile finds it by that as well."""
        turned: dict[int, list[DeviceRow]] = {}

        async def turn_to(number: int) -> Turned:
            page, turned[number] = await self._read(number)
            return page

        async for page in walk(turn_to, api=self._api):
            yield page, turned.pop(page.number)

    async def page(self, number: int) -> list[DeviceRow]:
        """Read one page."""
        return (await self._read(number))[1]

    async def _search(self, asset_id: str, wanted: _Wanted) -> DeviceRow | None:
        place = self._places.get(asset_id)
        while True:
            async with self._one_at_a_time:
                number = self._unseen(wanted, place)
                # Somebody else's page may have had it while we waited.
                if wanted.row is not None or number is None:
                    return wanted.row
                place = None
                await self._read(number)

    def _unseen(self, wanted: _Wanted, place: int | None) -> int | None:
        """Return the page to read next for a search: the remembered one, else the list's next that it has not seen."""
        if place is not None and place not in wanted.seen:
            return place
        round_trip = (*range(self._next, self._pages + 1), *range(1, self._next))
        return next((number for number in round_trip if number not in wanted.seen), None)

    async def _read(self, number: int) -> tuple[Turned, list[DeviceRow]]:
        self._begun += 1
        begun = self._begun
        turned = await self._turn_to(number)
        rows = [row for entry in turned.page.entries if (row := row_of(entry)) is not None]
        self._learn_pages(turned)
        for searches in self._wanted.values():
            for wanted in searches:
                if begun > wanted.since:
                    wanted.seen.add(number)
        for row in rows:
            self._remember(row.asset_id, number)
            for wanted in self._wanted.get(row.asset_id, ()):
                if begun > wanted.since:
                    wanted.row = row
        return turned, rows

    def _learn_pages(self, turned: Turned) -> None:
        if not turned.is_last:
            self._pages = max(self._pages, turned.number + 1)
        else:
            self._pages = max(1, turned.number if turned.page.entries else turned.number - 1)
        self._next = turned.number + 1 if turned.number < self._pages else 1

    def _remember(self, asset_id: str, number: int) -> None:
        self._places.pop(asset_id, None)
        self._places[asset_id] = number
        if len(self._places) > PLACES_MOST:
            del self._places[next(iter(self._places))]
