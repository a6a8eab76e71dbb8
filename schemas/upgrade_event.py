"""UpgradeEvent: one change of one device, published once. CloudEvents 1.0 on Kafka in binary mode."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from schemas.evidence import Evidence, Reason
from schemas.upgrade_state import Attempt, DeviceLabel
from schemas.vocabulary import Cloud, Phase, Status

SCHEMA_ID: Final = "urn:tuya-ota-bridge:schema:upgrade-event:1"
"""The `$id` of the value's JSON Schema, with its major version; CloudEvents attribute `dataschema`."""


class UpgradeEvent(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The record's value; its CloudEvents attributes are Kafka headers `ce_*`.

    `revision` starts at the device's first `observed_at_ms` and rises by one per event. `correction`: the event
    replaces an outcome that was already published. `channel` is absent for `ota.device.removed` and `.returned`. For an
    event made by a timer, `observed_at_ms` is the timer's time.
    """

    device_id: str
    cloud: Cloud
    account: str
    product_id: str | None = None
    device: DeviceLabel | None = None
    channel: str | None = None
    revision: int
    previous_status: Status | None = None
    status: Status
    claimed: Status | None = None
    phase: Phase
    stalled: bool
    needs_confirmation: bool
    attempt: Attempt | None = None
    progress: int | None = None
    current_version: str | None = None
    target_version: str | None = None
    available_version: str | None = None
    outcome: Status | None = None
    reason: Reason | None = None
    confirmed: bool
    correction: bool
    vendor_time_at_ms: int | None = None
    observed_at_ms: int
    evidence: Evidence
