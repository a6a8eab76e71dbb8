"""A stopped account, while others go on: the gateway is asked now and then whether it takes the account again.

What was refused is often mended at the platform, where nobody thinks of this process: a subscription is made anew, a
service paid for. What has to be mended in the configuration takes a new process, which reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from consumer.probe import ProbeResult, probe
from consumer.settings import GatewayAccount

log = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 600.0
LONGEST_PAUSE_S: Final = 3600.0
"""An hour of an account's messages is well within the two hours that the gateway keeps them; a login that is refused
once an hour is nobody's nuisance."""

Ask = Callable[[GatewayAccount], Awaitable[ProbeResult]]


class StoppedAccount:
    """One account, whenever it is stopped. Pauses double as long as it was not connected in between."""

    def __init__(self, account: GatewayAccount, *, ask: Ask = probe) -> None:
        self._account = account
        self._ask = ask
        self._pause_s = FIRST_PAUSE_S
        self._asked_again_at_s: float | None = None

    @property
    def pause_s(self) -> float:
        """The pause that comes next."""
        return self._pause_s

    @property
    def asked_again_in_s(self) -> float | None:
        """Return when the gateway is asked next; None where the account is not stopped."""
        if self._asked_again_at_s is None:
            return None
        return max(0.0, self._asked_again_at_s - asyncio.get_running_loop().time())

    def was_connected(self) -> None:
        """It worked before it was stopped: what is wrong is new."""
        self._pause_s = FIRST_PAUSE_S

    async def accepted(self) -> None:
        """Return as soon as the gateway, asked again, takes the account."""
        try:
            while True:
                pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
                self._asked_again_at_s = asyncio.get_running_loop().time() + pause_s
                await asyncio.sleep(pause_s)
                result = await self._ask(self._account)
                if result.outcome == "accepted":
                    log.info("account_accepted_again", account=self._account.name)
                    return
                log.info(
                    "account_asked_again",
                    account=self._account.name,
                    outcome=result.outcome,
                    reason=result.what,
                    asked_again_in_s=self._pause_s,
                )
        finally:
            self._asked_again_at_s = None
