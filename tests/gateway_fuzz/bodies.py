"""Well-sealed messages whose bodies are wrong, or odd, or none of ours."""

from __future__ import annotations

import json
import random
from typing import Any, Final

from tests.gateway_fuzz.case import CONFLICT, COUNTED, DEVICE, Case, bad, odd
from tests.gateway_messages import sealed, upgrade_status

_NO_TEXT: Final = (None, True, 12, 1.5, [], {}, [DEVICE], {"a": 1})
_HUGE: Final = (10**30, -(10**30), "9" * 400, "x" * 50_000)


def _random_bytes(key: str, chance: random.Random) -> list[Case]:
    # The first byte alone makes it no JSON object.
    noise = [
        chance.choice(b"\x00\x80\xfe[},").to_bytes() + chance.randbytes(chance.randrange(200))
        for _ in range(1800)
    ]
    return [
        bad("random body", sealed(body, key=key, em=em), "malformed_body", em=em)
        for body, em in zip(noise, ("aes_gcm", "aes_ecb") * 900, strict=True)
    ]


def _cut_short(key: str, _chance: random.Random) -> list[Case]:
    whole = json.dumps(upgrade_status(DEVICE)).encode()
    return [
        bad(f"body cut after {end} bytes", sealed(whole[:end], key=key, em=em), "malformed_body", em=em)
        for em in ("aes_gcm", "aes_ecb")
        for end in range(len(whole))
    ]


def _no_objects(key: str, _chance: random.Random) -> list[Case]:
    deep = 20_000
    begun = b'{"bizCode":"upgradeStatus","devId":"d","x":'
    bodies = b"""[] null true 1 "x" {}{} { NaN {'a':1} {"a":} {"a":1,}""".split()
    bodies += [begun + rest for rest in (b"NaN}", b"01}", b'"\xff"}', b'"\\ud800"}', b"1} x", b"1")]
    bodies += [begun + b"[" * deep + b"]" * deep + b"}", begun + b'{"a":' * deep + b"1" + b"}" * (deep + 1)]
    bodies += [b"\xef\xbb\xbf{}", b"\x00", '{"bizCode":"upgradeStatus"}'.encode("utf-16")]
    return [bad(f"no body: {body[:60]!r}", sealed(body, key=key), "malformed_body") for body in bodies]


def _required_fields(key: str, _chance: random.Random) -> list[Case]:
    """Without a bizCode or a device it could be anything."""
    bodies: list[dict[str, Any]] = [{}, {"bizCode": "upgradeStatus"}, {"devId": DEVICE}]
    bodies += [upgrade_status(DEVICE) | {"bizCode": value} for value in (*_NO_TEXT, "")]
    bodies += [upgrade_status(value) for value in (*_NO_TEXT, "", "x" * 257, "x" * 50_000)]
    return [bad(f"body {str(body)[:99]}", sealed(body, key=key), "unknown_shape") for body in bodies]


def _two_devices(key: str, _chance: random.Random) -> list[Case]:
    codes = ("upgradeStatus", "upgradeProcess", "online", "delete", "deviceOtaProgress", "bindUser")
    bodies = [{"bizCode": code, "devId": "outer", "bizData": {"devId": "inner"}} for code in codes]
    return [odd(f"two devices: {body}", sealed(body, key=key), CONFLICT) for body in bodies]


def _optional_fields(key: str, _chance: random.Random) -> list[Case]:
    """Missing, wrong, huge: that costs the field, not the message."""
    values = (*_NO_TEXT, *_HUGE, "", -1, "2.0", "+2", "0x2", "\u0000", "\U0001f600")
    bodies: list[dict[str, Any]] = [upgrade_status(DEVICE, str(number)) for number in range(-2, 101)]
    for name in ("productKey", "ts", "uuid", "bizData", "unknown"):
        without = {other: value for other, value in upgrade_status(DEVICE).items() if other != name}
        bodies += [without, *(without | {name: value} for value in values)]
    for name in ("upgradeStatus", "moduleType", "description", "time", "unknown"):
        without = {
            other: value for other, value in upgrade_status(DEVICE)["bizData"].items() if other != name
        }
        bodies += [
            upgrade_status(DEVICE) | {"bizData": data}
            for data in (without, *(without | {name: value} for value in values))
        ]
    for code in (
        "upgradeProcess",
        "nameUpdate",
        "deviceOtaProgress",
        "bindUser",
        "online",
        "delete",
        "deviceFreeze",
    ):
        for value in values:
            data = dict.fromkeys(("progress", "firmwareType", "name", "status", "token"), value)
            bodies.append({"bizCode": code, "devId": DEVICE, "bizData": data})
    written = [json.dumps(body).encode() for body in bodies]
    written += [
        b'{"bizCode":"upgradeStatus","devId":"d","x":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"bizCode":"upgradeStatus","devId":"d","devId":"e"}',
        b' \n{"bizCode":"online","devId":"d"}\r\n',
    ]
    return [odd(f"odd field: {body[:99]!r}", sealed(body, key=key)) for body in written]


def _none_of_ours(key: str, chance: random.Random) -> list[Case]:
    codes = ["x", "UpgradeStatus", "upgradestatus", "upgradeStatus ", "é", "\u0000", "z" * 10_000]
    codes += [f"{chance.getrandbits(64):x}" for _ in range(200)]
    return [
        odd(f"bizCode {code[:40]!r}", sealed({"bizCode": code, "devId": DEVICE}, key=key), COUNTED)
        for code in codes
    ]


KINDS: Final = (
    _random_bytes,
    _cut_short,
    _no_objects,
    _required_fields,
    _two_devices,
    _optional_fields,
    _none_of_ours,
)
