"""Devices and events as Kafka records: value, key and headers. The only place that knows how they are written."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, get_args

import msgspec
from msgspec import Struct

from bridge.fold.bookkeeping import Bookkeeping, ChannelBook, decode_bookkeeping, encode_bookkeeping
from bridge.fold.device import Device
from bridge.fold.events import EventType, TypedEvent
from schemas import Channel, Evidence, Observation, Phase, Status, UpgradeState
from schemas.upgrade_event import SCHEMA_ID


class _BareObservation(Observation, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An observation without the vendor's JSON, which no rule looks at: half of the decoding would be for it."""

    evidence: Evidence  # type: ignore[assignment]


_encoder = msgspec.json.Encoder()
_state_decoder = msgspec.json.Decoder(UpgradeState)
_observation_decoder = msgspec.json.Decoder(_BareObservation)

_RESUME: Final = struct.Struct(">qq")
_NO_TIMER: Final = -1
_LENGTH: Final = struct.Struct(">I")

Header = tuple[str, bytes]
Headers = list[Header]

_SPEC_VERSION: Final = ("ce_specversion", b"1.0")
_TYPES: Final[Mapping[str, Header]] = {name: ("ce_type", name.encode()) for name in get_args(EventType)}


class Resume(Struct, frozen=True, gc=False):
    """What a take-over needs of a state without decoding it: the input offset behind it and when its timer is due."""

    offset: int
    timer_at_ms: int | None


def decode_observation(value: bytes) -> Observation:
    """Return it with evidence as states and events carry it: without `raw`.

    Raises msgspec.MsgspecError for anything that is not an Observation.
    """
    return _observation_decoder.decode(value)


def encode_device(device: Device, timer_at_ms: int | None) -> tuple[bytes, Headers]:
    """Return the state record's value and headers.

    `bookkeeping` is msgpack; `resume` two big-endian 64-bit integers, the input offset and the next timer (Unix ms,
    -1 for none).
    """
    resume = _RESUME.pack(device.book.offset, _NO_TIMER if timer_at_ms is None else timer_at_ms)
    headers = [("bookkeeping", encode_bookkeeping(device.book)), ("resume", resume)]
    return _encoder.encode(device.state), headers


def pack(value: bytes, headers: Headers) -> bytes:
    """Return what the store keeps of a state record: the bookkeeping's length, the bookkeeping, the value."""
    header = _header(headers, "bookkeeping") or b""
    return _LENGTH.pack(len(header)) + header + value


def is_as_read(packed: bytes) -> bool:
    """Whether these bytes are what `pack` made: their first one is 0, which begins no msgpack array."""
    return packed[:1] == b"\0"


def unpack(packed: bytes) -> Device:
    """Decode what `pack` made."""
    (length,) = _LENGTH.unpack_from(packed)
    body = memoryview(packed)
    start = _LENGTH.size + length
    book = decode_bookkeeping(packed[_LENGTH.size : start] if length else None)
    state = _state_decoder.decode(body[start:])
    if len(book.channels) != len(state.channels):
        book.channels = tuple(_without_bookkeeping(channel) for channel in state.channels)
    return Device(state, book)


def read_resume(headers: Headers) -> Resume:
    """Read the `resume` header; a record without one is due at once, so that its device is looked at."""
    packed = _header(headers, "resume")
    if packed is None or len(packed) != _RESUME.size:
        return Resume(Bookkeeping().offset, 0)

    offset, timer_at_ms = _RESUME.unpack(packed)
    return Resume(offset, None if timer_at_ms == _NO_TIMER else timer_at_ms)


def encode_event(typed: TypedEvent) -> tuple[bytes, bytes, Headers]:
    """Return the event's key, its value and its CloudEvents 1.0 attributes (Kafka protocol binding, binary mode)."""
    event = typed.event
    source, attributes = _attributes(
        event.cloud, event.account, event.status, event.phase, event.channel, event.product_id
    )
    device_id = event.device_id.encode()
    headers = [
        _SPEC_VERSION,
        ("ce_id", b"%b/%d" % (device_id, event.revision)),
        source,
        _TYPES[typed.type],
        ("ce_time", _rfc3339(event.observed_at_ms)),
        ("ce_subject", device_id),
        *attributes,
    ]
    return device_id, _encoder.encode(event), headers


def encode_record(record: Struct) -> bytes:
    """Return the JSON value of any other record."""
    return _encoder.encode(record)


def _without_bookkeeping(channel: Channel) -> ChannelBook:
    """What the public state alone tells: enough for a claim and a stall to meet their deadlines."""
    attempt = channel.attempt
    is_open = attempt is not None and attempt.finished_at_ms is None
    return ChannelBook(
        channel=channel.channel,
        settled_at_ms=None if attempt is None else attempt.finished_at_ms,
        claimed_at_ms=None if attempt is None else attempt.verifying_at_ms,
        claim_observed_at_ms=channel.changed_at_ms if channel.status == "verifying" else None,
        moved_at_ms=channel.changed_at_ms if is_open else None,
    )


@lru_cache(maxsize=4096)
def _attributes(  # noqa: PLR0917 (the cache's key)
    cloud: str, account: str, status: Status, phase: Phase, channel: str | None, product_id: str | None
) -> tuple[Header, tuple[Header, ...]]:
    """Return `ce_source`, and the attributes behind the subject: many events share them."""
    attributes = [
        ("ce_dataschema", SCHEMA_ID.encode()),
        ("ce_status", status.encode()),
        ("ce_phase", phase.encode()),
        ("ce_account", account.encode()),
        ("content-type", b"application/json"),
    ]
    if channel is not None:
        attributes.append(("ce_channel", channel.encode()))
    if product_id is not None:
        attributes.append(("ce_productid", product_id.encode()))

    return ("ce_source", f"/{cloud}/{account}".encode()), tuple(attributes)


def _rfc3339(at_ms: int) -> bytes:
    second, at_ms = divmod(at_ms, 1000)
    return b"%b.%03dZ" % (_second(second), at_ms)


@lru_cache(maxsize=1024)
def _second(at_s: int) -> bytes:
    """Return a time up to its seconds: events come thousands to the second, or from close ones."""
    return datetime.fromtimestamp(at_s, tz=UTC).replace(tzinfo=None).isoformat().encode()


def _header(headers: Headers, name: str) -> bytes | None:
    return next((value for key, value in headers if key == name), None)
