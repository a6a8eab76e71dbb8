"""What the public log told of some devices, kept small: of each event its revision, its time and its kind.

A replay that gives another state looks here for two things: when the bridge's timers changed the device, and which
event of the log is the first that the replay does not make.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from aiokafka import ConsumerRecord
from msgspec import Struct

from schemas import Evidence, Status


class ToldKind(Struct, frozen=True):
    """What an event is compared by: `label` is `<type> <status>`, without what all types have in common."""

    label: str
    channel: str | None
    by_timer: bool


class ToldEvent(Struct, frozen=True):
    """One event of a device."""

    revision: int
    at_ms: int
    kind: ToldKind


class _Told(Struct, frozen=True):
    """What is read of an event's value."""

    device_id: str
    revision: int
    status: Status
    observed_at_ms: int
    evidence: Evidence
    channel: str | None = None


_decode: Final = msgspec.json.Decoder(_Told).decode


class ToldDevice:
    """A device's events, in the order in which they were told."""

    __slots__ = ("_at_ms", "_kinds", "_known", "_revisions")

    def __init__(self, kinds: Mapping[int, ToldKind]) -> None:
        self._known = kinds
        self._revisions = array("q")
        self._at_ms = array("q")
        self._kinds = array("L")

    def add(self, revision: int, at_ms: int, kind: int) -> None:
        """Append the next event."""
        self._revisions.append(revision)
        self._at_ms.append(at_ms)
        self._kinds.append(kind)

    def after(self, revision: int) -> Iterator[ToldEvent]:
        """Yield the events behind this revision."""
        revisions = self._revisions
        for place in range(bisect_right(revisions, revision), len(revisions)):
            yield ToldEvent(revisions[place], self._at_ms[place], self._known[self._kinds[place]])

    def next_after(self, revision: int) -> ToldEvent | None:
        """Return the event that follows this revision."""
        return next(self.after(revision), None)


class ToldLog:
    """The events of one partition, of the devices asked for."""

    def __init__(self) -> None:
        self._numbers: dict[ToldKind, int] = {}
        self._kinds: dict[int, ToldKind] = {}
        self._devices: defaultdict[str, ToldDevice] = defaultdict(lambda: ToldDevice(self._kinds))

    def take(self, record: ConsumerRecord) -> None:
        """Add an event as it stands on the topic. Raises msgspec.MsgspecError for anything else."""
        event = _decode(record.value or b"")
        event_type = dict(record.headers).get("ce_type", b"").decode()
        kind = ToldKind(label(event_type, event.status), event.channel, event.evidence.origin == "bridge")
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self._numbers)
            self._kinds[number] = kind
        self._devices[event.device_id].add(event.revision, event.observed_at_ms, number)

    def of(self, device_id: str) -> ToldDevice:
        """Return a device's events; none where the log has none any more."""
        return self._devices.get(device_id) or ToldDevice(self._kinds)


def label(event_type: str, status: Status) -> str:
    """Return `<type> <status>` of an event."""
    return f"{event_type.rpartition('.')[2]} {status}"
