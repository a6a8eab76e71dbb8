"""The words every record shares: upgrade statuses, their phases, and the open enumerations.

`Status` and `Phase` are closed within a major version: a reader may switch over them. Every other enumeration is open:
its known values are listed here as examples, and a reader skips what it does not know.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

from msgspec import Meta

Status = Literal[
    "idle",
    "available",
    "pending",
    "downloading",
    "installing",
    "verifying",
    "succeeded",
    "failed",
    "timed_out",
    "cancelled",
    "unknown",
]
Phase = Literal["rest", "pending", "active", "terminal", "unknown"]

PHASES: Final[dict[Status, Phase]] = {
    "idle": "rest",
    "available": "rest",
    "pending": "pending",
    "downloading": "active",
    "installing": "active",
    "verifying": "active",
    "succeeded": "terminal",
    "failed": "terminal",
    "timed_out": "terminal",
    "cancelled": "terminal",
    "unknown": "unknown",
}

STATUSES: Final[tuple[Status, ...]] = get_args(Status)

Cloud = Annotated[str, Meta(examples=["tuya-cloud", "illume", "hedwig", "oceanconnect", "enos"])]
ObservationKind = Annotated[
    str,
    Meta(examples=["status", "progress", "versions", "lifecycle", "hint", "gap", "answer"]),
]
Lifecycle = Annotated[str, Meta(examples=["online", "offline", "renamed", "removed"])]
Origin = Annotated[str, Meta(examples=["push", "lookup", "sweep", "bridge"])]
LookupOutcome = Annotated[str, Meta(examples=["ok", "not_found", "unavailable"])]
LookupCause = Annotated[
    str,
    Meta(
        examples=[
            "claim",
            "stalled",
            "online",
            "new_attempt",
            "hint",
            "gap",
            "periodic",
            "operator",
        ]
    ),
]
PackageState = Annotated[
    str, Meta(examples=["usable", "unverified", "checking", "rejected", "missing", "unknown"])
]
ReasonCode = Annotated[
    str,
    Meta(
        examples=[
            "device_busy",
            "weak_signal",
            "low_battery",
            "no_space",
            "out_of_memory",
            "download_failed",
            "download_timeout",
            "checksum_mismatch",
            "signature_invalid",
            "version_invalid",
            "version_mismatch",
            "unsupported_package",
            "install_failed",
            "device_unreachable",
            "cancelled_by_operator",
            "withdrawn",
            "device_removed",
            "vendor_timeout",
            "local_deadline",
            "internal_error",
            "unknown_error",
        ]
    ),
]
DeadLetterReason = Annotated[
    str,
    Meta(
        examples=[
            "too_large",
            "malformed_envelope",
            "duplicate_key",
            "missing_signature",
            "bad_signature",
            "unknown_encryption",
            "undecryptable",
            "malformed_body",
            "unknown_shape",
            "id_conflict",
            "internal_error",
        ]
    ),
]

RAW_LIMIT_BYTES: Final = 256 * 1024
"""Vendor evidence and dead-letter payloads are cut here, far under Kafka's 1 MB record limit."""


def words_of(vocabulary: Any) -> tuple[str, ...]:
    """Return the words of an open vocabulary that this release knows; others may come."""
    _, meta = get_args(vocabulary)
    return tuple(meta.examples)
