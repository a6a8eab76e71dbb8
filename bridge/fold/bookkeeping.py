"""What the fold remembers of a device beside its public state: it travels in the state record's Kafka header.

Two clocks meet here. Fields read as *vendor's clock* are compared with pushes and answers; fields read as *bridge's
clock* (`observed_at_ms`) make deadlines and timers.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from schemas.unreadable import UNREADABLE

BOOKKEEPING_VERSION: Final = 1
"""Release N reads and writes what N-1 reads: fields are only ever appended, with defaults."""


class SourceMark(Struct, array_like=True, frozen=True, gc=False):
    """R1: the last position applied from one source partition, and the latest publish time seen from it."""

    ledger: int
    entry: int
    batch_index: int
    publish_time_at_ms: int


class ChannelBook(Struct, array_like=True, gc=False):
    """The private side of one channel."""

    channel: str
    pushed_at_ms: int | None = None
    """Vendor's clock: the last applied pushed status (R2)."""
    answered_at_ms: int | None = None
    """Vendor's clock: when the last applied answer was asked (R2)."""
    early_answers: int = 0
    """Early answers in a row (R2)."""
    settled_at_ms: int | None = None
    """Vendor's clock: the latest evidence that settled the last attempt (R3)."""
    previous_outcome: str | None = None
    """The outcome that was shown when the latest attempt opened (R5)."""
    seen: str | None = None
    """What a first answer said that only a second one makes count (R3, R5, R19: "twice")."""
    seen_at_ms: int | None = None
    """Vendor's clock: when that first answer was asked."""
    claimed_at_ms: int | None = None
    """Vendor's clock: the current claim (R5)."""
    claim_observed_at_ms: int | None = None
    """Bridge's clock: the current claim."""
    claim_answered_at_ms: int | None = None
    """Bridge's clock: the first ok answer asked after the claim (R5)."""
    online_after_claim: bool = False
    """R6: an online push came after the claim."""
    moved_at_ms: int | None = None
    """Bridge's clock: the last real progress of the open attempt (R8)."""
    version_at_ms: int | None = None
    """Vendor's clock: when the last answer that told the running version was asked (R6)."""
    vendor_timeout_s: int | None = None
    """The vendor's own timeout of the open attempt, where it gave one (R8)."""
    assumes_from: bool = False
    """No answer showed the open attempt's `from_version` running: it is the target of an adopted success (R3)."""
    ended_by_claim_at_ms: int | None = None
    """Vendor's clock: the claim with which the latest attempt ended; later pushes are compared with it (R3)."""
    online_at_ms: int | None = None
    """Vendor's clock: the latest online push of the open attempt, which a late claim may precede (R6)."""
    doubts_from: bool = False
    """Before any claim, another version than the open attempt's `from_version` ran twice: it denies nothing."""
    only_claimed: bool = False
    """Nothing but one claim ever told of the latest attempt (R7)."""


class Bookkeeping(Struct, array_like=True, gc=False):
    """The private side of one device."""

    version: int = BOOKKEEPING_VERSION
    offset: int = -1
    """The offset of the observation that made this state: one at or below it changes nothing."""
    marks: dict[str, SourceMark] = {}
    """R1, by source partition."""
    channels: tuple[ChannelBook, ...] = ()
    due_at_ms: int | None = None
    """Bridge's clock: when the next lookup is wanted (R14)."""
    due_cause: str = "periodic"
    lookup_id: str | None = None
    """The outstanding lookup (R14)."""
    lookup_cause: str = "periodic"
    lookup_expires_at_ms: int | None = None
    failed_lookups: int = 0
    """Lookups without an ok answer in a row: the exponent of the back-off."""
    not_found_at_ms: int | None = None
    """Vendor's clock: the first `not_found` since the last ok answer (R10)."""
    removed_at_ms: int | None = None
    """Vendor's clock: the removal, which only a later observation undoes (R10)."""
    foreign_accounts: tuple[str, ...] = ()
    """R20: the other accounts whose observations were reported as a conflict."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Bookkeeping)


def encode_bookkeeping(book: Bookkeeping) -> bytes:
    """Return the header's bytes (msgpack, positional)."""
    return _encoder.encode(book)


def decode_bookkeeping(header: bytes | None) -> Bookkeeping:
    """Read the header; a missing or foreign one gives empty bookkeeping whose lookup is due at once."""
    if header is not None:
        try:
            book = _decoder.decode(header)
        except UNREADABLE:
            book = None
        if book is not None and book.version == BOOKKEEPING_VERSION:
            return book

    return Bookkeeping(due_at_ms=0, due_cause="gap")
