"""One captured message step by step: what its envelope says, which key signed it, what is inside.

Unlike the stage, which stops at the first thing that is wrong, this goes on as far as it can: an operator wants to
see also what would be refused. Nothing is ever decrypted in another mode than the one that `em` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from consumer.decryption import AccountKey, KeyName, decrypt_with_any, json_object
from consumer.envelope import Envelope, open_envelope
from consumer.errors import Rejected
from consumer.settings import GatewayAccount
from consumer.signature import Candidate, verify


class KeyOf(Struct, frozen=True):
    """A key by its owner; never the key itself."""

    account: str
    key: KeyName


class Signature(Struct, frozen=True, kw_only=True):
    """Who signed an envelope, and by which of the rules in circulation."""

    account: str
    key: KeyName
    rule: Candidate


class Refusal(Struct, frozen=True):
    """What is wrong at one of the steps, in the words of a dead letter."""

    reason: str
    detail: str


class Examination(Struct, frozen=True, kw_only=True):
    """As far as each step came; `refusals` in the order of the steps, so the first is the stage's."""

    envelope: Envelope | None = None
    signature: Signature | None = None
    decrypted_with: KeyOf | None = None
    plaintext: bytes | None = None
    body: dict[str, Any] | None = None
    """The plaintext, where it is a JSON object."""
    refusals: tuple[Refusal, ...] = ()


def examine(payload: bytes, encryption: str | None, accounts: Sequence[GatewayAccount]) -> Examination:
    """Return what can be found out with the accounts' keys. `encryption` is the property `em`, None where absent.

    Raises Misconfigured for a key that cannot be one.
    """
    owners = [(account.name, key) for account in accounts for key in _keys(account)]
    refusals: list[Refusal] = []
    try:
        envelope, others = open_envelope(
            payload, max(account.gateway.max_message_bytes for account in accounts)
        )
    except Rejected as rejected:
        return Examination(refusals=(_refusal(rejected),))
    signature: Signature | None = None
    try:
        match = verify(envelope, others, [key for _, key in owners])
        if match is None:
            raise Rejected("bad_signature", "none of the access keys given signed this envelope")  # noqa: TRY301 (told with the other refusals)
        signer, rule = match
        owners = [(name, key) for name, key in owners if key is signer]
        signature = Signature(account=owners[0][0], key=signer.name, rule=rule)
    except Rejected as rejected:
        refusals.append(_refusal(rejected))
    try:
        opener, plaintext = decrypt_with_any([key for _, key in owners], envelope.data, encryption)
    except Rejected as rejected:
        return Examination(envelope=envelope, signature=signature, refusals=(*refusals, _refusal(rejected)))
    body = json_object(plaintext)
    if body is None:
        refusals.append(Refusal("malformed_body", "what was decrypted is not a JSON object in UTF-8"))
    return Examination(
        envelope=envelope,
        signature=signature,
        decrypted_with=next(KeyOf(name, key.name) for name, key in owners if key is opener),
        plaintext=plaintext,
        body=body,
        refusals=tuple(refusals),
    )


def _keys(account: GatewayAccount) -> list[AccountKey]:
    keys = [AccountKey(account.access_key, "current")]
    if account.previous_access_key is not None:
        keys.append(AccountKey(account.previous_access_key, "previous"))
    return keys


def _refusal(rejected: Rejected) -> Refusal:
    return Refusal(rejected.reason, rejected.detail)
