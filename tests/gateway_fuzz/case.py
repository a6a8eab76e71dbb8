"""One case: a message, and the records that have to come of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from tests.gateway_messages import compact, envelope, signed, upgrade_status

Outcome = tuple[str, ...]
"""The records that a message leads to, sorted: a dead letter by its reason, or `observation`."""

OBSERVED: Final[Outcome] = ("observation",)
COUNTED: Final[Outcome] = ()
CONFLICT: Final[Outcome] = ("id_conflict", "observation", "observation")
"""A dead letter, and a hint for each of the two devices."""

DEVICE: Final = "bf0000000000000fuzzed"


class Case(Struct, frozen=True):
    """A message, and what may become of it: one of `outcomes`; `em` is its property, None where it has none."""

    what: str
    payload: bytes
    outcomes: tuple[Outcome, ...]
    em: str | bytes | None = "aes_gcm"


def bad(what: str, payload: bytes, *reasons: str, em: str | bytes | None = "aes_gcm") -> Case:
    """Return a message that has to become exactly one dead letter, for one of the reasons."""
    return Case(what, payload, tuple((reason,) for reason in reasons), em)


def odd(what: str, payload: bytes, outcome: Outcome = OBSERVED, *, em: str | None = "aes_gcm") -> Case:
    """Return a message that the contract tolerates."""
    return Case(what, payload, (outcome,), em)


def good(key: str, **others: Any) -> dict[str, Any]:
    """Return an envelope with nothing wrong."""
    return envelope(upgrade_status(DEVICE), key=key, **others)


def resigned(fields: Mapping[str, Any], key: str) -> bytes:
    """Return an envelope as JSON, signed as the contract says: without what is blank, truth values as words."""
    words = {name: _word(value) for name, value in fields.items() if name != "sign"}
    sign = signed({name: word for name, word in words.items() if word.strip()}, key=key)["sign"]
    return compact({**fields, "sign": sign})


def _word(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
