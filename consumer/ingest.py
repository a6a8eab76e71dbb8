"""Stage one: listens to every account's message gateway and turns what was pushed into observations.

The path of a batch, and where each step is written:

1. Receive a batch in the account's own thread; group it by source partition, in order (`gateway`, `slices`).
2. Frame: refuse what is too large, decode the outer fields strictly (`envelope`).
3. Filter by the outer `protocol`, before any cryptography: data-point reports are counted and done (`translation`).
4. Verify the sign, with the current access key, then the previous one (`signature`).
5. Decrypt in the mode that the property `em` names, and in no other (`decryption`).
6. Decode by bizCode and normalise into one observation (`messages`, `push_status`, `normalise`).
7. Produce observations and dead letters; await the confirmation of each (`account`).
8. Acknowledge, per source partition in order, the entries that are done; record the progress (`account`, `progress`),
   and before it the gaps, where messages were dropped unread (`gaps`, `progress_writer`).

A message that can never succeed becomes a dead letter and is done. A transient failure stops the pump and is retried
for ever; nothing is skipped and nothing is acknowledged early. Each account has its own thread and its own tasks:
one that the gateway refuses stops alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from consumer import auth, trust
from consumer.account import AccountIngest
from consumer.decryption import AccountKey
from consumer.errors import AccountStopped, Misconfigured, NoAccountLeft
from consumer.settings import GatewayAccount
from consumer.sink import ProgressReader, Sink
from consumer.statistics import IngestStatistics

log = structlog.get_logger(__name__)

CLOSE_DEADLINE_S: Final = 10.0
"""Confirming and acknowledging what was received takes milliseconds; this is for a Kafka that is away."""


class Ingest:
    """The stage over all accounts. Raises Misconfigured for settings that no connection can be made from."""

    name: Final = "consumer"

    def __init__(
        self,
        accounts: Sequence[GatewayAccount],
        sink: Sink,
        *,
        past: ProgressReader | None = None,
        close_deadline_s: float = CLOSE_DEADLINE_S,
    ) -> None:
        self._accounts: dict[str, AccountIngest] = {}
        for account in accounts:
            _check(account)
            self._accounts[account.name] = AccountIngest(
                account, sink, past=past, close_deadline_s=close_deadline_s
            )
        self._stopped: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Return after a clean stop. Raises NoAccountLeft when the gateway refused every account."""
        async with asyncio.TaskGroup() as group:
            for account, ingest in self._accounts.items():
                group.create_task(self._run_account(account, ingest, stop))
        if self._accounts and len(self._stopped) == len(self._accounts):
            raise NoAccountLeft(sorted(self._stopped))
        # Without a gateway account there is nothing to do, which is no reason to end the process.
        await stop.wait()

    def statistics(self) -> IngestStatistics:
        """Return what each account is doing."""
        return IngestStatistics(
            accounts={name: ingest.statistics() for name, ingest in self._accounts.items()}
        )

    async def _run_account(self, account: str, ingest: AccountIngest, stop: asyncio.Event) -> None:
        try:
            await ingest.run(stop)
        except AccountStopped as stopped:
            self._stopped.append(account)
            log.error("account_stopped", account=account, reason=stopped.what, remedy=stopped.remedy)


def _check(account: GatewayAccount) -> None:
    try:
        trust.check_url(account.gateway)
        auth.authentication_json(account.access_id, account.access_key)
        for key in (account.access_key, account.previous_access_key):
            if key is not None:
                AccountKey(key, "current")
    except Misconfigured as mistake:
        raise Misconfigured(f"account {account.name}: {mistake}") from None
