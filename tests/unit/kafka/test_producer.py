"""What a producer does while its brokers are away."""

from __future__ import annotations

import asyncio

from bridge.kafka.producer import METADATA_RETRY_S, pause_between_metadata_failures
from tests.virtual_time import in_virtual_time


class Client:
    """A client whose asking for metadata fails until `there`."""

    def __init__(self) -> None:
        self.there = False
        self.asked = 0

    async def _metadata_update(self, cluster: object, topics: object) -> bool:
        assert (cluster, topics) == ("cluster", "topics")
        self.asked += 1
        return self.there


@in_virtual_time
async def test_metadata_that_nobody_tells_is_not_asked_for_without_a_pause() -> None:
    client = Client()
    pause_between_metadata_failures(client)

    async def ask_for_ever() -> None:
        while not await client._metadata_update("cluster", "topics"):
            pass

    asking = asyncio.create_task(ask_for_ever())
    await asyncio.sleep(10)
    while_away = client.asked
    client.there = True
    await asking

    assert while_away <= 10 / METADATA_RETRY_S + 1
    assert client.asked == while_away + 1
