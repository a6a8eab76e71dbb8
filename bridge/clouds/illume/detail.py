"""Reading what the lighting API tells about one device: a status for the whole of it, and its running version. Pure.

No target version is in it; the lists have that (`lists.py`).
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from bridge.clouds.errors import SchemaMismatch
from bridge.clouds.illume.status import STATUSES
from bridge.clouds.tuya.status import REASONS, UNDIVIDED
from bridge.clouds.values import number, text
from schemas import Reason, Status

DETAIL_API: Final = "illume-detail"
DETAIL_PATH: Final = "/v1.0/cloud/illume/devices/device/ota/open/detail"

EVIDENCE_FIELDS: Final = frozenset(
    {
        "active_time",
        "category",
        "category_code",
        "current_version",
        "device_status",
        "device_type",
        "device_type_value",
        "firmware_version",
        "install_time",
        "mcu_version",
        "online",
        "product_id",
        "top_category",
        "upgrade_status",
        "version",
    }
)
"""Kept as evidence, `version` being the list's. Never names, owners, homes, places, MAC addresses and UUIDs."""


class Told(Struct, frozen=True, kw_only=True):
    """An `upgrade_status`, as it came and as we call it."""

    status: Status | None
    vendor_status: str | None
    undivided: bool
    reason: Reason | None


class Detail(Struct, frozen=True, kw_only=True):
    """One device."""

    told: Told
    current_version: str | None
    product_id: str | None
    room_id: str | None
    name: str | None
    raw: dict[str, Any]


def told_of(value: Any) -> Told:
    """Read an `upgrade_status`, which may come as a text."""
    status_number = number(value)
    status = None if status_number is None else STATUSES.get(status_number)
    return Told(
        status=status,
        vendor_status=str(status_number) if status_number is not None else (text(value) or "")[:64] or None,
        undivided=status_number in UNDIVIDED,
        reason=None if status_number is None else REASONS.get(status_number),
    )


def detail_of(result: Any, device_id: str) -> Detail:
    """Read a detail answer. Raises SchemaMismatch where it is not one about this device."""
    if not isinstance(result, dict):
        raise SchemaMismatch(f"result is a {type(result).__name__}, not an object", api=DETAIL_API)

    device = _object(result.get("device"))
    named = text(result.get("device_id")) or text(device.get("device_id"))
    if named is not None and named != device_id:
        raise SchemaMismatch("the answer is about another device", api=DETAIL_API)

    room_id = device.get("room_id")
    return Detail(
        told=told_of(result.get("upgrade_status")),
        current_version=text(result.get("current_version")),
        product_id=text(device.get("product_id")),
        room_id=str(room_id) if isinstance(room_id, int) and not isinstance(room_id, bool) else text(room_id),
        name=text(device.get("device_name")),
        raw={**device, **_object(result.get("device_ext")), **result},
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
