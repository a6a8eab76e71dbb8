"""Joining and leaving a consumer group without holding up a stop, also while Kafka is away."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from bridge.error_text import error_text
from bridge.kafka.hardening import harden
from bridge.kafka.reach import Reach
from bridge.stopping import unless_stopped

log = structlog.get_logger(__name__)

LEAVE_WITHIN_S: Final = 2.0
"""A group that is not told of the leaving learns of it by the session timeout: a courtesy, and milliseconds with Kafka
there. Without Kafka the library waits up to 40 s for each answer."""


def keep_commits_quiet(consumer: AIOKafkaConsumer) -> None:
    """See to it that a commit which nobody waits for any more may fail unheard. The consumer has been started.

    The library shields the request of each commit from the cancellation of who waits for it. A request that fails
    afterwards, at the latest when the connection is closed, would be an error that asyncio complains about.
    """
    coordinator = consumer._coordinator  # noqa: SLF001 (there is no other way to the request's task)
    commit = coordinator._do_commit_offsets  # noqa: SLF001 (the library has no other way to see a failed commit)

    def retrieved(*arguments: object) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(commit(*arguments))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    coordinator._do_commit_offsets = retrieved  # noqa: SLF001 (the library has no other way to see a failed commit)


async def join_group(consumer: AIOKafkaConsumer, stop: asyncio.Event, reach: Reach) -> bool:
    """Start a consumer, which waits for its first assignment; False when `stop` came before. Raises KafkaError.

    From here until it leaves, its requests tell `reach` whether Kafka answers.
    """
    harden(consumer._client)  # noqa: SLF001 (what all its requests pass)
    reach.watch(consumer._client)  # noqa: SLF001 (as above)
    try:
        joined = await unless_stopped(stop, consumer.start())
        if joined:
            keep_commits_quiet(consumer)
        return joined
    except (KafkaError, OSError) as error:
        reach.failed(error)
        raise


async def leave_group(consumer: AIOKafkaConsumer, reach: Reach) -> None:
    """Stop a consumer, started or not, and leave its group if Kafka answers in time."""
    try:
        async with asyncio.timeout(LEAVE_WITHIN_S):
            await consumer.stop()
    except (KafkaError, TimeoutError) as error:
        log.info("group_not_left", problem=error_text(error))
        await consumer._client.close()  # noqa: SLF001 (what `stop` does last)
    finally:
        # Not before: while it stops, the consumer still asks for its coordinator, and who is told notes it anew.
        reach.forget(consumer._client)  # noqa: SLF001 (as above)
