"""Step 6, normalise: one gateway message becomes one observation, in our words, ids and time.

Whatever names its device is kept: what cannot be read in it becomes a hint to ask the cloud, never a guess.
Sources: the message gateway contract, sections 7.3 (where a field is looked for) and 8 (what messages mean).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from consumer import messages
from consumer.errors import IdConflict, Rejected
from consumer.messages import Field
from consumer.push_status import NO_STATUS, PUSH_STATUS, REST_VALUE, PushedStatus
from schemas import RAW_LIMIT_BYTES, Observation, ObservedEvidence, Position, Reason
from schemas.vocabulary import Lifecycle, ObservationKind

_MS_FROM: Final = 100_000_000_000
"""Smaller numbers are seconds: as milliseconds they would lie in 1973."""
_EARLIEST_MS: Final = 1_420_070_400_000
"""2015-01-01: no device reported to this platform before."""
_DAY_MS: Final = 86_400_000
_TEXT_LIMIT: Final = 1024
_SMALL: Final = {str(number): number for number in range(101)}
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_RAW_CERTAIN_BYTES: Final = RAW_LIMIT_BYTES - 4096
"""A body up to here needs no second look: encoding what is left of it again can only lengthen some numbers."""
_PER_CENT: Final = range(101)

_encode = msgspec.json.encode


class Push(Struct, frozen=True, gc=False):
    """Where and when a message came from: what an observation says beside the message."""

    account: str
    cloud: str
    pushed_at_ms: int
    """The envelope's `t`."""
    position: Position
    observed_at_ms: int
    body_bytes: int
    keep_raw: bool


def observe(message: messages.Message, push: Push) -> Observation:
    """Return the observation a message is. Raises IdConflict, Rejected (unknown_shape: no device id)."""
    data = message.bizData
    inner = data.devId if data else UNSET
    outer = message.devId
    if inner and outer and inner != outer:
        raise IdConflict(inner, outer)
    device_id = inner or outer
    if not device_id:
        raise Rejected("unknown_shape", "no device id")
    return _READERS[type(message)](message, push, device_id)


def hint(message: messages.Message, push: Push, device_id: str) -> Observation:
    """Return a hint for one of the devices that a message in conflict names; nothing else in it is believed."""
    return _observation(message, push, device_id, "hint", with_data=False)


def is_unknown_status(observation: Observation) -> bool:
    """Tell whether a pushed status became a hint because its value means nothing to us."""
    return (
        observation.kind == "hint"
        and observation.evidence.name == "upgradeStatus"
        and observation.vendor_status != str(REST_VALUE)
    )


def _observation(
    message: messages.Message,
    push: Push,
    device_id: str,
    kind: ObservationKind,
    *,
    with_data: bool = True,
    channel: str | None = None,
    status: PushedStatus = NO_STATUS,
    vendor_status: str | None = None,
    progress: int | None = None,
    reason: Reason | None = None,
) -> Observation:
    """Add to what is told of an upgrade what all observations of a message share."""
    product_id, happened_at_ms = _product_and_time(message, push, message.bizData if with_data else UNSET)
    # Of more than fifteen keywords Python makes a dictionary for the call: that takes three times as long.
    return Observation(
        device_id=device_id,
        cloud=push.cloud,
        account=push.account,
        product_id=product_id,
        channel=channel,
        kind=kind,
        status=status.status,
        claimed=status.claimed,
        vendor_status=vendor_status,
        undivided=status.undivided,
        progress=progress,
        reason=reason,
        vendor_time_at_ms=happened_at_ms,
        observed_at_ms=push.observed_at_ms,
        evidence=_evidence(message, push),
    )


def _life(
    message: messages.Message, push: Push, device_id: str, lifecycle: Lifecycle, name: str | None = None
) -> Observation:
    product_id, happened_at_ms = _product_and_time(message, push, message.bizData)
    return Observation(
        device_id=device_id,
        cloud=push.cloud,
        account=push.account,
        product_id=product_id,
        kind="lifecycle",
        lifecycle=lifecycle,
        name=name,
        vendor_time_at_ms=happened_at_ms,
        observed_at_ms=push.observed_at_ms,
        evidence=_evidence(message, push),
    )


def _hint(message: messages.Message, push: Push, device_id: str) -> Observation:
    return _observation(message, push, device_id, "hint")


def _lifecycle(message: messages.LifecycleMessage, push: Push, device_id: str) -> Observation:
    return _life(message, push, device_id, message.LIFECYCLE)


def _name_update(message: messages.NameUpdate, push: Push, device_id: str) -> Observation:
    name = _text(message.bizData.name) if message.bizData else None
    if name is None:
        return _hint(message, push, device_id)
    return _life(message, push, device_id, "renamed", name)


def _upgrade_status(message: messages.UpgradeStatus, push: Push, device_id: str) -> Observation:
    data = message.bizData
    if not data:
        return _hint(message, push, device_id)
    channel = _channel(data.moduleType)
    value = _integer(data.upgradeStatus)
    if value is None:
        text = _text(data.upgradeStatus)
        return _observation(message, push, device_id, "hint", channel=channel, vendor_status=text)
    known = PUSH_STATUS.get(value)
    if known is None:
        return _observation(message, push, device_id, "hint", channel=channel, vendor_status=str(value))
    reason = None
    if known.claimed == "failed":
        text = _text(data.description)
        code = known.reason or ("unknown_error" if text else None)
        reason = None if code is None else Reason(code=code, vendor_code=str(value), text=text)
    return _observation(
        message,
        push,
        device_id,
        "status",
        channel=channel,
        status=known,
        vendor_status=str(value),
        reason=reason,
    )


def _upgrade_process(message: messages.UpgradeProcess, push: Push, device_id: str) -> Observation:
    data = message.bizData
    if not data:
        return _hint(message, push, device_id)
    channel = _channel(data.firmwareType)
    progress = _integer(data.progress)
    if progress is None or progress not in _PER_CENT:
        return _observation(message, push, device_id, "hint", channel=channel)
    return _observation(message, push, device_id, "progress", channel=channel, progress=progress)


def _device_ota_progress(message: messages.DeviceOtaProgress, push: Push, device_id: str) -> Observation:
    data = message.bizData
    if not data:
        return _hint(message, push, device_id)
    channel = _channel(_first(data.channel, data.firmwareType, data.moduleType, data.type))
    status = _integer(_first(data.upgradeStatus, data.upgrade_status, data.status))
    vendor_status = None if status is None else str(status)
    return _observation(message, push, device_id, "hint", channel=channel, vendor_status=vendor_status)


def _product_and_time(
    message: messages.Message, push: Push, data: messages.Data | UnsetType
) -> tuple[str | None, int | None]:
    if data:
        product_id = data.productId or message.productKey or data.productKey or message.productId
        return product_id or None, event_time_ms(data.time, message.ts, push)
    return message.productKey or message.productId or None, event_time_ms(UNSET, message.ts, push)


def event_time_ms(time: Field, ts: Field, push: Push) -> int | None:
    """Return when it happened, in the vendor's clock: the first valid of `bizData.time`, `ts`, `t`, publish time."""
    published_at_ms = push.position.publish_time_at_ms or push.observed_at_ms
    latest = published_at_ms + _DAY_MS
    if time is UNSET and type(ts) is int and _EARLIEST_MS <= ts <= latest:
        # Nearly every message of the older generation.
        return ts
    for value in (time, ts, push.pushed_at_ms, published_at_ms):
        # bool is an int to Python and no time to anybody.
        if type(value) is int and value > 0:
            at_ms = value * 1000 if value < _MS_FROM else value
            if _EARLIEST_MS <= at_ms <= latest:
                return at_ms
    return None


def _evidence(message: messages.Message, push: Push) -> ObservedEvidence:
    name = message.BIZ_CODE
    if not push.keep_raw:
        return ObservedEvidence(origin="push", name=name, position=push.position)
    if push.body_bytes > _RAW_CERTAIN_BYTES:
        encoded = _encode(message)
        if len(encoded) > RAW_LIMIT_BYTES:
            return ObservedEvidence(
                origin="push",
                name=name,
                position=push.position,
                raw=encoded[:RAW_LIMIT_BYTES].decode("utf-8", "ignore"),
                raw_bytes=len(encoded),
                raw_sha256=hashlib.sha256(encoded).hexdigest(),
            )
    return ObservedEvidence(origin="push", name=name, position=push.position, raw=message)


def _text(value: Field) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value)[:_TEXT_LIMIT] or None


def _integer(value: Field) -> int | None:
    """Read an integer, also one written as a string, as the vendor does in some messages and not in others."""
    if type(value) is int:
        return value
    if type(value) is str:
        # Nearly every number is one of these, and the pattern costs more than all the rest.
        number = _SMALL.get(value)
        return int(value) if number is None and _INTEGER.fullmatch(value) else number
    return None


def _channel(value: Field) -> str | None:
    if type(value) is str and value in _SMALL:
        return value
    number = _integer(value)
    return None if number is None or number < 0 else str(number)


def _first(*values: Field) -> Field:
    return next((value for value in values if value is not UNSET and value is not None), UNSET)


_READER_OF: Final[Mapping[type[messages.Message], Callable[[Any, Push, str], Observation]]] = {
    messages.UpgradeStatus: _upgrade_status,
    messages.UpgradeProcess: _upgrade_process,
    messages.DeviceOtaProgress: _device_ota_progress,
    messages.LifecycleMessage: _lifecycle,
    messages.NameUpdate: _name_update,
    messages.HintMessage: _hint,
}
_READERS: Final = {
    struct: next(read for base, read in _READER_OF.items() if issubclass(struct, base))
    for struct in messages.BY_BIZ_CODE.values()
}
