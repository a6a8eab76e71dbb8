"""What `PUT /faults` does to the real brokers: restarts and outages, one at a time per broker."""

from __future__ import annotations

import asyncio
from typing import Protocol

from deploy.sandbox.cloud.faults import Actions


class Restartable(Protocol):
    """A broker of the sandbox."""

    async def restart(self) -> None:
        """Stop and start it; return once it answers."""
        ...

    async def down(self, seconds: float) -> None:
        """Stop it, wait, start it; return once it answers."""
        ...


class PulsarControls(Restartable, Protocol):
    """The broker that is the gateway."""

    async def set_ttl(self, seconds: int) -> None:
        """Drop what is unconsumed for `seconds`."""
        ...


class BrokerActions:
    """Does in the background, in `group`, what was asked; a later request waits for the earlier one."""

    def __init__(self, pulsar: PulsarControls, kafka: Restartable, group: asyncio.TaskGroup) -> None:
        self._pulsar = pulsar
        self._kafka = kafka
        self._group = group
        self._pulsar_lock = asyncio.Lock()
        self._kafka_lock = asyncio.Lock()

    def act(self, actions: Actions) -> None:
        """Begin to do what is asked; return at once."""
        if actions.pulsar_restart:
            self._begin(self._pulsar, self._pulsar_lock, None)
        if actions.kafka_restart:
            self._begin(self._kafka, self._kafka_lock, None)
        if actions.pulsar_down_s is not None:
            self._begin(self._pulsar, self._pulsar_lock, actions.pulsar_down_s)
        if actions.kafka_down_s is not None:
            self._begin(self._kafka, self._kafka_lock, actions.kafka_down_s)

    async def set_ttl(self, seconds: float) -> None:
        """Set the gateway's retention of unconsumed messages; Pulsar counts in whole seconds."""
        async with self._pulsar_lock:
            await self._pulsar.set_ttl(max(1, round(seconds)))

    async def settled(self) -> None:
        """Return once everything asked for is done."""
        async with self._pulsar_lock, self._kafka_lock:
            return

    def _begin(self, broker: Restartable, lock: asyncio.Lock, down_s: float | None) -> None:
        async def disturb() -> None:
            async with lock:
                await (broker.restart() if down_s is None else broker.down(down_s))

        self._group.create_task(disturb())
