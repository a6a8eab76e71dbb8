"""What a baseline reads from the topics and writes to them: known devices, questions, and what counts of an answer."""

from __future__ import annotations

from typing import Final

import msgspec
from aiokafka import TopicPartition
from msgspec import Struct

from bridge.cli.baseline_course import ASKED_FOR_S
from bridge.cli.kafka import ends_of, open_reader
from bridge.clouds.settings import AnyAccount
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import topic_name
from consumer.sink import OutgoingRecord
from schemas import LookupRequest, Observation, ObservedEvidence

_POLL_MS: Final = 250


class _Name(Struct, frozen=True):
    name: str


class Seen(Struct, frozen=True, kw_only=True):
    """The parts of an observation that count."""

    account: str
    device_id: str
    kind: str
    lookup_id: str | None = None
    outcome: str | None = None
    error: str | None = None
    evidence: _Name


class _Known(Struct, frozen=True, kw_only=True):
    account: str
    removed_at_ms: int | None = None


async def known_devices(settings: KafkaSettings, account: AnyAccount) -> set[str]:
    """Return the account's devices in the state table, without those that were removed."""
    topic = topic_name(settings.prefix, "upgrade-state")
    decode = msgspec.json.Decoder(_Known).decode
    found: set[str] = set()
    async with open_reader(settings, topic) as (states, count):
        places = [TopicPartition(topic, number) for number in range(count)]
        states.assign(places)
        await states.seek_to_beginning(*places)
        open_ends = await ends_of(states)
        while open_ends:
            for batch in (await states.getmany(timeout_ms=_POLL_MS)).values():
                for record in batch:
                    device_id = (record.key or b"").decode()
                    known = None if record.value is None else decode(record.value)
                    if known is not None and known.account == account.name and not known.removed_at_ms:
                        found.add(device_id)
                    else:
                        found.discard(device_id)
            open_ends = {place: end for place, end in open_ends.items() if await states.position(place) < end}
    return found


def lookup_record(account: AnyAccount, lookup_id: str, device_id: str, now_ms: int) -> OutgoingRecord:
    """Ask the owner of the account; a device without a name stands for the list of all."""
    request = LookupRequest(
        lookup_id=lookup_id,
        device_id=device_id,
        account=account.name,
        cause="operator",
        due_at_ms=now_ms,
        expires_at_ms=now_ms + round(ASKED_FOR_S * 1000),
    )
    return OutgoingRecord(
        topic="lookups", key=account.name.encode(), value=msgspec.json.encode(request), timestamp_ms=now_ms
    )


def hint_record(account: AnyAccount, device_id: str, now_ms: int) -> OutgoingRecord:
    """Have the fold ask: it has to make the device's acquaintance, or it would ask once more by itself."""
    hint = Observation(
        device_id=device_id,
        cloud=account.cloud,
        account=account.name,
        kind="hint",
        asked_at_ms=now_ms,
        observed_at_ms=now_ms,
        evidence=ObservedEvidence(origin="bridge", name="baseline"),
    )
    return OutgoingRecord(
        topic="observations", key=device_id.encode(), value=msgspec.json.encode(hint), timestamp_ms=now_ms
    )
