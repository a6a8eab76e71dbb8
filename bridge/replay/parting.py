"""Where a replay parts from the public log: the first event that one of them has and the other has not, and its input.

An event is the difference that a rule made, so its input is as near to the rule as the log leads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from bridge.fold.events import TypedEvent
from bridge.fold.rules import TimerFired
from bridge.replay.told import ToldEvent, ToldLog, content, label
from schemas import Observation

Given = Observation | TimerFired


class Parting(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`at`: the kind of input. `published`, `replayed`: the event that came of it; absent where there was none.

    The same twice: of this type and with this status, but it says something else. All absent: the events are the same,
    what differs is told by none. `counts`: what the rules counted there.
    """

    at: str | None = None
    published: str | None = None
    replayed: str | None = None
    counts: tuple[str, ...] = ()

    def without_counts(self) -> Parting:
        """Return what many devices have in common."""
        return replace(self, counts=()) if self.counts else self


NO_PARTING: Final = Parting()


class _Input(Struct, frozen=True):
    """The last input of a device."""

    at_ms: int
    name: str
    counts: tuple[str, ...]


class Watch:
    """Compares what a replay makes of its inputs with what was told, device by device."""

    def __init__(self, log: ToldLog) -> None:
        self._log = log
        self._last: dict[str, _Input] = {}
        self._partings: dict[str, Parting] = {}

    def before(self, device_id: str, revision: int, at_ms: int) -> None:
        """An observation of this time is folded next: what others made before it, the replay should have made by now.

        A timer's event may still come.
        """
        if device_id in self._partings:
            return

        missing = self._log.of(device_id).next_after(revision)
        if missing is not None and not missing.kind.by_timer and missing.at_ms < at_ms:
            self._miss(device_id, missing)

    def after(
        self,
        device_id: str,
        revision: int,
        given: Given,
        events: Sequence[TypedEvent],
        counts: tuple[str, ...],
    ) -> None:
        """An input was folded into a device of this revision, and made these events."""
        if device_id in self._partings:
            return

        behind = self._log.of(device_id).after(revision)
        for typed in events:
            event = next(behind, None)
            if event is None or not _is_same(event, typed):
                made = label(typed.type, typed.event.status)
                self._partings[device_id] = Parting(
                    at=_name(given),
                    published=None if event is None else _told(event),
                    replayed=f"{made} (timer)" if isinstance(given, TimerFired) else made,
                    counts=counts,
                )
                return

        if isinstance(given, Observation):
            self._last[device_id] = _Input(given.observed_at_ms, _name(given), counts)

    def of(self, device_id: str, revision: int, published_revision: int | None) -> Parting:
        """Return where the device parted. `revision` is what it came to: what the log told behind it is missing.

        But not what was told behind `published_revision`, after the states were read.
        """
        missing = self._log.of(device_id).next_after(revision)
        if missing is not None and published_revision is not None and missing.revision > published_revision:
            missing = None
        if missing is not None and device_id not in self._partings:
            self._miss(device_id, missing)
        return self._partings.get(device_id, NO_PARTING)

    def _miss(self, device_id: str, missing: ToldEvent) -> None:
        """The replay did not make this event: its input was the last one of the event's time."""
        last = self._last.get(device_id)
        if missing.kind.by_timer:
            parting = Parting(at="timer", published=_told(missing))
        elif last is None or last.at_ms != missing.at_ms:
            parting = Parting(at="unknown", published=_told(missing))
        else:
            parting = Parting(at=last.name, published=_told(missing), counts=last.counts)
        self._partings[device_id] = parting


def _is_same(told: ToldEvent, made: TypedEvent) -> bool:
    event = made.event
    return (told.revision, told.kind.label, told.kind.channel, told.content) == (
        event.revision,
        label(made.type, event.status),
        event.channel,
        content(event),
    )


def _told(event: ToldEvent) -> str:
    return f"{event.kind.label} (timer)" if event.kind.by_timer else event.kind.label


def _name(given: Given) -> str:
    """Return what kind of input it was, in the words of the observations topic."""
    if isinstance(given, TimerFired):
        return "timer"

    what = given.claimed or given.status or given.lifecycle or given.outcome
    claim = ("claimed",) if given.claimed else ()
    return " ".join((given.evidence.origin, given.kind, *claim, *((what,) if what else ())))
