"""What a campaign tells the fold: every push and answer about a fleet that upgrades, in the order of their times.

Each device takes some three minutes, and hundreds are under way at a time, so a batch has few observations of any
one device. The same arguments give the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from schemas import Observation, ObservedEvidence, Position, Reason

ACCOUNT: Final = "home"
_PROGRESS: Final = range(10, 101, 10)
_DOWNLOADING_S: Final = 90.0
_FAIL_SHARE: Final = 0.03


def campaign(
    devices: int, start_ms: int, *, started_per_s: float, seed: int = 1
) -> list[tuple[bytes, bytes]]:
    """Return key and value of each observation: 18 of a device, of which four are two lookups' answers."""
    chance = random.Random(seed)
    told: list[tuple[int, bytes, Observation]] = []
    for number in range(devices):
        device_id = f"6c{chance.getrandbits(80):020x}"
        begin_ms = start_ms + round(1000 * number / started_per_s)
        for entry, observation in enumerate(_upgrade(device_id, number, begin_ms, chance)):
            told.append((observation.observed_at_ms * 100 + entry, device_id.encode(), observation))
    told.sort(key=lambda each: each[0])
    encode = msgspec.json.Encoder().encode
    return [(key, encode(observation)) for _, key, observation in told]


def _upgrade(device_id: str, number: int, begin_ms: int, chance: random.Random) -> Iterator[Observation]:
    """One device: known by an answer, upgraded by pushes, claimed, and confirmed by an answer."""
    teller = _Teller(device_id, number, chance)
    yield teller.answer(begin_ms, "available", "1.0.3")
    yield teller.answered(begin_ms)
    at_ms = begin_ms + 10_000
    yield teller.push(at_ms, "pending", "5")
    at_ms += chance.randrange(5_000, 30_000)
    yield teller.push(at_ms, "downloading", "6")
    for percent in _PROGRESS:
        at_ms += round(1000 * _DOWNLOADING_S / len(_PROGRESS) * chance.uniform(0.5, 1.5))
        yield teller.progress(at_ms, percent)
    at_ms += 2_000
    yield teller.push(at_ms, "installing", "12")
    at_ms += chance.randrange(20_000, 60_000)
    if chance.random() < _FAIL_SHARE:
        yield teller.push(at_ms, "verifying", "4", claimed="failed", reason=Reason(code="install_failed"))
        yield teller.answer(at_ms + 4_000, "failed", "1.0.3")
    else:
        yield teller.push(at_ms, "verifying", "3", claimed="succeeded")
        yield teller.answer(at_ms + 4_000, "succeeded", "1.1.0")
    yield teller.answered(at_ms + 4_000)


class _Teller:
    """Makes the observations of one device as the consumer and reconcile make them."""

    def __init__(self, device_id: str, number: int, chance: random.Random) -> None:
        self._device_id = device_id
        self._partition = f"event/{number % 11}"
        self._chance = chance
        self._entry = number

    def push(self, at_ms: int, status: str, vendor_status: str, **fields: Any) -> Observation:
        raw = {"devId": self._device_id, "moduleType": 0, "upgradeStatus": int(vendor_status), "ts": at_ms}
        fields |= {"kind": "status", "status": status, "vendor_status": vendor_status}
        return self._pushed(at_ms, "upgradeStatus", raw, **fields)

    def progress(self, at_ms: int, percent: int) -> Observation:
        raw = {"devId": self._device_id, "moduleType": 0, "progress": percent, "ts": at_ms}
        return self._pushed(at_ms, "upgradeProcess", raw, kind="progress", progress=percent)

    def answer(self, at_ms: int, status: str, current: str) -> Observation:
        raw = {
            "module_type": 0,
            "module_desc": "main",
            "current_version": current,
            "upgrade_version": "1.1.0",
        }
        return self._answer(
            at_ms,
            ObservedEvidence(origin="lookup", name="thing-firmware", raw=raw),
            channel="0",
            kind="status",
            status=status,
            vendor_status="3" if status == "succeeded" else "1",
            current_version=current,
            target_version="1.1.0",
        )

    def answered(self, at_ms: int) -> Observation:
        evidence = ObservedEvidence(origin="lookup", name="thing-firmware")
        lookup_id = f"{self._device_id}/{at_ms}"
        return self._answer(at_ms, evidence, kind="answer", outcome="ok", lookup_id=lookup_id)

    def _pushed(self, at_ms: int, name: str, raw: Any, **fields: Any) -> Observation:
        self._entry += self._chance.randrange(1, 1000)
        position = Position(
            partition=self._partition,
            ledger=4_711,
            entry=at_ms // 10,
            batch_index=self._entry % 100,
            publish_time_at_ms=at_ms + 20,
        )
        return Observation(
            device_id=self._device_id,
            cloud="tuya-cloud",
            account=ACCOUNT,
            product_id="keyr9xkq7hxmdwpe",
            channel="0",
            vendor_time_at_ms=at_ms,
            observed_at_ms=at_ms + 40,
            evidence=ObservedEvidence(origin="push", name=name, position=position, raw=raw),
            **fields,
        )

    def _answer(self, at_ms: int, evidence: ObservedEvidence, **fields: Any) -> Observation:
        return Observation(
            device_id=self._device_id,
            cloud="tuya-cloud",
            account=ACCOUNT,
            asked_at_ms=at_ms,
            observed_at_ms=at_ms + 150,
            evidence=evidence,
            **fields,
        )
