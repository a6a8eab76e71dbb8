"""The few Pulsar protocol frames spoken beside the client: written and read by hand, without a protobuf library.

A frame is `[total size][command size][BaseCommand]`, sizes as four bytes, big-endian; BaseCommand is protobuf whose
field numbers for the commands equal their type numbers. Source: PulsarApi.proto of Apache Pulsar.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

FRAME_LIMIT_BYTES: Final = 64 * 1024
"""Answers to our commands take some hundred bytes; more is another protocol talking."""

_PROTOCOL_VERSION: Final = 19
_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_FAILOVER: Final = 2

Fields = dict[int, int | bytes]


class Command(IntEnum):
    """The commands we send and understand."""

    CONNECT = 2
    CONNECTED = 3
    SUBSCRIBE = 4
    SUCCESS = 13
    ERROR = 14
    PING = 18
    PONG = 19
    PARTITIONED_METADATA = 21
    PARTITIONED_METADATA_RESPONSE = 22
    LOOKUP = 23
    LOOKUP_RESPONSE = 24
    LAST_MESSAGE_ID = 29
    LAST_MESSAGE_ID_RESPONSE = 30


class ServerError(IntEnum):
    """The errors that a broker refuses us with; every other one may pass."""

    AUTHENTICATION = 3
    AUTHORIZATION = 4
    TOPIC_NOT_FOUND = 11
    SUBSCRIPTION_NOT_FOUND = 12
    INVALID_TOPIC_NAME = 17


def connect(auth_method: str, auth_data: str, proxy_to: str | None) -> bytes:
    """CONNECT; `proxy_to` names the broker behind a proxy."""
    fields: list[tuple[int, int | str]] = [
        (1, "ota-bridge-probe"),
        (3, auth_data),
        (4, _PROTOCOL_VERSION),
        (5, auth_method),
    ]
    if proxy_to is not None:
        fields.append((6, proxy_to))
    return _frame(Command.CONNECT, *fields)


def partitioned_metadata(topic: str) -> bytes:
    """Ask how many partitions a topic has."""
    return _frame(Command.PARTITIONED_METADATA, (1, topic), (2, 1))


def lookup(topic: str, *, authoritative: bool) -> bytes:
    """Ask which broker serves a topic."""
    return _frame(Command.LOOKUP, (1, topic), (2, 2), (3, int(authoritative)))


def subscribe(topic: str, subscription: str, *, consumer: int = 1, request: int = 3) -> bytes:
    """SUBSCRIBE to an existing subscription, Failover, at a priority so low that no running consumer loses its turn."""
    lowest_priority = 10_000
    return _frame(
        Command.SUBSCRIBE,
        (1, topic),
        (2, subscription),
        (3, _FAILOVER),
        (4, consumer),
        (5, request),
        (7, lowest_priority),
        (8, 1),  # durable
        (12, 0),  # force_topic_creation
    )


def last_message_id(*, consumer: int, request: int) -> bytes:
    """Ask for the last message of a topic, and how far the consumer's subscription is acknowledged."""
    return _frame(Command.LAST_MESSAGE_ID, (1, consumer), (2, request))


def pong() -> bytes:
    """Answer a PING."""
    return _frame(Command.PONG)


def entry_of(message_id: int | bytes | None) -> tuple[int, int] | None:
    """Return ledger and entry of a MessageIdData, None where there is none."""
    if not isinstance(message_id, bytes):
        return None
    fields = fields_of(message_id)
    ledger, entry = fields.get(1), fields.get(2)
    return (_signed(ledger), _signed(entry)) if isinstance(ledger, int) and isinstance(entry, int) else None


def parse(frame: bytes) -> tuple[int, Fields]:
    """Return the command's number and its own fields. Raises ValueError for what is no Pulsar frame."""
    if len(frame) < 4:  # noqa: PLR2004 (the size in front of a frame)
        raise ValueError("a frame without a command")
    (size,) = struct.unpack_from(">I", frame)
    base = fields_of(frame[4 : 4 + size])
    number = base.get(1)
    if not isinstance(number, int):
        raise ValueError("a frame without a command type")  # noqa: TRY004 (bad input, not a bad argument type)
    body = base.get(number, b"")
    return number, fields_of(body) if isinstance(body, bytes) else {}


def fields_of(message: bytes) -> Fields:
    """Read a protobuf message: the last value of each field number."""
    fields: Fields = {}
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            fields[number], at = _read_varint(message, at)
        elif wire_type == _BYTES:
            size, at = _read_varint(message, at)
            if at + size > len(message):
                raise ValueError("a field reaches past the end of its message")
            fields[number] = message[at : at + size]
            at += size
        elif wire_type in (_FIXED64, _FIXED32):
            at += 8 if wire_type == _FIXED64 else 4
        else:
            raise ValueError(f"unknown wire type {wire_type}")
    return fields


def _signed(number: int) -> int:
    """An id before the first one is -1, which the protocol writes as an unsigned number."""
    return number - (1 << 64) if number >> 63 else number


def _frame(command: Command, *fields: tuple[int, int | str]) -> bytes:
    body = b"".join(_field(number, value) for number, value in fields)
    base = _field(1, command) + _varint(command << 3 | _BYTES) + _varint(len(body)) + body
    return struct.pack(">II", len(base) + 4, len(base)) + base


def _field(number: int, value: int | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    encoded = value.encode()
    return _varint(number << 3 | _BYTES) + _varint(len(encoded)) + encoded


def _varint(value: int) -> bytes:
    return b"".join(_septets(value))


def _septets(value: int) -> Iterator[bytes]:
    while value >> 7:
        yield bytes((value & 0x7F | 0x80,))
        value >>= 7
    yield bytes((value,))


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
    raise ValueError("a number reaches past the end of its message")
