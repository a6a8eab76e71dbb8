"""Answers of the Tuya firmware APIs about a device, in all the shapes that deployments were seen to use.

Pure: device and channels in, JSON values out. Sources: `contracts/firmware-apis.md` section 2 and the vendor's pages.
"""

from __future__ import annotations

from collections.abc import Callable

from deploy.sandbox.cloud.fleet import Channel, Device, Shown
from deploy.sandbox.cloud.tuya.numbers import number_of
from deploy.sandbox.cloud.view import View

_CHANNEL_NAMES = {
    "0": "Main module",
    "1": "Bluetooth",
    "3": "Zigbee",
    "9": "MCU",
    "10": "Extension channel 1",
}


def firmware(device: Device, view: View) -> object:
    """`GET /v2.0/cloud/thing/{id}/firmware`: a list, one object, or an envelope inside the envelope."""
    items = [_firmware_item(device, channel, view(channel)) for channel in device.channels]
    if device.answer_shape == "object":
        return items[0]
    if device.answer_shape == "nested":
        return {"success": True, "error_code": "", "error_msg": "", "result": items}
    return items


def progress(channel: Channel, view: View) -> dict[str, int]:
    """`GET …/firmware/{channel}/progress`."""
    shown = view(channel)
    return {"upgrade_status": number_of(shown), "progress": shown.progress}


def upgrade_infos(device: Device, view: View) -> list[dict[str, object]]:
    """`GET /v1.0/iot-03/devices/{id}/upgrade-infos`, the older form: always a list, other names."""
    infos: list[dict[str, object]] = []
    for channel in device.channels:
        shown = view(channel)
        info: dict[str, object] = {
            "upgrade_status": number_of(shown),
            "current_version": shown.current_version,
            "module_type": int(channel.name),
            "module_desc": '${v1,{"code":"FIRMWARE_UPGRADE_TYPE_DESC_4"}}',
            "upgrade_type": 0,
            "control_type": 1,
            "last_upgrade_time": 0,
        }
        if shown.target_version:
            info["upgrade_version"] = shown.target_version
            info["upgrade_desc"] = "Firmware update"
        infos.append(info)
    return infos


def listed_device(device: Device) -> dict[str, object]:
    """One entry of `GET /v2.0/cloud/thing/device`, camel case, with the private fields a reader must not keep."""
    return {
        "id": device.device_id,
        "name": device.product_name,
        "customName": device.name,
        "category": "dj",
        "productId": device.product_id,
        "productName": device.product_name,
        "isOnline": device.online,
        "sub": False,
        "uuid": device.uuid,
        "localKey": device.uuid[::-1],
        "ip": "203.0.113.7",
        "lat": "51.4769",
        "lon": "0.0005",
        "timeZone": "+00:00",
        "activeTime": 1659422574,
        "createTime": 1659422574,
        "updateTime": 1659422574,
        "icon": "smart/icon/sandbox.png",
    }


def _firmware_item(device: Device, channel: Channel, shown: Shown) -> dict[str, object]:
    number: Callable[[int], object] = str if device.numbers_as_text else int
    item: dict[str, object] = {
        "upgrade_status": number(number_of(shown)),
        "current_version": shown.current_version,
        "type_desc": _CHANNEL_NAMES.get(channel.name, f"Channel {channel.name}"),
        "upgrade_type": 1,
        "control_type": 0,
        "dev_type": 0,
        "can_upgrade": 1 if device.numbers_as_text else True,
        "last_upgrade_time": 0,
    }
    # The vendor's table says `type`, its example, which is the object form, says `channel`.
    item["channel" if device.answer_shape == "object" else "type"] = number(int(channel.name))
    if shown.target_version:
        item |= {
            "version": shown.target_version,
            "desc": "Firmware update",
            "file_size": "524288",
            "md5": "0" * 32,
            "url": f"https://images.example.test/{channel.name}.bin?Expires=1&Signature=sandbox",
            "sign": "sandbox",
        }
    return item
