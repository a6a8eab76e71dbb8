"""Seals a business body as the gateway does: encrypted, in base64, in a signed envelope, with its properties.

Written from `contracts/message-gateway.md` sections 4 to 6, apart from the bridge's own decoder, so that each checks
the other. Also here: every way to spoil a sealed message, by the dead letter that it must become.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from msgspec import Struct

Mode = Literal["aes_gcm", "aes_ecb"]
_BLOCK_BYTES = 16
_TOO_LARGE_BYTES = 1024 * 1024 + 1024
"""Over the consumer's default cap of 1 MiB, under Pulsar's 5 MiB."""

_encode = msgspec.json.Encoder(order="sorted").encode


class Sealed(Struct, frozen=True, gc=False):
    """What goes onto the topic."""

    payload: bytes
    properties: dict[str, str]


class Manner(Struct, frozen=True, kw_only=True):
    """How one message is sealed, where the contract leaves room."""

    mode: Mode
    name_mode: bool = True
    """False leaves the property `em` out, which means ECB."""
    encrypt_version: bool = False
    sign_all_fields: bool = True
    """Where there is an `encryptVersion`: sign it too (the documentation), or the core four (Tuya's code)."""


class Key:
    """One access key with its two uses: the cipher and the signature."""

    def __init__(self, access_key: str) -> None:
        self._text = access_key
        aes_key = access_key[8:24].encode("ascii")
        self._gcm = AESGCM(aes_key)
        self._ecb = Cipher(AES(aes_key), ECB())  # noqa: S305 - the vendor's default mode

    def encrypt(self, body: bytes, mode: Mode, nonce: bytes) -> bytes:
        """GCM: nonce, ciphertext, tag. ECB: whole blocks, PKCS#7."""
        if mode == "aes_gcm":
            return nonce + self._gcm.encrypt(nonce, body, None)
        fill = _BLOCK_BYTES - len(body) % _BLOCK_BYTES
        encryptor = self._ecb.encryptor()
        return encryptor.update(body + bytes([fill]) * fill) + encryptor.finalize()

    def sign(self, fields: dict[str, object]) -> str:
        """MD5 over the sorted `key=value` pairs and the whole access key."""
        pairs = [f"{name}={fields[name]}" for name in sorted(fields)]
        text = "||".join([*pairs, self._text])
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def seal(body: bytes, *, protocol: int, t_ms: int, key: Key, manner: Manner, nonce: bytes) -> Sealed:
    """Seal `body`. `nonce` are 12 bytes that were never used with this key; its hex is also the trace id."""
    encrypted = key.encrypt(body, manner.mode, nonce)
    return _wrap(encrypted, protocol=protocol, t_ms=t_ms, key=key, manner=manner, nonce=nonce)


def _wrap(encrypted: bytes, *, protocol: int, t_ms: int, key: Key, manner: Manner, nonce: bytes) -> Sealed:
    core: dict[str, object] = {
        "data": base64.b64encode(encrypted).decode("ascii"),
        "protocol": protocol,
        "pv": "2.0",
        "t": t_ms,
    }
    fields = {**core, "encryptVersion": "v2"} if manner.encrypt_version else core
    sign = key.sign(fields if manner.sign_all_fields else core)
    properties = {"tid": nonce.hex()}
    if manner.name_mode:
        properties["em"] = manner.mode
    return Sealed(_encode({**fields, "sign": sign}), properties)


class Spoiling(Struct, frozen=True, kw_only=True):
    """What a spoiler may use: the message's parts, and bodies that are wrong by themselves."""

    body: bytes
    protocol: int
    t_ms: int
    key: Key
    manner: Manner
    nonce: bytes
    body_without_device: bytes
    body_naming_two: bytes

    def sealed(self, body: bytes | None = None) -> Sealed:
        """The message sealed as it should be, with another body if given."""
        return seal(
            self.body if body is None else body,
            protocol=self.protocol,
            t_ms=self.t_ms,
            key=self.key,
            manner=self.manner,
            nonce=self.nonce,
        )


def _bad_signature(parts: Spoiling) -> Sealed:
    sealed = parts.sealed()
    fields = msgspec.json.decode(sealed.payload)
    fields["sign"] = hashlib.md5(fields["sign"].encode(), usedforsecurity=False).hexdigest()
    return Sealed(_encode(fields), sealed.properties)


def _missing_signature(parts: Spoiling) -> Sealed:
    sealed = parts.sealed()
    fields = msgspec.json.decode(sealed.payload)
    del fields["sign"]
    return Sealed(_encode(fields), sealed.properties)


def _duplicate_key(parts: Spoiling) -> Sealed:
    sealed = parts.sealed()
    return Sealed(sealed.payload[:-1] + b',"t":' + str(parts.t_ms).encode() + b"}", sealed.properties)


def _undecryptable(parts: Spoiling) -> Sealed:
    """A wrong tag, or a block cut short, under a good signature."""
    encrypted = parts.key.encrypt(parts.body, parts.manner.mode, parts.nonce)
    spoiled = encrypted[:-1]
    if parts.manner.mode == "aes_gcm":
        spoiled += bytes([encrypted[-1] ^ 1])
    return _wrap(
        spoiled,
        protocol=parts.protocol,
        t_ms=parts.t_ms,
        key=parts.key,
        manner=parts.manner,
        nonce=parts.nonce,
    )


def _malformed_envelope(parts: Spoiling) -> Sealed:
    sealed = parts.sealed()
    return Sealed(sealed.payload[: len(sealed.payload) // 2], sealed.properties)


def _unknown_encryption(parts: Spoiling) -> Sealed:
    sealed = parts.sealed()
    return Sealed(sealed.payload, {**sealed.properties, "em": "aes_xts"})


def _too_large(parts: Spoiling) -> Sealed:
    return parts.sealed(parts.body.ljust(_TOO_LARGE_BYTES))


SPOILERS: dict[str, Callable[[Spoiling], Sealed]] = {
    "bad_signature": _bad_signature,
    "undecryptable": _undecryptable,
    "malformed_envelope": _malformed_envelope,
    "malformed_body": lambda parts: parts.sealed(parts.body[:-1]),
    "missing_signature": _missing_signature,
    "duplicate_key": _duplicate_key,
    "unknown_encryption": _unknown_encryption,
    "unknown_shape": lambda parts: parts.sealed(parts.body_without_device),
    "id_conflict": lambda parts: parts.sealed(parts.body_naming_two),
    "too_large": _too_large,
}
"""By dead-letter reason: how to spoil a message so that it becomes exactly that."""
