"""Watches one account's connection: its state for the operator, and the question why when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from consumer.probe import ProbeResult, probe
from consumer.refusals import PROBE_PERIOD_S, Refusals
from consumer.settings import GatewayAccount
from consumer.statistics import AccountState

log = structlog.get_logger(__name__)

_WATCH_PERIOD_S: Final = 0.5
_DISCONNECTED_S: Final = 1.5
"""A connection that is away for less is only reconnecting: nobody is asked."""
_ACCEPTED_BEFORE_RENEWAL: Final = 2
"""The client's own back-off grows to a minute; a gateway that accepts us twice in a row is subscribed to anew."""

_TELL_AGAIN_S: Final = 600.0
"""A reason that stays is logged so often: what is not received is lost after two hours."""

_MAY_BE_OVER: Final = "it refuses the account, which a gateway that restarts does as well: it is asked again"

_STAYS_AWAY: Final = (
    "none, it is subscribed to anew again and again; if it lasts, look whether another program uses the subscription,"
    " and start the bridge again"
)

_STEPPED_ASIDE: Final = (
    "what was received is not confirmed by Kafka: its partitions are left to other copies until it is"
)


class Connection(Protocol):
    """What is watched."""

    def is_connected(self) -> bool:
        """Whether every source partition is connected."""
        ...

    def has_stepped_aside(self) -> bool:
        """Whether it is away on purpose, until Kafka confirms again."""
        ...

    def resubscribe(self) -> None:
        """Close the subscription and open it anew."""
        ...


class ConnectionWatch:
    """One account's state and its reason."""

    def __init__(
        self, account: GatewayAccount, *, ask: Callable[[GatewayAccount], Awaitable[ProbeResult]] = probe
    ) -> None:
        self._account = account
        self._ask = ask
        self._refusals = Refusals(account.name)
        self._accepted = 0
        self._was_connected = False
        self._told_at: dict[str, float] = {}
        """When a reason was logged last, of those since it was connected: what alternates is not told over and over."""
        self.state: AccountState = "connecting"
        self.message: str | None = None
        """Why it is not running, with the remedy."""

    def stopped(self, message: str | None) -> None:
        """The account has ended: refused with this message, or cleanly."""
        self.state, self.message = "stopped", message

    async def run(self, connection: Connection) -> None:
        """Watch for ever. Raises AccountStopped when the gateway refuses the account for good."""
        now_s = asyncio.get_running_loop().time
        away_since_s = now_s()
        asked_at_s = away_since_s - PROBE_PERIOD_S
        while True:
            await asyncio.sleep(_WATCH_PERIOD_S)
            if connection.is_connected():
                away_since_s = now_s()
                self._connected()
            elif connection.has_stepped_aside():
                away_since_s = now_s()
                self.state, self.message = "connecting", _STEPPED_ASIDE
            elif now_s() - away_since_s >= _DISCONNECTED_S and now_s() - asked_at_s >= PROBE_PERIOD_S:
                asked_at_s = now_s()
                result = await self._ask(self._account)
                if not connection.is_connected():
                    self._disconnected(connection, result, asked_at_s)

    def _connected(self) -> None:
        if self.state != "running":
            log.info("gateway_connected", account=self._account.name)
        self.state, self.message = "running", None
        self._was_connected = True
        self._accepted = 0
        self._told_at.clear()
        self._refusals.clear()

    def _disconnected(self, connection: Connection, result: ProbeResult, asked_at_s: float) -> None:
        is_accepted = result.outcome == "accepted"
        self._tell(result, asked_at_s)
        self.state, self.message = "connecting", self._by_itself(result) if is_accepted else result.message
        self._refusals.judge(result, asked_at_s)
        self._accepted = self._accepted + 1 if is_accepted else 0
        if self._accepted >= _ACCEPTED_BEFORE_RENEWAL:
            self._accepted = 0
            connection.resubscribe()

    def _tell(self, result: ProbeResult, asked_at_s: float) -> None:
        """Log a reason, now and then; what will be over in a moment is no warning, unless it stays."""
        told_at_s = self._told_at.get(result.message)
        if told_at_s is not None and asked_at_s - told_at_s < _TELL_AGAIN_S:
            return
        self._told_at[result.message] = asked_at_s
        is_accepted = result.outcome == "accepted"
        if is_accepted and told_at_s is None:
            log.info(
                "gateway_disconnected",
                account=self._account.name,
                outcome=result.outcome,
                reason=self._by_itself(result),
            )
            return

        reason, remedy = result.what, result.remedy or "none, it is tried again by itself"
        if result.refused:
            # What and why is said once, when the refusal is final.
            reason, remedy = (
                _MAY_BE_OVER,
                "none yet: a refusal that stays stops the account, and is explained",
            )
        elif is_accepted:
            reason, remedy = f"{result.what}, but no connection stays", _STAYS_AWAY
        log.warning(
            "gateway_disconnected",
            account=self._account.name,
            outcome=result.outcome,
            reason=reason,
            remedy=remedy,
        )

    def _by_itself(self, result: ProbeResult) -> str:
        if self._was_connected:
            return f"the connection was lost and comes back by itself: {result.what}"
        return f"the connection takes a moment and comes by itself: {result.what}"
