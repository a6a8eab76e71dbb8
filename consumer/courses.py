"""Courses: what came of a source partition, what came before, and what came too early, behind a hole.

Entries of a ledger are numbered one by one. A course that begins, or goes on behind a hole, may have begun too late:
when a source partition changes hands, the broker waits a second for the earlier owner's acknowledgements and then goes
back to the first entry without one. But a write to the earlier owner that ends within that second makes it go on
reading, now for the new owner, which gets the newest entries first, and those that the earlier owner took to its grave
later, or not until it asks. (Seen on Pulsar 4.0.7 in a fifth of the fail-overs under load; apache/pulsar issue 13945.)
So what comes behind a hole is let go, and the gateway is asked to go back (`questions`): then all comes in order.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

Place = tuple[int, int, int]
"""Ledger, entry, index in the entry (-1: it is the only message): rises within a source partition."""

_RUNS: Final = 8
"""Remembered of a source partition. What was received before those and comes again is worked on again: no harm."""


class Verdict(Enum):
    """What to do with an entry."""

    NEW = "new"
    CAME_BEFORE = "came before"
    """It is worked on already. Only its acknowledgement may have been lost."""
    TOO_EARLY = "too early"
    """Let it go. It is not acknowledged, so it comes again."""


class _Run(Struct, gc=False):
    """Entries of a ledger, received whole, one after the other."""

    ledger: int
    first: int
    last: int
    published_at_ms: int
    """The latest of them. A platform that was rebuilt numbers from low again: its entries are younger."""


class _LetGo(Struct, gc=False):
    """What came behind a hole. Until the gateway has gone back, all that follows is let go too."""

    first: Place
    last: Place
    is_second: bool = False
    """Whether `first` came once more after a question. Perhaps nobody heard that one: whoever is not the owner yet asks
    in vain, and may get the same again when it is."""
    asked: bool = False
    """Whether the gateway was asked since `first` came."""


class Course:
    """One source partition, since the process began."""

    __slots__ = ("_furthest", "_let_go", "_runs", "_settled_up_to", "breaks")

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._furthest: _Run | None = None
        self._let_go: _LetGo | None = None
        self._settled_up_to: Place | None = None
        """Since it went back: what is missing up to here does not exist any more, or another copy had it."""
        self.breaks = 0
        """So many times it was broken off, also anew while it was."""

    @property
    def is_broken_off(self) -> bool:
        """Whether it goes on only when the gateway goes back."""
        return self._let_go is not None

    def asked(self) -> None:
        """Take note that the gateway was asked to go back."""
        if self._let_go is not None:
            self._let_go.asked = True

    def judge(self, place: Place, published_at_ms: int) -> Verdict:
        """Tell what to do with the messages of an entry; `place` is the first of them that came now."""
        ledger, entry, _ = place
        furthest = self._furthest
        follows = furthest is not None and ledger == furthest.ledger and entry == furthest.last + 1
        if follows and self._let_go is None:
            return Verdict.NEW
        if not follows and self._is_of_new_platform(place, published_at_ms):
            self._forget()
        known = None if follows else self._run_with(ledger, entry)
        joins = follows or known is not None
        if self._let_go is not None and self._is_let_go(self._let_go, place, joins=joins, follows=follows):
            return Verdict.TOO_EARLY
        if known is not None:
            return Verdict.CAME_BEFORE if published_at_ms <= known.published_at_ms else Verdict.NEW
        if not joins and self._is_behind_hole(place):
            self._break_off(place)
            return Verdict.TOO_EARLY
        return Verdict.NEW

    def add(self, place: Place, published_at_ms: int) -> None:
        """Take note of a new entry that came whole."""
        ledger, entry, _ = place
        furthest = self._furthest
        if furthest is not None and ledger == furthest.ledger and entry == furthest.last + 1:
            run = furthest
        else:
            run = self._run_up_to(ledger, entry - 1) or self._new_run(place, published_at_ms)
            if furthest is None or (ledger, entry) > (furthest.ledger, furthest.last):
                self._furthest = run
        run.last = entry
        run.published_at_ms = max(run.published_at_ms, published_at_ms)

    def _run_up_to(self, ledger: int, entry: int) -> _Run | None:
        return next((run for run in self._runs if run.ledger == ledger and run.last == entry), None)

    def _new_run(self, place: Place, published_at_ms: int) -> _Run:
        ledger, entry, _ = place
        run = _Run(ledger, entry, entry, published_at_ms)
        self._runs.append(run)
        del self._runs[:-_RUNS]
        return run

    def _is_let_go(self, gone: _LetGo, place: Place, *, joins: bool, follows: bool) -> bool:
        """Tell whether this one is let go too. One that joins what came is in order, whatever the gateway was asked.

        One that came before may have waited in the client's queue since before the question: it proves nothing.
        """
        if joins:
            if place >= gone.first or (gone.asked and follows):
                self._go_on(gone)
            return False
        if place > gone.last:
            gone.last = place
            return True
        if gone.asked and place == gone.first:
            if gone.is_second:
                self._go_on(gone)
                return False
            self._break_off(place, is_second=True)
            return True
        # The broker may read twice at a time, and so give a part of it twice without having gone back; or the source
        # partition was another copy's meanwhile. What comes first three times, with a question in between each time, is
        # the beginning.
        self._break_off(place)
        return True

    def _break_off(self, place: Place, *, is_second: bool = False) -> None:
        self._let_go = _LetGo(place, place, is_second)
        self.breaks += 1

    def _go_on(self, gone: _LetGo) -> None:
        self._settled_up_to, self._let_go = gone.first, None

    def _is_of_new_platform(self, place: Place, published_at_ms: int) -> bool:
        """Tell whether numbers began anew: at or below what came, and younger than all of it.

        Producers' clocks differ, so an old hole that is filled may look the same; then what came is forgotten in vain:
        a question more, and what comes again is worked on again, with the same place in its record.
        """
        furthest = self._furthest
        if furthest is None or place[:2] > (furthest.ledger, furthest.last):
            return False
        return published_at_ms > max(run.published_at_ms for run in (furthest, *self._runs))

    def _forget(self) -> None:
        """Begin anew: whatever comes now may have begun too late."""
        self._runs, self._furthest, self._settled_up_to = [], None, None

    def _run_with(self, ledger: int, entry: int) -> _Run | None:
        # The furthest may have been dropped from the others: it stays known.
        for run in (self._furthest, *self._runs):
            if run is not None and run.ledger == ledger and run.first <= entry <= run.last:
                return run
        return None

    def _is_behind_hole(self, place: Place) -> bool:
        """Tell whether something may be missing before a place that does not follow what came."""
        if self._settled_up_to is not None and place[:2] <= self._settled_up_to[:2]:
            return False
        furthest = self._furthest
        return furthest is None or place[:2] > (furthest.ledger, furthest.last)
