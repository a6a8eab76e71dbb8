"""Envelopes that are wrong: no JSON, not of the right types, not signed, signed by nobody, ambiguous, too large."""

from __future__ import annotations

import json
import random
from typing import Any, Final

from tests.gateway_fuzz.case import OBSERVED, Case, bad, good, odd, resigned
from tests.gateway_messages import compact

_SIZE_LIMIT_BYTES: Final = 1024 * 1024


def _random_bytes(_key: str, chance: random.Random) -> list[Case]:
    return [
        bad("random bytes", chance.randbytes(chance.randrange(1500)), "malformed_envelope")
        for _ in range(3000)
    ]


def _cut_short(key: str, _chance: random.Random) -> list[Case]:
    whole = compact(good(key))
    return [bad(f"cut after {end} bytes", whole[:end], "malformed_envelope") for end in range(len(whole))]


def _no_objects(_key: str, _chance: random.Random) -> list[Case]:
    written = """[] null true 0 "x" { } {}{} NaN {] [{}] {'t':1} {"t":} {"t"1} {t:1} {"t":1,} {"t":01} {"t":+1}
        {"t":NaN} {"t":-} {"t":"\\x"} {"t":"\\ud800"} {} {"":1} /**/{} {"t":1}//"""
    texts = [*written.split(), "\ufeff{}", "\x00", '{"t":"\n"}']
    payloads = [*(text.encode() for text in texts), b'{"data":"\xff"}', '{"t":1}'.encode("utf-16")]
    return [bad(f"no envelope: {payload!r}", payload, "malformed_envelope") for payload in payloads]


def _fields_missing(key: str, _chance: random.Random) -> list[Case]:
    cases = []
    for name in ("data", "protocol", "pv", "t"):
        fields = good(key)
        del fields[name]
        cases += [
            bad(f"no {name}", compact(fields), "malformed_envelope"),
            bad(f"no {name}, signed so", resigned(fields, key), "malformed_envelope"),
        ]
    return cases


def _wrong_types(key: str, _chance: random.Random) -> list[Case]:
    wrong: dict[str, tuple[Any, ...]] = {
        "data": (None, True, 12, 1.5, [], {}, [1], {"a": 1}),
        "protocol": (None, True, "20", 20.5, [], {}, ["20"]),
        "pv": (None, True, 2, 2.0, [], {}, [2]),
        "t": (None, True, "1668363150300", 1.5, [], {}, [1]),
        "sign": (12, True, 1.5, [], {}, ["a"]),
        "extra": ([], {}, 1.5, [[]], {"a": {}}),  # a field that nobody knows has to be signable too
    }
    cases = []
    for name, values in wrong.items():
        for value in values:
            fields = good(key) | {name: value}
            cases.append(bad(f"{name} is {value!r}", compact(fields), "malformed_envelope"))
            if name != "sign":
                again = resigned(fields, key)
                cases.append(bad(f"{name} is {value!r}, signed so", again, "malformed_envelope"))
    for name in ("protocol", "t"):
        for number in ("20.0", "2e1", "-0.0", "1E400"):
            written = json.dumps(good(key) | {name: "@"}).replace('"@"', number).encode()
            cases.append(bad(f"{name} is {number}", written, "malformed_envelope"))
    return cases


def _other_keys(key: str, _chance: random.Random) -> list[Case]:
    others = (key[8:24], key[:-1], key + "x", key.swapcase(), key[::-1], "", "0" * 32, " " + key)
    return [bad("signed with another key", resigned(good(key), other), "bad_signature") for other in others]


def _changed_signs(key: str, _chance: random.Random) -> list[Case]:
    """Every digit changed, left out, added or exchanged with its neighbour; its letters in either case stay good."""
    fields = good(key)
    sign: str = fields["sign"]
    changed = set()
    for at, digit in enumerate(sign):
        before, after = sign[:at], sign[at + 1 :]
        changed |= {before + other + after for other in "0123456789abcdefABCDEF" if other.lower() != digit}
        changed |= {before + after, before + "0" + digit + after, before + after[:1] + digit + after[1:]}
    in_capitals = {sign[:at] + digit.upper() + sign[at + 1 :] for at, digit in enumerate(sign)}
    return [
        bad(f"sign {other} for {sign}", compact(fields | {"sign": other}), "bad_signature")
        for other in sorted(changed - {sign})
    ] + [
        odd(f"sign {other} for {sign}", compact(fields | {"sign": other}))
        for other in sorted(in_capitals | {sign, sign.upper()})
    ]


def _other_signs(key: str, _chance: random.Random) -> list[Case]:
    fields = good(key)
    sign: str = fields["sign"]
    others = [sign[:size] for size in range(1, len(sign))]
    others += [sign + more for more in ("0", " ", "\n", "\x00", sign)]
    others += [" " + sign, sign[::-1], "0" * 32, "x", "é" * 32, "\u0660" * 32, "a" * 100_000]
    cases = [
        bad(f"sign is {other[:40]!r}", compact(fields | {"sign": other}), "bad_signature") for other in others
    ]
    cases += [
        bad(f"sign is {blank!r}", compact(fields | {"sign": blank}), "missing_signature")
        for blank in ("", " ", "\t\n ", None)
    ]
    del fields["sign"]
    return [*cases, bad("no sign", compact(fields), "missing_signature")]


def _changed_fields(key: str, chance: random.Random) -> list[Case]:
    """What was signed was something else."""
    cases = []
    for _ in range(300):
        fields = good(key)
        at = chance.randrange(len(fields["data"]))
        other = chance.choice([c for c in "ABCxyz019+/" if c != fields["data"][at]])
        changed = {
            "data": fields["data"][:at] + other + fields["data"][at + 1 :],
            "protocol": chance.randrange(2000, 3000),
            "pv": chance.choice(("2.1", "2.0 ", "", "20")),
            "t": fields["t"] + chance.choice((-1, 1, 10, 10**6)),
        }
        name = chance.choice(list(changed))
        payload = compact(fields | {name: changed[name]})
        cases.append(bad(f"{name} changed after signing", payload, "bad_signature"))
    return cases


def _duplicate_keys(key: str, _chance: random.Random) -> list[Case]:
    fields = good(key)
    whole = compact(fields)
    cases = []
    for name, value in fields.items():
        for spelled in (name, f"\\u{ord(name[0]):04x}{name[1:]}"):
            for again in (json.dumps(value), "null", '"other"', "0"):
                member = f'"{spelled}":{again}'.encode()
                payloads = b"{" + member + b"," + whole[1:], whole[:-1] + b"," + member + b"}"
                cases += [
                    bad(f"{name} twice, as {spelled}", payload, "duplicate_key") for payload in payloads
                ]
    for name in ("extra", "encryptVersion", ""):
        twice = f',"{name}":1,"{name}":1}}'.encode()
        cases.append(bad(f"{name} twice", whole[:-1] + twice, "duplicate_key"))
    return cases


def _huge(key: str, chance: random.Random) -> list[Case]:
    fields, filling = good(key), "x" * (_SIZE_LIMIT_BYTES + 1)
    huge: dict[str, Any] = {"pv": "2" * 500_000, "t": 10**400, "protocol": 10**30, "extra": "y" * 300_000}
    return [
        *(
            bad(f"{name} is huge", compact(fields | {name: filling}), "too_large")
            for name in (*fields, "extra")
        ),
        bad("too many random bytes", chance.randbytes(_SIZE_LIMIT_BYTES + 1), "too_large"),
        bad("5000 digits", compact(fields)[:-1] + b',"extra":' + b"9" * 5000 + b"}", "malformed_envelope"),
        *(odd(f"{name} is huge, signed so", resigned(fields | {name: huge[name]}, key)) for name in huge),
    ]


def _nested(key: str, _chance: random.Random) -> list[Case]:
    whole = compact(good(key))
    cases = []
    for depth in (10, 100, 900, 1100, 10_000, 150_000):
        for begin, end in ((b"[", b"]"), (b'{"a":', b"}")):
            payload = whole[:-1] + b',"extra":' + begin * depth + b"1" + end * depth + b"}"
            cases += [
                bad(f"nested {depth} deep", payload, "malformed_envelope"),
                bad(f"nested {depth} deep, without an end", begin * depth, "malformed_envelope"),
            ]
    return cases


def _tolerated(key: str, _chance: random.Random) -> list[Case]:
    fields = good(key)
    cases = [
        odd("white space", json.dumps(fields, indent=3).encode()),
        odd("escapes", compact(fields).replace(b'"data"', b'"\\u0064ata"').replace(b"2.0", b"2\\u002e0")),
        odd("another order", compact(dict(reversed(fields.items())))),
        odd("pv is blank", resigned(fields | {"pv": " "}, key)),
        odd("protocol is negative", resigned(fields | {"protocol": -20}, key)),
        odd("t is 0", resigned(fields | {"t": 0}, key)),
    ]
    for name in ("extra", "encryptVersion"):
        for value in ("v2", "", " ", 7, -7, True, False, None):
            more = fields | {name: value}
            cases += [
                Case(f"{name} is {value!r}, signed {how}", payload, (OBSERVED,))
                for how, payload in (("too", resigned(more, key)), ("not at all", compact(more)))
            ]
    return cases


KINDS: Final = (
    _random_bytes,
    _cut_short,
    _no_objects,
    _fields_missing,
    _wrong_types,
    _other_keys,
    _changed_signs,
    _other_signs,
    _changed_fields,
    _duplicate_keys,
    _huge,
    _nested,
    _tolerated,
)
