"""How the store keeps a device that nothing happens to: everything its state record says, in half of the bytes.

msgpack without field names. What thousands of devices share (cloud, account, product) is kept once and numbered; the
device's id is the store's key already, and ids that begin with it or follow from it are left out. The packed forms
of the records are derived from the records, so a field that is added to one is kept without a change here.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct, defstruct
from msgspec.structs import fields, replace

from bridge.fold.bookkeeping import Bookkeeping
from bridge.fold.channel import attempt_id
from bridge.fold.device import Device
from schemas import Attempt, Channel, DeviceLabel, Evidence, Package, Position, Reason, UpgradeState

_SHARED: Final = ("cloud", "account", "product_id")
_OWN: Final = "\0"
"""Stands for the device's own id at the beginning of a lookup's."""


def _packed(record: type[Struct], **nested: Any) -> type[Struct]:
    """Return the array form of a record; `nested` are the array forms of the records in its fields."""
    definitions: list[Any] = []
    for field in fields(record):
        kind = nested.get(field.name, field.type)
        definitions.append((field.name, kind) if field.required else (field.name, kind, field.default))
    return defstruct(
        f"Packed{record.__name__}", definitions, frozen=True, kw_only=True, array_like=True, gc=False
    )


_Evidence: Any = _packed(Evidence, position=_packed(Position) | None)
_Attempt: Any = _packed(Attempt, package=_packed(Package) | None)
_Channel: Any = _packed(
    Channel, attempt=_Attempt | None, reason=_packed(Reason) | None, last_evidence=_Evidence
)
_State: Any = _packed(UpgradeState, device=_packed(DeviceLabel) | None, channels=tuple[_Channel, ...])

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, Bookkeeping, _State]).decode


class Compactor:
    """Packs and unpacks the devices of one partition."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str | None, ...], int] = {}
        self._shared: list[dict[str, Any]] = []

    def pack(self, device: Device) -> bytes:
        """Return the device's bytes, for this compactor only."""
        state = device.state
        shared = tuple(getattr(state, name) for name in _SHARED)
        number = self._numbers.get(shared)
        if number is None:
            number = self._numbers[shared] = len(self._shared)
            self._shared.append(dict(zip(_SHARED, shared, strict=True)))
        blank = replace(
            state,
            device_id="",
            cloud="",
            account="",
            product_id=None,
            channels=tuple(_without_id(channel, state.device_id) for channel in state.channels),
        )
        book = device.book
        if book.lookup_id is not None and book.lookup_id.startswith(state.device_id):
            book = replace(book, lookup_id=_OWN + book.lookup_id.removeprefix(state.device_id))
        return _encode((number, book, msgspec.convert(blank, _State, from_attributes=True)))

    def unpack(self, packed: bytes, device_id: str) -> Device:
        """Return what `pack` was given."""
        number, book, state = _decode(packed)
        blank = msgspec.convert(state, UpgradeState, from_attributes=True)
        channels = tuple(_with_id(channel, device_id) for channel in blank.channels)
        if book.lookup_id is not None and book.lookup_id.startswith(_OWN):
            book.lookup_id = device_id + book.lookup_id.removeprefix(_OWN)
        return Device(replace(blank, device_id=device_id, channels=channels, **self._shared[number]), book)


def _without_id(channel: Channel, device_id: str) -> Channel:
    attempt = channel.attempt
    if attempt is None or attempt.attempt_id != attempt_id(device_id, channel.channel, attempt.number):
        return channel

    return replace(channel, attempt=replace(attempt, attempt_id=""))


def _with_id(channel: Channel, device_id: str) -> Channel:
    attempt = channel.attempt
    if attempt is None or attempt.attempt_id:
        return channel

    known_id = attempt_id(device_id, channel.channel, attempt.number)
    return replace(channel, attempt=replace(attempt, attempt_id=known_id))
