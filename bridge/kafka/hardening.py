"""What the Kafka library's clients do not survive when brokers come and go, repaired on each client we make.

Found by restarting a broker again and again under load. Each of these leaves a client that waits for ever, or believes
what nobody said, while everything about it looks well.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError, NoError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

from bridge.kafka.refusals import refusal_text

log = structlog.get_logger(__name__)

METADATA_RETRY_S: Final = 0.2
"""As long as a broker's restart can spare."""


def harden(client: Any) -> None:
    """Repair an aiokafka client (what all requests of a consumer or producer pass), before it is started."""
    _keep_asking_for_metadata(client)
    _look_for_coordinators_without_brokers(client)
    _raise_what_is_no_answer(client)


def _keep_asking_for_metadata(client: Any) -> None:
    """The task that keeps the metadata ends at an error it does not know, and all who wait for metadata wait for ever.

    Also pause: whoever needs metadata asks anew as soon as an asking failed, thousands of times a second.
    """
    update = client._metadata_update  # noqa: SLF001 (the one place that all askings pass)

    async def update_or_pause(*arguments: Any) -> bool:
        try:
            updated: bool = await update(*arguments)
        except Exception as error:  # noqa: BLE001 (whatever it is, the next asking may succeed)
            log.warning("metadata_not_updated", error=refusal_text(error))
            updated = False
        if not updated:
            await asyncio.sleep(METADATA_RETRY_S)
        return updated

    client._metadata_update = update_or_pause  # noqa: SLF001 (as above)


def _look_for_coordinators_without_brokers(client: Any) -> None:
    """A broker that only starts knows of no brokers: the library asserts that there are some. It retries this error."""
    lookup = client.coordinator_lookup

    async def look_up(*arguments: Any) -> Any:
        try:
            return await lookup(*arguments)
        except AssertionError as error:
            raise NodeNotReadyError("the broker that answered knows of no brokers yet") from error

    client.coordinator_lookup = look_up


def _raise_what_is_no_answer(client: Any) -> None:
    """Two things that are errors, and that the library retries as soon as they are.

    Writing to a connection that was closed a moment ago: uvloop says RuntimeError, which no one expects.
    A coordinator that refuses to tell a group's offsets, because it moves or has just started: the library looks for
    an error in each partition of the answer, there is none, and it reads that nothing was ever committed.
    """
    send_request = client.send

    async def send(node_id: Any, request: Any, **options: Any) -> Any:
        try:
            answer = await send_request(node_id, request, **options)
        except KafkaError:
            raise
        except RuntimeError as error:
            raise KafkaConnectionError(str(error)) from error
        if isinstance(request, OffsetFetchRequest):
            refusal = for_code(getattr(answer, "error_code", 0))  # the oldest versions have none
            if refusal is not NoError:
                raise refusal
        return answer

    client.send = send
