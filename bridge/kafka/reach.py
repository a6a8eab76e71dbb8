"""Whether Kafka answers: noted from the requests that the stages' clients make anyway, without asking anything more.

The group consumers fetch and send heartbeats all the time, and a writer's producer repeats what is not confirmed, so
that a process notices within seconds. Its trouble is over with the first answer.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NoError,
    RequestTimedOutError,
    for_code,
)
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import JoinGroupRequest, SyncGroupRequest
from msgspec import Struct

from bridge.error_text import error_text

SILENT_AFTER_S: Final = 5.0
"""A broker that restarts, or a leader that moves, is back before; a fetch is answered after half a second."""
COORDINATOR_AFTER_S: Final = 10.0
"""A new cluster makes the topic of its coordinators at the first request, and refuses until that is done."""

_NO_ANSWER: Final = (KafkaConnectionError, NodeNotReadyError, RequestTimedOutError, OSError, TimeoutError)
_MAY_WAIT: Final = (JoinGroupRequest, SyncGroupRequest)
"""Answered when the whole group is there, which may take as long as a session."""


def is_no_answer(error: BaseException) -> bool:
    """Whether an error only says that Kafka was not there; any other is an answer."""
    return is_no_answer_kind(type(error))


def is_no_answer_kind(kind: type) -> bool:
    """As `is_no_answer`, by an error's class: of some requests the library tells no more."""
    return issubclass(kind, _NO_ANSWER)


class Outage(Struct, frozen=True, kw_only=True):
    """Kafka cannot be worked with at the moment."""

    since_ms: int
    error: str


class Reach:
    """What all watched clients of a process found out together: an answer to any of them is an answer."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._numbers = itertools.count()
        self._under_way: dict[int, float] = {}
        self._answered_at = monotonic()
        self._failing_since: float | None = None
        self._failure = ""
        # By client: where one group has its coordinator, another's may still be missing.
        self._coordinator_missing: dict[Any, tuple[float, str]] = {}
        self._forgotten: WeakSet[Any] = WeakSet()

    def watch(self, client: Any) -> None:
        """Note how an aiokafka client's requests fare from now on."""
        send_request = client.send

        async def send(node_id: Any, request: Any, **options: Any) -> Any:
            number = next(self._numbers)
            if not isinstance(request, _MAY_WAIT):
                self._under_way[number] = self._monotonic()
            try:
                answer = await send_request(node_id, request, **options)
            except KafkaError as error:
                self.failed(error)
                raise
            finally:
                self._under_way.pop(number, None)
            self._answered_at = self._monotonic()
            self._failing_since = None
            if isinstance(request, FindCoordinatorRequest):
                self._note_coordinator(client, for_code(answer.error_code))
            return answer

        client.send = send

    def forget(self, client: Any) -> None:
        """The client is closed: what it waited for will not come, and is no trouble any more.

        Nor is what a task that the library left behind is still told.
        """
        self._forgotten.add(client)
        self._coordinator_missing.pop(client, None)

    def failed(self, error: BaseException) -> None:
        """Note that a request, or connecting at all, got no answer; other errors are answers."""
        if is_no_answer(error) and self._failing_since is None:
            # The first failure says more than those that follow: later ones find no connection to fail on.
            self._failing_since, self._failure = self._monotonic(), error_text(error)

    def outage(self) -> Outage | None:
        """Return why Kafka cannot be worked with; None as long as it answers, or nothing was asked."""
        now = self._monotonic()
        if self._failing_since is not None and now - self._failing_since > SILENT_AFTER_S:
            return self._told(self._failing_since, self._failure)
        if self._under_way:
            silent_since = max(min(self._under_way.values()), self._answered_at)
            if now - silent_since > SILENT_AFTER_S:
                return self._told(silent_since, "requests are sent and none is answered")
        for since, refusal in self._coordinator_missing.values():
            if now - since > COORDINATOR_AFTER_S:
                return self._told(
                    since,
                    f"a consumer group has no coordinator ({refusal}): check that the brokers could make the topic"
                    " __consumer_offsets, and its partitions have leaders",
                )
        return None

    def _note_coordinator(self, client: Any, answer: type[BaseException]) -> None:
        if answer is NoError:
            self._coordinator_missing.pop(client, None)
        elif client not in self._forgotten:
            self._coordinator_missing.setdefault(client, (self._monotonic(), answer.__name__))

    def _told(self, since: float, error: str) -> Outage:
        ago_ms = round((self._monotonic() - since) * 1000)
        return Outage(since_ms=time.time_ns() // 1_000_000 - ago_ms, error=error)
