"""The one password hash that Pulsar's basic authentication reads and a newer Python can still make: Apache's `apr1`."""

from __future__ import annotations

import hashlib

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ROUNDS = 1000
_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))


def apr1(password: str, salt: str) -> str:
    """Hash `password` as `htpasswd -m` does; `salt` is 1 to 8 letters or digits.

    The algorithm is Apache's apr_md5.c: MD5 in a thousand rounds, with the bytes in an order of its own.
    """
    secret = password.encode()
    seasoning = salt.encode()
    inner = hashlib.md5(secret + seasoning + secret).digest()  # noqa: S324 - Apache's choice, not ours
    text = secret + b"$apr1$" + seasoning + (inner * (len(secret) // 16 + 1))[: len(secret)]
    length = len(secret)
    while length:
        text += b"\0" if length & 1 else secret[:1]
        length >>= 1
    digest = hashlib.md5(text).digest()  # noqa: S324 - as above
    for number in range(_ROUNDS):
        parts = secret if number & 1 else digest
        parts += seasoning if number % 3 else b""
        parts += secret if number % 7 else b""
        parts += digest if number & 1 else secret
        digest = hashlib.md5(parts).digest()  # noqa: S324 - as above
    encoded = "".join(
        _base64(digest[first] << 16 | digest[second] << 8 | digest[third], 4)
        for first, second, third in _ORDER
    )
    return f"$apr1${salt}${encoded}{_base64(digest[11], 2)}"


def _base64(number: int, characters: int) -> str:
    return "".join(_ALPHABET[number >> 6 * place & 63] for place in range(characters))
