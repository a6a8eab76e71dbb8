"""What one account's gateway delivered and nothing has confirmed yet: when to pause, and when to let others try.

Written by the gateway's thread and by the event loop, always under the thread's lock; the counts may be read without.
"""

from __future__ import annotations

from typing import Final

from consumer.gaps import STEP_ASIDE_SHARE
from consumer.settings import GatewaySettings
from consumer.slices import Slice

_REPEATED_PER_MESSAGE: Final = 10
"""What comes again while it waits keeps no message, only an acknowledgement; but it may come again for ever."""


class Unconfirmed:
    """Counts, against the settings' caps. Times are of the monotonic clock."""

    def __init__(self, gateway: GatewaySettings) -> None:
        self._most_messages = gateway.max_unconfirmed_messages
        self._most_bytes = gateway.max_unconfirmed_bytes
        self._patience_s = STEP_ASIDE_SHARE * gateway.retention_margin_s
        self._waiting: dict[str, tuple[int, float]] = {}
        """By source partition: its slices, and when one of them was confirmed last, or began to wait."""
        self._repeated = 0
        self.messages = 0
        self.size_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether as much is unconfirmed as the settings allow."""
        return (
            self.messages >= self._most_messages
            or self.size_bytes >= self._most_bytes
            or self._repeated >= _REPEATED_PER_MESSAGE * self._most_messages
        )

    def is_stuck(self, now: float) -> bool:
        """Whether a source partition waits for so long that another copy should have it."""
        since = min((since for _, since in self._waiting.values()), default=now)
        return now - since > self._patience_s

    def add(self, delivered: Slice, now: float) -> None:
        """A slice was delivered."""
        count, since = self._waiting.get(delivered.partition, (0, now))
        self._waiting[delivered.partition] = count + 1, since
        self.messages += delivered.message_count
        self._repeated += delivered.repeated_count
        self.size_bytes += delivered.size_bytes

    def release(self, done: Slice, now: float) -> None:
        """A slice, the oldest of its source partition, was confirmed."""
        count, _ = self._waiting.pop(done.partition)
        if count > 1:
            self._waiting[done.partition] = count - 1, now
        self.messages -= done.message_count
        self._repeated -= done.repeated_count
        self.size_bytes -= done.size_bytes
