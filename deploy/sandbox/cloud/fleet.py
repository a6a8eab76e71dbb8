"""The fleet of one account: devices, their channels and versions. It is the truth that both REST and pushes show.

Everything about a device follows from the seed, the account and the device's number.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Final, Literal

from msgspec import Struct

from deploy.sandbox.cloud.jobs import JobBook
from schemas.vocabulary import Status

MAX_DEVICES = 100_000

_PRODUCTS = (
    ("keyfjkwm3mrhxf5c", "Ceiling lamp", "1.0.0"),
    ("h9soglkuugftbq7r", "Robot vacuum", "V1.1.10"),
    ("8xk2vqnd4tmz0ywp", "Thermostat", "2020.01"),
    ("p5ecbz7h3snl9qta", "Door sensor", "7777"),
)
_SECOND_CHANNEL_SHARE = 0.25
_OFFERED_SHARE = 0.3
"""Of second channels: a newer version is offered and nobody starts it."""
_NUMBERS_AS_TEXT_SHARE = 0.1


class Shown(Struct, frozen=True, kw_only=True):
    """What a REST API tells about a channel, in the bridge's words: the truth, a little late."""

    status: Status
    current_version: str
    target_version: str = ""
    progress: int = 0
    number: int | None = None
    """Tuya's number, where it has several for the status."""


class FleetManner(Struct, frozen=True, kw_only=True):
    """What the devices of a cloud look like."""

    device_id: Callable[[str], str]
    """Makes an id of 40 hex digits that are the device's own."""
    main_channel: str
    second_channels: tuple[str, ...] = ()
    """Channels beside it; a device has at most one of these."""
    second_share: float = _SECOND_CHANNEL_SHARE
    """How many of the devices have one."""
    offers: bool = False
    """Whether the cloud tells of a version that is offered and that nobody started: the status `available`."""
    keeps_tasks: bool = False
    """Whether it lists upgrades that ended: then also a cancel that nobody saw coming is known by its task."""


TUYA_MANNER: Final = FleetManner(
    device_id=lambda digest: f"bf{digest[:20]}",
    main_channel="0",
    second_channels=("9", "9", "1", "3", "10"),
    offers=True,
)


class Channel(Struct, kw_only=True):
    """One firmware channel in the bridge's vocabulary, and what REST shows of it."""

    name: str
    current_version: str
    status: Status = "idle"
    target_version: str | None = None
    outcome: Status | None = None
    reason: str | None = None
    shown: Shown
    shown_before: Shown
    """What REST showed before the running attempt: the answer of an API that lies for a while."""
    attempts: int = 0
    """Upgrades that campaigns started, whatever became of them."""
    visible_attempts: int = 0
    """Of these, the ones that the device began and that somebody could know of."""


class Device(Struct, kw_only=True):
    """One device. The second block says how Tuya's cloud speaks about it; the others have no such differences."""

    device_id: str
    product_id: str
    product_name: str
    uuid: str
    name: str
    number: int
    channels: list[Channel]
    online: bool = True
    removed: bool = False
    listed: bool = True
    """Whether REST still knows it."""
    busy: bool = False
    """An upgrade runs, is stuck, or is about to: no campaign takes it."""
    told: bool = False
    """Somebody could know of the running attempt: a status push was acknowledged, or REST answered it."""

    generation: Literal["legacy", "core", "both"]
    answer_shape: Literal["list", "object", "nested"]
    numbers_as_text: bool
    """REST sends its numbers as strings; pushes always do, except for devices where this is set."""


class Fleet:
    """The devices of one account, in order of creation."""

    def __init__(self, *, account: str, cloud: str, seed: int, manner: FleetManner = TUYA_MANNER) -> None:
        self.jobs = JobBook(seed)
        self.manner = manner
        self.account = account
        self.cloud = cloud
        self._seed = seed
        self._devices: list[Device] = []
        self._by_id: dict[str, Device] = {}

    def __len__(self) -> int:
        return len(self._devices)

    def __iter__(self) -> Iterator[Device]:
        return iter(self._devices)

    def __getitem__(self, number: int) -> Device:
        return self._devices[number]

    def find(self, device_id: str) -> Device | None:
        """Return the device with that id, removed or not."""
        return self._by_id.get(device_id)

    def create(self) -> Device:
        """Add the next device."""
        number = len(self._devices)
        if number >= MAX_DEVICES:
            raise FleetFull(f"account {self.account} has {MAX_DEVICES} devices, the most the sandbox keeps")
        device = _make_device(self._seed, self.account, number, self.manner)
        self._devices.append(device)
        self._by_id[device.device_id] = device
        return device

    def idle(self) -> Iterator[Device]:
        """The devices that a campaign may take."""
        return (device for device in self._devices if not device.busy and not device.removed)

    def page(self, last_id: str | None, size: int) -> list[Device] | None:
        """The next `size` devices that REST knows after `last_id`; None when there is no such device."""
        first = 0
        if last_id:
            last = self._by_id.get(last_id)
            if last is None:
                return None
            first = last.number + 1
        page: list[Device] = []
        for number in range(first, len(self._devices)):
            if self._devices[number].listed:
                page.append(self._devices[number])
                if len(page) == size:
                    break
        return page

    def truth(self, device: Device) -> dict[str, object]:
        """Return one line of `GET /truth`."""
        return {
            "device_id": device.device_id,
            "account": self.account,
            "cloud": self.cloud,
            "removed": device.removed,
            "online": device.online,
            "channels": [
                {
                    "channel": channel.name,
                    "status": channel.status,
                    "current_version": channel.current_version,
                    "target_version": channel.target_version,
                    "outcome": channel.outcome,
                    "reason": channel.reason,
                    "attempts": channel.visible_attempts,
                }
                for channel in device.channels
            ],
        }


class FleetFull(Exception):
    """No more devices fit; the control API answers 400 and nothing was created."""


def next_version(version: str, step: int) -> str:
    """Raise the last number of an opaque version text: `V1.1.10` by 2 is `V1.1.12`."""
    match = re.search(r"\d+$", version)
    if match is None:
        return f"{version}.{step}"
    digits = match.group()
    return f"{version[: match.start()]}{int(digits) + step:0{len(digits)}d}"


def _make_device(seed: int, account: str, number: int, manner: FleetManner) -> Device:
    digest = hashlib.blake2b(f"{seed}/{account}/{number}".encode(), digest_size=20).hexdigest()
    rng = Random(digest)
    product_id, product_name, version = _PRODUCTS[rng.randrange(len(_PRODUCTS))]
    channels = [_make_channel(manner.main_channel, version)]
    if rng.random() < manner.second_share and manner.second_channels:
        second = rng.choice(manner.second_channels)
        offered = rng.random() < _OFFERED_SHARE and manner.offers
        channels.append(_make_channel(second, "1.0.1", offered=offered))
    # An object has room for one channel only.
    shapes: tuple[Literal["list", "object", "nested"], ...] = ("list", "list", "object", "nested")
    if len(channels) > 1:
        shapes = ("list", "nested")
    generations: tuple[Literal["legacy", "core", "both"], ...] = (
        "legacy",
        "legacy",
        "legacy",
        "core",
        "core",
        "both",
    )
    return Device(
        device_id=manner.device_id(digest),
        product_id=product_id,
        product_name=product_name,
        uuid=digest[20:36],
        name=f"{product_name} {number + 1}",
        number=number,
        channels=channels,
        generation=rng.choice(generations),
        answer_shape=rng.choice(shapes),
        numbers_as_text=rng.random() < _NUMBERS_AS_TEXT_SHARE,
    )


def _make_channel(name: str, version: str, *, offered: bool = False) -> Channel:
    target = next_version(version, 1) if offered else ""
    status: Status = "available" if offered else "idle"
    shown = Shown(status=status, current_version=version, target_version=target)
    return Channel(
        name=name,
        current_version=version,
        status=status,
        target_version=target or None,
        shown=shown,
        shown_before=shown,
    )
