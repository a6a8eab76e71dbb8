"""Pushes under load, each with a number that only the publisher knows, as entries of many messages.

Beside the bridge's subscription there is another, `AUDIT`, made before the first push: it keeps every message, so that
at the end the broker itself can say what lay where.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

import httpx
import pulsar

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from tests.gateway_messages import sealed, upgrade_status

Place = tuple[str, int, int, int]
"""Source partition, ledger, entry, index in the entry."""

AUDIT: Final = "audit"
_TICK_S: Final = 0.01
_BATCH_DELAY_MS: Final = 10
_QUIET_MS: Final = 2000


class GatewayLoad:
    """Pushes statuses of `devices` devices at a rate, from a thread of its own, until told to stop.

    The number of a push is its status' `description` and its property `tid`; push n is of device n modulo `devices`.
    """

    def __init__(
        self, brokers: Brokers, account: GatewayAccount, *, rate_per_s: float, devices: int = 200
    ) -> None:
        self._topic = f"persistent://{account.access_id}/out/event"
        self._key = account.access_key.reveal()
        self._devices = devices
        self._rate_per_s = rate_per_s
        self._client = connect(brokers)
        self._producer = self._client.create_producer(
            self._topic,
            send_timeout_millis=0,  # the broker is killed, and what it did not confirm is sent again
            max_pending_messages=0,
            batching_enabled=True,
            batching_max_publish_delay_ms=_BATCH_DELAY_MS,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._push_for_long, name="gateway-load", daemon=True)
        self.pushed = 0
        self.confirmed = bytearray()
        """By number: 1 where the broker confirmed that it has the push."""

    def __enter__(self) -> Self:
        """Begin to push."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and let go of the connection."""
        self._stop.set()
        self._thread.join()
        self._client.shutdown()

    def device(self, number: int) -> str:
        """Return the device that a push is of."""
        return f"bf{number % self._devices:018d}"

    def end(self) -> int:
        """Stop, wait until the broker has confirmed every push, and return how many there were."""
        self._stop.set()
        self._thread.join()
        self._producer.flush()
        deadline = time.monotonic() + 60
        while 0 in self.confirmed and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 0 not in self.confirmed, f"{self.confirmed.count(0)} pushes were never confirmed"
        return self.pushed

    def audit(self) -> Mapping[Place, int]:
        """Return the number of each push by its place, as the broker has them."""
        lying: dict[Place, int] = {}
        consumer = self._client.subscribe(self._topic, AUDIT, receiver_queue_size=5000)
        try:
            while True:
                message = consumer.receive(_QUIET_MS)
                at = message.message_id()
                partition = f"event/{message.topic_name().rpartition('-')[2]}"
                place = (partition, at.ledger_id(), at.entry_id(), at.batch_index())
                lying[place] = int(message.properties()["tid"])
        except pulsar.Timeout:
            return lying
        finally:
            consumer.close()

    def _push_for_long(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(_TICK_S):
            due = int((time.monotonic() - began) * self._rate_per_s)
            for number in range(self.pushed, due):
                self._push(number)

    def _push(self, number: int) -> None:
        device = self.device(number)
        body = upgrade_status(device, description=str(number))
        self.confirmed.append(0)
        self.pushed += 1
        self._producer.send_async(
            sealed(body, key=self._key),
            lambda result, _: self._answered(number, result),
            properties={"em": "aes_gcm", "tid": str(number)},
            partition_key=device,
        )

    def _answered(self, number: int, result: pulsar.Result) -> None:
        if result == pulsar.Result.Ok:
            self.confirmed[number] = 1


def backlog(brokers: Brokers, account: GatewayAccount) -> int:
    """Return how many entries the bridge has not acknowledged."""
    answer = httpx.get(
        f"{brokers.pulsar.admin_url}/admin/v2/persistent/{account.access_id}/out/event"
        "/partitioned-stats?getPreciseBacklog=true",
        auth=(brokers.pulsar.admin_username, brokers.pulsar.admin_password),
        trust_env=False,
        timeout=30,
    )
    answer.raise_for_status()
    entries: int = answer.json()["subscriptions"][account.gateway.subscription]["msgBacklog"]
    return entries


def connect(brokers: Brokers) -> pulsar.Client:
    """Return a client with the cloud's own rights."""
    return pulsar.Client(
        brokers.pulsar.url,
        authentication=pulsar.AuthenticationBasic(
            brokers.pulsar.admin_username, brokers.pulsar.admin_password
        ),
        logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull),
    )
