"""Lets one contender drain a backlog, in processes of its own, and checks that it really did."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics
from deploy.sandbox.brokers import Brokers
from deploy.sandbox.brokers.certificates import write_private
from deploy.sandbox.brokers.gateway_accounts import EVENT_PARTITIONS
from deploy.sandbox.brokers.process import Child
from deploy.sandbox.supervisor import PROJECT
from tests.benchmarks.gateway.backlog import Account, Backlog, Gateway
from tests.benchmarks.gateway.gauge import Drained, Unfinished, evaluate, last_acknowledged
from tests.benchmarks.gateway.job import Job
from tests.benchmarks.gateway.mix import Mix
from tests.benchmarks.gateway.observed import count_observations

Contender = Literal["ours", "vendor_loop", "raw_client"]

PREFIX: Final = "bench"
_LISTENING_WITHIN_S: Final = 30.0
_SETTLED_AFTER_S: Final = 3.0
"""The broker chooses each partition's active consumer a second after the last one came."""
_DRAINED_WITHIN_S: Final = 150.0
_STOP_WITHIN_S: Final = 30.0
_POLL_S: Final = 0.05


class Running(Struct, frozen=True, kw_only=True):
    """A contender's process."""

    contender: Contender
    child: Child
    readings: Path

    def acknowledged(self) -> int:
        """Return how many messages it has acknowledged."""
        return last_acknowledged(self.readings.read_bytes()) if self.readings.exists() else 0


class Contest:
    """The brokers, and the processes that are measured on them, one contender at a time."""

    def __init__(self, brokers: Brokers, directory: Path) -> None:
        self.gateway = Gateway(brokers)
        self.kafka = KafkaSettings(bootstrap_servers=brokers.kafka.bootstrap_servers, prefix=PREFIX)
        self._brokers = brokers
        self._directory = directory
        self._numbers = itertools.count(1)

    async def prepare(self) -> None:
        """Create the topics, so that no contender's start has to."""
        await ensure_topics(self.kafka)

    async def drain(
        self,
        contender: Contender,
        backlog: Backlog,
        *,
        messages: int | None = None,
        profile: Path | None = None,
    ) -> Drained:
        """Let the contender read the backlog from its start: all of it, or its first `messages`.

        Raises Unfinished when it is too slow, or something was not acknowledged or not forwarded.
        """
        wanted = messages or backlog.messages
        subscription = await self.gateway.subscribe(backlog.account)
        before = await count_observations(self.kafka)
        process = self.start(contender, backlog.account, subscription, wanted, profile=profile)
        try:
            await self._until_acknowledged([process], wanted)
            drained = await self.end([process], wanted)
        finally:
            await process.child.kill()
        if wanted == backlog.messages:
            await self._check_acknowledged(backlog.account, subscription)
        if contender == "ours":
            await self._check_forwarded(backlog, before)
        return drained

    async def drain_by_two(self, mix: Mix, count: int) -> Drained:
        """Let two processes of ours drain `count` messages of one subscription.

        Both have their partitions before there is anything to read, and are frozen while the backlog is published:
        so neither begins alone, and no partition changes hands. Raises Unfinished.
        """
        account = await self.gateway.create_account()
        made = await self.gateway.make(account, mix, count)
        before = await count_observations(self.kafka)
        processes = [self.start("ours", account, account.subscription, count) for _ in range(2)]
        try:
            await self.until_listening(account, processes)
            await asyncio.sleep(_SETTLED_AFTER_S)
            for process in processes:
                process.child.pause()
            backlog = await self.gateway.publish(account, made, count)
            for process in processes:
                process.child.proceed()
            await self._until_acknowledged(processes, count)
            drained = await self.end(processes, count)
        finally:
            for process in processes:
                await process.child.kill()
        await self._check_acknowledged(account, account.subscription)
        await self._check_forwarded(backlog, before)
        return drained

    def start(
        self,
        contender: Contender,
        account: Account,
        subscription: str,
        messages: int,
        *,
        profile: Path | None = None,
    ) -> Running:
        """Start a contender's process."""
        folder = self._directory / f"{next(self._numbers):02}-{contender}"
        folder.mkdir(parents=True)
        job = Job(
            url=self._brokers.pulsar.tls_url,
            ca_file=str(self._brokers.ca_file),
            access_id=account.access_id,
            access_key=account.access_key,
            topic=account.topic,
            subscription=subscription,
            bootstrap_servers=self.kafka.bootstrap_servers,
            prefix=self.kafka.prefix,
            messages=messages,
            readings=str(folder / "readings.jsonl"),
            profile=str(profile) if profile else None,
        )
        job_file = folder / "job.json"
        write_private(job_file, msgspec.json.encode(job))
        command = [sys.executable, "-m", f"tests.benchmarks.gateway.{contender}", str(job_file)]
        child = Child(f"The contender {contender}", command, log_file=folder / "log", directory=PROJECT)
        return Running(contender=contender, child=child, readings=Path(job.readings))

    async def until_listening(self, account: Account, processes: Sequence[Running]) -> None:
        """Return once every process is connected to every partition. Raises ChildFailed or Unfinished."""
        deadline = time.monotonic() + _LISTENING_WITHIN_S
        wanted = EVENT_PARTITIONS * len(processes)
        while await self.gateway.listened(account, account.subscription) < wanted:
            for process in processes:
                if process.child.exit_code is not None:
                    raise process.child.failed("ended by itself")
            if time.monotonic() > deadline:
                raise processes[0].child.failed("did not subscribe in time")
            await asyncio.sleep(_POLL_S)

    async def end(self, processes: Sequence[Running], messages: int) -> Drained:
        """Stop what still runs and return the figures. Raises ChildFailed or Unfinished."""
        for process in processes:
            if process.contender == "ours":
                code = await process.child.stop(_STOP_WITHIN_S)
            else:
                # They end by themselves: a signal would kill them before they have sent what they acknowledged.
                async with asyncio.timeout(_STOP_WITHIN_S):
                    code = await process.child.wait()
            if code != 0:
                raise process.child.failed(f"ended with exit code {code}")
        return evaluate([process.readings.read_bytes() for process in processes], messages)

    async def _until_acknowledged(self, processes: Sequence[Running], messages: int) -> None:
        deadline = time.monotonic() + _DRAINED_WITHIN_S
        while (acknowledged := sum(process.acknowledged() for process in processes)) < messages:
            if any(process.child.exit_code is not None for process in processes):
                return  # to be judged by its last readings
            if time.monotonic() > deadline:
                raise Unfinished(f"{acknowledged} of {messages} after {_DRAINED_WITHIN_S:.0f} s")
            await asyncio.sleep(_POLL_S)

    async def _check_acknowledged(self, account: Account, subscription: str) -> None:
        left = await self.gateway.unacknowledged(account, subscription)
        if left:
            raise Unfinished(f"the broker still holds {left} unacknowledged entries")

    async def _check_forwarded(self, backlog: Backlog, before: int) -> None:
        forwarded = await count_observations(self.kafka) - before
        if forwarded < backlog.forwarded:
            raise Unfinished(f"{forwarded} of {backlog.forwarded} observations are in Kafka")
