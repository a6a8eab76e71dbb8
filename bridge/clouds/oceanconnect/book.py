"""What the readings of one account have told: each device's newest operation in each channel, and what became of it.

An operation's list has no versions of the past: a device that is in three operations is in three lists, and only the
newest tells its state. So the newest is remembered, some 600 bytes for each device and channel; losing it costs
requests. Nothing here asks anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct

from bridge.clouds.oceanconnect.answers import CHANNELS, Operation, SubOperation
from schemas import PHASES


class Place(Struct, frozen=True, kw_only=True, gc=False):
    """A device in its newest operation of a channel, as it was read last. `page_number` is where it was listed."""

    operation: Operation
    sub: SubOperation
    page_number: int
    asked_at_ms: int
    """The vendor's clock when the page was asked for; the status is that of this time."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing changes there any more: operation and device were over when they were read."""
        status = self.sub.status_in(self.operation)
        return self.operation.is_final and status is not None and PHASES[status] == "terminal"

    def holds_for(self, operation: Operation) -> bool:
        """Whether a later listing of the operation proves that this is still so."""
        mine = self.operation
        return self.is_settled and mine.operation_id == operation.operation_id and mine.mark == operation.mark


class OperationBook:
    """The operations of one account and their devices."""

    def __init__(self) -> None:
        self.is_complete = False
        """Whether every operation was read once: who has no place in a channel then was never upgraded there."""
        self._places: dict[str, dict[str, Place]] = {channel: {} for channel in CHANNELS}
        self._seen: set[str] = set()
        self._told: dict[str, object] = {}

    def place(self, channel: str, device_id: str) -> Place | None:
        """Where a device was found in its newest operation."""
        return self._places[channel].get(device_id)

    def note(
        self, operation: Operation, subs: Iterable[SubOperation], *, page_number: int, asked_at_ms: int
    ) -> None:
        """Remember a page, but for the devices that a newer operation, or a later reading, told of already."""
        self._seen.add(operation.operation_id)
        places = self._places[operation.channel]
        for sub in subs:
            before = places.get(sub.device_id)
            newest = (operation.order, asked_at_ms)
            if before is None or (before.operation.order, before.asked_at_ms) <= newest:
                places[sub.device_id] = Place(
                    operation=operation, sub=sub, page_number=page_number, asked_at_ms=asked_at_ms
                )

    def device_ids(self) -> Iterator[str]:
        """Every device that is in an operation, once."""
        first, *others = (dict(self._places[channel]) for channel in CHANNELS)
        yield from first
        for places in others:
            yield from (device_id for device_id in places if device_id not in first)

    def forget(self, device_id: str) -> None:
        """Forget a device that the cloud does not know any more."""
        for places in self._places.values():
            places.pop(device_id, None)

    def is_told(self, operation: Operation) -> bool:
        """Whether a sweep told all of this operation, and nothing changed since."""
        return operation.is_final and self._told.get(operation.operation_id) == operation.mark

    def tell(self, operation: Operation, *, is_settled: bool) -> None:
        """A sweep told all of this operation; one in which something may still change is told again."""
        if is_settled:
            self._told[operation.operation_id] = operation.mark

    def seen(self) -> frozenset[str]:
        """The operations of which anything was read."""
        return frozenset(self._seen)

    def complete(self, listed: Collection[str], *, seen_before: Collection[str]) -> None:
        """Every operation was read that the listing told of; those seen before it and not in it are gone."""
        self.is_complete = True
        gone = set(seen_before).difference(listed)
        if not gone:
            return
        self._seen -= gone
        for operation_id in gone:
            self._told.pop(operation_id, None)
        for channel, places in self._places.items():
            self._places[channel] = {
                device_id: place
                for device_id, place in places.items()
                if place.operation.operation_id not in gone
            }


def newest_first(operations: Mapping[str, Operation], channel: str | None = None) -> list[Operation]:
    """Return the operations, or those of one channel, the newest first."""
    chosen = (each for each in operations.values() if channel in (None, each.channel))
    return sorted(chosen, key=lambda operation: operation.order, reverse=True)
