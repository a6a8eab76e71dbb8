"""What an operator does about a message that was not understood, by its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ALTERED_OR_OTHER_RULE: Final = (
    "the message was changed on its way, or the platform signs by a rule this version does not know; only where all"
    ' messages of the project fail like this, set sign_policy = "warn" for the time being, and report it'
)
"""What a wrong signature means where the key is right: a single one among others that are right was tampered with, and
whoever let it pass by then would take whatever else is changed."""

REMEDIES: Final[Mapping[str, str]] = {
    "too_large": "larger than gateway.max_message_bytes, or than the topic's max.message.bytes: raise what is too low",
    "malformed_envelope": "not what the gateway sends: find out who else publishes into this topic, or report it",
    "duplicate_key": "what was signed is ambiguous: find out who else publishes into this topic, or report it",
    "missing_signature": "the gateway signs everything: find out who else publishes into this topic, or report it",
    "bad_signature": "no known key signed it: check {keys}; where `ota-bridge decrypt` opens it, the key is right, and"
    f" {ALTERED_OR_OTHER_RULE}",
    "unknown_encryption": "the platform encrypts in a way this version does not know: upgrade the bridge, or report it",
    "undecryptable": "look at it with `ota-bridge decrypt`, which tells whether the key or the property em is wrong;"
    " where both are right it is damaged: report it to the platform",
    "malformed_body": "decrypted to something that is no JSON object: look at it with `ota-bridge decrypt`, and report"
    " it to the platform where the signature is right",
    "unknown_shape": "names no device in a place this version knows: upgrade the bridge, or report it",
    "id_conflict": "it names two devices: nothing is changed and the cloud is asked about both; or two accounts report"
    " one device: it stays with the first, let only one of them have it",
    "internal_error": "a defect of the bridge: upgrade it, or report it",
}
"""Reasons are an open enumeration: another version's may be missing here."""

_CAPTURED: Final[Mapping[str, str]] = {
    "malformed_envelope": "take it whole, from the first { to the last }, as it stood on the topic; a dead letter as"
    " `ota-bridge dead-letters show KEY --json` prints it",
    "missing_signature": "the gateway signs everything: take all of the outer JSON, with its sign",
}
"""What differs for a message that somebody captured and pasted."""

CONFIGURED_KEYS: Final = "the account's access_key_file, and after a rotation its previous_access_key_file"


def remedy_of(reason: str, *, keys: str = CONFIGURED_KEYS, captured: bool = False) -> str:
    """Return what to do about a reason; `keys` is where the access keys came from, in the words of who gave them."""
    unknown = "a reason of another version of the bridge: see its documentation"
    told = _CAPTURED.get(reason) if captured else None
    return (told or REMEDIES.get(reason, unknown)).replace("{keys}", keys)
