"""Steps 7 and 8: what an account's gateway delivers is written, and acknowledged in each source partition's order.

Nothing is acknowledged before the sink confirmed it and all that came before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import Final, Protocol

import structlog
from msgspec import Struct

from consumer.dead_letters import LEAST_LETTER_BYTES, refused_as_too_large, without_payload
from consumer.partial import confirmed_part
from consumer.progress import ProgressBook
from consumer.sink import OutgoingRecord, Sink, SinkClosed
from consumer.slices import Slice
from consumer.statistics import Counters
from schemas import RAW_LIMIT_BYTES

log = structlog.get_logger(__name__)

WRITES: Final = 4
"""At the same time. Under light load none waits for another; under heavy load few large ones cost less than many."""
WRITE_RECORDS: Final = 5000
"""Slices that wait together are written together, up to about this many records."""
_REFUSED_RETRY_S: Final = 5.0


class Acknowledger(Protocol):
    """Sends acknowledgements: the gateway's thread."""

    def acknowledge(self, done: Slice) -> None:
        """Acknowledge the entries that end in this slice. Those of a source partition come in order."""
        ...


class _Delivered(Struct, gc=False):
    """A slice of the gateway's thread, and whether all of it is confirmed."""

    piece: Slice
    is_done: bool


class Deliveries:
    """What an account's gateway delivered and is not acknowledged yet. Writes begin between `open` and `close` only."""

    def __init__(self, account: str, sink: Sink, progress: ProgressBook, counters: Counters) -> None:
        self._account = account
        self._sink = sink
        self._progress = progress
        self._counters = counters
        self._pending: dict[str, deque[_Delivered]] = {}
        """By source partition: what was delivered and is not acknowledged yet, in order."""
        self._waiting: deque[_Delivered] = deque()
        """Of that, what is to be written and is not being written yet."""
        self._group: asyncio.TaskGroup | None = None
        self._acknowledger: Acknowledger | None = None
        self._writing: set[asyncio.Task[None]] = set()
        self._writes = 0
        """Of these, what waits for the sink to confirm; others wait for a dead letter."""
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self, group: asyncio.TaskGroup, acknowledger: Acknowledger) -> None:
        """Begin to write: as tasks of the group that the account runs in."""
        self._group, self._acknowledger = group, acknowledger

    def close(self) -> None:
        """Begin no other write; what is delivered from now on is left alone."""
        self._group = None

    def abandon(self) -> None:
        """Close, and give up what is being written: nobody acknowledges it, so it comes again."""
        self.close()
        for task in self._writing:
            task.cancel()

    @contextlib.contextmanager
    def closing_when_cancelled(self) -> Iterator[None]:
        """A write that ends from then on begins no other one: the group would wait for it."""
        try:
            yield
        except asyncio.CancelledError:
            self.close()
            raise

    async def closing_on_failure(self, work: Coroutine[None, None, None]) -> None:
        """Do a piece of the account's work. When it fails the account ends: what is delivered then stays untouched."""
        try:
            await work
        except Exception:
            self.close()
            raise

    async def all_done(self) -> None:
        """Return once everything that was delivered is acknowledged."""
        await self._idle.wait()

    def unfinished(self) -> set[str]:
        """Return the source partitions of which something is not acknowledged."""
        return {name for name, pending in self._pending.items() if pending}

    def oldest_at_ms(self) -> int | None:
        """Return when the oldest of what is not acknowledged was published, Unix ms."""
        return min(
            (pending[0].piece.first_published_at_ms for pending in self._pending.values() if pending),
            default=None,
        )

    @property
    def source_partitions(self) -> int:
        """So many source partitions have delivered something."""
        return len(self._pending)

    def take(self, slices: Sequence[Slice]) -> None:
        """Take what the gateway delivered, in the order in which it came."""
        for piece in slices:
            if piece.message_count:
                self._progress.received(piece)
            delivered = _Delivered(piece, is_done=not piece.records)
            self._pending.setdefault(piece.partition, deque()).append(delivered)
            if piece.records:
                self._waiting.append(delivered)
        self._idle.clear()
        self._write_waiting()
        self._acknowledge({piece.partition for piece in slices})

    def _write_waiting(self) -> None:
        """Write what waits: at once, unless so much is being written that it had better wait for company."""
        while self._waiting and self._writes < WRITES and self._group is not None:
            taken = [self._waiting.popleft()]
            count = len(taken[0].piece.records)
            while self._waiting and count + len(self._waiting[0].piece.records) <= WRITE_RECORDS:
                taken.append(self._waiting.popleft())
                count += len(taken[-1].piece.records)
            self._writes += 1
            task = self._group.create_task(self.closing_on_failure(self._write(taken)))
            self._writing.add(task)
            task.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        self._write_waiting()

    async def _write(self, taken: Sequence[_Delivered]) -> None:
        # 7. Produce, and wait for the broker's confirmation of each record.
        records = (
            taken[0].piece.records
            if len(taken) == 1
            else [*itertools.chain.from_iterable([delivered.piece.records for delivered in taken])]
        )
        try:
            refused = await self._sink.write(records)
        except SinkClosed as closed:
            self._confirm_part(taken, closed.confirmed)
            raise
        finally:
            self._writes -= 1
        if refused:
            await self._confirm_but(refused, taken)
        else:
            self._confirm(taken)

    def _confirm_part(self, taken: Sequence[_Delivered], count: int) -> None:
        """Confirm what the first `count` records came of, and acknowledge what that ends of a slice."""
        parts = confirmed_part([delivered.piece for delivered in taken], count)
        for delivered, part in zip(taken, parts, strict=False):
            if part is delivered.piece:
                self._confirm([delivered])
            elif self._pending[part.partition][0] is delivered:
                # A part of a slice, all before which is acknowledged.
                self._acknowledged_by().acknowledge(part)

    def _confirm(self, taken: Sequence[_Delivered]) -> None:
        for delivered in taken:
            delivered.is_done = True
        self._acknowledge({delivered.piece.partition for delivered in taken})

    async def _confirm_but(self, refused: Sequence[int], taken: Sequence[_Delivered]) -> None:
        """Confirm what Kafka took, and then what it refuses as too large, once that is a dead letter.

        Only the source partitions of the refused wait for that.
        """
        origins = [(delivered, index) for delivered in taken for index in range(len(delivered.piece.records))]
        letters = [origins[index] for index in refused]
        incomplete = {id(delivered) for delivered, _ in letters}
        self._confirm([delivered for delivered in taken if id(delivered) not in incomplete])
        self._write_waiting()
        await self._write_letters([(delivered.piece, index) for delivered, index in letters])
        self._confirm([delivered for delivered in taken if id(delivered) in incomplete])

    def _acknowledge(self, partitions: Iterable[str]) -> None:
        """Acknowledge what is done of these source partitions, each in its order."""
        # 8. Acknowledge the entries that are now done; the gateway's thread sends it.
        for name in partitions:
            pending = self._pending[name]
            last: Slice | None = None
            while pending and pending[0].is_done:
                piece = pending.popleft().piece
                self._acknowledged_by().acknowledge(piece)
                if piece.message_count:
                    last = piece
            if last is not None:
                self._progress.acknowledged(last)
        if not any(self._pending.values()):
            self._idle.set()

    async def _write_letters(self, refused: Sequence[tuple[Slice, int]]) -> None:
        """Give each message whose record Kafka refuses as too large a dead letter, a smaller one if need be."""
        for limit in itertools.chain((RAW_LIMIT_BYTES,), itertools.repeat(0)):
            letters = [self._letter(piece, index, limit) for piece, index in refused]
            again = await self._sink.write(letters)
            for number, (piece, index) in enumerate(refused):
                # What was a dead letter before is counted as such by its own reason.
                if number not in again and piece.records[index].topic != "dead-letters":
                    self._counters.dead_letters["too_large"] += 1
            if not again:
                return
            refused = [refused[number] for number in again]
            if limit == 0:
                log.error(
                    "dead_letter_refused",
                    account=self._account,
                    remedy=f"the dead-letters topic takes less than {LEAST_LETTER_BYTES // 1024} KB: raise its"
                    " max.message.bytes",
                )
                await asyncio.sleep(_REFUSED_RETRY_S)
        raise AssertionError("the limits repeat for ever")

    def _letter(self, piece: Slice, index: int, payload_limit_bytes: int) -> OutgoingRecord:
        record = piece.records[index]
        if record.topic == "dead-letters":
            return without_payload(record)
        return refused_as_too_large(
            self._account,
            piece.sources[index],
            piece.partition,
            piece.received_at_ms,
            payload_limit_bytes=payload_limit_bytes,
        )

    def _acknowledged_by(self) -> Acknowledger:
        if self._acknowledger is None:
            raise AssertionError("only what is open delivers")
        return self._acknowledger
