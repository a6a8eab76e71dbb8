"""Asks an account's gateway now and then what waits: for the progress, and to notice a subscription that is starved.

A source partition that gets nothing although something waits looks to the client like a quiet one, and beside others
that flow nobody would miss it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol

import structlog

from consumer.backlog import Backlog, BacklogQuestion, BacklogUnknown
from consumer.progress import ProgressBook
from consumer.settings import GatewayAccount

log = structlog.get_logger(__name__)

_FRACTION_OF_MARGIN: Final = 10
_SHORTEST_PERIOD_S: Final = 1.0
_SECOND_LOOK_S: Final = 2.0
"""Only a second look tells whether a source partition rests; the first two follow each other soon."""
_CONNECTION_CHECK_S: Final = 0.5
_FAILURES: Final = 3
"""In a row, until the gateway counts as one that cannot be asked: a broker that restarts cannot, for a moment."""


class Subscription(Protocol):
    """What is watched."""

    def is_connected(self) -> bool:
        """Whether every source partition is connected."""
        ...

    def is_paused(self) -> bool:
        """Whether nothing is received on purpose, because too much is unconfirmed."""
        ...

    def resubscribe(self) -> None:
        """Close the subscription and open it anew."""
        ...


class BacklogWatch:
    """Of one account. `unfinished` names the source partitions of which something is in the works here."""

    def __init__(
        self,
        account: GatewayAccount,
        book: ProgressBook,
        *,
        unfinished: Callable[[], Collection[str]],
        ask: Callable[[], Awaitable[Sequence[Backlog]]] | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._account = account
        self._book = book
        self._unfinished = unfinished
        self._ask = ask or BacklogQuestion(account).ask
        self._now_ms = now_ms
        self._period_s = max(_SHORTEST_PERIOD_S, account.gateway.retention_margin_s / _FRACTION_OF_MARGIN)
        self._failures = 0
        self.problem: str | None = None
        """Why the gateway cannot be asked; None while it can, or it is not known yet."""

    async def run(self, subscription: Subscription) -> None:
        """Watch for ever."""
        looks = 0
        while True:
            if not subscription.is_connected():
                looks = 0
                await asyncio.sleep(_CONNECTION_CHECK_S)
                continue
            looks = looks + 1 if await self._look(subscription) else 0
            await asyncio.sleep(self._period_s if looks > 1 else min(_SECOND_LOOK_S, self._period_s))

    async def _look(self, subscription: Subscription) -> bool:
        asked_at_ms = self._now_ms()
        try:
            backlogs = await self._ask()
        except BacklogUnknown as unknown:
            self._failed(str(unknown))
            return False
        if self.problem is not None:
            log.info("gateway_backlog_known", account=self._account.name)
        self._failures, self.problem = 0, None
        self._book.told(asked_at_ms, self._now_ms(), backlogs)
        self._renew_if_starved(subscription, backlogs)
        return True

    def _renew_if_starved(self, subscription: Subscription, backlogs: Sequence[Backlog]) -> None:
        everything = [backlog.partition for backlog in backlogs]
        taken = everything if subscription.is_paused() else self._unfinished()
        still = self._book.standing_still(backlogs, taken, asyncio.get_running_loop().time())
        starved = {
            name: for_s for name, for_s in still.items() if for_s > self._account.gateway.silence_timeout_s
        }
        if not starved:
            return
        log.warning(
            "gateway_starved",
            account=self._account.name,
            source_partitions=sorted(starved),
            waits_s=round(max(starved.values())),
            reason="something waits there and nobody takes it: subscribed anew",
        )
        self._book.standing_still(backlogs, everything, asyncio.get_running_loop().time())
        subscription.resubscribe()

    def _failed(self, reason: str) -> None:
        self._failures += 1
        if self._failures < _FAILURES:
            return
        if self.problem is None:
            log.warning(
                "gateway_backlog_unknown",
                account=self._account.name,
                reason=reason,
                remedy="none is needed for one copy that receives; where several share the subscription, watch the"
                " gateway's own backlog: one that stands by takes what it is not given for read",
            )
            self._book.cannot_be_asked()
        self.problem = reason
