"""Whether messages of a source partition were lost unseen: the decision alone, on times that come in as arguments.

The gateway drops what nobody consumed within its retention. So a chain is kept for each source partition, of the
times up to which everything in it was received. Each link is a message that came, or a moment at which nothing was
waiting; where two links lie further apart than the retention less a margin, a gap is assumed. A quiet night is a
chain of quiet moments, not a gap.

Two kinds of evidence make a gap. A message that waited that long itself proves that nobody read before it. A chain
of our own that broke (this process is new, or was frozen) only raises a doubt: another copy may have read meanwhile,
and what it wrote into the progress topic settles that.
"""

from __future__ import annotations

from typing import Final, Self

from msgspec import Struct

STEP_ASIDE_SHARE: Final = 0.5
"""Of the margin: how long a copy may hold source partitions while nothing of theirs is confirmed. Another that waits
beside it then gets them, long before the gateway drops anything."""

CLOCKS_APART_MS: Final = 60_000
"""Between two copies' machines that keep their time."""


class GapRule(Struct, frozen=True):
    """How long a silence may be, and how old the gateway lets a message become."""

    limit_ms: int
    oldest_ms: int

    @classmethod
    def of(cls, retention_s: float, margin_s: float) -> Self:
        """Return the rule for a gateway's retention and the margin kept below it."""
        return cls(
            limit_ms=round((retention_s - margin_s) * 1000), oldest_ms=round((retention_s + margin_s) * 1000)
        )


class Silence(Struct, frozen=True):
    """It ended at `at_ms`, when something was heard again that joins what was known up to `since_ms`."""

    at_ms: int
    since_ms: int


class Chain:
    """One source partition's past. Times are Unix ms of our clock, publish times of the gateway's."""

    __slots__ = ("_covered_ms", "_doubt", "_first", "_is_recalled", "_rule", "alive_at_ms", "lost")

    def __init__(self, rule: GapRule) -> None:
        self._rule = rule
        self._is_recalled = False
        self._first: Silence | None = None
        self._doubt: Silence | None = None
        self._covered_ms = 0
        self.lost: Silence | None = None
        """In which messages may have been dropped unseen; None where none were, as far as is known."""
        self.alive_at_ms: int | None = None
        """Up to here everything was received and is done; None while nothing is known."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether only the progress topic can tell if something was lost."""
        return not self._is_recalled or self._doubt is not None

    @property
    def reaches_ms(self) -> int | None:
        """Up to here nothing is missing as far as is known: also what a first start or a gap told covers."""
        return self.alive_at_ms if self.alive_at_ms is not None else self._covered_ms or None

    def received(self, at_ms: int, published_at_ms: int) -> None:
        """At `at_ms` messages came, the first of which had been published at `published_at_ms`."""
        # One that waited longer than the gateway keeps any was published by a host whose clock is wrong.
        is_credible = 0 <= at_ms - published_at_ms <= self._rule.oldest_ms
        self._link(at_ms, published_at_ms if is_credible else at_ms)

    def caught_up(self, at_ms: int) -> None:
        """At `at_ms` nothing was waiting, and everything received was done."""
        self._link(at_ms, at_ms)
        self.done(at_ms)

    def acknowledged(self, at_ms: int, up_to_ms: int) -> None:
        """At `at_ms` the gateway told that everything published up to then is acknowledged, or dropped, by now."""
        self._link(at_ms, max(up_to_ms, self.alive_at_ms or 0))
        self.done(up_to_ms)

    def done(self, up_to_ms: int) -> None:
        """Everything up to there was confirmed and acknowledged. Publish times are not monotonic."""
        self.alive_at_ms = up_to_ms if self.alive_at_ms is None else max(self.alive_at_ms, up_to_ms)

    def recall(self, told_ms: int | None, now_ms: int) -> None:
        """Settle every doubt by what the progress topic tells of this source partition, None where it is new there."""
        if told_ms is None and not self._is_recalled:
            # Nothing was ever known, so nothing is missing in it: discovery, which follows, covers the past.
            self.told(now_ms)
        else:
            # A time far ahead of ours is a wrong clock's, and proves nothing: better a gap too many than one hidden.
            told_ms = (
                min(told_ms, now_ms) if told_ms is not None and told_ms <= now_ms + CLOCKS_APART_MS else 0
            )
            # What was dated later than now was so by a clock that was ahead and has been set back since.
            if self._first is not None:
                self._judge(min(self._first.at_ms, now_ms), min(self._first.since_ms, told_ms))
            if self._doubt is not None:
                # Whoever wrote a later time has read meanwhile, or has told the gap already.
                self._judge(min(self._doubt.at_ms, now_ms), max(self._doubt.since_ms, told_ms))
            if self.alive_at_ms is None:
                self.alive_at_ms = told_ms
        self._is_recalled, self._first, self._doubt = True, None, None

    def told(self, at_ms: int, lost: Silence | None = None) -> None:
        """At this time a gap was told, because of `lost`: it covers that, and whatever else was lost before.

        What was found while the gap waited for Kafka is judged anew, now that everything up to the gap is covered.
        """
        self._covered_ms = at_ms
        # The clock may have been set back between the two: what the gap was told for it covers, however that is dated.
        if self.lost == lost or not self._is_beyond(self.lost, at_ms):
            self.lost = None
        if not self._is_beyond(self._doubt, at_ms):
            self._doubt = None
        if self.alive_at_ms is not None:
            self.done(at_ms)

    def _is_beyond(self, silence: Silence | None, covered_ms: int) -> bool:
        return silence is not None and silence.at_ms - covered_ms > self._rule.limit_ms

    def _link(self, at_ms: int, from_ms: int) -> None:
        # Our own clock was ahead and was set back: it must not cover the time until then.
        self._covered_ms = min(self._covered_ms, at_ms)
        reaches_ms = max(from_ms, self._covered_ms)
        if self.alive_at_ms is None:
            # What this first link joins, only the progress topic can tell.
            self._first = None if self._is_recalled else Silence(at_ms, from_ms)
            self.alive_at_ms = reaches_ms
            return

        # A copy that waited beside the one that read learns here how far that one really was.
        self.alive_at_ms = min(self.alive_at_ms, reaches_ms)
        self._judge(at_ms, from_ms)
        if at_ms - self.alive_at_ms > self._rule.limit_ms and self._doubt is None:
            self._doubt = Silence(at_ms, self.alive_at_ms)

    def _judge(self, at_ms: int, since_ms: int) -> None:
        if at_ms - max(since_ms, self._covered_ms) > self._rule.limit_ms:
            self.lost = Silence(at_ms, since_ms)
