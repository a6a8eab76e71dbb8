"""Reading the device list of Tuya's IoT Core, which other deployments name anew. Pure.

`GET /v2.0/cloud/thing/device`: pages that follow the last id of the one before; unconfirmed for private clouds.
"""

from __future__ import annotations

from typing import Any, Final

from bridge.clouds.errors import SchemaMismatch
from bridge.clouds.shape import Discovered
from bridge.clouds.values import text

DEVICES_API: Final = "thing-devices"
DEVICES_PATH: Final = "/v2.0/cloud/thing/device"
DEVICES_PAGE: Final = 20
"""The largest page the device list gives."""


def page_of(result: Any) -> tuple[list[Discovered], bool]:
    """Read a page of the device list: a list, or an object that holds one; other deployments name the fields anew.

    Raises SchemaMismatch where it holds entries and none has an id: taken for empty, it would end the list.
    """
    has_more: Any = None
    entries = result
    if isinstance(result, dict):
        has_more = result.get("has_more")
        entries = result.get("list", result.get("devices"))
    if not isinstance(entries, list):
        raise SchemaMismatch("the device list is not a list", api=DEVICES_API)

    page = [device for entry in entries if isinstance(entry, dict) and (device := _device(entry)) is not None]
    if entries and not page:
        raise SchemaMismatch("no entry of the device list has an id", api=DEVICES_API)
    return page, has_more if isinstance(has_more, bool) else len(entries) >= DEVICES_PAGE


def _device(entry: dict[str, Any]) -> Discovered | None:
    device_id = text(entry.get("id")) or text(entry.get("device_id"))
    if device_id is None:
        return None

    return Discovered(
        device_id=device_id,
        product_id=text(entry.get("productId")) or text(entry.get("product_id")),
    )
