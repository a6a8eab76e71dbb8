"""The bodies of gateway messages, as `contracts/message-gateway.md` sections 7 and 8 show them, both generations.

Bodies only: encryption, signature and faults come later on their way (`envelope`, `gateway`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

import msgspec
from msgspec import Struct

from deploy.sandbox.cloud.fleet import Device

LEGACY_REPORT = 4
LEGACY_DEVICE = 20
CORE_REPORT = 1000
CORE_DEVICE = 1001
CORE_UPGRADE = 1002

_encode = msgspec.json.Encoder().encode
_POINTS = (
    "switch_1",
    "bright_value",
    "temp_value",
    "colour_data",
    "countdown_1",
    "fault",
    "battery",
    "signal",
)


class Message(Struct, frozen=True, gc=False):
    """One business message in the clear."""

    protocol: int
    body: bytes


def upgrade_status(device: Device, channel: int, value: int, at_ms: int, description: str = "") -> Message:
    """`upgradeStatus`: numbers as text, as observed; as integers for some devices, as the contract also allows."""
    numbers: tuple[object, object] = (
        (value, channel) if device.numbers_as_text else (str(value), str(channel))
    )
    fields = {
        "devId": device.device_id,
        "upgradeStatus": numbers[0],
        "moduleType": numbers[1],
        "description": description,
    }
    return _legacy(device, "upgradeStatus", fields, at_ms)


def upgrade_progress(device: Device, channel: int, percent: int, at_ms: int) -> Message:
    """`upgradeProcess`: the channel is named `firmwareType` here, and is an integer."""
    fields = {"devId": device.device_id, "firmwareType": channel, "progress": percent}
    return _legacy(device, "upgradeProcess", fields, at_ms)


def core_upgrade_progress(device: Device, channel: int, percent: int, at_ms: int) -> Message:
    """`deviceOtaProgress`: its fields are guesses, so a reader may take it as a hint only."""
    fields = {"channel": channel, "progress": percent}
    return _core(device, CORE_UPGRADE, "deviceOtaProgress", fields, at_ms)


def connection(device: Device, *, online: bool, at_ms: int) -> Iterator[Message]:
    """`online` or `offline`, in the generations that the device's project has switched on."""
    if device.generation in ("legacy", "both"):
        body = {
            "bizCode": "online" if online else "offline",
            "bizData": {"time": at_ms // 1000},
            "devId": device.device_id,
            "productKey": device.product_id,
            "ts": 0,
        }
        yield Message(LEGACY_DEVICE, _encode(body))
    if device.generation in ("core", "both"):
        fields = {"uid": f"ay{device.uuid}", "time": at_ms}
        yield _core(device, CORE_DEVICE, "deviceOnline" if online else "deviceOffline", fields, at_ms)


def removed(device: Device, at_ms: int) -> Message:
    """`delete`, which only the legacy generation has."""
    fields = {"devId": device.device_id, "uid": f"ay{device.uuid}", "ownerId": "24510032"}
    return _legacy(device, "delete", fields, at_ms)


def report(device: Device, rng: Random, at_ms: int) -> Message:
    """A data-point report, protocol 4 or 1000: what nearly all of a real project's messages are."""
    data_id = f"{rng.getrandbits(128):032x}"
    points = [(number, code, rng.randrange(1000)) for number, code in enumerate(_POINTS, 1)]
    if device.generation == "core":
        properties = [{"code": code, "dpId": n, "time": at_ms, "value": value} for n, code, value in points]
        fields = {"dataId": data_id, "properties": properties}
        return _core(device, CORE_REPORT, "devicePropertyMessage", fields, at_ms)
    body = {
        "dataId": data_id,
        "devId": device.device_id,
        "productKey": device.product_id,
        "status": [
            {"code": code, "value": value, "t": at_ms, str(n): str(value)} for n, code, value in points
        ],
    }
    return Message(LEGACY_REPORT, _encode(body))


def without_device(message: Message) -> Message:
    """The same message with nothing in it that names a device."""
    body = msgspec.json.decode(message.body)
    body.pop("devId", None)
    body["bizData"].pop("devId", None)
    return Message(message.protocol, _encode(body))


def naming_another(message: Message, other: Device) -> Message:
    """The same message with two device ids that differ."""
    body = msgspec.json.decode(message.body)
    named = body.get("devId") or body["bizData"]["devId"]
    body["devId"], body["bizData"]["devId"] = named, other.device_id
    return Message(message.protocol, _encode(body))


def _legacy(device: Device, biz_code: str, fields: Mapping[str, object], at_ms: int) -> Message:
    body = {
        "bizCode": biz_code,
        "bizData": fields,
        "devId": device.device_id,
        "productKey": device.product_id,
        "ts": at_ms,
        "uuid": device.uuid,
    }
    return Message(LEGACY_DEVICE, _encode(body))


def _core(device: Device, protocol: int, biz_code: str, fields: Mapping[str, object], at_ms: int) -> Message:
    biz_data = {"devId": device.device_id, "productId": device.product_id, **fields}
    return Message(protocol, _encode({"bizCode": biz_code, "bizData": biz_data, "ts": at_ms}))
