"""Whether Kafka can be reached, and why not: waited for at the start, watched while the stages run, told once each."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import structlog
from aiokafka.errors import KafkaError

from bridge.kafka.library_reasons import LibraryReasons
from bridge.kafka.reach import Outage
from bridge.kafka.refusals import refusal_text, refuses_credentials, remedy_of_refusal
from bridge.kafka.topics import TopicsRefused
from bridge.logs import Redactor
from bridge.status import KafkaStatus
from bridge.stopping import stopped_within, unless_stopped

log = structlog.get_logger(__name__)

PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0)
"""Before Kafka is tried again; the last one for good."""
TELL_AGAIN_S: Final = 60.0
"""While Kafka is not there at the start, the same reason is logged so often; it is tried much more often."""
ECHO_S: Final = 10.0
"""What was under way when Kafka went away may fail a while after it is back."""


class KafkaWatch:
    """What `/status` and the log tell about Kafka. `reasons` hears why its library cannot connect."""

    def __init__(
        self, bootstrap_servers: str, redact: Redactor, *, pauses_s: Sequence[float] = PAUSES_S
    ) -> None:
        self._redact = redact
        self._pauses_s = pauses_s
        self._refuses_credentials = False
        self._remedies_told: set[str | None] = set()
        """Since Kafka went away: of several brokers each may refuse for another reason."""
        self._back_at = -math.inf
        self.reasons = LibraryReasons(is_echo=self._is_echo)
        self.status = KafkaStatus(state="connecting", bootstrap_servers=bootstrap_servers)

    async def until_ready(self, check_topics: Callable[[], Awaitable[object]], stop: asyncio.Event) -> bool:
        """Try until Kafka answers and has our topics; False when the process is to stop instead.

        Raises TopicsRefused.
        """
        told, told_at = "", 0.0
        while not stop.is_set():
            attempts = self.status.attempts + 1
            try:
                if not await unless_stopped(stop, check_topics()):
                    return False
            except TopicsRefused as refused:
                self._note("refused", attempts, str(refused))
                raise
            except (KafkaError, OSError, TimeoutError) as error:
                pause_s = self._pauses_s[min(attempts, len(self._pauses_s)) - 1]
                since_ms = self.status.unreachable_since_ms or time.time_ns() // 1_000_000
                cause = self.reasons.cause_of(error)
                text = refusal_text(cause)
                self._refuses_credentials = refuses_credentials(cause)
                self._note("unreachable", attempts, text, remedy=remedy_of_refusal(cause), since_ms=since_ms)
                if text != told or time.monotonic() - told_at >= TELL_AGAIN_S:
                    told, told_at = text, time.monotonic()
                    self._warn(retry_in_s=pause_s)
                await stopped_within(stop, pause_s)
            else:
                self._note_ready(attempts)
                return True
        return False

    def look(self, outage: Outage | None) -> None:
        """Tell, once each, that Kafka went away and that it is back, by what the stages' own requests say.

        A broker that is back and refuses us is told as well: it was away for another reason.
        """
        was_away, attempts = self.status.state == "unreachable", self.status.attempts
        if outage is None:
            if was_away:
                self._note_ready(attempts)
            return

        # That it is away the stages' requests say best, why only the library's log.
        cause = self.reasons.latest
        remedy = None if cause is None else remedy_of_refusal(cause)
        if was_away and (remedy is None or remedy in self._remedies_told):
            return
        self._remedies_told.add(remedy)
        error = outage.error if cause is None or remedy is None else refusal_text(cause)
        self._refuses_credentials = cause is not None and refuses_credentials(cause)
        self._note("unreachable", attempts, error, remedy=remedy, since_ms=outage.since_ms)
        self._warn()

    def _is_echo(self) -> bool:
        return self.status.state == "unreachable" or time.monotonic() - self._back_at < ECHO_S

    def _note_ready(self, attempts: int) -> None:
        if self.status.state == "unreachable":
            self._back_at = time.monotonic()
        self._remedies_told.clear()
        self._note("ready", attempts, None)
        log.info("kafka_ready", attempts=attempts)

    def _warn(self, **more: object) -> None:
        # Refused credentials do not pass by themselves: an alarm.
        tell = log.error if self._refuses_credentials else log.warning
        tell(
            "kafka_refuses_credentials" if self._refuses_credentials else "kafka_unreachable",
            bootstrap_servers=self.status.bootstrap_servers,
            error=self.status.last_error,
            remedy=self.status.remedy
            or "check that Kafka runs, kafka.bootstrap_servers, kafka.security and the credentials",
            **more,
        )

    def _note(
        self,
        state: Literal["unreachable", "refused", "ready"],
        attempts: int,
        error: str | None,
        *,
        remedy: str | None = None,
        since_ms: int | None = None,
    ) -> None:
        self.status = KafkaStatus(
            state=state,
            bootstrap_servers=self.status.bootstrap_servers,
            attempts=attempts,
            last_error=None if error is None else self._redact(error),
            remedy=remedy,
            unreachable_since_ms=since_ms,
            ready_at_ms=time.time_ns() // 1_000_000 if state == "ready" else None,
        )
