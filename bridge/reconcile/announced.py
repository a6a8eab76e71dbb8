"""Which device ids, or other facts, were already announced: eight bytes each, a few megabytes for a million."""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from hashlib import blake2b
from typing import Final

BUCKET_BITS: Final = 12
"""A million ids make sorted buckets of some 250: found by eight comparisons, inserted by a short move."""


class Fingerprints:
    """A set of 64-bit hashes. Two of a million ids collide with a chance of 3 in 100 million; such a device is only

    not announced by us.
    """

    def __init__(self) -> None:
        self._buckets: list[array[int]] = [array("Q") for _ in range(1 << BUCKET_BITS)]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, device_id: str) -> bool:
        fingerprint = _hash(device_id)
        bucket = self._buckets[fingerprint >> (64 - BUCKET_BITS)]
        place = bisect_left(bucket, fingerprint)
        return place < len(bucket) and bucket[place] == fingerprint

    def add(self, device_id: str) -> None:
        """Remember an id."""
        if device_id not in self:
            fingerprint = _hash(device_id)
            insort(self._buckets[fingerprint >> (64 - BUCKET_BITS)], fingerprint)
            self._size += 1


class Announced:
    """The ids announced so far. A device missing from a complete listing is forgotten: when it returns, it is news."""

    def __init__(self) -> None:
        self._known = Fingerprints()
        self._listed = Fingerprints()

    def begin(self) -> None:
        """A listing begins."""
        self._listed = Fingerprints()

    def is_new(self, device_id: str) -> bool:
        """Return whether an id of the listing was never announced, nor listed before in this listing."""
        is_new = device_id not in self._known and device_id not in self._listed
        self._listed.add(device_id)
        return is_new

    def confirm(self, device_id: str) -> None:
        """An id's announcement was confirmed."""
        self._known.add(device_id)

    def end(self) -> None:
        """The listing is complete."""
        self._known, self._listed = self._listed, Fingerprints()

    def break_off(self) -> None:
        """The listing ended early: what it did not reach may have changed and changed back, and counts as news.

        One that reached nothing tells nothing either.
        """
        if len(self._listed):
            self.end()

    def __len__(self) -> int:
        return len(self._known)


def _hash(device_id: str) -> int:
    return int.from_bytes(blake2b(device_id.encode(), digest_size=8).digest(), "big")
