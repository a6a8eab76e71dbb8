"""The state records of a fleet at rest: devices that went through a campaign, and whose next look is within a day."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from bridge.fold.channel import attempt_id
from bridge.fold.device import Device
from bridge.fold.encoding import decode_observation, encode_device
from bridge.fold.policy import Policy
from bridge.fold.rules import fold
from bridge.fold.waiting import next_timer_at
from tests.benchmarks.fold.campaign import campaign
from tests.benchmarks.fold.load import Record

_MODELS: Final = 300
_DAY_MS: Final = 24 * 3600 * 1000


def fleet(devices: int, now_ms: int) -> Iterator[Record]:
    """Yield key, value and headers of each device's state."""
    chance, policy = random.Random(2), Policy()
    models = _models(policy, now_ms)
    for number in range(devices):
        device_id = f"6c{chance.getrandbits(80):020x}"
        device = _like(models[number % len(models)], device_id, now_ms + chance.randrange(_DAY_MS))
        value, headers = encode_device(device, next_timer_at(device, policy))
        yield device_id.encode(), value, headers


def _models(policy: Policy, now_ms: int) -> list[Device]:
    known: dict[str, Device] = {}
    for _, value in campaign(_MODELS, now_ms - 3_600_000, started_per_s=2.75):
        observation = decode_observation(value)
        device = fold(known.get(observation.device_id), observation, policy).device
        if device is not None:
            known[observation.device_id] = device
    return list(known.values())


def _like(model: Device, device_id: str, due_at_ms: int) -> Device:
    channels = tuple(
        replace(
            channel,
            attempt=channel.attempt
            and replace(
                channel.attempt, attempt_id=attempt_id(device_id, channel.channel, channel.attempt.number)
            ),
        )
        for channel in model.state.channels
    )
    book = replace(model.book, offset=-1, due_at_ms=due_at_ms, due_cause="periodic", lookup_id=None)
    return Device(replace(model.state, device_id=device_id, channels=channels), book)
