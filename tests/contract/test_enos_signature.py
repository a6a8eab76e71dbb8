"""The EnOS signature vectors: published by the vendor, or computed from the documented algorithm."""

from __future__ import annotations

import pytest

from bridge.clouds.enos.sign import encryption, signature, target_of

TOKEN = "xxxxaaaxxxx"
SECRET = "xxxappSecretxxx"
T = "1572574909697"

CHINESE_BODY = '{\n  "count": 20,\n  "page": 1,\n  "desc": "描述"\n}'.encode()
ENGLISH_BODY = b'{\n  "count": 20,\n  "page": 1,\n  "desc": "description"\n}'
THREE = {"k3": "v3", "k1": "v1", "k2": "v2"}
SEARCH = b"""{"expression":"productKey='yourProductKey'","pagination":{"pageNo":1,"pageSize":5}}"""

VECTORS = {
    "E1": (THREE, CHINESE_BODY, "59828328f6c1f9771015dc74e4929ae30f518a35a3d2353972c2ea46556fc981"),
    "E1x": (THREE, ENGLISH_BODY, "ad6dc6fc97f4290f3724e94eab38168d8613c41c3a4569b4b8b0efbce96a816c"),
    "E2": (
        {"orgId": "yourOrgId", "action": "searchDeviceUpgrade"},
        SEARCH,
        "77e221755e3e241cc8db5e120293830813d969a748f48181a75fcf21e8ea31c8",
    ),
    "E3": (
        {"orgId": "yourOrgId", "jobId": "j1", "action": "get"},
        b"",
        "a270b653b1cec50516579f1b92c651dc3eddfb8671fe5dea8514a3dca36c75f8",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_vector_is_reproduced(name: str) -> None:
    query, body, expected = VECTORS[name]

    assert signature(TOKEN, query, body, T, SECRET) == expected


def test_the_bodies_are_as_long_as_the_vectors_say() -> None:
    assert (len(CHINESE_BODY), len(ENGLISH_BODY)) == (50, 55)


def test_what_the_english_page_prints_is_not_the_signature_of_its_body() -> None:
    printed = VECTORS["E1"][2]

    assert signature(TOKEN, THREE, ENGLISH_BODY, T, SECRET) != printed


def test_e4_the_encryption_of_a_request_for_a_token_is_reproduced() -> None:
    told = encryption("5acb82e7-a11e-4300-9164-c8b20b638e8b", T, SECRET)

    assert told == "83e2f674e53f1a71943b6c5fc9bd0eb27864c83075af8b4bf528f3faa8c7ca38"


def test_parameters_are_signed_decoded_and_sent_encoded() -> None:
    query = {"b": "two words", "a": "灯/1&2"}

    assert target_of("/p", query) == "/p?a=%E7%81%AF%2F1%262&b=two%20words"
    assert signature("", query, b"", "", "") == signature("", {"a灯/1&2btwo words": ""}, b"", "", "")


@pytest.mark.parametrize("part", range(5))
def test_every_part_is_signed(part: int) -> None:
    parts: list[object] = [TOKEN, {"k": "v"}, b"body", T, SECRET]
    whole = signature(*parts)  # type: ignore[arg-type]
    parts[part] = ("other", {"k": "w"}, b"other", "1572574909698", "other")[part]

    assert signature(*parts) != whole  # type: ignore[arg-type]
