"""What is said about Kafka follows from the answers that the stages' own requests get."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaConnectionError,
    NodeNotReadyError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import JoinGroupRequest

from bridge.kafka.reach import COORDINATOR_AFTER_S, SILENT_AFTER_S, Reach
from tests.virtual_time import in_virtual_time, now_s


class Client:
    """Answers as it is told: with a result, an error, or never."""

    def __init__(self) -> None:
        self.answer: Any = "answer"

    async def send(self, node_id: int, request: object) -> Any:  # noqa: ARG002 (as the library's)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            await asyncio.Event().wait()
        return self.answer


def watched() -> tuple[Reach, Any]:
    reach, client = Reach(now_s), Client()
    reach.watch(client)
    return reach, client


async def asked(client: Any, request: object = "fetch") -> None:
    await asyncio.gather(client.send(1, request), return_exceptions=True)


@in_virtual_time
async def test_requests_that_fail_for_a_while_are_an_outage_that_ends_with_the_first_answer() -> None:
    reach, client = watched()
    client.answer = KafkaConnectionError("connection closed")
    await asked(client)
    assert reach.outage() is None

    client.answer = NodeNotReadyError("not ready")
    await asyncio.sleep(SILENT_AFTER_S + 1)
    await asked(client)
    outage = reach.outage()
    assert outage is not None
    assert outage.error == "KafkaConnectionError: connection closed"

    client.answer = "answer"
    await asked(client)
    assert reach.outage() is None


@in_virtual_time
async def test_request_that_is_never_answered_is_an_outage_unless_another_is_answered() -> None:
    reach, client = watched()
    client.answer = None
    waiting = asyncio.create_task(asked(client))
    await asyncio.sleep(SILENT_AFTER_S + 1)
    assert reach.outage() is not None

    client.answer = "answer"
    await asked(client)
    assert reach.outage() is None

    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.sleep(3600)
    assert reach.outage() is None


@in_virtual_time
async def test_group_that_gathers_its_members_and_a_process_that_asks_nothing_are_no_outage() -> None:
    reach, client = watched()
    await asyncio.sleep(3600)
    assert reach.outage() is None

    client.answer = None
    waiting = asyncio.create_task(asked(client, JoinGroupRequest.__new__(JoinGroupRequest)))
    await asyncio.sleep(60)
    assert reach.outage() is None
    waiting.cancel()


@in_virtual_time
async def test_refusal_is_an_answer() -> None:
    reach, client = watched()
    client.answer = TopicAuthorizationFailedError("ota.lookups.v1")
    await asked(client)
    await asyncio.sleep(60)
    assert reach.outage() is None


@in_virtual_time
async def test_coordinator_that_stays_away_is_an_outage_and_one_that_comes_is_none() -> None:
    reach, client = watched()
    request = FindCoordinatorRequest("ota-fold", 0)
    client.answer = SimpleNamespace(error_code=GroupCoordinatorNotAvailableError.errno)
    await asked(client, request)
    await asyncio.sleep(COORDINATOR_AFTER_S / 2)
    assert reach.outage() is None

    await asyncio.sleep(COORDINATOR_AFTER_S)
    await asked(client, request)
    outage = reach.outage()
    assert outage is not None
    assert "GroupCoordinatorNotAvailableError" in outage.error

    client.answer = SimpleNamespace(error_code=0)
    await asked(client, request)
    assert reach.outage() is None


@in_virtual_time
async def test_client_that_is_forgotten_makes_no_trouble_by_an_answer_that_comes_later() -> None:
    reach, client = watched()
    client.answer = SimpleNamespace(error_code=GroupCoordinatorNotAvailableError.errno)
    reach.forget(client)

    await asked(client, FindCoordinatorRequest("ota-fold", 0))
    await asyncio.sleep(3600)

    assert reach.outage() is None
