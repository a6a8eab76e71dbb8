"""Joining and leaving a group never hold up a stop, whatever Kafka does."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaConnectionError
from aiokafka.protocol.coordination import FindCoordinatorRequest

from bridge.kafka.group import join_group, keep_commits_quiet, leave_group
from bridge.kafka.reach import Reach
from tests.virtual_time import in_virtual_time, now_s


class Consumer:
    """A consumer whose start and stop never return, unless they are given an end."""

    def __init__(self, start: Exception | None = None) -> None:
        self.start_error = start
        self.was_cancelled = False
        self.client_closed = False
        self._client = self

    async def start(self) -> None:
        if self.start_error is not None:
            raise self.start_error
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise

    async def send(self, node_id: int, request: object) -> None: ...

    async def coordinator_lookup(self) -> None: ...

    async def _metadata_update(self) -> None: ...

    async def stop(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.client_closed = True


@in_virtual_time
async def test_stop_ends_the_wait_for_an_assignment_that_does_not_come() -> None:
    consumer: Any = Consumer()
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(5, stop.set)

    assert not await join_group(consumer, stop, Reach())
    assert consumer.was_cancelled


@in_virtual_time
async def test_group_that_cannot_be_joined_is_an_error_of_the_caller() -> None:
    consumer: Any = Consumer(KafkaConnectionError("nobody there"))

    with pytest.raises(KafkaConnectionError):
        await join_group(consumer, asyncio.Event(), Reach())


@in_virtual_time
async def test_group_that_does_not_answer_the_leaving_is_left_with_the_connections_closed() -> None:
    consumer: Any = Consumer()

    with structlog.testing.capture_logs() as lines:
        await leave_group(consumer, Reach())

    assert [line["event"] for line in lines] == ["group_not_left"]
    assert consumer.client_closed


class Coordinatorless(Consumer):
    """A consumer that asks for its coordinator once more while it stops, and is told of none."""

    async def send(self, node_id: int, request: object) -> Any:  # noqa: ARG002 (as the library's)
        return SimpleNamespace(error_code=GroupCoordinatorNotAvailableError.errno)

    async def stop(self) -> None:
        await self.send(1, FindCoordinatorRequest("ota-fold", 0))


@in_virtual_time
async def test_consumer_that_finds_no_coordinator_while_it_leaves_is_no_outage_afterwards() -> None:
    consumer: Any = Coordinatorless()
    reach = Reach(now_s)
    reach.watch(consumer)

    await leave_group(consumer, reach)
    await asyncio.sleep(3600)

    assert reach.outage() is None


class Coordinator:
    """Answers commits as the library does, when the connection is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def _do_commit_offsets(self, _assignment: object, _offsets: object) -> None:
        await self.closed.wait()
        raise KafkaConnectionError("the connection is closed")

    async def commit_offsets(self) -> None:
        await asyncio.shield(self._do_commit_offsets(None, None))


@in_virtual_time
async def test_commit_that_nobody_waits_for_any_more_fails_unheard() -> None:
    consumer: Any = Consumer()
    consumer._coordinator = coordinator = Coordinator()
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    keep_commits_quiet(consumer)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await coordinator.commit_offsets()
    coordinator.closed.set()
    await asyncio.sleep(1)
    gc.collect()
    assert complaints == []

    with pytest.raises(KafkaConnectionError):
        await coordinator.commit_offsets()
