"""Reading a project's three lists: what may be updated, what is being updated, what was. Pure.

A list says that a device is in it, not what it does: a failed one stays in `upgrading` until somebody deletes it there,
and `upgrade/record` tells how the last recorded update ended, whatever runs now. Only the version is told nowhere else.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from bridge.clouds.errors import SchemaMismatch
from bridge.clouds.illume.detail import Told, told_of
from bridge.clouds.values import number, text
from schemas import Status

PAGE_SIZE: Final = 100
"""The largest page."""


class DeviceList(Struct, frozen=True, kw_only=True):
    """One of the lists. `without_status` is what an item is that has no `upgrade_status`."""

    api: str
    path: str
    without_status: Status | None = None


OFFERED: Final = DeviceList(
    api="illume-tobeupgraded",
    path="/v1.0/cloud/illume/devices/ota/open/tobeupgraded",
    without_status="available",
)
UPGRADING: Final = DeviceList(api="illume-upgrading", path="/v1.0/cloud/illume/devices/ota/open/upgrading")
RECORDED: Final = DeviceList(
    api="illume-upgrade-record", path="/v1.0/cloud/illume/devices/ota/open/upgrade/record"
)
LISTS: Final = (OFFERED, UPGRADING, RECORDED)


class ListItem(Struct, frozen=True, kw_only=True):
    """One device in a list; `version` is the one on offer, or that the update leads to."""

    device_id: str
    told: Told
    version: str | None


class ListPage(Struct, frozen=True, kw_only=True):
    """A page: its items, each device once, how many entries it had, and how many the list has in all."""

    items: tuple[ListItem, ...]
    entries: int
    total: int | None


def page_of(result: Any, device_list: DeviceList) -> ListPage:
    """Read a page. Raises SchemaMismatch where there is no list in it."""
    entries = result.get("list") if isinstance(result, dict) else None
    if entries is None and isinstance(result, dict) and number(result.get("total")) == 0:
        entries = []
    if not isinstance(entries, list):
        raise SchemaMismatch("there is no list in the answer", api=device_list.api)

    items: dict[str, ListItem] = {}
    for entry in entries:
        item = _item(entry, device_list) if isinstance(entry, dict) else None
        if item is not None:
            items.setdefault(item.device_id, item)
    return ListPage(items=tuple(items.values()), entries=len(entries), total=number(result.get("total")))


def pages_at_most(page: ListPage) -> int | None:
    """How many pages to ask for, by the total that the first one tells: one more than it makes, since lists move."""
    return None if page.total is None else -(-page.total // PAGE_SIZE) + 1


def is_last(page: ListPage, number_of_page: int) -> bool:
    """Whether no page follows: by the total that is told, else by a page that is not full."""
    if page.entries == 0:
        return True
    if page.total is None:
        return page.entries < PAGE_SIZE
    return number_of_page * PAGE_SIZE >= page.total


def _item(entry: dict[str, Any], device_list: DeviceList) -> ListItem | None:
    device_id = text(entry.get("device_id"))
    if device_id is None:
        return None

    told = told_of(entry.get("upgrade_status"))
    if told.vendor_status is None:
        told = msgspec.structs.replace(told, status=device_list.without_status)
    return ListItem(device_id=device_id, told=told, version=text(entry.get("version")))
