"""Everything between the truth and the fold that may go wrong: sources that stop, lose and repeat, an API that is slow,
refuses or loses questions, clocks that disagree, and answers that lie for a while.

It never invents what RULES.md does not allow: inside one source partition the order holds, a loss is final, and a lie
ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from schemas import Observation, ObservedEvidence, Position

DEVICE: Final = "d1"
ACCOUNT: Final = "home"
MODES: Final = ("flowing", "held", "losing")
LIES: Final = ("succeeded", "failed", "idle", "version", "installing", "silence")
API: Final = ("ok", "slow", "unavailable", "not_found", "lost")


class Source:
    """One source partition of the gateway: an ordered log, and how far it was delivered."""

    def __init__(self, number: int) -> None:
        self.partition = f"event/{number}"
        self.mode = "flowing"
        self._log: list[Observation] = []
        self._delivered = 0

    def publish(self, vendor_at_ms: int, **fields: Any) -> None:
        """Append a message, unless the source is losing them; positions count those that were lost too."""
        entry = self._log[-1].evidence.position.entry + 1 if self._log else 1  # type: ignore[union-attr]
        if self.mode == "losing":
            return
        position = Position(
            partition=self.partition, ledger=1, entry=entry, batch_index=-1, publish_time_at_ms=vendor_at_ms
        )
        self._log.append(
            Observation(
                device_id=DEVICE,
                cloud="tuya-cloud",
                account=ACCOUNT,
                vendor_time_at_ms=vendor_at_ms,
                observed_at_ms=0,
                evidence=ObservedEvidence(origin="push", name="push", position=position),
                **fields,
            )
        )

    def deliver(self, now_ms: int) -> Iterator[Observation]:
        """What is to be delivered now, in order."""
        while self.mode != "held" and self._delivered < len(self._log):
            self._delivered += 1
            yield replace(self._log[self._delivered - 1], observed_at_ms=now_ms)

    def deliver_again(self, now_ms: int, count: int) -> Iterator[Observation]:
        """The last of what was delivered, from an earlier place on: a redelivery after a lost acknowledgement."""
        for message in self._log[max(0, self._delivered - count) : self._delivered]:
            yield replace(message, observed_at_ms=now_ms)


class Weather:
    """What the API does to questions and answers at the moment."""

    def __init__(self, vendor_offset_s: float) -> None:
        self.api = "ok"
        self.answer_delay_s = 0.3
        self.lie: str | None = None
        self.vendor_offset_ms = round(vendor_offset_s * 1000)
        """The vendor's clock minus the bridge's."""
        self.clock_error_ms = 0
        """By how much the bridge misjudges the vendor's clock when it asks."""
        self._not_found_since_ms: int | None = None

    def clear(self) -> None:
        """From now on nothing is wrong, but for the cloud's own style."""
        self.api, self.answer_delay_s, self.lie, self.clock_error_ms = "ok", 0.3, None, 0

    def vendor_at(self, now_ms: int) -> int:
        return now_ms + self.vendor_offset_ms

    def asked_at(self, now_ms: int) -> int:
        """A question's time, as the bridge believes the vendor's clock to be."""
        return self.vendor_at(now_ms) + self.clock_error_ms

    def outcome(self, now_ms: int) -> str | None:
        """How a lookup asked now ends; None: its answer is lost.

        `not_found` for a day would truly be a removal (R10), so it does not last that long.
        """
        if self.api == "lost":
            return None
        if self.api == "not_found":
            self._not_found_since_ms = self._not_found_since_ms or now_ms
            return "not_found" if now_ms - self._not_found_since_ms < 80_000_000 else "unavailable"
        return "unavailable" if self.api == "unavailable" else "ok"

    def twist(self, answer: dict[str, Any], offer: str | None) -> dict[str, Any]:
        """The answer as it is told: true, or a lie."""
        if self.lie is None:
            return answer
        if self.lie == "version":
            return answer | {"current_version": offer or "9.9"}
        if self.lie == "silence":
            return answer | {"status": None, "undivided": False}
        twisted = {"status": self.lie, "undivided": False, "progress": None}
        return answer | twisted | ({"target_version": None, "task_id": None} if self.lie == "idle" else {})
