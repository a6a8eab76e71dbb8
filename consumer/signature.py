"""Step 4, verify: the MD5 signature over the envelope, checked before anything is decrypted.

It is a weak scheme (a key appended to the text, no nonce, no expiry), but with `aes_ecb` it is the only integrity
check there is. Two rules are in circulation, the documentation's and the vendor's code; both are accepted and counted.
Source: the message gateway contract, section 6.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from consumer.decryption import AccountKey
from consumer.envelope import Envelope
from consumer.errors import Rejected

Candidate = Literal["all_fields", "core_fields"]

_CORE: Final = frozenset({"data", "protocol", "pv", "t"})


def canonical(fields: Mapping[str, str]) -> str:
    """Join the signed fields: no `sign`, no blank values, ascending by code point."""
    return "||".join(
        [f"{key}={fields[key]}" for key in sorted(fields) if key != "sign" and fields[key].strip()]
    )


def digest(text: str, access_key: str) -> str:
    """Return the signature of a canonical text: lower-case hex MD5, the whole access key appended."""
    return hashlib.md5(f"{text}||{access_key}".encode(), usedforsecurity=False).hexdigest()


def verify(
    envelope: Envelope, others: Mapping[str, str] | None, keys: Sequence[AccountKey]
) -> tuple[AccountKey, Candidate] | None:
    """Return the key that signed and the rule it followed, None when no key signed this envelope.

    `keys` are tried in order, the current one first. The received signature counts in either case of its letters.
    Raises Rejected (missing_signature).
    """
    sign = envelope.sign
    if not sign or sign.isspace():
        raise Rejected("missing_signature", "the envelope has no sign")
    if not sign.isascii():
        return None
    received = sign.lower()
    data, pv = envelope.data, envelope.pv
    core: str | None = None
    if others is None and envelope.encryptVersion is None and data.strip() and pv.strip():
        # Nearly every envelope: both rules sign the same.
        text = f"data={data}||protocol={envelope.protocol}||pv={pv}||t={envelope.t}"
    else:
        text, core = _signed_texts(envelope, others)
    for key in keys:
        if hmac.compare_digest(received, digest(text, key.access_key)):
            return key, "all_fields"
        if core is not None and hmac.compare_digest(received, digest(core, key.access_key)):
            return key, "core_fields"
    return None


def _signed_texts(envelope: Envelope, others: Mapping[str, str] | None) -> tuple[str, str | None]:
    """Return the text of each candidate; the second is None where it equals the first."""
    if others is not None:
        text = canonical(others)
        core = canonical({key: others[key] for key in _CORE})
        return text, None if core == text else core
    data, pv, version = envelope.data, envelope.pv, envelope.encryptVersion
    signed_pv = f"||pv={pv}" if pv.strip() else ""
    tail = f"protocol={envelope.protocol}{signed_pv}||t={envelope.t}"
    head = f"data={data}||" if data.strip() else ""
    if version is None or not version.strip():
        return head + tail, None
    return f"{head}encryptVersion={version}||{tail}", head + tail
