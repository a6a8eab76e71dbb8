"""What the fold's process is told, and what it tells."""

from __future__ import annotations

from msgspec import Struct


class Job(Struct, frozen=True, kw_only=True):
    """Fold the observations under this prefix. With `is_empty` no rule runs: the limit of everything around them."""

    bootstrap_servers: str
    prefix: str
    is_empty: bool = False
    profile: str | None = None
    """Where the process writes what its threads did."""


class Reading(Struct, frozen=True, kw_only=True):
    """The fold's state at a time."""

    at_s: float
    cpu_s: float
    rss_bytes: int
    folding: int
    """Partitions."""
    taking_over: int
    observations: int
    transactions: int
    devices: int
    devices_as_read: int
    """Not compact yet."""
