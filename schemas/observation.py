"""Observation: one thing the bridge learned about a device, pushed or asked for. The only input of the fold."""

from __future__ import annotations

from msgspec import Struct

from schemas.evidence import ObservedEvidence, Reason
from schemas.upgrade_state import Package
from schemas.vocabulary import (
    Cloud,
    Lifecycle,
    LookupOutcome,
    ObservationKind,
    Status,
)


class Observation(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One fact about one device, as one message or one API answer told it.

    `kind` says which of the optional fields carry the fact:

    * `status`: `status`, for a pushed terminal status `verifying` with `claimed`; also versions, progress, task.
    * `progress`: `progress`, 0 to 100 per cent.
    * `versions`: `current_version`, `target_version`; with `vendor_status` where that value has no status of ours.
    * `lifecycle`: `lifecycle`; `name` for `renamed`.
    * `hint`: something happened that only the cloud's API can tell.
    * `gap`: pushes of the account were lost; has an empty `device_id`, produced to every partition.
    * `answer`: ends the lookup `lookup_id` with `outcome`; `error` is the class of the failure. With an empty
      `device_id` it ends the listing of an account's devices that somebody asked for.

    `undivided`: the vendor's value covers download and installation alike, so it never moves between those two.
    `vendor_time_at_ms` is the vendor's clock at the event; `asked_at_ms` the vendor's clock when an API was asked.
    `target_version` under status `available` is the channel's available version.
    """

    device_id: str
    cloud: Cloud
    account: str
    product_id: str | None = None
    channel: str | None = None
    kind: ObservationKind
    status: Status | None = None
    claimed: Status | None = None
    vendor_status: str | None = None
    undivided: bool = False
    progress: int | None = None
    current_version: str | None = None
    target_version: str | None = None
    task_id: str | None = None
    package: Package | None = None
    needs_confirmation: bool | None = None
    vendor_timeout_s: int | None = None
    reason: Reason | None = None
    lifecycle: Lifecycle | None = None
    name: str | None = None
    lookup_id: str | None = None
    outcome: LookupOutcome | None = None
    error: str | None = None
    vendor_time_at_ms: int | None = None
    asked_at_ms: int | None = None
    observed_at_ms: int
    evidence: ObservedEvidence
