"""What is to be acknowledged of slices whose records a sink confirmed only to a point, because it closed there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from consumer.slices import Slice
from consumer.source import MessageId


def confirmed_part(slices: Sequence[Slice], confirmed: int) -> Iterator[Slice]:
    """Yield the slices before the first record that was not confirmed, and of its own slice the entries before it.

    The gateway knows of whole entries only: one of which a single record is missing comes again.
    """
    for piece in slices:
        if confirmed < len(piece.records):
            unfinished = _entry(piece.sources[confirmed].message_id())
            yield _up_to(piece, unfinished)
            return
        yield piece
        confirmed -= len(piece.records)


def _up_to(piece: Slice, unfinished: tuple[int, int]) -> Slice:
    ended = [*itertools.takewhile(lambda entry_id: _entry(entry_id) != unfinished, piece.ended)]
    entries = {_entry(entry_id) for entry_id in ended}
    done = {id(source) for source in piece.sources if _entry(source.message_id()) in entries}
    return replace(piece, ended=ended, message_count=len(done))


def _entry(message_id: MessageId) -> tuple[int, int]:
    return message_id.ledger_id(), message_id.entry_id()
