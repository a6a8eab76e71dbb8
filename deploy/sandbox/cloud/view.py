"""What a REST API shows of a device: the fleet's view, or, under the knob `rest_lie`, for some seconds an older one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from msgspec import Struct

from deploy.sandbox.cloud.faults import Faults
from deploy.sandbox.cloud.fleet import Channel, Device, Fleet, Shown
from deploy.sandbox.cloud.jobs import Task
from schemas.vocabulary import PHASES

_LIE_S = 4.0


class View(Struct, frozen=True):
    """One look at a device; a lying one shows what was before its latest upgrade."""

    lies: bool = False

    def __call__(self, channel: Channel) -> Shown:
        """What is shown of a channel."""
        return channel.shown_before if self.lies else channel.shown

    def tasks(self, fleet: Fleet, device: Device) -> Sequence[Task]:
        """The device's tasks that are shown, the oldest first."""
        tasks = fleet.jobs.tasks_of(device.device_id)
        return tasks[:-1] if self.lies else tasks

    def tells(self, device: Device) -> bool:
        """Whether who reads this learns that an upgrade runs."""
        return any(PHASES[self(channel).status] in ("pending", "active") for channel in device.channels)


def view_for(device: Device, faults: Faults, now_s: float) -> View:
    """Return what the API shows of a device now."""
    if faults.rest_lie > 0:
        window = int(now_s / _LIE_S)
        digest = hashlib.blake2b(f"{device.device_id}/{window}".encode(), digest_size=8).digest()
        if int.from_bytes(digest, "big") / 2**64 < faults.rest_lie:
            return View(lies=True)
    return View()
