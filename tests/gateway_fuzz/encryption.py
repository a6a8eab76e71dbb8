"""Messages with a good sign that cannot be decrypted: bad base64, changed bits, wrong padding, another mode."""

from __future__ import annotations

import base64
import json
import random
from typing import Final

from Crypto.Cipher import AES

from tests.gateway_fuzz.case import DEVICE, Case, bad, good, odd, resigned
from tests.gateway_messages import compact, encrypted, upgrade_status

_BLOCK: Final = 16
_PLAIN: Final = json.dumps(upgrade_status(DEVICE)).encode()


def _with_data(data: str, key: str) -> bytes:
    return resigned(good(key) | {"data": data}, key)


def _with_sealed(sealed: bytes, key: str) -> bytes:
    return _with_data(base64.b64encode(sealed).decode(), key)


def _with_changed_bit(sealed: bytes, bit: int, key: str) -> bytes:
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    return _with_sealed(bytes(changed), key)


def _every_bit(key: str, _chance: random.Random) -> list[Case]:
    """GCM notices each bit of nonce, ciphertext and tag."""
    sealed = base64.b64decode(encrypted(_PLAIN, key=key))
    return [
        bad(f"bit {bit}", _with_changed_bit(sealed, bit, key), "undecryptable")
        for bit in range(8 * len(sealed))
    ]


def _last_block(key: str, _chance: random.Random) -> list[Case]:
    """ECB has no tag: a changed bit garbles its block, and what comes of that is one bad thing or another."""
    sealed = base64.b64decode(encrypted(_PLAIN, key=key, em="aes_ecb"))
    size = 8 * len(sealed)
    reasons = "undecryptable", "malformed_body", "unknown_shape"
    return [
        bad(f"ecb, bit {bit}", _with_changed_bit(sealed, bit, key), *reasons, em="aes_ecb")
        for bit in range(size - 8 * _BLOCK, size)
    ]


def _lengths(key: str, chance: random.Random) -> list[Case]:
    gcm = base64.b64decode(encrypted(_PLAIN, key=key))
    ecb = base64.b64decode(encrypted(_PLAIN, key=key, em="aes_ecb"))
    cases = [bad(f"{size} bytes", _with_sealed(gcm[:size], key), "undecryptable") for size in range(len(gcm))]
    cases += [
        bad(f"ecb, {size} bytes", _with_sealed(ecb[:size], key), "undecryptable", em="aes_ecb")
        for size in range(len(ecb))
        if size % _BLOCK or size == 0
    ]
    for _ in range(300):
        noise = chance.randbytes(chance.randrange(1, 300))
        cases.append(bad("noise", _with_sealed(noise, key), "undecryptable"))
    return cases


def _base64(key: str, chance: random.Random) -> list[Case]:
    whole: str = good(key)["data"]
    wrong = ["", " ", "=", "A", "AA", "AAA", "====", "é", "\u0000", whole + "=", whole + "A", whole[:-1]]
    wrong += [" " + whole, whole + " ", whole + "\n", whole.rstrip("=") + "==="]
    wrong += [whole[:50] + c + whole[50:] for c in (" ", "\n", "\r\n", "-", "_", "=", "é", ".", "\\", '"')]
    for _ in range(700):
        at = chance.randrange(len(whole.rstrip("=")))
        wrong.append(whole[:at] + chance.choice("-_!$%&()*,.:;<>?@[]^`{|}~ \t\n'") + whole[at + 1 :])
    return [bad(f"base64 {data!r}", _with_data(data, key), "undecryptable") for data in wrong]


def _paddings(key: str, _chance: random.Random) -> list[Case]:
    """Whole blocks that do not end as PKCS#7 wants it."""
    ends = [b"\x00", b"\x11", b"\xff", b" ", b"\r" * 12, b"\x01\x02", b"\x03\x02\x03", b"\x11" * _BLOCK]
    ends += [b"\x14" + bytes([count]) * (count - 1) for count in range(2, _BLOCK + 1)]
    cipher = AES.new(key[8:24].encode(), AES.MODE_ECB)
    return [
        bad(f"padding {end!r}", _with_sealed(cipher.encrypt(block), key), "undecryptable", em="aes_ecb")
        for end, block in ((end, bytes(_BLOCK) + end.rjust(_BLOCK, b"x")) for end in ends)
    ]


def _modes(key: str, _chance: random.Random) -> list[Case]:
    gcm, ecb = compact(good(key)), compact(good(key, em="aes_ecb"))
    unknown = ("aes_cbc", "AES_GCM", "aes-gcm", "aes_gcm ", "", "0", "x" * 5000, "aes_gcm\x00", "ä", b"\xff")
    # As many bytes as no number of whole blocks has.
    uneven = next(
        sealed
        for sealed in (base64.b64decode(encrypted(_PLAIN + b" " * n, key=key)) for n in range(2))
        if len(sealed) % _BLOCK
    )
    return [
        *(bad(f"em is {em[:20]!r}", gcm, "unknown_encryption", em=em) for em in unknown),
        *(
            bad(f"gcm under em {em}", _with_sealed(uneven, key), "undecryptable", em=em)
            for em in ("aes_ecb", None)
        ),
        bad("ecb under em aes_gcm", ecb, "undecryptable"),
        odd("ecb", ecb, em="aes_ecb"),
        odd("ecb without em", ecb, em=None),
    ]


KINDS: Final = (_every_bit, _last_block, _lengths, _base64, _paddings, _modes)
