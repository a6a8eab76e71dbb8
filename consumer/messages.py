"""The gateway's business messages that matter, one struct per bizCode; a struct's fields are its allow-list.

What a struct does not name is never kept: user and owner ids, pairing tokens and the like fall away while decoding.
Wrong types cost a field, not the message. Source: the message gateway contract, sections 7 and 8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final, Union

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from consumer.errors import Rejected
from consumer.notices import NOTICE_BIZ_CODE, Notice, read_notice
from schemas.unreadable import UNREADABLE

Scalar = str | int | float | bool | None
Field = Scalar | UnsetType
"""A member of a vendor's JSON: absent, or any scalar; the normaliser judges which scalars it can read."""

ID_LIMIT: Final = 256
"""Ids are Kafka keys; the longest seen has 22 characters."""

Id = Annotated[str, Meta(min_length=1, max_length=ID_LIMIT)] | UnsetType
"""An id of a device or product; anything else in its place counts as absent."""


class Data(Struct, frozen=True, omit_defaults=True, gc=False):
    """`bizData`: what every message may carry in it."""

    devId: Id = UNSET
    productId: Id = UNSET
    productKey: Id = UNSET
    uuid: Field = UNSET
    time: Field = UNSET


class Message(Struct, frozen=True, omit_defaults=True, gc=False, tag_field="bizCode"):
    """The body: what every message may carry beside `bizData`."""

    BIZ_CODE: ClassVar[str]

    devId: Id = UNSET
    productKey: Id = UNSET
    productId: Id = UNSET
    ts: Field = UNSET
    uuid: Field = UNSET
    bizData: Data | UnsetType = UNSET


class UpgradeStatusData(Data, frozen=True, omit_defaults=True, gc=False):
    """`description` is free text without documented meaning: shown to people, never read by rules."""

    upgradeStatus: Field = UNSET
    moduleType: Field = UNSET
    description: Field = UNSET


class UpgradeStatus(Message, frozen=True, omit_defaults=True, gc=False, tag="upgradeStatus"):
    """The upgrade of one channel reached a status; no version, task or progress is told."""

    bizData: UpgradeStatusData | UnsetType = UNSET


class UpgradeProcessData(Data, frozen=True, omit_defaults=True, gc=False):
    """`firmwareType` is what `moduleType` is elsewhere: the channel."""

    firmwareType: Field = UNSET
    progress: Field = UNSET


class UpgradeProcess(Message, frozen=True, omit_defaults=True, gc=False, tag="upgradeProcess"):
    """Progress in per cent; devices commonly never report 100, and 100 is not success."""

    bizData: UpgradeProcessData | UnsetType = UNSET


class DeviceOtaProgressData(Data, frozen=True, omit_defaults=True, gc=False):
    """Every member beyond device and product is a guess from sibling APIs: no genuine sample is known."""

    channel: Field = UNSET
    firmwareType: Field = UNSET
    moduleType: Field = UNSET
    type: Field = UNSET
    upgradeStatus: Field = UNSET
    upgrade_status: Field = UNSET
    status: Field = UNSET
    progress: Field = UNSET
    process: Field = UNSET
    percent: Field = UNSET
    version: Field = UNSET
    firmwareVersion: Field = UNSET
    currentVersion: Field = UNSET


class DeviceOtaProgress(Message, frozen=True, omit_defaults=True, gc=False, tag="deviceOtaProgress"):
    """The newer generation's upgrade message: a hint to ask the cloud, whatever it says."""

    bizData: DeviceOtaProgressData | UnsetType = UNSET


class LifecycleMessage(Message, frozen=True, omit_defaults=True, gc=False):
    """Came, went, left for good."""

    LIFECYCLE: ClassVar[str]


class Online(LifecycleMessage, frozen=True, omit_defaults=True, gc=False, tag="online"):
    """During an upgrade often the reboot after flashing. `bizData.time` is in seconds, `ts` often 0."""

    LIFECYCLE = "online"


class DeviceOnline(LifecycleMessage, frozen=True, omit_defaults=True, gc=False, tag="deviceOnline"):
    """The newer generation; its times are milliseconds."""

    LIFECYCLE = "online"


class Offline(LifecycleMessage, frozen=True, omit_defaults=True, gc=False, tag="offline"):
    """The device left the network."""

    LIFECYCLE = "offline"


class DeviceOffline(LifecycleMessage, frozen=True, omit_defaults=True, gc=False, tag="deviceOffline"):
    """The newer generation of `offline`."""

    LIFECYCLE = "offline"


class Delete(LifecycleMessage, frozen=True, omit_defaults=True, gc=False, tag="delete"):
    """The device was removed from the account. The newer generation has no such message."""

    LIFECYCLE = "removed"


class NameData(Data, frozen=True, omit_defaults=True, gc=False):
    """The new name."""

    name: Field = UNSET


class NameUpdate(Message, frozen=True, omit_defaults=True, gc=False, tag="nameUpdate"):
    """A person renamed the device."""

    bizData: NameData | UnsetType = UNSET


class DeviceNameUpdate(NameUpdate, frozen=True, omit_defaults=True, gc=False, tag="deviceNameUpdate"):
    """The newer generation of `nameUpdate`."""


class HintMessage(Message, frozen=True, omit_defaults=True, gc=False):
    """Something happened to the device that only the cloud's API can tell the meaning of."""


class BindUser(HintMessage, frozen=True, omit_defaults=True, gc=False, tag="bindUser"):
    """Bound or paired again. Its `token` is a pairing token: this struct cannot hold it."""


class DeviceBindSpace(HintMessage, frozen=True, omit_defaults=True, gc=False, tag="deviceBindSpace"):
    """The newer generation of `bindUser`, with a `token` as well."""


class DeviceUnbindSpace(HintMessage, frozen=True, omit_defaults=True, gc=False, tag="deviceUnbindSpace"):
    """Left a space; that is not a removal."""


class DeviceTransfer(HintMessage, frozen=True, omit_defaults=True, gc=False, tag="deviceTransfer"):
    """Given to another owner."""


class DeviceFreeze(HintMessage, frozen=True, omit_defaults=True, gc=False, tag="deviceFreeze"):
    """Frozen by the platform."""


class DeviceUnFreeze(HintMessage, frozen=True, omit_defaults=True, gc=False, tag="deviceUnFreeze"):
    """Thawed."""


_DATA: Final[Mapping[type[Message], type[Data]]] = {
    UpgradeStatus: UpgradeStatusData,
    UpgradeProcess: UpgradeProcessData,
    DeviceOtaProgress: DeviceOtaProgressData,
    Online: Data,
    DeviceOnline: Data,
    Offline: Data,
    DeviceOffline: Data,
    Delete: Data,
    NameUpdate: NameData,
    DeviceNameUpdate: NameData,
    BindUser: Data,
    DeviceBindSpace: Data,
    DeviceUnbindSpace: Data,
    DeviceTransfer: Data,
    DeviceFreeze: Data,
    DeviceUnFreeze: Data,
}
"""What may be read in the `bizData` of each."""

BY_BIZ_CODE: Final[dict[str, type[Message]]] = {str(struct.__struct_config__.tag): struct for struct in _DATA}
for _biz_code, _struct in BY_BIZ_CODE.items():
    # Reading the tag from the struct's configuration takes longer than decoding a message.
    _struct.BIZ_CODE = _biz_code

_decode: Final[Callable[[str], Message]] = msgspec.json.Decoder(Union[tuple(_DATA)]).decode  # noqa: UP007 (made of a tuple of types)
_decode_members: Final = msgspec.json.Decoder(dict[str, Any]).decode

_ID_NAMES: Final = frozenset({"devId", "productId", "productKey"})

STATUS_REPORT_PROTOCOL: Final = 4
"""Its body has no bizCode."""


class Unlisted(Struct, frozen=True, gc=False):
    """A message that is none of ours: counted by name, nothing else."""

    biz_code: str


def decode_body(plaintext: bytes, protocol: int) -> Message | Notice | Unlisted:
    """Decode a decrypted body by its bizCode, which decides; `protocol` numbers are only coarse classes.

    Raises Rejected: malformed_body (not UTF-8, not a JSON object), unknown_shape (no bizCode).
    """
    try:
        # Bytes that no field of ours covers are not looked at by the decoder, so UTF-8 is checked first.
        text = plaintext.decode("utf-8")
        return _decode(text)
    except msgspec.ValidationError:
        return _decode_leniently(text, protocol)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise Rejected("malformed_body", f"not a JSON object in UTF-8 ({type(error).__name__})") from None


def unrecognised_members(plaintext: bytes) -> list[str]:
    """Name the members of `bizData` that `DeviceOtaProgressData` does not know, to learn the real message by."""
    try:
        data = _decode_members(plaintext).get("bizData")
    except UNREADABLE:
        # A number that no float holds, say: the message itself was understood without it.
        return []
    known = DeviceOtaProgressData.__struct_fields__
    return [name for name in data if name not in known] if isinstance(data, dict) else []


def _decode_leniently(text: str, protocol: int) -> Message | Notice | Unlisted:
    try:
        members = _decode_members(text)
    except (msgspec.MsgspecError, RecursionError):
        raise Rejected("malformed_body", "not a JSON object") from None
    biz_code = members.get("bizCode")
    if biz_code is None and protocol == STATUS_REPORT_PROTOCOL:
        return Unlisted("status report")
    if not isinstance(biz_code, str) or not biz_code:
        raise Rejected("unknown_shape", "no bizCode")
    if biz_code == NOTICE_BIZ_CODE:
        return read_notice(members.get("bizData"))
    struct = BY_BIZ_CODE.get(biz_code)
    if struct is None:
        return Unlisted(biz_code)
    data = members.pop("bizData", None)
    kept = _scalars(members, struct)
    if isinstance(data, dict):
        kept["bizData"] = _scalars(data, _DATA[struct])
    return msgspec.convert(kept | {"bizCode": biz_code}, struct)


def _scalars(members: dict[str, Any], struct: type[Struct]) -> dict[str, Any]:
    """Return the members that the struct can hold."""
    return {
        name: members[name]
        for name in struct.__struct_fields__
        if name in members and (_is_id if name in _ID_NAMES else _is_scalar)(members[name])
    }


def _is_scalar(value: object) -> bool:
    return not isinstance(value, (dict, list))


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= ID_LIMIT
