"""What the public log told of some devices, kept small: of each event its revision, its time, its kind, a checksum.

A replay that gives another state looks here for two things: when the bridge's timers changed the device, and which
event of the log is the first that the replay does not make.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final
from zlib import crc32

import msgspec
from aiokafka import ConsumerRecord
from msgspec import Struct

from schemas import Status, UpgradeEvent

_decode: Final = msgspec.json.Decoder(UpgradeEvent).decode


class ToldKind(Struct, frozen=True):
    """What many events have in common: `label` is `<type> <status>`, the type without what all types begin with."""

    label: str
    channel: str | None
    by_timer: bool


class ToldEvent(Struct, frozen=True):
    """One event of a device. `content` stands for what it says, times and evidence excepted."""

    revision: int
    at_ms: int
    kind: ToldKind
    content: int


class ToldDevice:
    """A device's events, in the order in which they were told."""

    __slots__ = ("_at_ms", "_contents", "_kinds", "_known", "_revisions")

    def __init__(self, kinds: Mapping[int, ToldKind]) -> None:
        self._known = kinds
        self._revisions = array("q")
        self._at_ms = array("q")
        self._kinds = array("L")
        self._contents = array("L")

    def add(self, event: UpgradeEvent, kind: int) -> None:
        """Append the next event."""
        self._revisions.append(event.revision)
        self._at_ms.append(event.observed_at_ms)
        self._kinds.append(kind)
        self._contents.append(content(event))

    def after(self, revision: int) -> Iterator[ToldEvent]:
        """Yield the events behind this revision."""
        revisions = self._revisions
        for place in range(bisect_right(revisions, revision), len(revisions)):
            kind = self._known[self._kinds[place]]
            yield ToldEvent(revisions[place], self._at_ms[place], kind, self._contents[place])

    def has_timers(self) -> bool:
        """Whether a timer made one of them."""
        return any(self._known[kind].by_timer for kind in self._kinds)

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
        event_type = dict(record.headers).get("ce_type", b"").decode(errors="replace")
        kind = ToldKind(label(event_type, event.status), event.channel, event.evidence.origin == "bridge")
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self._numbers)
            self._kinds[number] = kind
        self._devices[event.device_id].add(event, number)

    def of(self, device_id: str) -> ToldDevice:
        """Return a device's events; none where the log has none any more."""
        return self._devices.get(device_id) or ToldDevice(self._kinds)


def content(event: UpgradeEvent) -> int:
    """Return a checksum of what an event says of its channel."""
    attempt, reason = event.attempt, event.reason
    said = (
        event.claimed,
        event.outcome,
        event.confirmed,
        event.correction,
        event.needs_confirmation,
        event.current_version,
        event.target_version,
        event.available_version,
        event.progress,
        None if reason is None else reason.code,
        None if attempt is None else (attempt.number, attempt.task_id, attempt.from_version, attempt.retries),
    )
    return crc32(repr(said).encode())


def label(event_type: str, status: Status) -> str:
    """Return `<type> <status>` of an event."""
    return f"{event_type.rpartition('.')[2]} {status}"
