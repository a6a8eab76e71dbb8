"""What the stage tells about itself: a frozen record for the status page and the metrics."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class FoldStatistics(Struct, frozen=True, kw_only=True):
    """What the fold is doing: shown under /status."""

    partitions_folding: tuple[int, ...]
    partitions_taking_over: tuple[int, ...]
    devices: int
    problem: str | None
    """Why nothing is folded, or not everything: the brokers' last trouble, a commit that waits."""
    queued: int
    behind: tuple[int, ...]
    """Partitions still working off the backlog found at take-over."""
    in_gap: tuple[int, ...]
    """Partitions in which a gap is not folded into every device yet."""
    lookups_waiting: int
    """Wanted lookups that nobody waits for, until their turn at the account's pace."""
    counts: Mapping[str, int]
