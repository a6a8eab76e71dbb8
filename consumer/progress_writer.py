"""Writes an account's progress, and before it the gaps: a gap is on every partition before any progress covers it.

The order is what makes the decision safe. Messages may be received and acknowledged meanwhile; but as long as the
progress topic still says how long nothing was read, a process that dies here comes to the same decision again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from consumer.gaps import Silence
from consumer.progress import ProgressBook, progress_period_s
from consumer.settings import GatewayAccount
from consumer.sink import OutgoingRecord, ProgressReader, Sink
from schemas import Observation, ObservedEvidence

log = structlog.get_logger(__name__)

_encode: Final = msgspec.json.Encoder().encode


class ProgressWriter:
    """Belongs to one account. `past` None: nothing is known of earlier runs, as for a listener without Kafka."""

    def __init__(
        self,
        account: GatewayAccount,
        book: ProgressBook,
        sink: Sink,
        past: ProgressReader | None,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._account = account
        self._book = book
        self._sink = sink
        self._past = past
        self._now_ms = now_ms
        self.gaps = 0
        """Told since the start."""

    async def run(self) -> None:
        """Write for ever; Kafka may be away for as long as it likes."""
        period_s = progress_period_s(self._account.gateway.retention_margin_s)
        while True:
            await self._settle()
            await self.write()
            await asyncio.sleep(period_s)

    async def write(self) -> None:
        """Write what moved; nothing while a doubt or a gap is open, which is then found again by the next run."""
        records = self._book.records(self._now_ms())
        if records:
            await self._sink.write(records)

    async def _settle(self) -> None:
        """Ask about what is in doubt, tell what was lost. What is found meanwhile waits for the next round."""
        if self._book.is_in_doubt:
            told = {} if self._past is None else await self._past.read_progress(self._account.name)
            self._book.recall(told, self._now_ms())
        lost = self._book.lost
        if lost:
            await self._tell_gap(lost)

    async def _tell_gap(self, lost: Mapping[str, Silence]) -> None:
        at_ms = self._now_ms()
        log.warning(
            "gap",
            account=self._account.name,
            source_partitions=len(lost),
            silent_s=round((at_ms - min(silence.since_ms for silence in lost.values())) / 1000),
            reason="the gateway drops what nobody reads in time: every device of the account is looked up",
        )
        await self._sink.write(self._gap(at_ms))
        self._book.gap_told(at_ms, lost)
        self.gaps += 1

    def _gap(self, at_ms: int) -> list[OutgoingRecord]:
        """Return the observation for every partition: each holds devices of the account."""
        gap = Observation(
            device_id="",
            cloud=self._account.cloud,
            account=self._account.name,
            kind="gap",
            observed_at_ms=at_ms,
            evidence=ObservedEvidence(origin="bridge", name="gap"),
        )
        value = _encode(gap)
        return [
            OutgoingRecord("observations", None, value, at_ms, partition)
            for partition in range(self._sink.partitions("observations"))
        ]
