"""Stage two as a whole: membership of the consumer group, and one worker for each partition that falls to us.

One consumer fetches for all partitions and hands records to their workers. Everything a partition goes through after
an assignment happens in a task of its own: the library sends no heartbeats while the assignment callback runs, so
the callback only pauses the partition and starts that task.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError

from bridge.fold.batch import FoldTopics
from bridge.fold.policy import Policy
from bridge.fold.statistics import FoldStatistics
from bridge.fold.store import Store
from bridge.fold.takeover import PartitionOwnership, take_over
from bridge.fold.takeover_trouble import TakeoverTrouble
from bridge.fold.timers import BackgroundPace
from bridge.fold.worker import OffsetJump, Worker
from bridge.kafka.clients import consumer_arguments, group_name
from bridge.kafka.group import join_group, leave_group
from bridge.kafka.reach import Reach
from bridge.kafka.refusals import remedy_of_refusal, trouble_text
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.transactions import DOUBTFUL_AFTER_S
from bridge.stopping import stopped_within

log = structlog.get_logger(__name__)

_POLL_MS: Final = 200
_QUEUE_HIGH: Final = 10_000
"""Records waiting for one worker before its partition is paused: about 10 MB."""
_QUEUE_LOW: Final = 2_000
_TRANSACTIONS_PER_S: Final = 400.0
"""Of all partitions: with twelve, one each 30 ms. Each costs the brokers some ten writes to their logs, whatever it
holds; with more of them everybody waits for the brokers' processors, not for the next transaction."""
_RETRY_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.1
_LAST_PAUSE_S: Final = 10.0
"""Between two take-overs of a partition: what failed once must not wait, what fails each time must not spin."""
_REFUSED_PAUSE_S: Final = 60.0
"""What the brokers refuse for a setting's sake they refuse again, unless somebody changes theirs."""
_BROKER_TROUBLE: Final = (KafkaError, OSError, TimeoutError)
_FINISH_WITHIN_S: Final = 3.0
"""A revoked worker may finish its transaction; well under any session timeout."""
_KEEP_STORE_S: Final = 12 * 3600.0
"""A store whose partition does not come back is dropped after this."""


class _Owned:
    """One assigned partition: its task, and its worker once the take-over is done."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.task: asyncio.Task[None] | None = None
        self.is_revoked = False
        self.is_throttled = False


class Fold(ConsumerRebalanceListener):
    """The stage. `lookup_rates` gives each account's API rate in requests a second, for lookups nobody waits for."""

    name = "fold"

    def __init__(
        self,
        settings: KafkaSettings,
        policy: Policy,
        *,
        lookup_rates: Mapping[str, float] | None = None,
        reach: Reach | None = None,
    ) -> None:
        self._reach = reach or Reach()
        self._counts: Counter[str] = Counter()
        self._ownership = PartitionOwnership(
            settings=settings,
            topics=FoldTopics.under(settings.prefix, settings.partitions),
            group=group_name(settings, "fold"),
            policy=policy,
            counts=self._counts,
        )
        self._rates = {account: rate / settings.partitions for account, rate in (lookup_rates or {}).items()}
        self._problem: str | None = None
        self._takeover_trouble = TakeoverTrouble(self._reach)
        self._assignor = _own_assignor()
        self._stores: dict[int, Store] = {}
        self._released_at: dict[int, float] = {}
        self._owned: dict[int, _Owned] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._consumer: AIOKafkaConsumer | None = None

    def statistics(self) -> FoldStatistics:
        """Return the stage's state now."""
        workers = {number: owned.worker for number, owned in self._owned.items() if owned.worker is not None}
        return FoldStatistics(
            partitions_folding=tuple(sorted(workers)),
            partitions_taking_over=tuple(sorted(set(self._owned) - set(workers))),
            devices=sum(len(self._stores[number]) for number in workers),
            problem=self._told_problem(workers),
            queued=sum(worker.queued for worker in workers.values()),
            behind=tuple(sorted(number for number, worker in workers.items() if worker.is_behind)),
            in_gap=tuple(sorted(number for number, worker in workers.items() if worker.has_gap)),
            lookups_waiting=sum(worker.lookups_waiting for worker in workers.values()),
            counts=dict(self._counts),
        )

    def _told_problem(self, workers: Mapping[int, Worker]) -> str | None:
        waiting_s = max((worker.commit_age_s for worker in workers.values()), default=0.0)
        if waiting_s > DOUBTFUL_AFTER_S:
            return f"Kafka has not confirmed a transaction for {waiting_s:.0f} s"

        return None if workers and len(workers) == len(self._owned) else self._problem

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until `stop`; the consumer and everything it owned are rebuilt after an error of the brokers."""
        retry_s = _RETRY_S
        while not stop.is_set():
            began_s = asyncio.get_running_loop().time()
            try:
                await self._run_consumer(stop)
            except _BROKER_TROUBLE as error:
                remedy = remedy_of_refusal(error)
                has_worked = asyncio.get_running_loop().time() - began_s > _REFUSED_PAUSE_S
                retry_s = _longer(_RETRY_S if has_worked else retry_s, remedy)
                self._counts["consumer_restarts"] += 1
                self._problem = _problem(error, remedy)
                log.warning(
                    "fold_consumer_failed",
                    error=trouble_text(error),
                    retry_s=retry_s,
                    remedy=remedy or "none, it is tried again by itself",
                )
                await stopped_within(stop, retry_s)

    async def _run_consumer(self, stop: asyncio.Event) -> None:
        settings = self._ownership.settings
        consumer = AIOKafkaConsumer(
            **consumer_arguments(settings, group="fold") | {"partition_assignment_strategy": [self._assignor]}
        )
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                self._consumer, self._tasks = consumer, tasks
                consumer.subscribe([self._ownership.topics.observations], listener=self)
                try:
                    if await join_group(consumer, stop, self._reach):
                        await self._dispatch(consumer, stop)
                except _BROKER_TROUBLE as error:
                    failure = error
                finally:
                    await self._release()
        finally:
            self._consumer = self._tasks = None
            await leave_group(consumer, self._reach)
        if failure is not None:
            raise failure

    async def _dispatch(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        """Hand each partition's records to its worker; a partition without one has been paused, or is seeked later."""
        while not stop.is_set():
            batches = await consumer.getmany(timeout_ms=_POLL_MS)
            for place, records in batches.items():
                owned = self._owned.get(place.partition)
                if owned is None or owned.worker is None:
                    continue
                owned.worker.offer(records)
            self._throttle(consumer)
            self._drop_stale_stores()

    def _throttle(self, consumer: AIOKafkaConsumer) -> None:
        """Bound what waits for a slow worker."""
        for number, owned in self._owned.items():
            if owned.worker is None:
                continue
            place = self._place(number)
            if not owned.is_throttled and owned.worker.queued > _QUEUE_HIGH:
                owned.is_throttled = True
                consumer.pause(place)
            elif owned.is_throttled and owned.worker.queued < _QUEUE_LOW:
                owned.is_throttled = False
                consumer.resume(place)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - all are revoked
        """Stop the workers; each may finish its transaction, so that the next owner has nothing to abort."""
        await self._release()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pause, and start each partition's own task. Awaits nothing: no heartbeat is sent while this runs."""
        consumer, tasks = self._consumer, self._tasks
        if consumer is None or tasks is None:
            return

        consumer.pause(*assigned)
        for place in assigned:
            owned = _Owned()
            self._owned[place.partition] = owned
            owned.task = tasks.create_task(self._own(consumer, place, owned), name=f"fold-{place.partition}")

    async def _own(self, consumer: AIOKafkaConsumer, place: TopicPartition, owned: _Owned) -> None:
        """Take the partition over and work it, again and again until it is revoked."""
        store = self._stores.setdefault(place.partition, Store(place.partition))
        self._released_at.pop(place.partition, None)
        pace = BackgroundPace(self._rates)
        pause_s, retry_s = _FIRST_PAUSE_S, _RETRY_S
        hole_at: int | None = None
        while not owned.is_revoked:
            try:
                worker, producer = await take_over(self._ownership, consumer, place, store, pace)
            except _BROKER_TROUBLE as error:
                remedy = remedy_of_refusal(error)
                retry_s = _longer(retry_s, remedy)
                self._counts["takeover_retries"] += 1
                self._problem = f"partition {place.partition} cannot be taken over: {_problem(error, remedy)}"
                self._takeover_trouble.met(place.partition, error, asyncio.get_running_loop().time())
                await asyncio.sleep(retry_s)
                continue
            self._takeover_trouble.over()
            retry_s = _RETRY_S

            try:
                if self._owned.get(place.partition) is not owned:
                    # The library swallows a cancellation that comes while it closes a client.
                    return
                # Between the last await and here nothing may be handed over: seek and resume do not wait.
                worker.expect_hole(hole_at)
                consumer.seek(place, worker.next_offset)
                owned.worker, owned.is_throttled = worker, False
                consumer.resume(place)
                await worker.run(lambda: len(self._owned) / _TRANSACTIONS_PER_S)
            except IllegalStateError:
                # The partition was revoked between the take-over and the seek; its revocation ends this task.
                return
            except OffsetJump as jump:
                hole_at = jump.expected
                log.warning("fold_worker_lost_its_place", partition=place.partition, reason=str(jump))
            except _BROKER_TROUBLE as error:
                log.warning(
                    "fold_worker_ended",
                    partition=place.partition,
                    error=trouble_text(error),
                    remedy=remedy_of_refusal(error) or "none, its partition is taken over anew by itself",
                )
            finally:
                owned.worker = None
                if consumer is self._consumer and place in consumer.assignment():
                    consumer.pause(place)
                for turn, device_id in enumerate(pace.drain()):
                    store.timers.arm(turn, device_id)
                await producer.close()
            if not owned.is_revoked:
                self._counts["takeovers_again"] += 1
                pause_s = _FIRST_PAUSE_S if worker.has_committed else min(2 * pause_s, _LAST_PAUSE_S)
                await asyncio.sleep(pause_s)

    async def _release(self) -> None:
        """Let every worker finish within the time that a rebalance can spare, then end its task."""
        owned_now, self._owned = self._owned, {}
        tasks = {owned.task for owned in owned_now.values() if owned.task is not None}
        if not tasks:
            return

        for owned in owned_now.values():
            owned.is_revoked = True
            if owned.worker is None and owned.task is not None:
                owned.task.cancel()
            elif owned.worker is not None:
                owned.worker.stop()
        _, late = await asyncio.wait(tasks, timeout=_FINISH_WITHIN_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        now = asyncio.get_running_loop().time()
        for number in owned_now:
            self._released_at[number] = now

    def _drop_stale_stores(self) -> None:
        now = asyncio.get_running_loop().time()
        for number, released_at in list(self._released_at.items()):
            if now - released_at > _KEEP_STORE_S:
                del self._released_at[number]
                self._stores.pop(number, None)

    def _place(self, number: int) -> TopicPartition:
        return TopicPartition(self._ownership.topics.observations, number)


def _longer(pause_s: float, remedy: str | None) -> float:
    """Return the next pause: what passes by itself is tried soon, what is refused less and less often."""
    return _RETRY_S if remedy is None else min(2 * pause_s, _REFUSED_PAUSE_S)


def _problem(error: BaseException, remedy: str | None) -> str:
    return trouble_text(error) if remedy is None else f"{trouble_text(error)}: {remedy}"


def _own_assignor() -> type[StickyPartitionAssignor]:
    """The sticky assignor remembers in class attributes: each member of each group needs a class of its own."""

    class FoldAssignor(StickyPartitionAssignor):
        pass

    return FoldAssignor
