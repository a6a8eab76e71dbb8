"""UpgradeState: the latest truth about one device, per firmware channel. Compacted topic, keyed by device_id."""

from __future__ import annotations

from msgspec import Struct

from schemas.evidence import Evidence, Reason
from schemas.vocabulary import Cloud, PackageState, Phase, Status


class Package(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A firmware package as its cloud knows it. Its state is never a device's status."""

    id: str
    state: PackageState


class Attempt(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One try to upgrade one channel. Its times are in the vendor's clock; a terminal status sets `finished_at_ms`.

    `attempt_id` is the UUIDv5 of device, channel and number; `number` counts from 1 per channel; `progress` is in
    per cent; `retries` counts restarts by the cloud within this attempt.
    """

    attempt_id: str
    number: int
    task_id: str | None = None
    package: Package | None = None
    from_version: str | None = None
    target_version: str | None = None
    progress: int | None = None
    retries: int
    started_at_ms: int
    pending_at_ms: int | None = None
    downloading_at_ms: int | None = None
    installing_at_ms: int | None = None
    verifying_at_ms: int | None = None
    finished_at_ms: int | None = None


class Channel(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The upgrade state of one firmware channel, with its latest attempt.

    `outcome` is the terminal status its latest attempt reached. `confirmed`: an API of the cloud showed this status;
    false where it was only pushed, adopted after a deadline, or concluded. `observed_at_ms` is when the bridge learned
    what it shows, `changed_at_ms` when the status last changed, both Unix ms on the bridge's clock.
    """

    channel: str
    status: Status
    claimed: Status | None = None
    phase: Phase
    stalled: bool
    needs_confirmation: bool
    attempt: Attempt | None = None
    current_version: str | None = None
    available_version: str | None = None
    outcome: Status | None = None
    reason: Reason | None = None
    confirmed: bool
    vendor_status: str | None = None
    last_evidence: Evidence
    changed_at_ms: int
    observed_at_ms: int


class DeviceLabel(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What people call a device; present only where the configuration asks for it."""

    name: str | None = None
    product_name: str | None = None
    category: str | None = None


class UpgradeState(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Everything known about one device. `status` is derived from the channels, the most active one first."""

    device_id: str
    cloud: Cloud
    account: str
    product_id: str | None = None
    device: DeviceLabel | None = None
    online: bool | None = None
    revision: int
    updated_at_ms: int
    removed_at_ms: int | None = None
    status: Status
    channels: tuple[Channel, ...]
