"""What the gateway sends, made for tests: sealed envelopes, and messages as Pulsar's client hands them out.

Written from the contract and not from `consumer`, so that the two check each other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from Crypto.Cipher import AES
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consumer.secret import Secret
from consumer.settings import GatewayAccount, GatewaySettings
from consumer.sink import OutgoingRecord
from consumer.slices import Slice, Slicer
from consumer.source import SourceMessage, position_of
from consumer.translation import Translator

ACCESS_KEY = "accessKeyesttesttesttesttesttest"
PREVIOUS_KEY = "previousKeytesttesttesttesttest0"
PUSHED_AT_MS = 1_668_363_150_300
PUBLISHED_AT_MS = 1_668_363_150_400
RECEIVED_AT_MS = 1_668_363_150_500


def encrypted(body: bytes, *, key: str = ACCESS_KEY, em: str = "aes_gcm") -> str:
    aes_key = key[8:24].encode()
    if em == "aes_gcm":
        nonce = hashlib.sha256(body).digest()[:12]
        return base64.b64encode(nonce + AESGCM(aes_key).encrypt(nonce, body, None)).decode()
    count = 16 - len(body) % 16
    return base64.b64encode(AES.new(aes_key, AES.MODE_ECB).encrypt(body + bytes([count]) * count)).decode()


def signed(fields: dict[str, Any], *, key: str = ACCESS_KEY) -> dict[str, Any]:
    """Sign every field, as the documentation says."""
    text = "||".join(f"{name}={fields[name]}" for name in sorted(fields))
    return fields | {"sign": hashlib.md5(f"{text}||{key}".encode()).hexdigest()}


def envelope(
    body: dict[str, Any] | bytes,
    *,
    key: str = ACCESS_KEY,
    em: str = "aes_gcm",
    protocol: int = 20,
    **others: Any,
) -> dict[str, Any]:
    plaintext = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {
        "data": encrypted(plaintext, key=key, em=em),
        "protocol": protocol,
        "pv": "2.0",
        "t": PUSHED_AT_MS,
        **others,
    }
    return signed(fields, key=key)


def compact(fields: dict[str, Any]) -> bytes:
    """Write JSON as the gateway does, without spaces."""
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def sealed(body: dict[str, Any] | bytes, **options: Any) -> bytes:
    return compact(envelope(body, **options))


def upgrade_status(device_id: str, status: str = "2", **data: Any) -> dict[str, Any]:
    return {
        "bizCode": "upgradeStatus",
        "bizData": {"devId": device_id, "upgradeStatus": status, "moduleType": "0", "description": ""} | data,
        "devId": device_id,
        "productKey": "testproductkey00",
        "ts": 1_668_363_150_268,
        "uuid": "0000000000000000",
    }


def account(
    *, topics: tuple[str, ...] = ("event",), previous: bool = False, **gateway: Any
) -> GatewayAccount:
    settings: dict[str, Any] = {"url": "pulsar+ssl://localhost:7285", "subscription": "accessIdtest-sub"}
    return GatewayAccount(
        name="tuya-test",
        cloud="tuya-cloud",
        access_id="accessIdtesttesttest",
        access_key=Secret(ACCESS_KEY),
        previous_access_key=Secret(PREVIOUS_KEY) if previous else None,
        gateway=GatewaySettings(**settings | {"topics": topics} | gateway),
    )


class ReceivedId:
    def __init__(self, ledger: int, entry: int, batch_index: int, batch_size: int = 1) -> None:
        self._place = ledger, entry, batch_index
        self._batch_size = batch_size

    def ledger_id(self) -> int:
        return self._place[0]

    def entry_id(self) -> int:
        return self._place[1]

    def batch_index(self) -> int:
        return self._place[2]

    def partition(self) -> int:
        return 3

    def serialize(self) -> bytes:
        """MessageIdData as far as small numbers need it: ledger, entry, and in a batch index and size."""
        ledger, entry, index = self._place
        place = bytes((0x08, ledger, 0x10, entry))
        return place if index < 0 else place + bytes((0x20, index, 0x30, self._batch_size))


class Received:
    """A message as received; `at` is ledger, entry and batch index."""

    def __init__(
        self,
        payload: bytes,
        *,
        em: str | None = "aes_gcm",
        at: tuple[int, int, int] = (7, 1, -1),
        topic: str = "persistent://accessIdtesttesttest/out/event-partition-3",
        published_at_ms: int = PUBLISHED_AT_MS,
        batch_size: int = 1,
        readable_properties: bool = True,
    ) -> None:
        self._payload = payload
        self._properties = {"tid": "trace-1"} | ({} if em is None else {"em": em})
        self._readable_properties = readable_properties
        self._id = ReceivedId(*at, batch_size)
        self._topic = topic
        self._published_at_ms = published_at_ms

    def data(self) -> bytes:
        return self._payload

    def properties(self) -> dict[str, str]:
        """Raise as Pulsar's client does where a property is not UTF-8."""
        return self._properties if self._readable_properties else {"tid": b"\xff".decode()}

    def message_id(self) -> ReceivedId:
        return self._id

    def publish_timestamp(self) -> int:
        return self._published_at_ms

    def topic_name(self) -> str:
        return self._topic


def cut(slicer: Slicer, messages: Sequence[Received], received_at_ms: int = RECEIVED_AT_MS) -> list[Slice]:
    """Return the slices of messages that begin a course: they are let go at first, and come again, twice."""
    for _ in range(2):
        assert slicer.cut(messages, received_at_ms) == []
        slicer.entries.asked()
    return slicer.cut(messages, received_at_ms)


def backlog_notice(**event_data: Any) -> dict[str, Any]:
    """The alert of section 8.4: `eventData` is a JSON text inside the JSON."""
    told = {
        "dataCenter": "AY",
        "topic": "accessIdtesttesttest/out/event",
        "subscription": "accessIdtest-sub",
        "backLogNum": 2345,
    }
    return {
        "bizCode": "HighPriorityNotice",
        "bizData": {"eventType": "pulsar_backlog_notice", "eventData": json.dumps(told | event_data)},
        "ts": 1_668_363_150_268,
    }


def translated(
    translator: Translator, message: SourceMessage, *, at_ms: int = RECEIVED_AT_MS, partition: str = "event/3"
) -> tuple[OutgoingRecord, ...]:
    """Return what steps 2 to 6 make of a message that stood in this source partition."""
    (records,) = translator.translate_all([(message, message.data(), position_of(message, partition))], at_ms)
    return records
