"""What the lists said the last time: which entries are news, so that only devices that moved are asked about.

An entry is remembered as a hash of its list, device, status and version, some 70 bytes; those of the few devices that
are being upgraded by their ids.
"""

from __future__ import annotations

from hashlib import blake2b

from bridge.clouds.illume.lists import UPGRADING, DeviceList, ListItem


class Listed:
    """The entries of all lists, as the last complete reading found them.

    The first reading only learns what is offered and what was: these devices are at rest, and lookups ask about them in
    their own time. Each that is being upgraded is news.
    """

    def __init__(self) -> None:
        self._before: set[int] | None = None
        self._running_before: dict[str, None] = {}
        self._now: set[int] = set()
        self._running: dict[str, None] = {}

    def begin(self) -> None:
        """A reading begins. What one that broke off had found stays known."""
        if self._before is not None:
            self._before |= self._now
        self._now, self._running = set(), {}

    def is_news(self, device_list: DeviceList, item: ListItem) -> bool:
        """Return whether the reading before did not find this entry."""
        if self._before is None:
            return device_list is UPGRADING
        return _hash(device_list, item) not in self._before

    def note(self, device_list: DeviceList, item: ListItem) -> None:
        """The entry's device was asked about, or need not be."""
        self._now.add(_hash(device_list, item))
        if device_list is UPGRADING:
            self._running[item.device_id] = None

    def gone(self) -> list[str]:
        """Return the devices that were being upgraded and are not any more, once all lists are read."""
        return [device_id for device_id in self._running_before if device_id not in self._running]

    def end(self) -> None:
        """The reading is complete."""
        self._before, self._running_before = self._now, self._running
        self._now, self._running = set(), {}


def _hash(device_list: DeviceList, item: ListItem) -> int:
    said = f"{device_list.api}\n{item.device_id}\n{item.told.vendor_status}\n{item.version}"
    return int.from_bytes(blake2b(said.encode(), digest_size=8).digest(), "big")
