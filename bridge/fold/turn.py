"""One input at work on one device: the working copy, and the few moves by which rules change it.

The rules decide, the moves here act: they keep status, phase, attempt times and bookkeeping consistent, and they
publish. An event is the difference between what was last published of a channel and what it shows now, so no rule
can change a channel without its event, nor publish a change that did not happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from msgspec import Struct
from msgspec.structs import replace

from bridge.fold.bookkeeping import Bookkeeping, ChannelBook
from schemas import (
    PHASES,
    Attempt,
    Channel,
    Evidence,
    LookupRequest,
    Observation,
    Reason,
    Status,
    UpgradeEvent,
    UpgradeState,
)

if TYPE_CHECKING:
    from bridge.fold.policy import Policy

EventType = str

_ATTEMPTS: Final = UUID("5f0e3c1e-6d0b-5d0c-9a39-0f3b2f0b8a51")
"""Namespace of attempt ids. Never changed: ids are compared across releases."""

_CAUSES: Final = ("claim", "stalled", "online", "new_attempt", "hint", "operator", "gap", "periodic")
_URGENCY: Final = {cause: rank for rank, cause in enumerate(_CAUSES)}
"""The order in which an owner of an account serves lookups; a trigger only moves a cause up."""

DEVICE_STATUS_ORDER: Final[tuple[Status, ...]] = (
    "installing",
    "verifying",
    "downloading",
    "pending",
    "failed",
    "timed_out",
    "cancelled",
    "unknown",
    "available",
    "succeeded",
    "idle",
)
_DEVICE_STATUS_RANK: Final = {status: rank for rank, status in enumerate(DEVICE_STATUS_ORDER)}


class Device(Struct, frozen=True):
    """A device as the fold keeps it: the public state and the bookkeeping behind it. Never changed in place."""

    state: UpgradeState
    book: Bookkeeping


class TypedEvent(Struct, frozen=True):
    """An event with its CloudEvents type."""

    type: EventType
    event: UpgradeEvent


class Turn:
    """The working copy of a device while one input is folded."""

    __slots__ = (
        "book",
        "channels",
        "counts",
        "events",
        "evidence",
        "lookup",
        "now_ms",
        "observation",
        "policy",
        "state",
    )

    def __init__(
        self,
        device: Device,
        policy: Policy,
        now_ms: int,
        observation: Observation | None,
        evidence: Evidence,
    ) -> None:
        self.state = device.state
        self.book = replace(device.book)
        self.policy = policy
        self.now_ms = now_ms
        self.observation = observation
        self.evidence = evidence
        self.channels: dict[str, ChannelTurn] = {}
        self.events: list[TypedEvent] = []
        self.counts: list[str] = []
        self.lookup: LookupRequest | None = None

    def channel(self, name: str) -> ChannelTurn:
        """The working copy of channel `name`; one that is not known yet shows `unknown`."""
        work = self.channels.get(name)
        if work is None:
            shown = next((channel for channel in self.state.channels if channel.channel == name), None)
            book = next((book for book in self.book.channels if book.channel == name), None)
            work = ChannelTurn(
                self, name, shown, replace(book) if book is not None else ChannelBook(channel=name)
            )
            self.channels[name] = work

        return work

    def all_channels(self) -> list[ChannelTurn]:
        """The working copies of every known channel."""
        return [self.channel(channel.channel) for channel in self.state.channels]

    def count(self, name: str) -> None:
        """Count what happened, for statistics and metrics."""
        self.counts.append(name)

    def want_lookup(self, after_s: float, cause: str) -> None:
        """R14: a lookup is wanted `after_s` from now; it only moves the due time earlier and the cause up."""
        if self.state.account in self.policy.accounts_without_api or self.state.removed_at_ms is not None:
            return

        book = self.book
        due_at_ms = self.now_ms + round(after_s * 1000)
        if book.due_at_ms is None:
            book.due_at_ms = due_at_ms
            book.due_cause = cause
            return

        book.due_at_ms = min(book.due_at_ms, due_at_ms)
        if _URGENCY[cause] < _URGENCY.get(book.due_cause, len(_CAUSES)):
            book.due_cause = cause

    def publish(self, event_type: EventType, event: UpgradeEvent) -> None:
        """Give the event the device's next revision, unless the configuration leaves out its type."""
        if self.policy.leaves_out(event_type):
            return

        revision = self.state.revision + 1
        self.state = replace(self.state, revision=revision)
        self.events.append(TypedEvent(event_type, replace(event, revision=revision)))

    def finish(self) -> Device:
        """Put the channels back and publish what is left."""
        return Device(self.settle_channels(), self.book)

    def settle_channels(self) -> UpgradeState:
        """Publish what the channels' working copies show, put them back, and derive the device's own status."""
        for work in self.channels.values():
            work.flush()

        if self.channels:
            shown = {channel.channel: channel for channel in self.state.channels}
            books = {book.channel: book for book in self.book.channels}
            for work in self.channels.values():
                if work.is_known:
                    shown[work.name] = work.shown
                    books[work.name] = work.book

            channels = tuple(shown[name] for name in sorted(shown))
            self.book.channels = tuple(books[name] for name in sorted(books))
            self.state = replace(self.state, channels=channels, status=device_status(channels))

        return self.state


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
        book.previous_outcome = shown.outcome
        book.settled_at_ms = book.vendor_timeout_s = None
        self.shown = replace(
            shown,
            attempt=Attempt(
                attempt_id=str(uuid5(_ATTEMPTS, f"{self.turn.state.device_id}/{self.name}/{number}")),
                number=number,
                from_version=from_version or self._version_before(),
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
        book.online_after_claim = False
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
        self._forget_claim()
        self.shown = replace(
            self.shown,
            claimed=None,
            outcome=outcome,
            reason=None if outcome == "succeeded" else reason,
            stalled=False,
            needs_confirmation=False,
            attempt=None if attempt is None else replace(attempt, finished_at_ms=at_ms),
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
            attempt=None if attempt is None else replace(attempt, finished_at_ms=at_ms),
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
        before, after = self.published, self.shown
        if not self.is_known:
            return

        if before is None:
            opened = after.attempt is not None
            self._publish("ota.upgrade.status_changed" if opened else "ota.upgrade.baseline", before)
        else:
            if (
                before.stalled
                and not after.stalled
                and self.open_attempt is not None
                and _same_attempt(before, after)
            ):
                # The stall ends first; what ended it is told by the next event.
                self.shown = replace(before, stalled=False, last_evidence=after.last_evidence)
                self._publish("ota.upgrade.resumed", before)
                self.shown = after
            if _status_differs(before, after):
                self._publish("ota.upgrade.status_changed", before)
            elif after.stalled and not before.stalled:
                self._publish("ota.upgrade.stalled", before)
            elif self._progress_shows(before.attempt, after.attempt):
                self._publish("ota.upgrade.progressed", before)
            elif self.open_attempt is None and _version_differs(before, after):
                self._publish("ota.upgrade.version_changed", before)

        self.published = after
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
        """R3: the version an attempt starts from; after an adopted success the cloud's own may be an old one."""
        shown = self.shown
        if shown.status == "succeeded" and not shown.confirmed and shown.attempt is not None:
            return shown.attempt.target_version

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
        book.online_after_claim = False
        self.not_seen()

    def _progress_shows(self, before: Attempt | None, after: Attempt | None) -> bool:
        if before is None or after is None:
            return False

        if before.retries != after.retries:
            return True

        step = self.turn.policy.progress_step
        if step == 0 or after.progress is None or before.progress == after.progress:
            return False

        return before.progress is None or after.progress // step != before.progress // step

    def _publish(self, event_type: EventType, before: Channel | None) -> None:
        state, shown = self.turn.state, self.shown
        attempt = shown.attempt
        observation = self.turn.observation
        self.turn.publish(
            event_type,
            UpgradeEvent(
                device_id=state.device_id,
                cloud=state.cloud,
                account=state.account,
                product_id=state.product_id,
                device=state.device,
                channel=self.name,
                revision=0,
                previous_status=None if before is None else before.status,
                status=shown.status,
                claimed=shown.claimed,
                phase=shown.phase,
                stalled=shown.stalled,
                needs_confirmation=shown.needs_confirmation,
                attempt=attempt,
                progress=None if attempt is None else attempt.progress,
                current_version=shown.current_version,
                target_version=None if attempt is None else attempt.target_version,
                available_version=shown.available_version,
                outcome=shown.outcome,
                reason=shown.reason,
                confirmed=shown.confirmed,
                correction=self.correction,
                vendor_time_at_ms=None if observation is None else observation.vendor_time_at_ms,
                observed_at_ms=self.turn.now_ms,
                evidence=self.turn.evidence,
            ),
        )


def device_status(channels: tuple[Channel, ...]) -> Status:
    """The device's status is that of its most telling channel; `unknown` while no channel is known."""
    if not channels:
        return "unknown"

    return min((channel.status for channel in channels), key=_DEVICE_STATUS_RANK.__getitem__)


def _same_attempt(before: Channel, after: Channel) -> bool:
    return (
        before.attempt is not None
        and after.attempt is not None
        and before.attempt.number == after.attempt.number
    )


def _status_differs(before: Channel, after: Channel) -> bool:
    number_before = 0 if before.attempt is None else before.attempt.number
    number_after = 0 if after.attempt is None else after.attempt.number
    return (
        before.status != after.status
        or before.claimed != after.claimed
        or before.outcome != after.outcome
        or number_before != number_after
        or before.needs_confirmation != after.needs_confirmation
        or (after.phase == "terminal" and before.confirmed != after.confirmed)
    )


def _version_differs(before: Channel, after: Channel) -> bool:
    moved = before.current_version is not None and before.current_version != after.current_version
    return moved or before.available_version != after.available_version
