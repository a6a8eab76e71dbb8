"""The Tuya signature vectors: published by the vendor, by the community, or computed from the documented algorithm."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from bridge.clouds.tuya.sign import canonical_url, path_of, sign, sign_legacy, string_to_sign, target_of

ID = "1KAD46OrT9HafiKdsXeg"
KEY = "4OHBOnWOqaEC1mWXOpVL3yV50s0qGSRC"
T = "1588925778000"
TOKEN = "3f4eda2bdec17232f67c0b188af3eec1"
NONCE = "5138cc3a9033d69856923fd07b491173"
HEADERS = {"area_id": "29a33e8796834b1efa6", "call_id": "8afdb70ab2ed11eb85290242ac130003"}
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
COMMANDS = b'{"commands":[{"code":"switch_led","value":false}]}'
ROOM = b'{"project_id":"1451224591564378112","room_id":"234761634"}'
FIRMWARE = "/v2.0/cloud/thing/vdev1243432xxx/firmware"
OPEN = "/v1.0/cloud/illume/devices"

CURRENT = {
    "T1": (
        ("GET", "/v1.0/token", {"grant_type": "1"}, b"", HEADERS),
        ("", NONCE),
        "9E48A3E93B302EEECC803C7241985D0A34EB944F40FB573C7B5C2A82158AF13E",
    ),
    "T2": (
        ("GET", "/v2.0/apps/schema/users", {"page_size": "50", "page_no": "1"}, b"", HEADERS),
        (TOKEN, NONCE),
        "AE4481C692AA80B25F3A7E12C3A5FD9BBF6251539DD78E565A1A72A508A88784",
    ),
    "T5": (
        ("POST", "/v1.0/devices/bf2c1e00ab0f12face/commands", {}, COMMANDS, {}),
        (TOKEN, ""),
        "F27DD95A15E84C954DB2ED016096D517681FE79853B6CDAD446927352691804E",
    ),
    "T6": (
        ("GET", "/v1.0/token", {"grant_type": "1"}, b"", {}),
        ("", ""),
        "7BA26C076E5ECB1E959BE274A0FFB397B2B1865FC7BCED8F1C78AC5653C20CAA",
    ),
    "T7": (
        ("GET", FIRMWARE, {}, b"", {}),
        (TOKEN, ""),
        "2FA21C35EC4B8E559CBD2127C967A2663D72A8ADF7CC171A228EE6BCF1CCF791",
    ),
    "T8": (
        ("GET", FIRMWARE, {}, b"", {}),
        (TOKEN, NONCE),
        "F07F9B324F70AF069F7C68DC6BC79E430E686CD9601FD26DD74AEE22ECB5B987",
    ),
    "T9": (
        ("GET", f"{FIRMWARE}/0/progress", {}, b"", {}),
        (TOKEN, ""),
        "990016A626F5903AE21A7AC6BF30368EC9C11DB237F7FC4BCC0B0799B5F44C47",
    ),
    "T10": (
        ("POST", f"{FIRMWARE}/0", {}, b"", {}),
        (TOKEN, ""),
        "2F24153977FC5C916CD98707800CF32C3F744038F95063B0BB89CCCD32CD8074",
    ),
    "T11": (
        (
            "GET",
            f"{OPEN}/ota/open/tobeupgraded",
            {"page": "1", "page_size": "10", "project_id": "1451224591564378112"},
            b"",
            {},
        ),
        (TOKEN, ""),
        "CFEEEFFD558CC664CA4A95D5AEF0C6D67DE42E06255A4A59F6965613DA9FAF52",
    ),
    "T12": (
        ("GET", f"{OPEN}/ota/tobeupgraded/roomid", {}, ROOM, {}),
        (TOKEN, ""),
        "ED1DAADA895DE85962A14A8F33D4CD1EED80F733B6E20753B554CEABBC87167E",
    ),
    "T13": (
        ("GET", f"{OPEN}/device/ota/open/detail", {"device_id": "vdev1243432xxx"}, b"", {}),
        (TOKEN, ""),
        "E226F6ED3CCE01BCBCEFB9FA95F4FC00A5B71595D8EFC5E9D7A918467F8DBF33",
    ),
    "T14": (
        ("GET", "/v1.0/token/abcdef0123456789abcdef0123456789", {}, b"", {}),
        ("", ""),
        "9120DBFB3B9FB432F0E60326625AA8CCB887305569ADA5DDA795868DC0C7D29A",
    ),
}


@pytest.mark.parametrize("name", CURRENT)
def test_the_vector_is_reproduced(name: str) -> None:
    (method, path, query, body, headers), (token, nonce), expected = CURRENT[name]

    text = string_to_sign(method, path, query, body=body, signed_headers=headers)

    assert sign(ID, KEY, T, text, access_token=token, nonce=nonce) == expected


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        pytest.param("", "CEAAFB5CCDC2F723A9FD3E91D3D2238EE0DD9A6D7C3C365DEB50FC2AF277AA83", id="T3"),
        pytest.param(TOKEN, "36C30E300F226B68ADD014DD1EF56A81EDB7B7A817840485769B9D6C96D0FAA1", id="T4"),
    ],
)
def test_the_legacy_vector_is_reproduced(token: str, expected: str) -> None:
    assert sign_legacy(ID, KEY, T, access_token=token) == expected


def test_the_string_to_sign_of_t1_is_as_published() -> None:
    text = string_to_sign("GET", "/v1.0/token", {"grant_type": "1"}, signed_headers=HEADERS)

    assert text == (
        f"GET\n{EMPTY}\narea_id:29a33e8796834b1efa6\ncall_id:8afdb70ab2ed11eb85290242ac130003\n\n"
        "/v1.0/token?grant_type=1"
    )


def test_without_signed_headers_the_third_line_is_empty() -> None:
    assert string_to_sign("GET", "/path", {}) == f"GET\n{EMPTY}\n\n/path"


def test_n1_headers_joined_without_their_line_ends_are_not_produced() -> None:
    wrong = "0BDAB2B79347E4FD29ACF522683154D1ADEF2D1D364FAD5740A649C025DB0370"
    joined = "\n".join(f"{name}:{value}" for name, value in HEADERS.items())
    text = f"{ID}{T}{NONCE}GET\n{EMPTY}\n{joined}\n/v1.0/token?grant_type=1"
    assert hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest().upper() == wrong

    right = string_to_sign("GET", "/v1.0/token", {"grant_type": "1"}, signed_headers=HEADERS)

    assert sign(ID, KEY, T, right, nonce=NONCE) != wrong


def test_the_bodies_hash_as_the_vectors_say() -> None:
    assert (
        hashlib.sha256(COMMANDS).hexdigest()
        == "c9df53ad98d9c9be68680613d9ece634a27f102c5e40c7b5f60c11f6b944b6a9"
    )
    assert (
        hashlib.sha256(ROOM).hexdigest() == "ef6f1f99b019ab90281012344479e5e5c5152da2d7c0d6f5229002489a69d9c8"
    )


def test_query_values_are_signed_decoded_and_sent_encoded() -> None:
    query = {"b": "two words", "a": "灯/1&2"}

    assert canonical_url("/p", query) == "/p?a=灯/1&2&b=two words"
    assert target_of("/p", query) == "/p?a=%E7%81%AF%2F1%262&b=two%20words"


def test_a_device_id_stays_one_segment_of_the_path() -> None:
    assert path_of("/thing/{device_id}/firmware", device_id="a/b?c") == "/thing/a%2Fb%3Fc/firmware"
