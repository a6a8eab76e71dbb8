"""One input at work on one device: the working copy that rules change, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from bridge.fold.bookkeeping import ChannelBook
from bridge.fold.channel import ChannelTurn
from bridge.fold.device import Device, device_status
from bridge.fold.events import EventType, TypedEvent
from schemas import Channel, Evidence, LookupRequest, Observation, UpgradeEvent, UpgradeState

if TYPE_CHECKING:
    from bridge.fold.policy import Policy

_CAUSES: Final = ("claim", "stalled", "online", "new_attempt", "hint", "operator", "gap", "periodic")
_URGENCY: Final = {cause: rank for rank, cause in enumerate(_CAUSES)}
"""The order in which an owner of an account serves lookups; a trigger only moves a cause up."""


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
        "revision",
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
        self.revision = device.state.revision
        """Of the latest event; the state takes it over at the end."""
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
            for shown, book in zip(self.state.channels, self.book.channels, strict=True):
                if shown.channel == name:
                    work = ChannelTurn(self, name, shown, replace(book))
                    break
            else:
                work = ChannelTurn(self, name, None, ChannelBook(channel=name))
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
        """Keep the event, made with the device's next revision, unless the configuration leaves out its type."""
        if self.policy.leaves_out(event_type):
            return

        self.revision = event.revision
        self.events.append(TypedEvent(event_type, event))

    def finish(self) -> Device:
        """Put the channels back and publish what is left."""
        channels = self._settle()
        # They refer to this turn: freed at once, their memory is the next turn's, still in the processor's cache.
        self.channels.clear()
        state = replace(
            self.state,
            channels=channels,
            status=device_status(channels),
            revision=self.revision,
            updated_at_ms=max(self.now_ms, self.state.updated_at_ms),
        )
        return Device(state, self.book)

    def settle_channels(self) -> UpgradeState:
        """Publish what the channels' working copies show, put them back, and derive the device's own status."""
        channels = self._settle()
        self.state = replace(self.state, channels=channels, status=device_status(channels))
        return self.state

    def _settle(self) -> tuple[Channel, ...]:
        """Publish what the channels' working copies show; put their bookkeeping back, return what they show."""
        known, book = self.state.channels, self.book
        for work in self.channels.values():
            work.flush()
            if not work.is_known:
                continue
            if len(known) == 1 and known[0].channel == work.name:
                # Nearly every device has one channel.
                known, book.channels = (work.shown,), (work.book,)
                continue
            shown = {channel.channel: channel for channel in known} | {work.name: work.shown}
            books = {each.channel: each for each in book.channels} | {work.name: work.book}
            known = tuple(shown[name] for name in sorted(shown))
            book.channels = tuple(books[name] for name in sorted(books))

        return known
