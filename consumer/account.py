"""One account from its gateway to the sink: steps 7 and 8, the watch over its connection, and its end.

The gateway's thread delivers slices; here they are written in order, and acknowledged in each source partition's order:
nothing before the sink confirmed it and all that came before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import Final

import structlog
from msgspec import Struct

from consumer.backlog_watch import BacklogWatch
from consumer.dead_letters import LEAST_LETTER_BYTES
from consumer.errors import AccountStopped
from consumer.gateway import GatewayThread
from consumer.partial import confirmed_part
from consumer.progress import ProgressBook
from consumer.progress_writer import ProgressWriter
from consumer.settings import GatewayAccount
from consumer.sink import OutgoingRecord, ProgressReader, Sink, SinkClosed
from consumer.slices import Slice, Slicer
from consumer.statistics import AccountStatistics, Counters
from consumer.translation import Translator, refused_as_too_large
from consumer.watch import ConnectionWatch
from schemas import RAW_LIMIT_BYTES

log = structlog.get_logger(__name__)

WRITES: Final = 4
"""At the same time. Under light load none waits for another; under heavy load few large ones cost less than many."""
WRITE_RECORDS: Final = 5000
"""Slices that wait together are written together, up to about this many records."""
_LAST_PROGRESS_S: Final = 1.0
"""Nothing is lost without it: the next process goes by the progress before, which is one period older."""
_REFUSED_RETRY_S: Final = 5.0
_LEAST_CLOSE_S: Final = 1.0
_CLOSE_SHARE: Final = 0.3
"""Of the closing deadline: kept for sending acknowledgements, when the sink took all the time it was given."""


class _Delivered(Struct, gc=False):
    """A slice of the gateway's thread, and whether all of it is confirmed."""

    piece: Slice
    is_done: bool


class AccountIngest:
    """Runs one account until it is told to stop, or the gateway refuses it for good: once.

    `before` is the one that was refused, where the gateway takes the account again.
    """

    def __init__(
        self,
        account: GatewayAccount,
        sink: Sink,
        *,
        past: ProgressReader | None,
        close_deadline_s: float,
        before: AccountIngest | None = None,
    ) -> None:
        self._account = account
        self._sink = sink
        self._close_deadline_s = close_deadline_s
        # What is counted is counted since the process began, also when an account was stopped in between.
        self._counters: Counters = Counters() if before is None else before.counters
        self._gaps_before = 0 if before is None else before.statistics().gaps
        self._slicer = Slicer(Translator(account, self._counters), self._counters)
        self._watch = ConnectionWatch(account)
        self._progress = ProgressBook(account.name, account.gateway)
        self._progress_writer = ProgressWriter(account, self._progress, sink, past)
        self._backlog_watch = BacklogWatch(account, self._progress, unfinished=self._unfinished)
        self._pending: dict[str, deque[_Delivered]] = {}
        """By source partition: what was delivered and is not acknowledged yet, in order."""
        self._waiting: deque[_Delivered] = deque()
        """Of that, what is to be written and is not being written yet."""
        self._gateway: GatewayThread | None = None
        self._group: asyncio.TaskGroup | None = None
        self._writing: set[asyncio.Task[None]] = set()
        self._writes = 0
        """Of these, what waits for the sink to confirm; others wait for a dead letter."""
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Return after a clean stop. Raises AccountStopped when the gateway refuses the account for good."""
        account = self._account
        if not account.gateway.tls_verify:
            log.warning(
                "gateway_tls_unverified", account=account.name, remedy="set tls_verify = true and a ca_file"
            )
        self._gateway = gateway = GatewayThread(
            account,
            self._slicer,
            self._counters,
            deliver=self._deliver,
            caught_up=self._caught_up,
            partitions_known=self._partitions_known,
        )
        gateway.start()
        deadline_at: float | None = None
        try:
            async with asyncio.TaskGroup() as self._group:
                chores = [
                    self._group.create_task(self._ending_all(chore))
                    for chore in (
                        self._watch.run(gateway),
                        self._progress_writer.run(),
                        self._backlog_watch.run(gateway),
                        self._await_end(gateway),
                    )
                ]
                with self._beginning_no_write_when_cancelled():
                    await stop.wait()
                    deadline_at = self._deadline_at()
                    for chore in chores:
                        chore.cancel()
                    await self._finish(gateway, deadline_at - _CLOSE_SHARE * self._close_deadline_s)
        except BaseExceptionGroup as group:
            stopped, others = group.split(AccountStopped)
            if others is not None or stopped is None:
                raise
            refusal = stopped.exceptions[0]
            self._watch.stopped(str(refusal))
            raise refusal from None
        finally:
            self._group = None
            left_s = (deadline_at or self._deadline_at()) - asyncio.get_running_loop().time()
            await gateway.close(within_s=max(left_s, _LEAST_CLOSE_S))
        self._watch.stopped(None)

    @contextlib.contextmanager
    def _beginning_no_write_when_cancelled(self) -> Iterator[None]:
        """A write that ends from then on begins no other one: the group would wait for it."""
        try:
            yield
        except asyncio.CancelledError:
            self._group = None
            raise

    @property
    def counters(self) -> Counters:
        """What was counted so far: for the one that goes on in its place."""
        return self._counters

    def statistics(self) -> AccountStatistics:
        """Return what is going on."""
        counters, gateway = self._counters, self._gateway
        messages, size_bytes = gateway.unconfirmed if gateway else (0, 0)
        waiting = [pending[0].piece.first_published_at_ms for pending in self._pending.values() if pending]
        behind, now_s = self._progress.furthest_behind, time.time()
        return AccountStatistics(
            state=self._watch.state,
            message=self._watch.message,
            tls_verified=self._account.gateway.tls_verify,
            received=counters.received,
            redelivered=counters.redelivered,
            filtered={str(protocol): count for protocol, count in counters.filtered.copy().items()},
            unlisted=dict(counters.unlisted),
            notices=dict(counters.notices),
            backlog_alert=counters.backlog_alert,
            observations=dict(counters.observations),
            unknown_statuses=counters.unknown_statuses,
            unrecognised_members=dict(counters.unrecognised_members),
            dead_letters=dict(counters.dead_letters),
            signatures=dict(counters.signatures),
            keys=dict(counters.keys),
            acknowledged=counters.acknowledged,
            subscriptions=counters.subscriptions,
            unconfirmed_messages=messages,
            unconfirmed_bytes=size_bytes,
            paused=gateway is not None and gateway.is_paused(),
            oldest_unacknowledged_age_s=max(0.0, now_s - min(waiting) / 1000) if waiting else None,
            alive_age_s=None if behind is None else max(0.0, now_s - behind[1] / 1000),
            furthest_behind=None if behind is None else behind[0],
            backlog_unknown=self._backlog_watch.problem,
            gaps=self._gaps_before + self._progress_writer.gaps,
            last_received_at_ms=counters.last_received_at_ms,
            source_partitions=len(self._pending),
        )

    def _deliver(self, slices: Sequence[Slice]) -> None:
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
            task = self._group.create_task(self._ending_all(self._write(taken)))
            self._writing.add(task)
            task.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        self._write_waiting()

    async def _ending_all(self, work: Coroutine[None, None, None]) -> None:
        """Do a piece of the account's work. When it fails the account ends: what is delivered then stays untouched."""
        try:
            await work
        except Exception:
            self._group = None
            raise

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
                self._gateway_thread().acknowledge(part)

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
                self._gateway_thread().acknowledge(piece)
                if piece.message_count:
                    last = piece
            if last is not None:
                self._progress.acknowledged(last)
        if not any(self._pending.values()):
            self._idle.set()

    async def _write_letters(self, refused: Sequence[tuple[Slice, int]]) -> None:
        """Give each message whose record Kafka refuses as too large a dead letter, a smaller one if need be."""
        for limit in itertools.chain((RAW_LIMIT_BYTES,), itertools.repeat(0)):
            letters = [self._too_large(piece, index, limit) for piece, index in refused]
            again = await self._sink.write(letters)
            if not again:
                self._counters.dead_letters["too_large"] += len(letters)
                return
            refused = [refused[index] for index in again]
            if limit == 0:
                log.error(
                    "dead_letter_refused",
                    account=self._account.name,
                    remedy=f"the dead-letters topic takes less than {LEAST_LETTER_BYTES // 1024} KB: raise its"
                    " max.message.bytes",
                )
                await asyncio.sleep(_REFUSED_RETRY_S)
        raise AssertionError("the limits repeat for ever")

    def _too_large(self, piece: Slice, index: int, payload_limit_bytes: int) -> OutgoingRecord:
        return refused_as_too_large(
            self._account.name,
            piece.sources[index],
            piece.partition,
            piece.received_at_ms,
            payload_limit_bytes=payload_limit_bytes,
        )

    def _caught_up(self, at_ms: int, broken_off: Sequence[str]) -> None:
        # What the client says of its queue is a guess: it counts where the gateway itself does not tell.
        if self._backlog_watch.problem is not None:
            self._progress.caught_up(at_ms, {*broken_off, *self._unfinished()})

    def _unfinished(self) -> set[str]:
        return {name for name, pending in self._pending.items() if pending}

    def _partitions_known(self, names: Sequence[str]) -> None:
        self._progress.know(names, _now_ms())

    async def _await_end(self, gateway: GatewayThread) -> None:
        """Raise what the gateway's thread died of: a defect, which ends the stage."""
        await asyncio.shield(gateway.ended)

    async def _finish(self, gateway: GatewayThread, deadline_at: float) -> None:
        """Stop the pump, let what was received be confirmed, and write the last progress."""
        try:
            async with asyncio.timeout_at(deadline_at):
                await gateway.stop_receiving()
                await self._idle.wait()
        except TimeoutError:
            messages, _ = gateway.unconfirmed
            log.warning(
                "stopped_unconfirmed",
                account=self._account.name,
                messages=messages,
                reason="Kafka did not confirm in time; the gateway delivers them again",
            )
            # What is delivered from now on is not begun.
            self._group = None
            for task in self._writing:
                task.cancel()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_PROGRESS_S):
                await self._progress_writer.write()

    def _deadline_at(self) -> float:
        return asyncio.get_running_loop().time() + self._close_deadline_s

    def _gateway_thread(self) -> GatewayThread:
        if self._gateway is None:
            raise AssertionError("slices are delivered by the gateway's thread")
        return self._gateway


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
