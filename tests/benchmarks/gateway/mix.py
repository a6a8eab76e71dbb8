"""What is on the topic: the messages of a project that pushes everything, and of one that pushes upgrades only.

Bodies, envelopes and signatures are the simulated cloud's, which are written from the contract. Everything follows
from the seed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct, structs

from deploy.sandbox.cloud.envelope import Key, Manner, Mode, Sealed, seal
from deploy.sandbox.cloud.fleet import Device, Fleet
from deploy.sandbox.cloud.messages import (
    LEGACY_REPORT,
    Message,
    connection,
    report,
    upgrade_progress,
    upgrade_status,
)

Kind = Literal["ota", "connection", "report"]

DEVICES: Final = 20_000
REPORT_BYTES: Final = (600, 900)
"""A data-point report, encrypted and before base64."""
_STATUS_SHARE: Final = 0.6
"""Of messages about upgrades; the others tell progress."""
_STATUSES: Final = (1, 2, 2, 3, 3, 4, 6, 10, 12)
_REPORT_POINTS: Final = 4
_SEAL_BYTES: Final = {"aes_gcm": 12 + 16, "aes_ecb": 16}
"""What encryption adds: nonce and tag, or at most one block."""


class Mix(Struct, frozen=True, kw_only=True):
    """A project's traffic: how much of it is what, and how it is encrypted."""

    name: str
    """Begins the metrics' names."""
    shares: Mapping[Kind, float]
    mode: Mode


FIREHOSE: Final[Mapping[Kind, float]] = {"ota": 0.02, "connection": 0.08, "report": 0.9}
OTA: Final[Mapping[Kind, float]] = {"ota": 1.0}

MIXES: Final = (
    Mix(name="firehose_gcm", shares=FIREHOSE, mode="aes_gcm"),
    Mix(name="ota_gcm", shares=OTA, mode="aes_gcm"),
    Mix(name="ota_ecb", shares=OTA, mode="aes_ecb"),
)


class Push(Struct, frozen=True, gc=False):
    """One sealed message, and whose it is."""

    device_id: str
    sealed: Sealed
    kind: Kind


@functools.cache
def make_fleet() -> Sequence[Device]:
    """Return the devices of the project."""
    fleet = Fleet(account="bench", cloud="tuya-cloud", seed=1)
    return [fleet.create() for _ in range(DEVICES)]


def kinds(mix: Mix, count: int, rng: Random) -> list[Kind]:
    """Return what each of `count` messages is: the shares exactly, to the nearest message, in random order."""
    drawn: list[Kind] = []
    total = 0.0
    for kind in get_args(Kind):
        total += mix.shares.get(kind, 0.0)
        drawn += [kind] * (round(total * count) - len(drawn))
    rng.shuffle(drawn)
    return drawn


def pushes(mix: Mix, count: int, access_key: str, *, at_ms: int, seed: int = 1) -> Iterator[Push]:
    """Yield `count` messages of random devices, sealed with the account's key."""
    rng = Random(f"{mix.name}/{seed}")
    fleet = make_fleet()
    key, manner = Key(access_key), Manner(mode=mix.mode)
    for number, kind in enumerate(kinds(mix, count, rng)):
        device = fleet[rng.randrange(len(fleet))]
        t_ms = at_ms + number // 100
        message = _MAKERS[kind](device, rng, t_ms, mix.mode)
        nonce = rng.randbytes(12)
        sealed = seal(message.body, protocol=message.protocol, t_ms=t_ms, key=key, manner=manner, nonce=nonce)
        yield Push(device.device_id, sealed, kind)


def _ota(device: Device, rng: Random, at_ms: int, _mode: Mode) -> Message:
    channel = int(device.channels[0].name)
    if rng.random() < _STATUS_SHARE:
        return upgrade_status(device, channel, rng.choice(_STATUSES), at_ms)
    return upgrade_progress(device, channel, rng.randrange(0, 101, 5), at_ms)


def _connection(device: Device, rng: Random, at_ms: int, _mode: Mode) -> Message:
    # Where a project has both generations switched on there would be two; one is one message of the mix.
    return next(connection(device, online=rng.random() < 0.5, at_ms=at_ms))


def _report(device: Device, rng: Random, at_ms: int, mode: Mode) -> Message:
    """A report of the legacy generation, brought to its size by a scene's description, as lamps send it."""
    body = msgspec.json.decode(report(structs.replace(device, generation="legacy"), rng, at_ms).body)
    scene = {"code": "scene_data", "value": "", "t": at_ms, "9": ""}
    points = body["status"] = [*body["status"][:_REPORT_POINTS], scene]
    wanted_bytes = rng.randint(*REPORT_BYTES) - _SEAL_BYTES[mode]
    missing = wanted_bytes - len(msgspec.json.encode(body))
    points[-1]["value"] = rng.randbytes(missing).hex()[:missing]
    return Message(LEGACY_REPORT, msgspec.json.encode(body))


_MAKERS: Final[Mapping[Kind, Callable[[Device, Random, int, Mode], Message]]] = {
    "ota": _ota,
    "connection": _connection,
    "report": _report,
}
