"""What reconcile writes: the end of a lookup, a device that was found, and any observation as a record for Kafka."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from bridge.clouds.errors import CloudError
from bridge.clouds.evidence import evidence
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import Discovered
from consumer.sink import OutgoingRecord
from schemas import Observation, ObservedEvidence

_ERROR_FIELDS: Final = frozenset({"code", "msg", "tid"})

_encoder = msgspec.json.Encoder()


def record_of(account: AnyAccount, observation: Observation) -> OutgoingRecord:
    """Return an observation as it is produced: with as much of the cloud's own words as the account wants kept."""
    if account.evidence_raw == "none":
        told = observation.evidence
        observation = replace(observation, evidence=ObservedEvidence(origin=told.origin, name=told.name))
    return OutgoingRecord(
        topic="observations",
        key=observation.device_id.encode(),
        value=_encoder.encode(observation),
        timestamp_ms=observation.observed_at_ms,
    )


def answer_ok(
    account: AnyAccount, device_id: str, lookup_id: str, *, api: str, asked_at_ms: int, observed_at_ms: int
) -> Observation:
    """Return the end of a lookup that the cloud answered."""
    return Observation(
        device_id=device_id,
        cloud=account.cloud,
        account=account.name,
        kind="answer",
        lookup_id=lookup_id,
        outcome="ok",
        asked_at_ms=asked_at_ms,
        observed_at_ms=observed_at_ms,
        evidence=ObservedEvidence(origin="lookup", name=api),
    )


def answer_failed(
    account: AnyAccount,
    device_id: str,
    lookup_id: str,
    error: CloudError,
    *,
    outcome: str,
    asked_at_ms: int,
    observed_at_ms: int,
) -> Observation:
    """Return the end of a lookup that has no answer: `not_found` or `unavailable`."""
    told = {"code": error.code, "msg": error.text, "tid": error.trace_id}
    return Observation(
        device_id=device_id,
        cloud=account.cloud,
        account=account.name,
        kind="answer",
        lookup_id=lookup_id,
        outcome=outcome,
        error=error.error,
        asked_at_ms=asked_at_ms,
        observed_at_ms=observed_at_ms,
        evidence=evidence("lookup", error.api, told, _ERROR_FIELDS),
    )


def listing_ended(
    account: AnyAccount,
    lookup_id: str,
    error: CloudError | None,
    *,
    asked_at_ms: int,
    observed_at_ms: int,
) -> OutgoingRecord:
    """Return the end of a lookup without a device: all devices were listed, or could not be."""
    told = {} if error is None else {"code": error.code, "msg": error.text, "tid": error.trace_id}
    observation = Observation(
        device_id="",
        cloud=account.cloud,
        account=account.name,
        kind="answer",
        lookup_id=lookup_id,
        outcome="ok" if error is None else "unavailable",
        error=None if error is None else error.error,
        asked_at_ms=asked_at_ms,
        observed_at_ms=observed_at_ms,
        evidence=evidence("sweep", "discovery", told, _ERROR_FIELDS),
    )
    # It concerns no device: any partition will do, and an account's own has them in order.
    return replace(record_of(account, observation), key=account.name.encode())


def device_found(
    account: AnyAccount, device: Discovered, *, asked_at_ms: int, observed_at_ms: int
) -> Observation:
    """Return the hint that a device existed when the list was asked for: the fold asks for it."""
    return Observation(
        device_id=device.device_id,
        cloud=account.cloud,
        account=account.name,
        product_id=device.product_id,
        kind="hint",
        asked_at_ms=asked_at_ms,
        observed_at_ms=observed_at_ms,
        evidence=ObservedEvidence(origin="sweep", name="discovery"),
    )
