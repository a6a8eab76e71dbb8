"""What the stage tells about itself: frozen records for the status page and the metrics."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from bridge.reconcile.circuit import Cause, CircuitState
from bridge.reconcile.limits import PaceStatistics
from bridge.reconcile.queue import QueueStatistics


class DiscoveryStatistics(Struct, frozen=True, kw_only=True):
    """The listing of an account's devices. Counts are those since the start; times are Unix ms."""

    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    """When the list was last read to its end."""
    listed: int = 0
    """Devices listed in the current, or latest, reading."""
    announced: int = 0
    failure: str | None = None
    """Why the latest reading ended early."""


class SweepStatistics(Struct, frozen=True, kw_only=True):
    """The readings of a cloud's own lists. Times are Unix ms; counts of one reading are those of the current one."""

    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    """When a reading last came to its end."""
    finished: int = 0
    """Readings that came to their end, since the start."""
    pages: int = 0
    pages_before: int = 0
    """Of the reading before: how far the current one is, if nothing changed."""
    devices: int = 0
    answered: int = 0
    """Lookups that sweeps answered, since the start."""
    period_s: float = 0.0
    """Time between two beginnings: as configured, or longer, because the rate allows no more."""
    failure: str | None = None
    """Why the latest reading ended early."""


class PackageStatistics(Struct, frozen=True, kw_only=True):
    """The firmware packages of an account. Counts are those since the start."""

    asked: int = 0
    failures: int = 0
    by_state: Mapping[str, int] = {}
    """Packages remembered, by their latest state."""


class AccountStatistics(Struct, frozen=True, kw_only=True):
    """One account's API side."""

    account: str
    cloud: str
    url: str
    owned: bool
    """Whether this process speaks for the account."""
    circuit: CircuitState
    cause: Cause | None
    """Why the circuit is not closed."""
    opens_again_in_s: float | None
    clock_offset_ms: int
    in_flight: int
    answers: Mapping[str, int]
    """Lookups served, by outcome."""
    errors: Mapping[str, int]
    """Lookups that failed, by class of error."""
    queue: QueueStatistics
    pace: PaceStatistics
    discovery: DiscoveryStatistics
    sweep: SweepStatistics | None
    """None for a cloud that needs none."""
    packages: PackageStatistics
    answered_by_others: int
    """Lookups that a reading made for another device answered."""


class ReconcileStatistics(Struct, frozen=True, kw_only=True):
    """The stage as a whole."""

    connected: bool
    """Whether the last attempt to read the lookups topic worked."""
    problem: str | None
    """Why it did not, or why what was read is not committed."""
    partitions: tuple[int, ...]
    """Partitions of the lookups topic that this process owns."""
    proven_s_ago: float | None
    """Age of the last proof that it still owns them."""
    lookups_read: int
    malformed: int
    unknown_account: int
    accounts: tuple[AccountStatistics, ...]
