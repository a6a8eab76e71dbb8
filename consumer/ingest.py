"""Stage one: listens to every account's message gateway and turns what was pushed into observations.

The path of a batch, and where each step is written:

1. Receive a batch in the account's own thread; group it by source partition, in order (`gateway`, `slices`).
2. Frame: refuse what is too large, decode the outer fields strictly (`envelope`).
3. Filter by the outer `protocol`, before any cryptography: data-point reports are counted and done (`filtering`).
4. Verify the sign, with the current access key, then the previous one (`signature`).
5. Decrypt in the mode that the property `em` names, and in no other (`decryption`).
6. Decode by bizCode and normalise into one observation (`messages`, `push_status`, `normalise`).
   Steps 2 to 6 are done for many messages at a time, each step for all of them (`translation`).
7. Produce observations and dead letters; await the confirmation of each (`deliveries`).
8. Acknowledge, per source partition in order, the entries that are done (`deliveries`); record the progress
   (`progress`), and before it the gaps, where messages were dropped unread (`gaps`, `progress_writer`).

A message that can never succeed becomes a dead letter and is done. A transient failure stops the pump and is retried
for ever; nothing is skipped and nothing is acknowledged early. Each account has its own thread and its own tasks:
one that the gateway refuses stops alone, and is asked about again (`stopped`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine, Sequence
from typing import Final

import msgspec
import structlog

from consumer import auth, trust
from consumer.account import AccountIngest
from consumer.decryption import AccountKey
from consumer.errors import AccountStopped, Misconfigured, NoAccountLeft
from consumer.probe import probe
from consumer.settings import GatewayAccount
from consumer.sink import ProgressReader, Sink
from consumer.statistics import IngestStatistics
from consumer.stopped import Ask, StoppedAccount

log = structlog.get_logger(__name__)

CLOSE_DEADLINE_S: Final = 10.0
"""Confirming and acknowledging what was received takes milliseconds; this is for a Kafka that is away."""


class Ingest:
    """The stage over all accounts. Raises Misconfigured for settings that no connection can be made from.

    With `is_all` there is no other work: it ends when the gateway refuses every account. Else those are asked again.
    """

    name: Final = "consumer"

    def __init__(
        self,
        accounts: Sequence[GatewayAccount],
        sink: Sink,
        *,
        past: ProgressReader | None = None,
        close_deadline_s: float = CLOSE_DEADLINE_S,
        ask: Ask = probe,
        is_all: bool = True,
    ) -> None:
        self._is_all = is_all
        self._build = functools.partial(
            AccountIngest, sink=sink, past=past, close_deadline_s=close_deadline_s
        )
        self._accounts: dict[str, AccountIngest] = {}
        self._stopped: dict[str, StoppedAccount] = {}
        self._refused: set[str] = set()
        self._settings = tuple(accounts)
        for account in accounts:
            _check(account)
            self._accounts[account.name] = self._build(account)
            self._stopped[account.name] = StoppedAccount(account, ask=ask)

    async def run(self, stop: asyncio.Event) -> None:
        """Return after a clean stop. Raises NoAccountLeft when the gateway refuses every account."""
        try:
            async with asyncio.TaskGroup() as group:
                for account in self._settings:
                    group.create_task(self._run_account(account, stop))
        except BaseExceptionGroup as errors:
            left, others = errors.split(NoAccountLeft)
            if others is not None or left is None:
                raise
            raise left.exceptions[0] from None
        # Without a gateway account there is nothing to do, which is no reason to end the process.
        await stop.wait()

    def statistics(self) -> IngestStatistics:
        """Return what each account is doing."""
        return IngestStatistics(
            accounts={
                name: msgspec.structs.replace(
                    ingest.statistics(), asked_again_in_s=self._stopped[name].asked_again_in_s
                )
                for name, ingest in self._accounts.items()
            }
        )

    async def _run_account(self, account: GatewayAccount, stop: asyncio.Event) -> None:
        """Run one account, anew whenever the gateway takes it again. Raises NoAccountLeft where it was the last."""
        name, stopped = account.name, self._stopped[account.name]
        while True:
            ingest = self._accounts[name]
            subscriptions = ingest.statistics().subscriptions
            try:
                return await ingest.run(stop)
            except AccountStopped as refusal:
                if ingest.statistics().subscriptions > subscriptions:
                    stopped.was_connected()
                self._refused.add(name)
                is_last = self._is_all and len(self._refused) == len(self._accounts)
                log.error(
                    "account_stopped",
                    account=name,
                    reason=refusal.what,
                    remedy=refusal.remedy,
                    **({} if is_last else {"asked_again_in_s": stopped.pause_s}),
                )
            if is_last:
                raise NoAccountLeft(sorted(self._refused))
            if not await _unless_stopped(stop, stopped.accepted()):
                return None
            self._refused.discard(name)
            self._accounts[name] = self._build(account, before=ingest)


async def _unless_stopped(stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Do a piece of work; tell whether it was done before `stop` was set, which ends it."""
    async with asyncio.TaskGroup() as group:
        tasks = group.create_task(work), group.create_task(stop.wait())
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
    return not stop.is_set()


def _check(account: GatewayAccount) -> None:
    try:
        trust.check_url(account.gateway)
        auth.authentication_json(account.access_id, account.access_key)
        for key in (account.access_key, account.previous_access_key):
            if key is not None:
                AccountKey(key, "current")
    except Misconfigured as mistake:
        raise Misconfigured(f"account {account.name}: {mistake}") from None
