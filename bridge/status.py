"""What a process tells about itself: the records behind `/status` and `/metrics`."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from bridge.supervisor import StageStatus


class KafkaStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """At start: whether the topics could be checked. Afterwards: whether the stages' clients get answers."""

    state: Literal["connecting", "unreachable", "refused", "ready"]
    bootstrap_servers: str
    attempts: int = 0
    last_error: str | None = None
    remedy: str | None = None
    """Where a key of the configuration is to be changed: which."""
    unreachable_since_ms: int | None = None
    ready_at_ms: int | None = None
    """Since when it answers."""


class AccountStatus(Struct, frozen=True, kw_only=True):
    """An account of the configuration, and which ways to its cloud it has."""

    cloud: str
    gateway: bool
    api: bool


class Status(Struct, frozen=True, kw_only=True):
    """The answer of `/status`."""

    version: str
    started_at_ms: int
    uptime_s: float
    stopping: bool
    warnings: tuple[str, ...]
    kafka: KafkaStatus
    accounts: dict[str, AccountStatus]
    stages: dict[str, StageStatus]
    shared: dict[str, Any]
    """Statistics of what the stages share: the writer of observations."""
