"""One account's producer on the real Pulsar: keyed by device, batching, patient while the broker is away.

The client library sends again by itself, in order, for as long as it takes: what was handed over once is confirmed
once. Its callbacks come from its own threads and cross to the event loop in bundles.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pulsar
from msgspec import Struct

from deploy.sandbox.cloud.envelope import Sealed
from deploy.sandbox.cloud.reader_progress import Position

_RETRY_S = 0.5
_BATCH_DELAY_MS = 4
"""Short beside the 40 ms that a push takes through the bridge, long enough to batch a firehose."""
_CLOSE_S = 5.0


class Publisher(Protocol):
    """Takes sealed messages to an account's topic."""

    @property
    def waiting(self) -> int:
        """Messages handed over and not yet confirmed."""
        ...

    def publish(self, sealed: Sealed, device_id: str, confirmed: Callable[[Position], None]) -> None:
        """Send a message; call `confirmed` on the event loop once the broker has it, with where it lies."""
        ...


class PulsarTarget(Struct, frozen=True, kw_only=True):
    """Where a publisher sends, and who it is there."""

    url: str
    username: str
    password: str
    topic: str
    log_file: Path


class _Outgoing:
    __slots__ = ("confirmed", "device_id", "sealed")

    def __init__(self, sealed: Sealed, device_id: str, confirmed: Callable[[Position], None]) -> None:
        self.sealed = sealed
        self.device_id = device_id
        self.confirmed = confirmed


class PulsarPublisher:
    """A `Publisher` onto Pulsar. `open` before the first message; `close` gives up what is still waiting."""

    def __init__(self, target: PulsarTarget) -> None:
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._client: pulsar.Client | None = None
        self._producer: pulsar.Producer | None = None
        self._answers: deque[tuple[_Outgoing, Position | None]] = deque()
        self._crossing = False
        self._closed = False
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Messages handed over and not yet confirmed."""
        return self._waiting

    async def open(self) -> None:
        """Connect; the broker must be there."""
        await asyncio.to_thread(self._connect)

    async def close(self) -> None:
        """Let go of the connection, within seconds whatever the broker does."""
        self._closed = True
        if self._client is not None:
            closing = asyncio.get_running_loop().run_in_executor(None, self._client.shutdown)
            await asyncio.wait([closing], timeout=_CLOSE_S)

    def publish(self, sealed: Sealed, device_id: str, confirmed: Callable[[Position], None]) -> None:
        """Send a message, now or when the broker is back; never blocks."""
        self._waiting += 1
        self._send(_Outgoing(sealed, device_id, confirmed))

    def _connect(self) -> None:
        target = self._target
        self._client = pulsar.Client(
            target.url,
            authentication=pulsar.AuthenticationBasic(target.username, target.password),
            logger=pulsar.FileLogger(pulsar.LoggerLevel.Warn, str(target.log_file)),
        )
        self._producer = self._client.create_producer(
            target.topic,
            send_timeout_millis=0,  # never give up: the library sends again after a reconnect
            max_pending_messages=0,  # no limit, so that handing over never blocks and is never refused
            batching_enabled=True,
            batching_max_publish_delay_ms=_BATCH_DELAY_MS,
        )

    def _send(self, message: _Outgoing) -> None:
        if self._producer is None:
            raise NotOpen(f"publisher of {self._target.topic}: publish before open")

        def answered(result: pulsar.Result, at: pulsar.MessageId) -> None:
            # On a thread of the library. Nothing may be raised here: it would end the process.
            accepted = result == pulsar.Result.Ok
            position = Position(at.partition(), at.ledger_id(), at.entry_id()) if accepted else None
            self._answers.append((message, position))
            if not self._crossing and not self._closed:
                self._crossing = True
                self._loop.call_soon_threadsafe(self._take_answers)

        self._producer.send_async(
            message.sealed.payload,
            answered,
            properties=message.sealed.properties,
            partition_key=message.device_id,
        )

    def _take_answers(self) -> None:
        self._crossing = False
        while self._answers:
            message, position = self._answers.popleft()
            if self._closed:
                continue
            if position is not None:
                self._waiting -= 1
                message.confirmed(position)
            else:
                self._loop.call_later(_RETRY_S, self._send, message)


class NotOpen(Exception):
    """A message came before the connection; the sandbox's start is wrong and ends."""
