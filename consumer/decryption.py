"""Step 5, decrypt: the mode is told by the message property `em` alone, never guessed, never fallen back from.

Both ciphers are made once per key, and both are cryptography's. pycryptodome's GCM costs sixty times as much; its ECB
three times, and it lets go of the interpreter's lock for each message, which the event loop's thread then takes.
pycryptodome serves where OpenSSL was built without ECB, and checks the other in the tests.
Source: the message gateway contract, section 5.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
from Crypto.Cipher import AES
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consumer.errors import Misconfigured, Rejected
from consumer.secret import Secret
from schemas.unreadable import UNREADABLE

KeyName = Literal["current", "previous"]

_BLOCK_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KEY_SLICE: Final = slice(8, 24)
_PADDINGS: Final = tuple(bytes([n]) * n for n in range(_BLOCK_BYTES + 1))


class AccountKey:
    """One access key of an account: it signs whole and decrypts with its middle sixteen characters."""

    __slots__ = ("_ecb", "_gcm", "access_key", "name")

    def __init__(self, access_key: Secret, name: KeyName) -> None:
        self.name: KeyName = name
        self.access_key = access_key.reveal()
        aes_key = self.access_key.encode()[_KEY_SLICE]
        if len(aes_key) != _BLOCK_BYTES:
            raise Misconfigured("the access key is too short: its characters 9 to 24 are the AES key")
        self._ecb = _open_ecb(aes_key)
        self._gcm = AESGCM(aes_key)

    def __repr__(self) -> str:
        return f"AccountKey({self.name!r})"

    def decrypt(self, data: str, encryption: str | None) -> bytes:
        """Return the plaintext of an envelope's `data`; `encryption` is the property `em`, None where absent.

        Raises Rejected: unknown_encryption, undecryptable (base64, length, block, tag, padding).
        """
        is_gcm = encryption == "aes_gcm"
        if not is_gcm and encryption is not None and encryption != "aes_ecb":
            raise Rejected("unknown_encryption", f"em is {_shown(encryption)}, neither aes_gcm nor aes_ecb")
        try:
            sealed = binascii.a2b_base64(data, strict_mode=True)
        except ValueError:
            raise Rejected("undecryptable", "data is not base64") from None
        if is_gcm:
            if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
                raise Rejected(
                    "undecryptable", f"aes_gcm: {len(sealed)} bytes, fewer than nonce and tag take"
                )
            try:
                return self._gcm.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
            except InvalidTag:
                raise Rejected("undecryptable", "aes_gcm: the tag does not match") from None
        if not sealed or len(sealed) % _BLOCK_BYTES:
            raise Rejected("undecryptable", f"aes_ecb: {len(sealed)} bytes are not whole blocks")
        padded = self._ecb(sealed)
        count = padded[-1]
        # PKCS#7 strictly, as the vendor's Java and Go do; anything else is a wrong key or damage.
        if not 1 <= count <= _BLOCK_BYTES or not padded.endswith(_PADDINGS[count]):
            raise Rejected("undecryptable", "aes_ecb: the padding is wrong")
        return padded[:-count]


def decrypt_with_any(
    keys: Sequence[AccountKey], data: str, encryption: str | None
) -> tuple[AccountKey, bytes]:
    """Return the plaintext by the first key that makes a JSON object of it, else by the first that decrypts at all.

    With ECB a wrong key seems to decrypt one message in two hundred and fifty. Raises Rejected as the last key does.
    """
    found: tuple[AccountKey, bytes] | None = None
    refused = Rejected("undecryptable", "no key was given")
    for key in keys:
        try:
            plaintext = key.decrypt(data, encryption)
        except Rejected as rejected:
            refused = rejected
            continue
        if json_object(plaintext) is not None:
            return key, plaintext
        found = found or (key, plaintext)
    if found is None:
        raise refused
    return found


def json_object(plaintext: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a plaintext is; None where it is none."""
    try:
        value = msgspec.json.decode(plaintext.decode("utf-8"))
    except UNREADABLE:
        return None
    return value if isinstance(value, dict) else None


def _open_ecb(aes_key: bytes) -> Callable[[bytes], bytes]:
    """Return what decrypts whole blocks. ECB keeps no state between them, so one cipher serves every message."""
    try:
        return Cipher(algorithms.AES(aes_key), modes.ECB()).decryptor().update  # noqa: S305 (the vendor's mode)
    except UnsupportedAlgorithm:
        return AES.new(aes_key, AES.MODE_ECB).decrypt


def _shown(text: str) -> str:
    """Show a stranger's text without letting it fill the log."""
    limit = 32
    return repr(text if len(text) <= limit else text[:limit] + "…")
