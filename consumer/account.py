"""One account from its start to its end: the gateway's thread, what is done with its deliveries, and the chores beside.

What comes is written and acknowledged by `deliveries`; the chores watch over the connection, write how far the account
is, and ask what waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Final

import structlog

from consumer.backlog_watch import BacklogWatch
from consumer.deliveries import Deliveries
from consumer.errors import AccountStopped
from consumer.gateway import GatewayThread
from consumer.progress import ProgressBook
from consumer.progress_writer import ProgressWriter
from consumer.settings import GatewayAccount
from consumer.sink import ProgressReader, Sink
from consumer.slices import Slicer
from consumer.statistics import AccountStatistics, Counters
from consumer.translation import Translator
from consumer.watch import ConnectionWatch

log = structlog.get_logger(__name__)

_LAST_PROGRESS_S: Final = 1.0
"""Nothing is lost without it: the next process goes by the progress before, which is one period older."""
_LEAST_CLOSE_S: Final = 1.0
_CLOSE_SHARE: Final = 0.3
"""Of the closing deadline: kept for sending acknowledgements, when the sink took all the time it was given."""


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
        self._close_deadline_s = close_deadline_s
        # What is counted is counted since the process began, also when an account was stopped in between.
        self._counters: Counters = Counters() if before is None else before.counters
        self._gaps_before = 0 if before is None else before.statistics().gaps
        self._slicer = Slicer(Translator(account, self._counters), self._counters)
        self._watch = ConnectionWatch(account)
        self._progress = ProgressBook(account.name, account.gateway)
        self._deliveries = Deliveries(account.name, sink, self._progress, self._counters)
        self._progress_writer = ProgressWriter(account, self._progress, sink, past)
        self._backlog_watch = BacklogWatch(account, self._progress, unfinished=self._deliveries.unfinished)
        self._gateway: GatewayThread | None = None

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
            deliver=self._deliveries.take,
            caught_up=self._caught_up,
            partitions_known=self._partitions_known,
        )
        gateway.start()
        deadline_at: float | None = None
        try:
            async with asyncio.TaskGroup() as group:
                self._deliveries.open(group, gateway)
                chores = [
                    group.create_task(self._deliveries.closing_on_failure(chore))
                    for chore in (
                        self._watch.run(gateway),
                        self._progress_writer.run(),
                        self._backlog_watch.run(gateway),
                        self._await_end(gateway),
                    )
                ]
                with self._deliveries.closing_when_cancelled():
                    await stop.wait()
                    deadline_at = self._deadline_at()
                    for chore in chores:
                        chore.cancel()
                    await self._finish(gateway, deadline_at - _CLOSE_SHARE * self._close_deadline_s)
        except BaseExceptionGroup as failures:
            stopped, others = failures.split(AccountStopped)
            if others is not None or stopped is None:
                raise
            refusal = stopped.exceptions[0]
            self._watch.stopped(str(refusal))
            raise refusal from None
        finally:
            self._deliveries.close()
            left_s = (deadline_at or self._deadline_at()) - asyncio.get_running_loop().time()
            await gateway.close(within_s=max(left_s, _LEAST_CLOSE_S))
        self._watch.stopped(None)

    @property
    def counters(self) -> Counters:
        """What was counted so far: for the one that goes on in its place."""
        return self._counters

    def statistics(self) -> AccountStatistics:
        """Return what is going on."""
        counters, gateway = self._counters, self._gateway
        messages, size_bytes = gateway.unconfirmed if gateway else (0, 0)
        oldest_at_ms = self._deliveries.oldest_at_ms()
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
            oldest_unacknowledged_age_s=None
            if oldest_at_ms is None
            else max(0.0, now_s - oldest_at_ms / 1000),
            alive_age_s=None if behind is None else max(0.0, now_s - behind[1] / 1000),
            furthest_behind=None if behind is None else behind[0],
            backlog_unknown=self._backlog_watch.problem,
            gaps=self._gaps_before + self._progress_writer.gaps,
            last_received_at_ms=counters.last_received_at_ms,
            source_partitions=self._deliveries.source_partitions,
        )

    def _caught_up(self, at_ms: int, broken_off: Sequence[str]) -> None:
        # What the client says of its queue is a guess: it counts where the gateway itself does not tell.
        if self._backlog_watch.problem is not None:
            self._progress.caught_up(at_ms, {*broken_off, *self._deliveries.unfinished()})

    def _partitions_known(self, names: Sequence[str]) -> None:
        self._progress.know(names, _now_ms())

    async def _await_end(self, gateway: GatewayThread) -> None:
        """Raise what the gateway's thread died of: a defect, which ends the stage."""
        await asyncio.shield(gateway.ended)

    async def _finish(self, gateway: GatewayThread, deadline_at: float) -> None:
        """Stop the pump, let what was received be confirmed, and write the last progress."""
        reason = "a call of the gateway's client does not return"
        try:
            async with asyncio.timeout_at(deadline_at):
                await gateway.stop_receiving()
                reason = "Kafka did not confirm in time"
                await self._deliveries.all_done()
        except TimeoutError:
            messages, _ = gateway.unconfirmed
            log.warning(
                "stopped_unconfirmed",
                account=self._account.name,
                messages=messages,
                reason=reason,
                remedy="none, the gateway delivers again what is not confirmed",
            )
            self._deliveries.abandon()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_PROGRESS_S):
                await self._progress_writer.write()

    def _deadline_at(self) -> float:
        return asyncio.get_running_loop().time() + self._close_deadline_s


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
