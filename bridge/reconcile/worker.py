"""Stage three: reads lookups, asks the clouds, writes what they answer. One process speaks for an account at a time.

The path, numbered the same in code; what follows for each account is told in `account.py`:

1. **Join** the group. The partition murmur2(account) mod n of the lookups topic decides who owns an account, whether or
   not it has lookups.
2. **Own**: the accounts of assigned partitions are ours, after a pause in which the former owner's last requests count.
3. **Read** what is there, and hand it to the accounts; lookups are hints, so nothing here waits for a cloud.
4. **Commit** what was read at once. The commit is also the proof that this process is still a member: without a fresh
   one nothing is sent (`membership.py`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError

from bridge.clouds.registry import open_cloud
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import Cloud, Means, Pace
from bridge.clouds.transport import HttpTransport
from bridge.kafka.clients import consumer_arguments
from bridge.kafka.group import join_group, leave_group
from bridge.kafka.reach import Reach
from bridge.kafka.refusals import remedy_of_refusal, trouble_text
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import partition_of, topic_name
from bridge.reconcile.account import DRAIN_S, AccountLookups
from bridge.reconcile.membership import Membership
from bridge.reconcile.repeats import RepeatedTrouble
from bridge.reconcile.statistics import ReconcileStatistics
from bridge.stopping import stopped_within, unless_stopped
from consumer.sink import Sink
from schemas import LookupRequest
from schemas.unreadable import UNREADABLE

log = structlog.get_logger(__name__)

POLL_MS: Final = 250
"""How long one reading waits for lookups; also how late a stop is noticed."""

RECORDS_AT_ONCE: Final = 1000

REJOIN_FIRST_S: Final = 1.0
REJOIN_MOST_S: Final = 30.0
"""Kafka is not there, or refuses: joined again after this, doubled each time."""


def wall_ms() -> int:
    """The wall clock, Unix ms."""
    return time.time_ns() // 1_000_000


def boot_s() -> float:
    """A monotonic clock that goes on while the process is stopped and while the machine sleeps."""
    # Linux has it; elsewhere the time that the machine sleeps is missing from the count.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Reconcile:
    """The stage. `accounts` are all configured accounts that have an API."""

    name = "reconcile"

    def __init__(
        self,
        accounts: Sequence[AnyAccount],
        kafka: KafkaSettings,
        sink: Sink,
        *,
        cloud_of: Callable[[AnyAccount, Pace], Cloud] | None = None,
        now_ms: Callable[[], int] = wall_ms,
        monotonic: Callable[[], float] = boot_s,
        jitter: Callable[[], float] = random.random,
        reach: Reach | None = None,
    ) -> None:
        self._reach = reach or Reach()
        self._kafka = kafka
        self._topic = topic_name(kafka.prefix, "lookups")
        self._monotonic = monotonic
        self._membership = Membership(kafka.session_timeout_s, monotonic)
        self._transports: list[HttpTransport] = []
        self._now_ms = now_ms
        self._cloud_of = cloud_of or self._open_cloud
        self._accounts: Mapping[str, AccountLookups] = {
            account.name: AccountLookups(
                account,
                self._cloud_of,
                sink,
                proven=self._membership.is_fresh,
                now_ms=now_ms,
                monotonic=monotonic,
                jitter=jitter,
            )
            for account in accounts
        }
        # Its memory is a class attribute: an own class for each group member keeps two in one process apart.
        self._assignor = type("ReconcileAssignor", (StickyPartitionAssignor,), {})
        self._decoder = msgspec.json.Decoder(LookupRequest)
        self._partitions: tuple[int, ...] = ()
        self._is_connected = False
        self._problem: str | None = None
        self._unconfirmed = RepeatedTrouble(monotonic)
        self._lookups_read = 0
        self._malformed = 0
        self._unknown_account = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Kafka's and the clouds' failures are retried for ever and shown in statistics."""
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = [tasks.create_task(account.run(stop)) for account in self._accounts.values()]
                wait_s = REJOIN_FIRST_S
                while not stop.is_set():
                    began = self._monotonic()
                    try:
                        await self._serve_group(stop, serving)
                    except (KafkaError, OSError) as error:
                        wait_s = self._lost_kafka(error, wait_s, began)
                        await stopped_within(stop, wait_s)
        finally:
            for transport in self._transports:
                await transport.close()

    def statistics(self) -> ReconcileStatistics:
        """Return a look at the stage."""
        return ReconcileStatistics(
            connected=self._is_connected,
            problem=self._told_problem(),
            partitions=self._partitions,
            proven_s_ago=self._membership.age_s(),
            lookups_read=self._lookups_read,
            malformed=self._malformed,
            unknown_account=self._unknown_account,
            accounts=tuple(account.statistics() for account in self._accounts.values()),
        )

    def _told_problem(self) -> str | None:
        if self._problem is None and self._unconfirmed.text is not None:
            return f"commits are not confirmed: {self._unconfirmed.text}"
        return self._problem

    async def _serve_group(self, stop: asyncio.Event, serving: Sequence[asyncio.Task[None]]) -> None:
        # 1. Join
        consumer = AIOKafkaConsumer(
            **consumer_arguments(self._kafka, group="reconcile"),
            partition_assignment_strategy=(self._assignor,),
        )
        consumer.subscribe(
            [self._topic],
            listener=_Ownership(
                self._suspend,
                lambda partitions: self._own(partitions, consumer.partitions_for_topic(self._topic) or set()),
            ),
        )
        try:
            if not await join_group(consumer, stop, self._reach):
                return
            self._is_connected, self._problem = True, None
            while not stop.is_set():
                # 3. Read
                records = await consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_AT_ONCE)
                offsets: dict[TopicPartition, int] = {}
                for partition, batch in records.items():
                    for record in batch:
                        self._accept(record)
                        offsets[partition] = record.offset + 1
                # 4. Commit
                if offsets or (self._partitions and self._membership.is_due()):
                    # What a stop leaves uncommitted is read again by the next owner, who can still serve it.
                    await unless_stopped(stop, self._commit(consumer, offsets))
            if serving:
                # The group must not give our accounts away while their last requests are under way.
                await asyncio.wait(serving, timeout=DRAIN_S + 1)
        finally:
            self._is_connected = False
            self._suspend()
            await leave_group(consumer, self._reach)

    def _accept(self, record: ConsumerRecord) -> None:
        self._lookups_read += 1
        try:
            request = self._decoder.decode(record.value or b"")
        except UNREADABLE as error:
            self._malformed += 1
            log.warning(
                "lookup_malformed", partition=record.partition, offset=record.offset, problem=str(error)
            )
            return

        account = self._accounts.get(request.account)
        if account is None:
            self._unknown_account += 1
        else:
            account.accept(request)

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        """Commit, at least one position as it stands: the coordinator takes it only from a member in good standing."""
        try:
            async with asyncio.timeout(self._kafka.session_timeout_s / 4):
                if not offsets:
                    if not self._partitions:
                        # Revoked a moment ago: there is nothing to prove.
                        return
                    partition = TopicPartition(self._topic, self._partitions[0])
                    offsets = {partition: await consumer.position(partition)}
                sent_at = self._monotonic()
                await consumer.commit(offsets)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            # The group is changing, or its coordinator: no proof until it has settled. What was read stays read.
            times = self._unconfirmed.met(trouble_text(error))
            if times is not None:
                log.info(
                    "commit_not_confirmed",
                    problem=self._unconfirmed.text,
                    times=times,
                    remedy=remedy_of_refusal(error)
                    or "none, it is tried again by itself; nothing is asked until one is confirmed",
                )
        else:
            self._membership.proved(sent_at)
            if self._unconfirmed.over():
                log.info("commit_confirmed_again")

    def _own(self, partitions: Iterable[int], of_topic: Collection[int]) -> None:
        # 2. Own
        self._partitions = tuple(sorted(partitions))
        count = max(1, len(of_topic))
        owned = [name for name in self._accounts if partition_of(name.encode(), count) in self._partitions]
        for name, account in self._accounts.items():
            if name in owned:
                account.own()
            else:
                account.lose()
        log.info("accounts_owned", accounts=owned, partitions=self._partitions)

    def _suspend(self) -> None:
        self._partitions = ()
        self._membership.lost()
        # Whoever owns nothing commits nothing: its last trouble would stand there for ever.
        self._unconfirmed.over()
        for account in self._accounts.values():
            account.suspend()

    def _lost_kafka(self, error: KafkaError | OSError, wait_s: float, began: float) -> float:
        """Note why the group cannot be served; return how long to wait."""
        was_long = self._monotonic() - began > REJOIN_MOST_S
        wait_s = REJOIN_FIRST_S if was_long else min(REJOIN_MOST_S, wait_s * 2)
        self._problem = trouble_text(error)
        log.warning(
            "lookups_not_read",
            topic=self._topic,
            problem=self._problem,
            again_in_s=wait_s,
            remedy=remedy_of_refusal(error)
            or "check that Kafka runs and that this user may read the topic in its group",
        )
        return wait_s

    def _open_cloud(self, account: AnyAccount, pace: Pace) -> Cloud:
        transport = HttpTransport(account.api)
        self._transports.append(transport)
        return open_cloud(account, Means(transport=transport, pace=pace, now_ms=self._now_ms))


class _Ownership(ConsumerRebalanceListener):
    """The group's decisions, as they come. Awaits nothing: no heartbeats are sent meanwhile."""

    def __init__(self, suspend: Callable[[], None], own: Callable[[Iterable[int]], None]) -> None:
        self._suspend = suspend
        self._own = own

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - always all
        self._suspend()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._own(partition.partition for partition in assigned)
