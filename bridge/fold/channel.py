"""One channel at work: the few moves by which rules change it.

The rules decide, the moves act: they keep status, phase, attempt times and bookkeeping consistent with each other.
"""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Final
from uuid import UUID

from msgspec.structs import replace

from bridge.fold.bookkeeping import ChannelBook
from bridge.fold.events import channel_event, differences
from schemas import PHASES, Attempt, Channel, Reason, Status

if TYPE_CHECKING:
    from bridge.fold.turn import Turn

_ATTEMPTS: Final = UUID("5f0e3c1e-6d0b-5d0c-9a39-0f3b2f0b8a51").bytes
"""Namespace of attempt ids. Never changed: ids are compared across releases."""


class ChannelTurn:
    """The working copy of one channel."""

    __slots__ = ("book", "correction", "is_known", "name", "published", "shown", "turn")

    def __init__(self, turn: Turn, name: str, shown: Channel | None, book: ChannelBook) -> None:
        self.turn = turn
        self.name = name
        self.book = book
        self.published = shown
        """What the latest event, or the state before this input, showed; None for a channel not known yet."""
        self.is_known = shown is not None
        self.correction = False
        self.shown = shown or Channel(
            channel=name,
            status="unknown",
            phase="unknown",
            stalled=False,
            needs_confirmation=False,
            confirmed=False,
            last_evidence=turn.evidence,
            changed_at_ms=turn.now_ms,
            observed_at_ms=turn.now_ms,
        )

    def update_attempt(self, attempt: Attempt) -> None:
        """Show what was learned about the latest attempt."""
        self.shown = replace(self.shown, attempt=attempt)

    @property
    def attempt(self) -> Attempt | None:
        """The latest attempt, open or finished."""
        return self.shown.attempt

    @property
    def open_attempt(self) -> Attempt | None:
        """The latest attempt where it is not finished."""
        attempt = self.shown.attempt
        return attempt if attempt is not None and attempt.finished_at_ms is None else None

    # The moves, in the order of an attempt's life.

    def rest(self, status: Status, *, outcome: Status | None = None) -> None:
        """Show a status outside any attempt, as an answer told it; a first terminal one is a baseline."""
        self._status(status, confirmed=True)
        if outcome is not None:
            self.shown = replace(self.shown, outcome=outcome)

    def open(self, at_ms: int, *, from_version: str | None = None) -> None:
        """R3: open the next attempt at the vendor's time `at_ms`; its first status follows by another move."""
        shown, book = self.shown, self.book
        number = 1 if shown.attempt is None else shown.attempt.number + 1
        self._forget_claim()
        # An attempt that was withdrawn for all that is known may have had another end, which the cloud tells late.
        is_known = shown.outcome != "cancelled" or shown.confirmed
        book.previous_outcome = shown.outcome if is_known else "unknown"
        book.settled_at_ms = book.vendor_timeout_s = book.ended_by_claim_at_ms = None
        from_version = from_version or self._version_before()
        book.assumes_from = from_version != shown.current_version
        book.doubts_from = book.only_claimed = False
        self.shown = replace(
            shown,
            attempt=Attempt(
                attempt_id=attempt_id(self.turn.state.device_id, self.name, number),
                number=number,
                from_version=from_version,
                retries=0,
                started_at_ms=at_ms,
            ),
            outcome=None,
            reason=None,
            claimed=None,
            stalled=False,
            needs_confirmation=False,
            available_version=None,
        )

    def move(self, status: Status, at_ms: int, *, confirmed: bool) -> None:
        """R4: raise the open attempt to `status`; a real step forward."""
        self._status(status, confirmed=confirmed)
        self._reach(status, at_ms)
        self.progressed()

    def progressed(self) -> None:
        """R8: note real progress, which ends a stall."""
        self.book.moved_at_ms = self.turn.now_ms
        if self.shown.stalled:
            self.shown = replace(self.shown, stalled=False)

    def claim(self, outcome: Status, reason: Reason | None, at_ms: int) -> None:
        """R5: an outcome was claimed; show `verifying` until it is settled."""
        book = self.book
        book.claimed_at_ms = at_ms
        book.claim_observed_at_ms = self.turn.now_ms
        book.claim_answered_at_ms = None
        book.online_after_claim = book.online_at_ms is not None and book.online_at_ms > at_ms
        self._status("verifying", confirmed=False)
        self._reach("verifying", at_ms)
        self.shown = replace(self.shown, claimed=outcome, reason=reason)
        self.progressed()

    def settle(
        self,
        outcome: Status,
        at_ms: int,
        *,
        confirmed: bool,
        reason: Reason | None = None,
        correction: bool = False,
    ) -> None:
        """End the latest attempt, or correct its end, by evidence of the vendor's time `at_ms`."""
        self._status(outcome, confirmed=confirmed)
        self.correction = self.correction or correction
        attempt = self.shown.attempt
        self.book.settled_at_ms = at_ms
        self.book.ended_by_claim_at_ms = self.book.claimed_at_ms or self.book.ended_by_claim_at_ms
        self._forget_claim()
        self.shown = replace(
            self.shown,
            claimed=None,
            outcome=outcome,
            reason=None if outcome == "succeeded" else reason,
            stalled=False,
            needs_confirmation=False,
            attempt=None if attempt is None else _finished(attempt, at_ms),
        )

    def abandon(self, at_ms: int) -> None:
        """R19: end the attempt without an outcome: nothing is known of it but that it is over."""
        attempt = self.shown.attempt
        self._status("unknown", confirmed=False)
        self.book.settled_at_ms = at_ms
        self._forget_claim()
        self.shown = replace(
            self.shown,
            claimed=None,
            stalled=False,
            needs_confirmation=False,
            attempt=None if attempt is None else _finished(attempt, at_ms),
        )

    def twice(self, what: str, asked_at_ms: int, apart_s: float) -> bool:
        """Return whether an answer asked at least `apart_s` earlier said the same; else remember this first one.

        The first of the two makes a lookup due `apart_s` later (R14).
        """
        book = self.book
        if book.seen != what or book.seen_at_ms is None:
            book.seen, book.seen_at_ms = what, asked_at_ms
            self.turn.want_lookup(apart_s, "hint")
            return False

        waited_ms = asked_at_ms - book.seen_at_ms
        if waited_ms < apart_s * 1000:
            self.turn.want_lookup(apart_s - waited_ms / 1000, "hint")
            return False

        self.not_seen()
        return True

    def not_seen(self) -> None:
        """Forget a first answer: what it said did not last, or counts now."""
        self.book.seen = self.book.seen_at_ms = None

    def flush(self) -> None:
        """Publish the difference between what was last published and what is shown."""
        if not self.is_known:
            return

        turn, before = self.turn, self.published
        for event_type, shown in differences(before, self.shown, turn.policy.progress_step):
            event = channel_event(
                turn.state,
                before,
                shown,
                revision=turn.revision + 1,
                correction=self.correction,
                observation=turn.observation,
                observed_at_ms=turn.now_ms,
                evidence=turn.evidence,
            )
            turn.publish(event_type, event)
        self.published = self.shown
        self.correction = False

    def know(self) -> None:
        """The channel exists: an observation about it counted."""
        self.is_known = True
        shown = self.shown
        observation = self.turn.observation
        vendor_status = observation.vendor_status if observation is not None else None
        self.shown = replace(
            shown,
            last_evidence=self.turn.evidence,
            observed_at_ms=self.turn.now_ms,
            vendor_status=shown.vendor_status if vendor_status is None else vendor_status,
        )

    def _version_before(self) -> str | None:
        """R3: the version an attempt starts from; after a success the cloud's may still, or again, be the old one."""
        shown, last = self.shown, self.shown.attempt
        if shown.status == "succeeded" and last is not None:
            is_old = shown.current_version == last.from_version
            if not shown.confirmed:
                return last.target_version or (None if is_old else shown.current_version)
            if is_old:
                return last.target_version or shown.current_version

        return shown.current_version

    def _status(self, status: Status, *, confirmed: bool) -> None:
        shown = self.shown
        self.is_known = True
        self.shown = replace(
            shown,
            status=status,
            phase=PHASES[status],
            confirmed=confirmed,
            last_evidence=self.turn.evidence,
            observed_at_ms=self.turn.now_ms,
            changed_at_ms=shown.changed_at_ms if shown.status == status else self.turn.now_ms,
        )

    def _reach(self, status: Status, at_ms: int) -> None:
        attempt = self.shown.attempt
        if attempt is not None and status in ("pending", "downloading", "installing", "verifying"):
            self.shown = replace(self.shown, attempt=replace(attempt, **{f"{status}_at_ms": at_ms}))

    def _forget_claim(self) -> None:
        book = self.book
        book.claimed_at_ms = book.claim_observed_at_ms = book.claim_answered_at_ms = book.moved_at_ms = None
        book.online_at_ms = None
        book.online_after_claim = False
        self.not_seen()


def attempt_id(device_id: str, channel: str, number: int) -> str:
    """Return the id of the attempt of this number: its UUIDv5, in a third of the time that `uuid5` takes.

    The store makes one for each device that it packs or unpacks.
    """
    name = f"{device_id}/{channel}/{number}".encode()
    digest = bytearray(sha1(_ATTEMPTS + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _finished(attempt: Attempt, at_ms: int) -> Attempt:
    """An attempt finishes once, however often its end is confirmed or corrected, and not before it began."""
    if attempt.finished_at_ms is not None:
        return attempt

    return replace(attempt, finished_at_ms=max(at_ms, attempt.started_at_ms))
