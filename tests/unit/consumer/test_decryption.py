"""Decryption: round trips, cross-checked with another library, and no bit of a message can be changed."""

from __future__ import annotations

import base64

import pytest
from Crypto.Cipher import AES
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from consumer.decryption import AccountKey
from consumer.errors import Misconfigured, Rejected
from consumer.secret import Secret
from tests.gateway_messages import ACCESS_KEY, PREVIOUS_KEY, encrypted

_KEY = AccountKey(Secret(ACCESS_KEY), "current")


def _refused(data: str, em: str | None) -> str:
    with pytest.raises(Rejected) as refused:
        _KEY.decrypt(data, em)
    return refused.value.reason


@given(st.binary(max_size=300), st.sampled_from(["aes_gcm", "aes_ecb"]))
def test_what_was_encrypted_is_decrypted(body: bytes, em: str) -> None:
    assert _KEY.decrypt(encrypted(body, em=em), em) == body


@given(st.binary(max_size=100), st.binary(min_size=12, max_size=12))
def test_gcm_agrees_with_the_other_library(body: bytes, nonce: bytes) -> None:
    ciphertext, tag = AES.new(ACCESS_KEY[8:24].encode(), AES.MODE_GCM, nonce=nonce).encrypt_and_digest(body)
    assert _KEY.decrypt(base64.b64encode(nonce + ciphertext + tag).decode(), "aes_gcm") == body


def test_no_property_means_ecb() -> None:
    assert _KEY.decrypt(encrypted(b"body", em="aes_ecb"), None) == b"body"


def test_every_changed_bit_of_a_gcm_message_is_refused() -> None:
    data = base64.b64decode(encrypted(b'{"bizCode":"online"}'))
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert _refused(base64.b64encode(changed).decode(), "aes_gcm") == "undecryptable"


def _with_padding(padding: bytes) -> str:
    block = b"x" * (16 - len(padding)) + padding
    return base64.b64encode(AES.new(ACCESS_KEY[8:24].encode(), AES.MODE_ECB).encrypt(block)).decode()


@pytest.mark.parametrize("padding", [b"\x00", b"\x11", b"\x02", b"\x03\x02\x03", b"\x0f" * 14, b"\xff"])
def test_padding_is_checked_strictly(padding: bytes) -> None:
    assert _refused(_with_padding(padding), "aes_ecb") == "undecryptable"


def test_full_block_of_padding_is_an_empty_body() -> None:
    assert _KEY.decrypt(_with_padding(b"\x10" * 16), "aes_ecb") == b""


@pytest.mark.parametrize("em", ["aes_gcm", "aes_ecb", None])
@pytest.mark.parametrize("data", ["", "QUJ", "QUI=x", "Q UI=", "QUI=\n", "ä", "QUI=", "----"])
def test_what_is_not_base64_or_too_short_is_undecryptable(data: str, em: str | None) -> None:
    assert _refused(data, em) == "undecryptable"


@pytest.mark.parametrize("em", ["", "AES_GCM", "aes_cbc", "x" * 10_000])
def test_other_encryptions_are_refused_without_a_guess(em: str) -> None:
    with pytest.raises(Rejected) as refused:
        _KEY.decrypt(encrypted(b"body"), em)
    assert refused.value.reason == "unknown_encryption"
    assert len(refused.value.detail) < 120


def test_another_key_does_not_decrypt() -> None:
    assert _refused(encrypted(b"body", key=PREVIOUS_KEY), "aes_gcm") == "undecryptable"


def test_a_short_key_is_a_configuration_mistake_and_never_shown() -> None:
    with pytest.raises(Misconfigured) as mistake:
        AccountKey(Secret("short-secret-key"), "current")
    assert "short-secret" not in str(mistake.value)
    assert ACCESS_KEY not in repr(_KEY)


def test_another_library_serves_where_openssl_has_no_ecb(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise UnsupportedAlgorithm("no ECB")

    monkeypatch.setattr("consumer.decryption.Cipher", unsupported)
    key = AccountKey(Secret(ACCESS_KEY), "current")
    for body in (b"one", b"another one of more than a block"):
        assert key.decrypt(encrypted(body, em="aes_ecb"), "aes_ecb") == body
