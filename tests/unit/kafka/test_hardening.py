"""What a client of the Kafka library survives once it is hardened."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, NotCoordinatorForGroupError
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v1, OffsetFetchResponse_v3

from bridge.kafka.hardening import METADATA_RETRY_S, harden
from tests.virtual_time import in_virtual_time

OFFSETS = OffsetFetchRequest("group", [("topic", [0])])


class Client:
    """A client whose requests and askings end as a test says: an exception is raised, anything else is returned."""

    def __init__(self, *, metadata: Any = True, answer: Any = None, coordinator: Any = 1) -> None:
        self.metadata, self.answer, self.coordinator = metadata, answer, coordinator
        self.asked = 0
        harden(self)

    async def _metadata_update(self, cluster: object, topics: object) -> Any:
        assert (cluster, topics) == ("cluster", "topics")
        self.asked += 1
        return self._ended(self.metadata)

    async def send(self, node_id: int, request: object, *, group: int) -> Any:
        assert (node_id, type(request), group) == (1, OffsetFetchRequest, 2)
        return self._ended(self.answer)

    async def coordinator_lookup(self, kind: int, key: str) -> Any:
        assert (kind, key) == (0, "group")
        return self._ended(self.coordinator)

    @staticmethod
    def _ended(outcome: Any) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


@pytest.mark.parametrize("trouble", [False, RuntimeError("the handler is closed")])
@in_virtual_time
async def test_metadata_that_nobody_tells_is_asked_for_again_and_not_without_a_pause(trouble: Any) -> None:
    client = Client(metadata=trouble)

    async def ask_for_ever() -> None:
        while not await client._metadata_update("cluster", "topics"):
            pass

    asking = asyncio.create_task(ask_for_ever())
    await asyncio.sleep(10)
    while_away = client.asked
    client.metadata = True
    await asking

    assert 10 < while_away <= 10 / METADATA_RETRY_S + 1
    assert client.asked == while_away + 1


async def test_a_broker_that_knows_of_no_brokers_yet_is_not_ready() -> None:
    client = Client(coordinator=AssertionError("Did we not perform bootstrap?"))
    with pytest.raises(NodeNotReadyError):
        await client.coordinator_lookup(0, "group")

    assert await Client(coordinator=7).coordinator_lookup(0, "group") == 7


async def test_a_connection_that_closes_under_a_request_is_a_connection_error() -> None:
    client = Client(answer=RuntimeError("the handler is closed"))
    with pytest.raises(KafkaConnectionError):
        await client.send(1, OFFSETS, group=2)


async def test_refusing_to_tell_the_offsets_is_not_the_same_as_having_none() -> None:
    refusing = Client(answer=OffsetFetchResponse_v3(0, [], 16))
    with pytest.raises(NotCoordinatorForGroupError):
        await refusing.send(1, OFFSETS, group=2)

    for answer in (OffsetFetchResponse_v3(0, [], 0), OffsetFetchResponse_v1([])):
        assert await Client(answer=answer).send(1, OFFSETS, group=2) is answer
