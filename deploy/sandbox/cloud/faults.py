"""The fault knobs of `PUT /faults`, and the dice that decide which message or request a share hits."""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, Meta(ge=0.0)]
Switch = bool | Share
"""Shares may be given as true and false."""


class Faults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The knobs that stay as they are set. Shares are 0 to 1."""

    push_drop: Share = 0.0
    push_duplicate: Share = 0.0
    push_reorder: Share = 0.0
    """Held back for a moment, so that later ones overtake it."""
    push_delay_s: Seconds = 0.0
    """Every push is sent this much later, in order."""
    push_garble: Share = 0.0
    """Arrives spoiled, in place of the good message."""
    push_previous_key: Share = 0.0
    push_ecb_share: Share | None = None
    """Sealed with ECB; without the knob a quarter is."""
    gateway_silent: Switch = False
    """The gateway sends nothing at all; what it would have sent is dropped."""
    rest_5xx: Share = 0.0
    rest_throttle: Share = 0.0
    rest_error_in_200: Share = 0.0
    rest_html: Share = 0.0
    rest_truncate: Share = 0.0
    rest_slow_s: Seconds = 0.0
    rest_token_expires: Share = 0.0
    """Requests at which the account's token ends before its time."""
    rest_clock_skew_s: float = 0.0
    """The vendor's clock, in answers and in pushes, is ahead by this (behind, when negative)."""
    rest_quota: Switch = False
    rest_lie: Share = 0.0
    """Devices whose answers, for some seconds, repeat what was true before the running attempt."""
    ttl_s: Annotated[float, Meta(gt=0.0)] | None = None
    """The gateway's retention of unconsumed messages, for all accounts; 7200 s without the knob."""


class Actions(Struct, frozen=True, kw_only=True):
    """What `PUT /faults` does at once, and forgets."""

    pulsar_restart: bool = False
    kafka_restart: bool = False
    kafka_down_s: Seconds | None = None
    pulsar_down_s: Seconds | None = None


KNOBS = tuple(sorted(set(Faults.__struct_fields__) | set(Actions.__struct_fields__)))
_GLOBAL_ONLY = ("ttl_s", *Actions.__struct_fields__)


class FaultError(Exception):
    """The body of `PUT /faults` is wrong; the control API answers 400 with this text and changes nothing."""


def parse_faults(body: dict[str, Any]) -> tuple[dict[str, Any], Actions]:
    """Split a body (without `account`) into the knobs it sets, checked, and what to do at once."""
    unknown = sorted(set(body) - set(KNOBS))
    if unknown:
        raise FaultError(f"unknown knob {', '.join(unknown)}; known are account, {', '.join(KNOBS)}")
    actions = {name: value for name, value in body.items() if name in Actions.__struct_fields__}
    knobs = {name: value for name, value in body.items() if name not in actions}
    try:
        msgspec.convert(knobs, Faults)
        return knobs, msgspec.convert(actions, Actions)
    except msgspec.ValidationError as error:
        raise FaultError(str(error)) from error


class FaultBoard:
    """The knobs in force: one set for everybody, and one per account over it."""

    def __init__(self, accounts: tuple[str, ...]) -> None:
        self._accounts = accounts
        self._everybody: dict[str, Any] = {}
        self._own: dict[str, dict[str, Any]] = {}
        self._in_force = dict.fromkeys(accounts, Faults())

    def of(self, account: str) -> Faults:
        """The knobs in force for an account."""
        return self._in_force[account]

    def replace(self, knobs: dict[str, Any], account: str | None = None) -> dict[str, Any]:
        """Replace the whole set, or one account's; an empty whole set clears the accounts' too. Return what holds."""
        if account is None:
            self._everybody = knobs
            if not knobs:
                self._own.clear()
        else:
            if account not in self._accounts:
                raise FaultError(f"unknown account {account!r}; known are {', '.join(self._accounts)}")
            for name in _GLOBAL_ONLY:
                if name in knobs:
                    raise FaultError(f"{name} concerns all accounts: leave `account` out")
            self._own[account] = knobs
        for name in self._accounts:
            merged = self._everybody | self._own.get(name, {})
            self._in_force[name] = msgspec.convert(merged, Faults)
        return self.describe(account)

    def describe(self, account: str | None = None) -> dict[str, Any]:
        """The knobs in force, as `PUT /faults` answers them."""
        if account is not None:
            return {**self._everybody, **self._own.get(account, {}), "account": account}
        own = {name: knobs for name, knobs in self._own.items() if knobs}
        return {**self._everybody, "accounts": own} if own else dict(self._everybody)

    @property
    def ttl_s(self) -> float | None:
        """The retention in force, where one is set."""
        return msgspec.convert(self._everybody, Faults).ttl_s


class Die(IntEnum):
    """What each of a message's numbers decides."""

    SILENCE = 0
    DROP = 1
    HOLD_BACK = 2
    HOLD_BACK_S = 3
    DUPLICATE = 4
    DUPLICATE_S = 5
    GARBLE = 6
    GARBLE_REASON = 7
    GARBLE_TOO_LARGE = 8
    PREVIOUS_KEY = 9
    ECB = 10
    MODE_NAMED = 11
    ENCRYPT_VERSION = 12
    CORE_SIGN = 13


class Dice:
    """Numbers in [0, 1) that follow from a text: the same message meets the same fate in every run."""

    __slots__ = ("_numbers",)

    def __init__(self, text: str) -> None:
        self._numbers: tuple[int, ...] = struct.unpack(
            "<16I", hashlib.blake2b(text.encode(), digest_size=64).digest()
        )

    def __getitem__(self, die: Die) -> float:
        return self._numbers[die] / 2**32

    def hits(self, die: Die, share: float) -> bool:
        """Whether the number of `die` falls below `share`."""
        return self[die] < share
