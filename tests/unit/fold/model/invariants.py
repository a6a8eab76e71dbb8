"""What must hold of every single fold, whatever was told: said without the rules' own words for it.

The public state is rebuilt from the events alone and compared with what is shown; the duties of R1, R2, R4 and R7 are
checked on consecutive states.
"""

from __future__ import annotations

from typing import Any, Final

from bridge.fold.bookkeeping import ChannelBook
from bridge.fold.device import Device
from bridge.fold.events import TypedEvent
from bridge.fold.rules import Folded, TimerFired
from schemas import Channel, Observation, UpgradeEvent

_ORDER: Final = ("pending", "downloading", "installing", "verifying")
_MARGIN_MS: Final = 2000
_SHOWN: Final = (
    "status",
    "claimed",
    "phase",
    "stalled",
    "needs_confirmation",
    "outcome",
    "reason",
    "number",
)
"""What an event and a state must agree in at any time."""


class Invariants:
    """Checks each fold against the one before."""

    def __init__(self) -> None:
        self._events: dict[str, UpgradeEvent] = {}
        """The latest event of each channel: what a consumer knows."""
        self._delivered: set[tuple[str, int, int]] = set()

    def check(self, before: Device | None, given: Observation | TimerFired, folded: Folded) -> None:
        if isinstance(given, Observation):
            self._check_redelivery(before, given, folded)
        after = folded.device
        if after is None:
            assert not folded.events
            return

        revision = after.state.revision if before is None else before.state.revision
        first = revision - len(folded.events) if before is None else revision
        revisions = [typed.event.revision for typed in folded.events]
        assert revisions == list(range(first + 1, first + 1 + len(revisions))), "revisions do not rise by one"
        assert after.state.revision == first + len(revisions), "the state's revision is not its last event's"

        for typed in folded.events:
            self._check_event(typed, given)
        for channel in after.state.channels:
            self._check_shown(channel)
        if isinstance(given, Observation) and given.evidence.origin != "push" and before is not None:
            _check_stale_answer(before, given, after)

    def _check_redelivery(self, before: Device | None, given: Observation, folded: Folded) -> None:
        position = given.evidence.position
        if position is None:
            return
        place = (position.partition, position.ledger, position.entry)
        if place in self._delivered and before is not None:
            assert folded.device is before, "a redelivery changed the state"
            assert not folded.events
            assert folded.lookup is None
        self._delivered.add(place)

    def _check_event(self, typed: TypedEvent, given: Observation | TimerFired) -> None:
        event = typed.event
        if event.channel is None:
            return
        before = self._events.get(event.channel)
        self._events[event.channel] = event
        if before is None:
            assert event.previous_status is None
            return

        assert event.previous_status == before.status, "an event does not follow the one before"
        assert _content(event) != _content(before), "an event tells nothing new"
        if _number(event) == _number(before):
            _check_inside_attempt(before, event, given)
        else:
            assert _number(event) == _number(before) + 1, "an attempt was skipped"

    def _check_shown(self, channel: Channel) -> None:
        event = self._events.get(channel.channel)
        assert event is not None, "a channel is shown of which no event told"
        for name in _SHOWN:
            assert _value(channel, name) == _value(event, name), f"no event told of {name}"
        attempt = channel.attempt
        is_open = attempt is not None and attempt.finished_at_ms is None
        assert is_open == (channel.phase in ("pending", "active")), "phase and attempt disagree"
        assert (channel.claimed is not None) == (channel.status == "verifying"), "a claim without its status"
        if channel.phase == "terminal":
            assert channel.outcome == channel.status
            assert channel.confirmed == event.confirmed, "no event told of the confirmation"
        if not is_open and event.current_version is not None:
            assert channel.current_version == event.current_version, "no event told of the version"


def _check_inside_attempt(before: UpgradeEvent, after: UpgradeEvent, given: Observation | TimerFired) -> None:
    """R4, R7: what one attempt may show after what it showed before."""
    if before.status in _ORDER and after.status in _ORDER:
        assert _ORDER.index(after.status) >= _ORDER.index(before.status), "a status fell inside an attempt"
        is_undivided = isinstance(given, Observation) and given.undivided
        both_active = before.status in ("downloading", "installing") and after.status in _ORDER[:3]
        assert before.status == after.status or not (is_undivided and both_active), "an undivided value moved"
    if before.phase in ("terminal", "rest"):
        assert after.status not in _ORDER, "an ended attempt went on"

    first, second = before.attempt, after.attempt
    if first is not None and second is not None:
        fell = (second.progress or 0) < (first.progress or 0)
        assert not fell or second.retries > first.retries, "progress fell without a retry"

    if before.phase != "terminal":
        return
    if after.correction:
        assert not before.confirmed or _is_proven(after, given), (
            "a confirmed outcome was corrected without proof"
        )
        return
    assert after.status == before.status or (before.status, after.status) == ("succeeded", "available"), (
        f"{before.status} was left for {after.status} without a new attempt or a correction"
    )


def _is_proven(after: UpgradeEvent, given: Observation | TimerFired) -> bool:
    attempt = after.attempt
    if attempt is None or not isinstance(given, Observation) or after.status != "succeeded":
        return False
    runs = given.current_version
    return attempt.from_version not in (None, runs) and attempt.target_version in (None, runs)


def _check_stale_answer(before: Device, given: Observation, after: Device) -> None:
    """R2: an answer that is too old moves no status, but for version proof of the known target."""
    if given.kind not in ("status", "versions") or given.asked_at_ms is None:
        return
    book = next((book for book in before.book.channels if book.channel == given.channel), None)
    shown = _channel(before, given.channel)
    if book is None or shown is None:
        return
    now_shown = _channel(after, given.channel)
    assert now_shown is not None
    moved = (shown.status, _number(shown)) != (now_shown.status, _number(now_shown))
    if book.answered_at_ms is not None and given.asked_at_ms < book.answered_at_ms:
        assert shown == now_shown, "an answer older than the last one counted"
    elif _is_early(book, given.asked_at_ms) and moved:
        attempt = now_shown.attempt
        is_proof = (
            attempt is not None and attempt.target_version == given.current_version != attempt.from_version
        )
        assert is_proof, "an answer asked before the last push, or just after it, moved the status"


def _is_early(book: ChannelBook, asked_at_ms: int) -> bool:
    return book.pushed_at_ms is not None and asked_at_ms < book.pushed_at_ms + _MARGIN_MS


def _content(event: UpgradeEvent) -> tuple[Any, ...]:
    attempt = event.attempt
    retries = None if attempt is None else attempt.retries
    more = (event.progress, retries, event.current_version, event.available_version, event.confirmed)
    return tuple(_value(event, name) for name in _SHOWN) + more


def _value(shown: Channel | UpgradeEvent, name: str) -> Any:
    return _number(shown) if name == "number" else getattr(shown, name)


def _number(shown: Channel | UpgradeEvent) -> int:
    return 0 if shown.attempt is None else shown.attempt.number


def _channel(device: Device, name: str | None) -> Channel | None:
    return next((channel for channel in device.state.channels if channel.channel == name), None)
