"""Answers of the lighting API about devices. Pure: fleet in, JSON values out.

Sources: `contracts/firmware-apis.md` section 3 and the vendor's page, whose samples name types and no values. Numbers
and booleans come as texts for some devices, as they do elsewhere at Tuya's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploy.sandbox.cloud.fleet import Device, Fleet
from deploy.sandbox.cloud.illume.account import IllumeAccount
from deploy.sandbox.cloud.jobs import Task
from deploy.sandbox.cloud.tuya.numbers import NUMBERS, number_of
from deploy.sandbox.cloud.view import View
from schemas.vocabulary import PHASES

_OFFERED = 1
_BEING_UPDATED = (2, 4, 5, 6, 7, 13)
"""A device whose update failed stays there until it is deleted from the list."""


def detail(account: IllumeAccount, device: Device, view: View) -> dict[str, object]:
    """`GET …/device/ota/open/detail`: no target version, and private fields that a reader must not keep."""
    shown = view(device.channels[0])
    return {
        "current_version": shown.current_version,
        "device": {
            "active_time": 1659422574000,
            "category": "dj",
            "category_code": "dj_zm",
            "current_brightness": 80,
            "device_id": device.device_id,
            "device_mac": "00005e005301",
            "device_name": device.name,
            "device_power": 7.5,
            "device_saas_id": f"s{device.number}",
            "device_status": "Online" if device.online else "Offline",
            "device_type": "0",
            "device_type_value": 0,
            "install_time": 1659422574000,
            "online": _typed(device, online=device.online),
            "owner_id": f"owner-{device.uuid}",
            "point_id": f"point-{device.number}",
            "product_id": device.product_id,
            "room_id": account.room_of(device),
            "top_category": "zm",
            "uuid": device.uuid,
        },
        "device_ext": {
            "device_mac": "00005e005301",
            "firmware_version": shown.current_version,
            "gateway_id": "",
            "gateway_name": "",
            "mcu_version": "",
        },
        "device_id": device.device_id,
        "device_saas_id": f"s{device.number}",
        "upgrade_status": _number(device)(number_of(shown)),
    }


def offered(device: Device, view: View, fleet: Fleet) -> dict[str, object] | None:  # noqa: ARG001 - as the others
    """The device's entry in `tobeupgraded`, if it has one."""
    shown = view(device.channels[0])
    if number_of(shown) != _OFFERED or not shown.target_version:
        return None
    return _entry(device, _OFFERED, shown.target_version)


def being_updated(device: Device, view: View, fleet: Fleet) -> dict[str, object] | None:  # noqa: ARG001 (every list has one form)
    """The device's entry in `upgrading`, if it has one."""
    shown = view(device.channels[0])
    number = number_of(shown)
    return _entry(device, number, shown.target_version) if number in _BEING_UPDATED else None


def recorded(device: Device, view: View, fleet: Fleet) -> dict[str, object] | None:
    """The device's entry in `upgrade/record`, if it has one: its last update that ended, whatever runs now."""
    ended: Sequence[Task] = [
        task
        for task in view.tasks(fleet, device)
        if PHASES[task.status] == "terminal" and task.status in NUMBERS
    ]
    return _entry(device, NUMBERS[ended[-1].status], ended[-1].target_version) if ended else None


def page(entries: Sequence[dict[str, object]], number: int, size: int, *, as_text: bool) -> dict[str, object]:
    """One page of a list."""
    total = len(entries)
    return {
        "list": list(entries[(number - 1) * size : number * size]),
        "total": str(total) if as_text else total,
    }


def _entry(device: Device, number: int, version: str) -> dict[str, object]:
    return {
        "custom_capability": "Wi-Fi",
        "device_id": device.device_id,
        "device_name": device.name,
        "device_saas_id": f"s{device.number}",
        "group_type": [1],
        "online": _typed(device, online=device.online),
        "room_name": "Hall",
        "top_category": "zm",
        "top_category_name": "Lighting",
        "upgrade_status": _number(device)(number),
        "version": version,
    }


def _number(device: Device) -> Callable[[int], object]:
    return str if device.numbers_as_text else int


def _typed(device: Device, *, online: bool) -> object:
    return str(online).lower() if device.numbers_as_text else online
