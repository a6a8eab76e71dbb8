"""What an operator does about a dead letter, by its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REMEDIES: Final[Mapping[str, str]] = {
    "too_large": "larger than gateway.max_message_bytes, or than the topic's max.message.bytes: raise what is too low",
    "malformed_envelope": "not what the gateway sends: find out who else publishes into this topic, or report it",
    "duplicate_key": "what was signed is ambiguous: find out who else publishes into this topic, or report it",
    "missing_signature": "the gateway signs everything: find out who else publishes into this topic, or report it",
    "bad_signature": "no configured key signed it: check access_key, and after a rotation previous_access_key",
    "unknown_encryption": "the platform encrypts in a way this version does not know: upgrade the bridge, or report it",
    "undecryptable": "damaged, or encrypted with another key than the one that signed it: report it to the platform",
    "malformed_body": "decrypted to something that is no JSON object: check the key, else report it to the platform",
    "unknown_shape": "names no device in a place this version knows: upgrade the bridge, or report it",
    "id_conflict": "names two devices or accounts: nothing was changed, the cloud is asked about the devices",
    "internal_error": "a defect of the bridge: upgrade it, or report it",
}
"""Reasons are an open enumeration: another version's may be missing here."""


def remedy_of(reason: str) -> str:
    """Return what to do about a reason."""
    return REMEDIES.get(reason, "a reason of another version of the bridge: see its documentation")
